"""A plug that is pulled on purpose: which one is meant, from a job's own files."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, get_args

from beowulf.errors import InvalidInput
from beowulf.job.events import read_events, record_event
from beowulf.job.heartbeat import read_heartbeat
from beowulf.job.record import read_newest_metrics
from beowulf.job.recovery import speed_of
from beowulf.job.survivors import newest_survivors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from beowulf.job.directory import JobDirectory
    from beowulf.job.heartbeat import Heartbeat
    from beowulf.job.record import JobRecord

What = Literal["kill", "freeze", "cut"]
SIGNALS: dict[What, str] = {"kill": "KILL", "freeze": "STOP", "cut": "STOP"}


@dataclass(frozen=True)
class Plug:
    """What is to be pulled: these ranks, on one host, of one attempt of a job.

    ``left`` is how many ranks there are besides, ``checkpoint_step`` where the job would be
    started again if these can't go on.
    """

    job_id: str
    attempt: int
    what: What
    host: str
    ranks: tuple[int, ...]
    pids: tuple[int, ...]
    left: int
    step: int | None
    checkpoint_step: int | None
    steps_per_s: float | None

    def to_json(self) -> dict[str, Any]:
        """Return it as it travels."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Plug:
        """Return what ``to_json`` wrote.

        Raises:
            TypeError, KeyError: Something is missing.
        """
        return cls(**{**value, "ranks": tuple(value["ranks"]), "pids": tuple(value["pids"])})


def find_plug(
    directory: JobDirectory, record: JobRecord, what: str, rank: int | None, node: str | None
) -> Plug:
    """Return the plug that is meant: a rank's, a whole node's, or without either the last rank's.

    Raises:
        InvalidInput: The job does not run now, or has no such rank or node.
    """
    if what not in get_args(What):
        raise InvalidInput("--kill", f"{what[:20]!r} is no drill", "there are: kill, freeze, cut")
    if record.state != "RUNNING":
        raise InvalidInput(
            "ID", f"job {record.id} is {record.state}", "a drill needs one that is RUNNING"
        )
    attempt = _attempt(directory, record)
    alive = _alive(directory, attempt)
    victims = _victims(record.id, alive, rank, node)
    if what == "cut":
        victims = [beat for beat in alive if beat.host == victims[0].host]
        _refuse_the_first_node(alive, victims)
    lines = read_newest_metrics(directory)
    step = lines[-1].get("step") if lines else None
    return Plug(
        job_id=record.id,
        attempt=attempt,
        what=what,  # type: ignore[arg-type]  # looked up above
        host=victims[0].host,
        ranks=tuple(beat.rank for beat in victims),
        pids=tuple(beat.pid for beat in victims),
        left=len(alive) - len(victims),
        step=step if isinstance(step, int) else max(beat.step for beat in alive) or None,
        checkpoint_step=next(iter(directory.checkpoint_steps()), None),
        steps_per_s=speed_of(lines),
    )


def _attempt(directory: JobDirectory, record: JobRecord) -> int:
    """Return the number of the attempt that runs: the supervisor may have begun another one."""
    started = [event for event in read_events(directory) if event.get("event") == "started"]
    attempt = started[-1].get("attempt") if started else None
    return attempt if isinstance(attempt, int) else record.attempt


def _alive(directory: JobDirectory, attempt: int) -> list[Heartbeat]:
    """Return the last words of the ranks that are still in an attempt, in rank order."""
    numbers = sorted(int(path.name) for path in directory.heartbeats.glob("[0-9]*")
                     if path.name.isdecimal())  # fmt: skip
    beats = [read_heartbeat(directory, number) for number in numbers]
    survivors = newest_survivors(directory, attempt)
    return [
        beat for beat in beats
        if beat is not None and beat.attempt == attempt and beat.state == "running"
        and (survivors is None or beat.rank in survivors.ranks)
    ]  # fmt: skip


def _victims(
    job_id: str, alive: Sequence[Heartbeat], rank: int | None, node: str | None
) -> list[Heartbeat]:
    if node is not None:
        found = [beat for beat in alive if beat.host == node]
        field, missing = "--node", f"job {job_id} has no rank on {node[:60]!r} now"
    elif rank is not None:
        found = [beat for beat in alive if beat.rank == rank]
        field, missing = "--rank", f"job {job_id} has no rank {rank} that runs now"
    else:
        found = list(alive[-1:])
        field, missing = "ID", f"job {job_id} has no rank that runs now"
    if not found:
        raise InvalidInput(field, missing, f"look at: beowulf status {job_id}")
    return found


def _refuse_the_first_node(alive: Sequence[Heartbeat], victims: Sequence[Heartbeat]) -> None:
    """Refuse to freeze the job's supervisor: unlike a machine that is off, nobody would notice."""
    host = victims[0].host
    if alive[0].rank == 0 and alive[0].host != host:
        return
    elsewhere = next((beat.host for beat in alive if beat.host != host), None)
    raise InvalidInput(
        "--cut",
        f"{host} is the job's first node, whose supervisor would be frozen as well, so that "
        "nobody could start the job again; really switched off, Slurm would notice",
        f"name another: --node {elsewhere}" if elsewhere else "take --freeze or --kill",
    )


def record_drill(directory: JobDirectory, plug: Plug, pulled_at: float) -> None:
    """Write into the job's story that a plug was pulled, and when."""
    time = datetime.fromtimestamp(pulled_at, UTC).isoformat(timespec="milliseconds")
    for rank in plug.ranks[:1] if plug.what == "cut" else plug.ranks:
        record_event(
            directory,
            "drill",
            what=plug.what,
            rank=rank,
            host=plug.host,
            step=plug.step,
            time=time,
        )
