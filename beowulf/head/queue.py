"""Ask Slurm, through the commands that every release has in the same form."""

from __future__ import annotations

import os
import pwd
import re
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from beowulf.errors import BeowulfError, CommandFailed, one_line
from beowulf.job.slurm_words import is_refusal

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

COMMENT = "beowulf"
SUBMIT_TIMEOUT_S = 60
ASK_TIMEOUT_S = 20
FIELDS = "%i|%T|%r|%D|%N|%S|%e|%k"
# A job in another state than these is one that may still run; so is one that nobody knows yet.
OVER = frozenset({
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY",
    "PREEMPTED", "TIMEOUT", "REVOKED",
})  # fmt: skip


class SlurmUnclear(BeowulfError):
    """Nobody knows whether Slurm did what it was asked."""


class SlurmSilent(SlurmUnclear):
    """Slurm's controller does not answer; ``said`` is how that was noticed."""

    def __init__(self, said: str) -> None:
        super().__init__(f"Slurm's controller does not answer on the head ({said})")


class SlurmRefused(BeowulfError):
    """Slurm does not take the job; ``said`` holds its own words."""

    def __init__(self, said: str) -> None:
        self.said = said
        super().__init__(said)


@dataclass(frozen=True)
class Queued:
    """One job as ``squeue`` tells it."""

    number: int
    state: str
    reason: str
    node_count: str
    nodes: str
    starts: str
    ends: str
    comment: str

    @property
    def is_over(self) -> bool:
        """Say whether Slurm has finished with the job."""
        return self.state in OVER

    @property
    def is_pending(self) -> bool:
        """Say whether the job waits for its turn."""
        return self.state == "PENDING"

    def is_of(self, job_id: str, key: str = "") -> bool:
        """Say whether it was given to Slurm for this job, by the request with this key if any.

        Slurm's numbers alone don't tell: they begin anew when a cluster is made anew. Behind the
        key may stand how many nodes the job must have, and how many tasks it had at first.
        """
        name, _, rest = self.comment.partition(":")
        found, _, rest = rest.partition(":")
        its_key = rest.partition(":")[0]
        return name == COMMENT and found == job_id and (not key or its_key == key)


def slurm(*arguments: str, timeout_s: float = ASK_TIMEOUT_S) -> str:
    """Run one of Slurm's commands and return what it printed.

    Raises:
        SlurmSilent: The controller does not answer.
        SlurmRefused: It answered, and refused.
        CommandFailed: Slurm is not installed here.
    """
    try:
        done = subprocess.run(
            arguments,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            env=environment(),
            timeout=timeout_s,
            check=False,
        )
    except FileNotFoundError:
        raise CommandFailed(
            f"{arguments[0]}: not installed on this head; is it one of a beowulf cluster?"
        ) from None
    except subprocess.TimeoutExpired:
        raise SlurmSilent(f"{arguments[0]} has not answered for {timeout_s:g} s") from None
    if done.returncode == 0:
        return done.stdout
    said = _own_words(done.stderr) or f"{arguments[0]} ended with status {done.returncode}"
    if re.search(r"Unable to contact slurm controller|Socket timed out|Connection refused", said):
        raise SlurmSilent(said)
    raise SlurmRefused(said)


def _own_words(errors: str) -> str:
    """Return what a Slurm command complained of, less what says nothing."""
    lines = [re.sub(r"^\w+: (error|fatal): ", "", line) for line in errors.splitlines()]
    return one_line("; ".join(line.strip() for line in lines if line.strip())[-600:])


def environment() -> dict[str, str]:
    """Return the variables that Slurm's commands, and through sbatch the jobs, see.

    Nothing of what the client's or the head's shell happens to have set.
    """
    user = pwd.getpwuid(os.geteuid())
    return {
        "HOME": user.pw_dir,
        "USER": user.pw_name,
        "LOGNAME": user.pw_name,
        "SHELL": user.pw_shell or "/bin/sh",
        "PATH": os.environ.get("BEOWULF_HEAD_PATH", "/usr/local/bin:/usr/bin:/bin"),
        "LANG": "C.UTF-8",
    }


def ask() -> dict[int, Queued]:
    """Return what Slurm knows of this user's jobs, by Slurm's number.

    Raises:
        SlurmSilent, SlurmRefused, CommandFailed: It could not be asked.
    """
    told = slurm("squeue", "--me", "--states=all", "--noheader", f"--format={FIELDS}")
    return {one.number: one for one in parse(told)}


def parse(told: str) -> list[Queued]:
    """Return the jobs in ``squeue``'s output; lines that are not jobs are passed over."""
    found = []
    for line in told.splitlines():
        fields = line.split("|", 7)
        number = fields[0].partition("_")[0]
        if len(fields) == 8 and number.isdecimal():
            found.append(Queued(int(number), *(field.strip() for field in fields[1:])))
    return found


def submit(script: Path) -> int:
    """Give a job to Slurm and return the number that Slurm gives it.

    Raises:
        SlurmRefused: Slurm does not take it.
        SlurmUnclear: It is not known whether Slurm took it.
    """
    try:
        told = slurm("sbatch", "--parsable", str(script), timeout_s=SUBMIT_TIMEOUT_S)
    except SlurmRefused as refusal:
        # sbatch fails as well where Slurm has taken the job and only its answer was lost.
        if is_refusal(refusal.said):
            raise
        raise SlurmUnclear(f"sbatch failed ({refusal.said})") from None
    number = told.strip().partition(";")[0]
    if not number.isdecimal():
        raise SlurmUnclear(f"sbatch printed no job number: {one_line(told.strip())!r}")
    return int(number)


def test(script: Path) -> None:
    """Ask Slurm whether it would take a job, without giving it.

    Raises:
        SlurmRefused: It would not.
        SlurmSilent: It does not answer.
    """
    slurm("sbatch", "--test-only", str(script), timeout_s=SUBMIT_TIMEOUT_S)


def cancel(numbers: Iterable[int]) -> None:
    """Ask Slurm to end jobs, all with one command; those it has finished with stay as they are."""
    words = [str(number) for number in numbers]
    if not words:
        return
    try:
        slurm("scancel", *words)
    except SlurmRefused as refusal:
        if "Invalid job id" not in refusal.said:
            raise


def nodes_up() -> int:
    """Return how many nodes could run a job now or when others are done.

    Raises:
        SlurmSilent, SlurmRefused, CommandFailed: It could not be asked.
    """
    told = slurm("sinfo", "--noheader", "--Node", "--responding", "--format=%N|%T")
    usable = ("idle", "mixed", "allocated", "completing")
    return len({
        name for name, _, state in (line.partition("|") for line in told.splitlines())
        if state.strip().rstrip("*$~#!%@^-+").startswith(usable)
    })  # fmt: skip
