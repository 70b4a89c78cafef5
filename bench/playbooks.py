"""How long it takes to make a cluster of 1, 2 and 4 machines, and where the time goes.

Needs root: ``beowulf lab``. About a quarter of an hour per round.
"""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from bench.harness import Report, Table, run_alone, summarize, verdict
from beowulf.lab.directory import cache_directory, lab_directory
from beowulf.lab.image.build import ensure_image
from beowulf.lab.lab import destroy, up

if TYPE_CHECKING:
    from collections.abc import Iterator

ROUNDS = 1
REPOSITORY = Path(__file__).parents[1]
SIZES = (1, 2, 4)
PREDICTED = 100
FIRST_TARGET_S, SECOND_TARGET_S = 12 * 60, 6 * 60
SLOWEST = 10
TASK = re.compile(r"^(\S.*?) -+ +([\d.]+)s$", re.MULTILINE)


@dataclass(frozen=True)
class Played:
    """One run of site.yml: its duration, and the processor time of the controller, in s."""

    seconds: float
    controller_s: float
    tasks: dict[str, float]


def silent(_who: str, _what: str) -> None:
    """Report nothing: the words would be in the figures."""


def write_inventory(directory: Path, size: int) -> None:
    """Write the lab's inventory with its first ``size`` machines."""
    source = REPOSITORY / "inventory" / "lab"
    for path in source.rglob("*.yml"):
        copy = directory / path.relative_to(source)
        copy.parent.mkdir(exist_ok=True)
        copy.write_text(path.read_text())
    document: dict[str, Any] = yaml.safe_load((source / "hosts.yml").read_text())
    nodes = document["all"]["children"]["nodes"]
    nodes["hosts"] = dict(list(nodes["hosts"].items())[: size - 1])
    (directory / "hosts.yml").write_text(yaml.safe_dump(document))


@contextmanager
def cluster(size: int, image: str) -> Iterator[tuple[Path, dict[str, str]]]:
    """Give fresh machines: their inventory, and the environment in which Ansible finds them."""
    name = f"bench-{os.getpid()}"
    lab = lab_directory(name)
    with tempfile.TemporaryDirectory() as place:
        inventory = Path(place)
        write_inventory(inventory, size)
        try:
            up(lab, inventory, image, (), silent)
            yield inventory, {**os.environ, "BEOWULF_LAB": name}
        finally:
            destroy(lab, (), silent)


def play(inventory: Path, environment: dict[str, str]) -> Played:
    """Run site.yml; it must end well."""
    began, used = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), "-i", inventory, "playbooks/site.yml"],
        cwd=REPOSITORY,
        env={
            **environment,
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_CALLBACKS_ENABLED": "ansible.posix.profile_tasks",
            "PROFILE_TASKS_TASK_OUTPUT_LIMIT": "all",
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    seconds = time.monotonic() - began
    if done.returncode != 0:
        raise SystemExit(done.stdout + done.stderr)
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    controller_s = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
    recap = done.stdout.rpartition("TASKS RECAP")[2]
    tasks = {name: float(took) for name, took in TASK.findall(recap)}
    return Played(seconds, controller_s, tasks)


def prediction(played: dict[int, Played]) -> str:
    """Say what the times of the controller mean for a large cluster.

    In the lab all machines share this computer's processors; real ones work side by side. What
    grows with their number is then the controller's own work.
    """
    few, many = min(played), max(played)
    each_s = (played[many].controller_s - played[few].controller_s) / (many - few)
    cores = os.cpu_count() or 1
    expected_s = played[few].seconds + each_s * (PREDICTED - few) / cores
    return (
        f"Each further machine costs the controller {each_s:.1f} s of processor time in a second "
        f"run. Machines that work side by side, as real ones do, would make that "
        f"{expected_s / 60:.0f} minutes for {PREDICTED} of them, with a controller of "
        f"{cores} processors."
    )


def measure(rounds: int = ROUNDS, image: str = "prepared") -> Report:
    """Make clusters of each size twice: from fresh machines, and again."""
    ensure_image(image, cache=cache_directory(), report=print)
    first: dict[int, list[Played]] = {size: [] for size in SIZES}
    second: dict[int, list[Played]] = {size: [] for size in SIZES}
    for _ in range(rounds):
        for size in SIZES:
            with cluster(size, image) as (inventory, environment):
                first[size].append(play(inventory, environment))
                second[size].append(play(inventory, environment))
    rows, figures = [], {}
    for what, runs in (("first", first), ("second", second)):
        for size in SIZES:
            name = f"{what} run, {size} machine{'s' if size > 1 else ''}"
            figures[name] = summarize([played.seconds for played in runs[size]])
            used = summarize([played.controller_s for played in runs[size]])
            rows.append([name, *figures[name].cells(0), f"{used.median:.0f}"])
    largest = max(SIZES)
    slowest = sorted(first[largest][-1].tasks.items(), key=lambda task: -task[1])[:SLOWEST]
    again = second[largest][-1].tasks
    tasks = Table(
        ["task", "first run, s", "second run, s"],
        [[name, f"{took:.1f}", f"{again.get(name, 0.0):.1f}"] for name, took in slowest],
    )
    return Report(
        name="playbooks",
        title="The playbooks",
        table=Table(["s", "median", "quartiles", "range", "of the controller"], rows),
        verdict="\n\n".join(
            (
                verdict("first run", figures[f"first run, {largest} machines"].median,
                        FIRST_TARGET_S, " s"),
                verdict("second run", figures[f"second run, {largest} machines"].median,
                        SECOND_TARGET_S, " s"),
                prediction({size: second[size][-1] for size in SIZES}),
                f"The slowest tasks with {largest} machines:",
                tasks.markdown(),
            )
        ),
        figures=figures,
    )  # fmt: skip


if __name__ == "__main__":
    run_alone(__doc__, ROUNDS, measure)
