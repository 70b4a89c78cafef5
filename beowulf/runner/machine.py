"""This machine as a place to run ranks: how many fit, with how many threads each."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from beowulf.errors import InvalidInput
from beowulf.runner import fields

if TYPE_CHECKING:
    from beowulf.runner.spec import Resources

MOST_DEFAULT_RANKS = 4
RANKS_PER_CORE = 8
FEWEST_ALLOWED_RANKS = 16
CGROUP_CPU_LIMIT = Path("/sys/fs/cgroup/cpu.max")


@dataclass(frozen=True)
class Machine:
    """What one machine has to give: cores that may be used, and memory in MB."""

    cores: int
    memory_mb: int


@dataclass(frozen=True)
class Layout:
    """How many ranks start and how many threads each may use."""

    ranks: int
    threads_per_rank: int


def this_machine() -> Machine:
    """Measure this machine: the cores this process may use, and the memory installed."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        cores = os.cpu_count() or 1
    try:
        limit = cgroup_cores(CGROUP_CPU_LIMIT.read_text())
    except OSError:
        limit = None
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Machine(cores=min(cores, limit or cores), memory_mb=memory // 1_000_000)


def cgroup_cores(cpu_max: str) -> int | None:
    """Return the whole cores that a cgroup's ``cpu.max`` ("QUOTA PERIOD") grants, if limited.

    Source: the kernel's cgroup-v2 documentation, "CPU Interface Files".
    """
    quota, _, period = cpu_max.partition(" ")
    if not quota.isdigit() or not period.strip().isdigit():
        return None
    return max(1, int(quota) // int(period))


def lay_out(resources: Resources, machine: Machine) -> Layout:
    """Fit a job on one machine.

    Without a number, one rank per core is started, at most 4; threads share the cores.

    Raises:
        InvalidInput: The job asks for more nodes, ranks or memory than one machine has.
    """
    ranks = _ranks(resources, machine)
    most = max(FEWEST_ALLOWED_RANKS, RANKS_PER_CORE * machine.cores)
    if ranks > most:
        raise InvalidInput(
            "resources.ranks",
            f"{ranks} ranks are too many for this machine's {machine.cores} cores",
            f"ask for at most {most}",
        )
    needed_mb = ranks * (resources.memory_per_rank_mb or 0)
    if needed_mb > machine.memory_mb:
        raise InvalidInput(
            "resources.memory_per_rank_mb",
            f"{ranks} ranks need {needed_mb} MB, this machine has {machine.memory_mb} MB",
            "ask for less memory or fewer ranks",
        )
    threads = resources.threads_per_rank or max(1, machine.cores // ranks)
    return Layout(ranks=ranks, threads_per_rank=threads)


def _ranks(resources: Resources, machine: Machine) -> int:
    if resources.nodes is not None:
        fewest, _ = fields.node_range("resources.nodes", resources.nodes)
        if fewest > 1:
            raise InvalidInput(
                "resources.nodes",
                f"the job needs at least {fewest} nodes, and this machine is one",
                'ask for ranks instead, or write a range such as "1-4"',
            )
        return resources.ranks_per_node or 1
    return resources.ranks or min(machine.cores, MOST_DEFAULT_RANKS)


def resolve(resources: Resources, layout: Layout) -> Resources:
    """Return the resources with what was left open filled in."""
    return replace(
        resources,
        ranks=layout.ranks,
        nodes=None,
        ranks_per_node=None,
        threads_per_rank=layout.threads_per_rank,
    )
