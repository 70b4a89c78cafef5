"""What Slurm gave a job: which hosts, how many ranks on each, for how long."""

from __future__ import annotations

import contextlib
import re
import socket
import subprocess
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from beowulf.errors import LaunchError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

# Where scripts listen whose framework wants a port per rank. The role `training` opens these to the
# cluster, and keeps the kernel from giving them to anybody who asks for no port in particular.
FIRST_PORT = 60_000
PORTS = 1_000
PORTS_PER_JOB = 16  # on one host; jobs that need more use those of the next ones too
COUNT = re.compile(r"(\d{1,6})(?:\(x(\d{1,6})\))?")
RESTARTS = re.compile(r"(?:^|\s)Restarts=(\d{1,6})")
NODE_LIST = re.compile(r"(?<!\S)NodeList=([^\s(]\S*)")
SLURM_TIMEOUT_S = 10.0
MOST_ANSWER = 200


@dataclass(frozen=True)
class Allocation:
    """One job's share of the cluster. ``ends_at`` is Slurm's own limit, in seconds since 1970."""

    slurm_job_id: int
    hosts: tuple[str, ...]
    ranks_per_host: tuple[int, ...]
    ends_at: float = float("inf")

    @property
    def ranks(self) -> int:
        """How many ranks there is room for."""
        return sum(self.ranks_per_host)


def read_allocation(environ: Mapping[str, str], hosts: Sequence[str]) -> Allocation:
    """Read what Slurm tells a batch script in its environment; ``hosts`` are in Slurm's order.

    Raises:
        LaunchError: A variable is missing or says something unknown.
    """
    try:
        ranks_per_host = expand_counts(environ["SLURM_TASKS_PER_NODE"])
        slurm_job_id = int(environ["SLURM_JOB_ID"])
        ends_at = float(environ.get("SLURM_JOB_END_TIME") or "inf")
    except (KeyError, ValueError) as error:
        raise LaunchError(f"cannot read what Slurm gave this job: {error}") from None
    if len(ranks_per_host) != len(hosts) or not hosts:
        raise LaunchError(
            f"Slurm gave {len(hosts)} hosts, but counts ranks on {len(ranks_per_host)}"
        )
    return Allocation(slurm_job_id, tuple(hosts), ranks_per_host, ends_at)


def expand_counts(counts: str) -> tuple[int, ...]:
    """Return one number per host from Slurm's short form: ``2(x3),1`` is 2, 2, 2, 1.

    Raises:
        ValueError: It has another form.
    """
    expanded: list[int] = []
    for part in counts.split(","):
        found = COUNT.fullmatch(part)
        if not found:
            raise ValueError(f"SLURM_TASKS_PER_NODE={counts[:MOST_ANSWER]!r}")
        expanded += [int(found[1])] * int(found[2] or 1)
    return tuple(expanded)


def hosts_of(nodelist: str) -> list[str]:
    """Return the names in Slurm's short form, ``head,node[1-3]``, as Slurm itself expands it.

    Raises:
        LaunchError: Slurm's commands don't work here.
    """
    return _ask_slurm(["scontrol", "show", "hostnames", nodelist]).split()


def hosts_down(hosts: Sequence[str]) -> list[str]:
    """Return those of ``hosts`` that Slurm has given up; none if it can't be asked."""
    try:
        answer = _ask_states(hosts)
    except LaunchError:
        return []
    return parse_down(answer)


def hosts_idle(hosts: Sequence[str]) -> list[str]:
    """Return those of ``hosts`` that are well and do nothing, so that Slurm can give them to a job.

    Raises:
        LaunchError: It can't be asked.
    """
    return sorted({host for host, state in _states(_ask_states(hosts)) if state == "idle"})


def parse_down(answer: str) -> list[str]:
    """Return the names of the nodes that are down, from lines such as ``node3 down*``."""
    return sorted({host for host, state in _states(answer) if state.startswith("down")})


def _states(answer: str) -> list[tuple[str, str]]:
    pairs = [line.split(maxsplit=1) for line in answer.splitlines()]
    return [(pair[0], pair[1].strip()) for pair in pairs if len(pair) > 1]


