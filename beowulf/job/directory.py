"""The job directory: one class owns every file name in it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

DIRECTORY_VARIABLE = "BEOWULF_JOB_DIR"

CHECKPOINT_NAME = re.compile(r"step-([0-9]{8,})")


def checkpoint_name(step: int) -> str:
    """Return the name of the directory that holds the checkpoint after ``step``."""
    return f"step-{step:08d}"


@dataclass(frozen=True)
class JobDirectory:
    """The files of one job, on a laptop and on a cluster alike."""

    path: Path

    @classmethod
    def of_this_rank(cls) -> JobDirectory | None:
        """Return the directory of the job that this process is a rank of, or None."""
        name = os.environ.get(DIRECTORY_VARIABLE)
        return cls(Path(name)) if name else None

    @property
    def job_id(self) -> str:
        """The job's ID is its directory's name."""
        return self.path.name

    @property
    def spec(self) -> Path:
        """The job file with every default resolved, for people and for the next submit."""
        return self.path / "job.toml"

    @property
    def arguments(self) -> Path:
        """The command's argument vector, byte for byte, each word ended by a NUL."""
        return self.path / "argv"

    @property
    def code(self) -> Path:
        """The snapshot of the work directory; ranks start here."""
        return self.path / "code"

    @property
    def batch_script(self) -> Path:
        """The script that starts the ranks."""
        return self.path / "batch.sh"

    @property
    def log(self) -> Path:
        """What the ranks print."""
        return self.path / "output.log"

    @property
    def events(self) -> Path:
        """The story of the job, one JSON object per line."""
        return self.path / "events.jsonl"

    @property
    def metrics(self) -> Path:
        """One JSON object per training step, written by rank 0."""
        return self.path / "metrics.jsonl"

    @property
    def heartbeats(self) -> Path:
        """One file per rank, named by its number."""
        return self.path / "heartbeat"

    def heartbeat(self, rank: int) -> Path:
        """Return the file in which ``rank`` says how it is."""
        return self.heartbeats / str(rank)

    @property
    def checkpoints(self) -> Path:
        """One directory per checkpoint."""
        return self.path / "checkpoints"

    def checkpoint_steps(self) -> list[int]:
        """Return after which steps there is a checkpoint, valid or not, newest first."""
        try:
            names = [path.name for path in self.checkpoints.iterdir()]
        except OSError:
            return []
        found = [CHECKPOINT_NAME.fullmatch(name) for name in names]
        return sorted((int(match[1]) for match in found if match), reverse=True)

    @property
    def result(self) -> Path:
        """What the script reports at its end."""
        return self.path / "result.json"

    @property
    def measured(self) -> Path:
        """What ``beowulf bench`` found, in the directory of its job."""
        return self.path / "measured.json"

    @property
    def exit_code(self) -> Path:
        """The job's exit status, written last: its presence means that the job has ended."""
        return self.path / "exit_code"

    @property
    def done(self) -> Path:
        """Written by the last rank to finish: the only proof of success."""
        return self.path / "done"

    @property
    def cancel_request(self) -> Path:
        """Created by ``beowulf cancel``; the supervisor looks for it."""
        return self.path / "cancel"

    @property
    def lock(self) -> Path:
        """Locked as long as somebody is responsible for the job."""
        return self.path / "supervisor.lock"

    @property
    def slurm_job_id(self) -> Path:
        """The number by which Slurm knows the job, where Slurm has it."""
        return self.path / "slurm_job_id"

    def claim(self, attempt: int) -> Path:
        """Return the file that names the one Slurm job that runs an attempt of this job."""
        return self.path / f"claim-{attempt}"

    def first_unclaimed(self, attempt: int) -> int:
        """Return the first attempt from ``attempt`` on that no Slurm job has begun."""
        while self.claim(attempt).exists():
            attempt += 1
        return attempt

    def survivors(self, attempt: int, number: int) -> Path:
        """Return the file that says who goes on after the ``number``-th loss in an attempt."""
        return self.path / f"survivors-{attempt}-{number}"

    @property
    def hostfile(self) -> Path:
        """The hosts that are left for the ranks, where some of Slurm's are left out."""
        return self.path / "hosts"

    @property
    def allreduce_rules(self) -> Path:
        """How Open MPI is to add up, written by the batch script on a cluster."""
        return self.path / "allreduce.rules"

    @property
    def supervisor_log(self) -> Path:
        """What the supervisor itself prints: empty unless beowulf has a fault."""
        return self.path / "supervisor.log"

    def names(self) -> frozenset[str]:
        """Return the names of what is in it now, with one look; none if it is gone."""
        try:
            return frozenset(os.listdir(self.path))  # noqa: PTH208 - the names are what is wanted
        except OSError:
            return frozenset()

    def pictures(self, names: frozenset[str] | None = None) -> list[Path]:
        """Return the pictures that the job drew, by name; ``names`` saves a look for them."""
        there = self.names() if names is None else names
        return [self.path / name for name in sorted(there) if name.endswith(".png")]
