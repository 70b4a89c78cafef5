"""Who used how many core-hours, from Slurm's accounts.

The accounts lie on the head and, with ``PrivateData=usage``, tell an ordinary user
only of their own jobs. So the report says whether it is of everybody.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from beowulf.errors import CommandFailed, InvalidInput, one_line
from beowulf.hardware.nodes import slurm_trouble

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from beowulf.transport.connection import Connection

MARK = "@@accounts"
FIELDS = "User,JobID,State,Start,End,ElapsedRaw,AllocCPUS"
# $1 is the beginning of the time asked for, in UTC: digits, - : and T only.
SCRIPT = f"""\
export TZ=UTC LC_ALL=C
echo "asker|$(id -un)|$(id -u)|$(sacctmgr -n -P show user name="$(id -un)" format=AdminLevel 2>&-)"
scontrol show config 2>&- | grep -i '^PrivateData'
echo {MARK}
exec sacct --allusers --noheader --parsable2 --allocations --starttime="$1" --format={FIELDS}
"""
TIMEOUT_S = 120
LONGEST_S = 10 * 365 * 86_400
UNITS_S = {"h": 3600, "d": 86_400, "w": 7 * 86_400}
SPAN = re.compile(r"([0-9]{1,6})([hdw])")
BAD_ENDS = frozenset({"FAILED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE"})
NO_ACCOUNTS = re.compile(r"accounting storage is disabled", re.IGNORECASE)


@dataclass(frozen=True)
class AccountedJob:
    """One job in Slurm's accounts that has had cores."""

    user: str
    number: str
    state: str
    core_s: float

    @property
    def is_failure(self) -> bool:
        """Say whether it ended as nobody wanted. A cancelled job did not."""
        return self.state in BAD_ENDS


@dataclass(frozen=True)
class Usage:
    """What one user has used."""

    user: str
    core_hours: float
    jobs: int
    failures: int
    running: int

    def to_json(self) -> dict[str, Any]:
        """Return it as it stands in the listing's JSON."""
        return vars(self).copy()


@dataclass(frozen=True)
class History:
    """Everybody's use, the greatest first; ``of_everybody`` unless only one's own is shown."""

    since: str
    of_everybody: bool
    users: tuple[Usage, ...]


def parse_span(text: str) -> timedelta:
    """Return how far back ``7d``, ``12h`` or ``2w`` is.

    Raises:
        InvalidInput: It is none of those, nothing, or more than ten years.
    """
    match = SPAN.fullmatch(text)
    seconds = int(match[1]) * UNITS_S[match[2]] if match else 0
    if not 0 < seconds <= LONGEST_S:
        raise InvalidInput("--since", f"{text[:40]!r} is no span of time", "say 12h, 7d or 4w")
    return timedelta(seconds=seconds)


def ask_history(connection: Connection, span: timedelta, now: datetime | None = None) -> History:
    """Return who has used the cluster, from ``span`` ago until now.

    Raises:
        CommandFailed: Slurm keeps no accounts there, or they don't answer.
        Unreachable, AccessDenied: There is no way to the head.
    """
    since = (now or datetime.now(UTC)).astimezone(UTC) - span
    begin = since.strftime("%Y-%m-%dT%H:%M:%S")
    done = connection.run(("sh", "-c", SCRIPT, "history", begin), timeout_s=TIMEOUT_S, check=False)
    if done.status:
        raise CommandFailed(f"{connection.name}: {_trouble(done.output, done.errors, done.status)}")
    return parse_history(done.output, since)


def _trouble(output: str, errors: str, status: int) -> str:
    if NO_ACCOUNTS.search(output + errors):
        return "Slurm keeps no accounts on this cluster; role slurm_accounting makes it"
    if "Connection refused" in errors or "Problem talking to the database" in errors:
        return "Slurm's accounts don't answer; there, look at: systemctl status slurmdbd mariadb"
    return slurm_trouble(errors, status)


def parse_history(told: str, since: datetime) -> History:
    """Return the use in what the script printed; jobs that never had a core don't count."""
    asker, _, accounts = told.partition(f"{MARK}\n")
    return History(
        since=since.isoformat(timespec="seconds"),
        of_everybody=_sees_all(asker),
        users=tuple(_sums(parse_jobs(accounts, since))),
    )


def _sees_all(asker: str) -> bool:
    """Say whether who asked sees everybody's jobs: an operator, root, or nothing is private."""
    private = ""
    for line in asker.splitlines():  # a person's .bashrc may have printed others
        if line.startswith("asker|"):
            _, _, number, level = [*line.split("|"), "", ""][:4]
            if number == "0" or level in ("Administrator", "Operator"):
                return True
        elif line.startswith("PrivateData"):
            private = line.partition("=")[2].strip().lower()
    return bool(private) and not re.search(r"\b(all|jobs|usage)\b", private)


def parse_jobs(told: str, since: datetime) -> Iterator[AccountedJob]:
    """Yield the jobs in ``sacct``'s output that had cores, counting only what was after ``since``.

    A job that began before counts from ``since`` on.
    """
    for line in told.splitlines():
        fields = line.split("|")
        if len(fields) != 7:
            continue
        user, number, state, start, _end, elapsed, cores = map(one_line, fields)
        began = _utc(start)
        if began is None or not user or not _is_whole(elapsed) or not _is_whole(cores):
            continue
        before_s = max(0.0, (since - began).total_seconds())
        seconds = max(0.0, int(elapsed) - before_s)
        yield AccountedJob(user, number, state.partition(" ")[0].rstrip("+"), seconds * int(cores))


def _sums(jobs: Iterable[AccountedJob]) -> list[Usage]:
    by_user: dict[str, list[AccountedJob]] = {}
    for job in jobs:
        by_user.setdefault(job.user, []).append(job)
    sums = [
        Usage(
            user=user,
            core_hours=round(sum(job.core_s for job in own) / 3600, 3),
            jobs=len(own),
            failures=sum(job.is_failure for job in own),
            running=sum(job.state == "RUNNING" for job in own),
        )
        for user, own in by_user.items()
    ]
    return sorted(sums, key=lambda use: (-use.core_hours, use.user))


def _utc(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError:
        return None


def _is_whole(text: str) -> bool:
    return re.fullmatch(r"[0-9]{1,12}", text) is not None
