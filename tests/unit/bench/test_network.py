"""The benchmarks' network: rates, bursts, and who cannot have one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.network import (
    MOST_NODES,
    Node,
    NoNetwork,
    burst_kb,
    mbit_per_s,
    network,
    refuse_where_impossible,
)


@pytest.mark.parametrize(("rate", "mbit"), [("100mbit", 100), ("1gbit", 1000), ("10gbit", 10_000)])
def test_rates_are_read(rate: str, mbit: int) -> None:
    assert mbit_per_s(rate) == mbit


@pytest.mark.parametrize("rate", ["", "100", "0mbit", "1 gbit", "1Gbit", "100mbit; id", "1tbit"])
def test_what_is_no_rate_is_refused(rate: str) -> None:
    with pytest.raises(NoNetwork, match=r"must look like 100mbit or 1gbit"):
        mbit_per_s(rate)


def test_a_bucket_holds_what_passes_in_a_tick_of_the_kernel() -> None:
    assert (burst_kb("100mbit"), burst_kb("1gbit"), burst_kb("10mbit")) == (16, 128, 16)


def test_a_command_is_run_in_a_node_s_namespaces_alone() -> None:
    words = Node("node1", "10.78.0.2", 42).enter(["ip", "link"])
    assert words == ["nsenter", "--target", "42", "--net", "--uts", "ip", "link"]


@pytest.mark.parametrize("nodes", [0, MOST_NODES + 1])
def test_too_many_nodes_are_refused(nodes: int) -> None:
    with pytest.raises(NoNetwork, match="nodes"):
        refuse_where_impossible(nodes)


def test_who_is_not_root_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(NoNetwork, match="needs root"):
        refuse_where_impossible(2)


def test_missing_programs_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda tool: None if tool == "tc" else f"/bin/{tool}")
    with pytest.raises(NoNetwork, match=r"^tc missing; apt install iproute2"):
        refuse_where_impossible(2)


def test_a_bad_rate_is_refused_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda tool: f"/bin/{tool}")
    with pytest.raises(NoNetwork, match="rate"), network(["100mbit", "fast"], tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


# --- Real networks --------------------------------------------------------------------------

HARNESS = """
import subprocess, sys, time
from pathlib import Path
from bench.network import network
with network(["100mbit", "1gbit"], Path(sys.argv[1])) as found:
    inside = subprocess.Popen(found.nodes[1].enter(["sleep", "60"]))
    time.sleep(0.2)
    print(*(node.pid for node in found.nodes), inside.pid, flush=True)
    time.sleep(60)
"""


@pytest.mark.root
def test_nodes_see_each_other_and_nothing_else(tmp_path: Path) -> None:
    with network(["100mbit", "1gbit"], tmp_path) as found:
        first, second = found.nodes
        agent = [str(found.agent), "node1", "hostname; ip -brief link; ip route"]
        said = subprocess.run(agent, check=True, capture_output=True, text=True).stdout
        assert said.startswith("node1\n")
        assert "default" not in said
        assert [line.split("@")[0].split()[0] for line in said.splitlines()[1:3]] == ["lo", "eth0"]
        shape = ["tc", "qdisc", "show", "dev", "eth0"]
        shown = subprocess.run(first.enter(shape), check=True, capture_output=True, text=True)
        assert "tbf" in shown.stdout
        assert "rate 100Mbit" in shown.stdout
        with pytest.raises(subprocess.CalledProcessError):
            subprocess.run([str(found.agent), "node7", "true"], check=True, capture_output=True)
        assert Path(f"/proc/{second.pid}").exists()
    assert not Path(f"/proc/{second.pid}").exists()


@pytest.mark.root
def test_a_harness_that_is_killed_leaves_no_network_and_nothing_in_it(tmp_path: Path) -> None:
    harness = subprocess.Popen(
        [sys.executable, "-c", HARNESS, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert harness.stdout is not None
    left = [Path("/proc", word) for word in harness.stdout.readline().split()]
    assert len(left) == 3
    assert all(one.exists() for one in left)
    harness.kill()
    harness.wait()
    harness.stdout.close()
    for _ in range(300):
        if not any(one.exists() for one in left):
            break
        time.sleep(0.1)
    assert not any(one.exists() for one in left)
