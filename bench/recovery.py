"""How long a job stands still after a fault: from the fault to the first step finished after it.

Each fault strikes a job on four machines of a lab, through Slurm, as often as there are rounds.
Each job is then seen to end COMPLETED, with every step done once and the losses of a run to which
nothing happened; one that does not ends the measurement. (A job that Slurm starts again is longer,
since it trains until Slurm does so; it is cancelled some steps later.) Needs root: ``beowulf lab``.
It makes a cluster first, unless ``--lab`` names one that is there; ten rounds take an hour, half of
it for what is survived in place.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.harness import Report, Table, publish, summarize, this_machine, verdict
from beowulf.lab.controls import set_cable, set_power
from beowulf.lab.directory import lab_directory
from tests.lab.cluster import Cluster
from tests.lab.plugs import Plugs, undisturbed_losses
from tests.lab.room import Room
from tests.lab.test_submit import laptop_of
from tests.lab.training import Training, write_job

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from bench.harness import Summary

ROUNDS = 10
IN_PLACE, RESTART = "in-place", "restart"
STEPS = 150
MOST_STEPS = 20_000  # so many that it trains still when Slurm starts it again
STRUCK_AT = 50
VICTIM, ITS_RANK = "node3", 3
KILLED_TARGET_S, GONE_TARGET_S, GONE_MOST_S, RESTART_TARGET_S = 1.0, 6.0, 15.0, 60.0
KILLED, STOPPED = "a rank is killed (kill -9)", "a rank is stopped (SIGSTOP)"
OFF, FROZEN, CUT = "a node is switched off", "a node is frozen", "a node's cable is cut"
FIRST_OFF = "the first node is switched off: the others go on"
ONCE_MORE = "Slurm then starts the job once more"
FROM_SLURM = "of that, from when Slurm has started it"


def moment(event: dict[str, Any]) -> float:
    """Return when an event happened, by ``time.time``; a lab's machines have this one's clock."""
    return datetime.fromisoformat(event["time"]).timestamp()


def pull(plugs: Plugs, what: str) -> float:
    """Let a fault strike at once; return when it did."""
    directory = lab_directory(plugs.room.name)
    if what in (KILLED, STOPPED):
        node, pid = plugs.job.place_of(ITS_RANK)
        signal = "KILL" if what == KILLED else "STOP"
        return float(plugs.room.on(node, f"date +%s.%N; sudo kill -{signal} {pid}"))
    struck = time.time()
    if what == CUT:
        set_cable(directory, VICTIM, "cut", "")
    else:
        set_power(directory, VICTIM, "pause" if what == FROZEN else "off")
    return struck


def in_place(plugs: Plugs, what: str) -> float:
    """Return for how long a job stands still that carries on in place."""
    job = plugs.training(steps=STEPS)
    job.wait_for_step(STRUCK_AT)
    struck = pull(plugs, what)
    stood_s = moment(job.wait_for("carried_on")) - struck
    job.ends_as_if_nothing_had_happened()
    plugs.mend()
    return stood_s


def restarted(plugs: Plugs) -> tuple[float, float, float]:
    """Return for how long a job stands still that loses its first node, and is then started again.

    That is until the others carry on; then, once Slurm has given the node up, from the last step
    before it starts the job again to the next step; and the part of that after it has done so.
    """
    plugs.without_the_head()
    try:
        job = plugs.training(nodes="2-3", steps=MOST_STEPS, every_steps=100)
        job.wait_for_step(STRUCK_AT)
        struck = time.time()
        set_power(lab_directory(plugs.room.name), job.place_of(0)[0], "off")
        carried_on = moment(job.wait_for("carried_on"))
        restarting = moment(job.wait_for("restarting"))
        last = max(at for _, at in job.witness.steps if at < restarting)
        first = first_step_after(job, restarting)
        job.wait_for_step(job.witness.newest + STRUCK_AT)
        plugs.laptop("cancel", job.job_id)
        job.trained_undisturbed_so_far()
        job.leaves_nothing_running()
    finally:
        plugs.with_the_head()
    plugs.mend()
    return carried_on - struck, first - last, first - restarting


def first_step_after(job: Training, begun: float) -> float:
    """Return when the first step of a new attempt was seen; its line is written at most 0.5 s late.

    What the new attempt keeps of the old one's lines is seen again before that.
    """
    resumed = job.wait_for("resumed")["step"]
    while True:
        seen = [at for step, at in job.witness.steps if step > resumed and at > begun]
        if seen:
            return min(seen)
        time.sleep(0.05)


@contextmanager
def plugged(lab: str | None) -> Iterator[Plugs]:
    """Give a lab with a cluster: one that is there, or one of the benchmark's own."""
    room = Room(lab or "bench-recovery")
    with tempfile.TemporaryDirectory() as home:
        try:
            cluster = Cluster(room)
            if lab is None:
                room("up", "--image", "prepared")
                cluster.play("site")
            laptop = laptop_of("ada", cluster, Path(home))
            yield Plugs(
                laptop, write_job(Path(home, "job")), undisturbed_losses(Path(home), MOST_STEPS)
            )
        finally:
            if lab is None:
                room("destroy")


