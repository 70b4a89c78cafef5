"""What a computer says of itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from beowulf.job.measured import Port
from beowulf.measure.speed import matrix_flops, memory_bytes_per_s, ports, threads_given


def test_a_computer_computes_and_copies() -> None:
    assert 1e6 < matrix_flops(0.01) < 1e15
    assert 1e6 < memory_bytes_per_s(2, 0.01) < 1e13


@pytest.mark.parametrize(("given", "expected"), [("3", 3), ("", None), ("0", None), ("x", None)])
def test_threads_are_those_that_were_given(
    monkeypatch: pytest.MonkeyPatch, given: str, expected: int | None
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    assert threads_given() == expected or (expected is None and threads_given() >= 1)


def test_ports_are_told_by_the_kernel(tmp_path: Path) -> None:
    files = {
        "eth0": {"operstate": "up", "speed": "100", "duplex": "half", "device": ""},
        "eth1": {"operstate": "down", "speed": "-1", "device": ""},
        "eth2": {"operstate": "up", "speed": "-1", "duplex": "unknown", "device": ""},
        "lo": {"operstate": "unknown"},
    }
    for port, told in files.items():
        (tmp_path / port).mkdir()
        for name, text in told.items():
            (tmp_path / port / name).write_text(f"{text}\n")
    (tmp_path / "bonding_masters").write_text("")
    assert ports(tmp_path) == (Port("eth0", 100, "half"), Port("eth2", None, None))
    assert ports(tmp_path / "nowhere") == ()
