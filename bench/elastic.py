"""A node is switched off: beowulf's in-place recovery beside torchrun's elastic DDP.

Both train the same model on the four machines of one lab, in turn, and lose the same machine at the
same step. What is compared is the time from the power's end to the next step that is finished which
had not been finished before. torchrun starts all ranks again from their newest checkpoint; it is
given what its manual names for that (c10d rendezvous, two to four nodes), shorter patience than its
own (gloo waits for 10 s instead of 30 minutes, the rendezvous for 5 s instead of 30 for further
nodes), a store of its own for each start (or else ranks that start again find the addresses of
those before), and a checkpoint every ten steps. The machines' PyTorch is Debian's. Needs root.

Source: https://docs.pytorch.org/docs/stable/elastic/run.html
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.harness import Report, publish, ratios, summarize, this_machine, verdict
from bench.recovery import OFF, STEPS, STRUCK_AT, VICTIM, in_place, plugged, table
from beowulf.lab.controls import set_power
from beowulf.lab.directory import lab_directory
from tests.lab.plugs import PAUSE_S, Plugs
from tests.lab.room import NODES, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

ROUNDS = 5
EVERY_STEPS, GLOO_S = 10, 10
PORT = 50777  # of the rendezvous, among those that the firewall leaves to frameworks
PATIENCE_S = 600.0
# https://github.com/pytorch/pytorch/issues/135712
ENVIRONMENT = ("TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1",)
SCRIPTS = Path(__file__).parent / "scripts"
AGENT, SCRIPT, STORE = "elastic_agent.py", "elastic_ddp.py", "without_libuv.py"
PLACE = "/home/ada/elastic"
TARGET = 1.0  # of theirs: ours is to be less


def agent(place: str, run: int, steps: int) -> list[str]:
    """Return the command of one node's agent."""
    return [
        "env", *ENVIRONMENT, "python3", f"{place}/{AGENT}", "--nnodes=2:4", "--nproc-per-node=1",
        "--rdzv-backend=c10d", f"--rdzv-endpoint=head:{PORT}", f"--rdzv-id=run{run}",
        "--rdzv-conf=last_call_timeout=5", "--max-restarts=20",
        f"{place}/{SCRIPT}", str(steps), str(PAUSE_S), str(EVERY_STEPS), place, str(GLOO_S),
    ]  # fmt: skip


def install(plugs: Plugs) -> None:
    """Have Debian's PyTorch on all machines."""
    for node in NODES:
        plugs.room.on(
            node,
            "dpkg -s python3-torch >/dev/null 2>&1 || { sudo apt-get -qq update; "
            "sudo DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install "
            "python3-torch python3-numpy >/dev/null; }",
            timeout_s=1800,
        )


@contextmanager
def agents(plugs: Plugs, run: int, steps: int) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """Keep an agent running on each machine."""
    config = f"/var/lib/beowulf/labs/{plugs.room.name}/ssh_config"
    command = shlex.join(agent(PLACE, run, steps))
    started = {
        node: subprocess.Popen(
            ["ssh", "-F", config, "-tt", "-l", "ada", node, command],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        for node in NODES
    }  # fmt: skip
    try:
        yield started
    finally:
        for process in started.values():  # with a terminal, what it runs ends with the connection
            process.terminate()
            process.wait()


def lines(plugs: Plugs) -> list[dict[str, Any]]:
    """Return what rank 0 has written, of all its starts."""
    told = plugs.cluster.try_as_user("ada", "head", f"cat {PLACE}/metrics.jsonl").stdout
    whole = told.split("\n")[:-1]
    return [json.loads(line) for line in whole]


def restarted(plugs: Plugs, run: int) -> float:
    """Return for how long torchrun's ranks stand still when a machine is switched off."""
    for node in NODES:  # an agent of the last round may still wait for its ranks
        plugs.room.ssh(node, "sudo pkill -KILL --uid ada --full elastic_")
    user = plugs.cluster.as_user
    user("ada", "head", f"rm -rf {PLACE}; mkdir {PLACE}")
    for name in (AGENT, SCRIPT, STORE):
        plugs.cluster.write("ada", f"{PLACE}/{name}", (SCRIPTS / name).read_text(encoding="utf-8"))
    with agents(plugs, run, 100 * STEPS) as started:

        def far_enough() -> bool:
            ended = [node for node, process in started.items() if process.poll() is not None]
            if ended:
                raise RuntimeError(f"torchrun's agents on {ended} ended before anything was pulled")
            return len(lines(plugs)) >= STRUCK_AT

        wait_for(far_enough, "torchrun trains", PATIENCE_S)
        struck = time.time()
        set_power(lab_directory(plugs.room.name), VICTIM, "off")
        before = max(line["step"] for line in lines(plugs) if line["time"] <= struck)

        def later() -> list[float]:
            return [
                line["time"]
                for line in lines(plugs)
                if line["step"] > before + 1 and line["ranks"] < len(NODES)
            ]

        wait_for(later, "torchrun trains again", PATIENCE_S)
        stood_s = min(later()) - struck
    plugs.mend()
    return stood_s


def measure(rounds: int = ROUNDS, lab: str | None = None) -> Report:
    """Switch a machine off under both, in turn, so often."""
    ours: list[float] = []
    theirs: list[float] = []
    with plugged(lab) as plugs:
        plugs.mend()
        install(plugs)
        for number in range(rounds):
            ours.append(in_place(plugs, OFF))
            theirs.append(restarted(plugs, number))
            print(f"{number + 1}: {ours[-1]:.2f} s, {theirs[-1]:.1f} s", file=sys.stderr)
    figures = {
        "beowulf, in place": summarize(ours),
        "torchrun, elastic DDP": summarize(theirs),
        "beowulf over torchrun": ratios(ours, theirs),
    }
    return Report(
        name="elastic",
        title="A node is switched off: beowulf beside torchrun's elastic DDP",
        table=table("s (the last: ratio)", figures),
        verdict=verdict(
            "beowulf over torchrun, p50", figures["beowulf over torchrun"].median, TARGET, ""
        ),
        figures=figures,
    )


def main() -> None:
    """Measure, and print a section of docs/benchmarks.md."""
    parser = argparse.ArgumentParser(prog="python -m bench.elastic", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="how often both lose a node")
    parser.add_argument("--lab", metavar="NAME", help="a lab whose cluster is there")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    options = parser.parse_args()
    print(f"Measured on {this_machine()}.\n", flush=True)
    publish(measure(options.rounds, options.lab), options.json)


if __name__ == "__main__":
    main()