def measure(
    rounds: int = ROUNDS, lab: str | None = None, kinds: Collection[str] = (IN_PLACE, RESTART)
) -> Report:
    """Let each fault strike, in turn, so often."""
    found: dict[str, list[float]] = {}
    with plugged(lab) as plugs:
        plugs.mend()
        for number in range(rounds):
            for what in (KILLED, STOPPED, OFF, FROZEN, CUT) if IN_PLACE in kinds else ():
                found.setdefault(what, []).append(in_place(plugs, what))
                print(f"{number + 1}: {what}: {found[what][-1]:.2f} s", file=sys.stderr)
            if RESTART not in kinds:
                continue
            for what, took_s in zip(
                (FIRST_OFF, ONCE_MORE, FROM_SLURM), restarted(plugs), strict=True
            ):
                found.setdefault(what, []).append(took_s)
                print(f"{number + 1}: {what}: {took_s:.2f} s", file=sys.stderr)
    return report(found)


def report(found: dict[str, list[float]]) -> Report:
    """Put what was found into a table."""
    figures = {name: summarize(values) for name, values in found.items()}
    verdicts = []
    if KILLED in figures:
        killed_s = figures[KILLED].maximum
        gone = [figures[what] for what in (STOPPED, OFF, FROZEN, CUT)]
        p50_s, most_s = max(one.median for one in gone), max(one.maximum for one in gone)
        verdicts = [
            verdict("a killed rank, maximum", killed_s, KILLED_TARGET_S, " s"),
            verdict("all else in place, p50", p50_s, GONE_TARGET_S, " s"),
            verdict("all else in place, maximum", most_s, GONE_MOST_S, " s"),
        ]
    if FROM_SLURM in figures:
        most_s = figures[FROM_SLURM].maximum
        verdicts.append(verdict("started again, maximum", most_s, RESTART_TARGET_S, " s"))
    return Report(
        name="recovery",
        title="From a fault to the next finished step",
        table=table("s", figures),
        verdict="\n\n".join(verdicts),
        figures=figures,
    )


def table(of: str, figures: Mapping[str, Summary]) -> Table:
    """Return a row per figure, all ``of`` one kind."""
    return Table(
        [of, "times", "p50", "quartiles", "range"],
        [[name, str(one.count), *one.cells(2)] for name, one in figures.items()],
    )


def main() -> None:
    """Measure, and print a section of docs/benchmarks.md."""
    parser = argparse.ArgumentParser(prog="python -m bench.recovery", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="how often each fault strikes")
    parser.add_argument("--lab", metavar="NAME", help="a lab whose cluster is there")
    parser.add_argument(
        "--only", choices=(IN_PLACE, RESTART), help="only what is survived in place, or is not"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    options = parser.parse_args()
    print(f"Measured on {this_machine()}.\n", flush=True)
    kinds = (options.only,) if options.only else (IN_PLACE, RESTART)
    publish(measure(options.rounds, options.lab, kinds), options.json)


if __name__ == "__main__":
    main()