def restarts_of(slurm_job_id: int) -> int:
    """Return how often Slurm has started this job again, or is about to.

    Raises:
        LaunchError: It can't be asked.
    """
    found = RESTARTS.search(_show_job(slurm_job_id))
    return int(found[1]) if found else 0


def hosts_given(slurm_job_id: int) -> list[str]:
    """Return the hosts that a job has now: Slurm takes out those that it gives up.

    Raises:
        LaunchError: It can't be asked.
    """
    found = NODE_LIST.search(_show_job(slurm_job_id))
    return hosts_of(found[1]) if found else []


def keep_hosts(slurm_job_id: int, hosts: Sequence[str]) -> None:
    """Have Slurm take all hosts but these out of a running job.

    Raises:
        LaunchError: It refuses, or can't be asked.
    """
    words = ["scontrol", "update", f"JobId={slurm_job_id}", f"NodeList={','.join(hosts)}"]
    with tempfile.TemporaryDirectory() as place:  # it leaves scripts there, for somebody else
        _ask_slurm(words, place)


def requeue(slurm_job_id: int) -> None:
    """Have Slurm end this job and start it again on what nodes there are then.

    Raises:
        LaunchError: It refuses, or can't be asked.
    """
    _ask_slurm(["scontrol", "requeue", str(slurm_job_id)])


def end_steps(slurm_job_id: int) -> None:
    """End what the launcher has started on other hosts, where the launcher could not do so.

    A host that does not answer is told by Slurm when it does.
    """
    with contextlib.suppress(LaunchError):
        answer = _ask_slurm(
            ["squeue", "--steps", "--noheader", f"--jobs={slurm_job_id}", "--format=%i|%j"]
        )
        steps = [line.partition("|")[0].strip() for line in answer.splitlines() if "|prted" in line]
        if steps:
            # Through slurmctld: scancel by itself waits for those who don't answer.
            _ask_slurm(["scancel", "--ctld", "--signal=KILL", *steps])


def _ask_states(hosts: Sequence[str]) -> str:
    return _ask_slurm(["sinfo", "-h", "-N", "-n", ",".join(hosts), "-o", "%N %T"])


def _show_job(slurm_job_id: int) -> str:
    return _ask_slurm(["scontrol", "show", "job", "--oneliner", str(slurm_job_id)])


def _ask_slurm(words: Sequence[str], directory: str | None = None) -> str:
    try:
        done = subprocess.run(
            words,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=SLURM_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LaunchError(f"cannot ask Slurm: {error}") from None
    if done.returncode != 0:
        raise LaunchError(f"{words[0]} failed: {done.stderr.strip()[:MOST_ANSWER]}")
    return done.stdout


def is_free_here(port: int) -> bool:
    """Say whether nobody listens on a port of this host."""
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind(("", port))
        except OSError:
            return False
    return True


def endpoints_of(
    allocation: Allocation, is_free: Callable[[int], bool] = is_free_here
) -> tuple[str, ...]:
    """Return one ``host:port`` per rank, in the order in which mpirun counts them.

    Jobs that share a host have different numbers, hence different ports. What is
    taken all the same is passed over on the first host, where this runs and the ranks meet.

    Raises:
        LaunchError: The first host has too few free ports.
    """
    found = []
    for place, (host, ranks) in enumerate(
        zip(allocation.hosts, allocation.ranks_per_host, strict=True)
    ):
        ports = _ports_of(allocation.slurm_job_id)
        free = (port for port in ports if place > 0 or is_free(port))
        chosen = [port for port, _ in zip(free, range(ranks), strict=False)]
        if len(chosen) < ranks:
            raise LaunchError(f"{host} has no {ranks} free ports from {FIRST_PORT} on")
        found += [f"{host}:{port}" for port in chosen]
    return tuple(found)


def _ports_of(slurm_job_id: int) -> Iterator[int]:
    first = slurm_job_id * PORTS_PER_JOB
    return (FIRST_PORT + (first + number) % PORTS for number in range(PORTS))
