"""The example jobs as a user runs them, and what their files must show afterwards."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.image import imread

from beowulf.durable import read_json_lines
from beowulf.job.directory import JobDirectory
from tests.conftest import REPOSITORY, Beowulf

TIMEOUT_S = 300


@dataclass(frozen=True)
class ExampleJob:
    """One example job that was submitted: its files, and what the command line says of it."""

    beowulf: Beowulf
    id: str
    directory: JobDirectory

    @property
    def state(self) -> str:
        status = answer_of(self.beowulf, "status", self.id, "--json")
        return str(status["job"]["state"])

    @property
    def metrics(self) -> list[dict[str, Any]]:
        return read_json_lines(self.directory.metrics)

    @property
    def losses(self) -> list[float]:
        return [line["loss"] for line in self.metrics]

    @property
    def result(self) -> dict[str, Any]:
        result: dict[str, Any] = json.loads(self.directory.result.read_text())
        return result

    @property
    def log(self) -> str:
        return self.directory.log.read_text()

    @property
    def resumed_after(self) -> list[int]:
        """The steps after which the job went on from a checkpoint."""
        events = read_json_lines(self.directory.events)
        return [event["step"] for event in events if event["event"] == "resumed"]

    def wait_for_step(self, step: int) -> None:
        """Return when the metrics have come to ``step``, or the job to its end."""
        deadline = time.monotonic() + TIMEOUT_S
        while not any(line["step"] >= step for line in self.metrics):
            if self.directory.exit_code.exists():
                return
            assert time.monotonic() < deadline, f"step {step} was not reached\n{self.log}"
            time.sleep(0.02)

    def wait_for_end(self) -> None:
        """Return when the job has completed; fail the test if it has not."""
        answer = self.beowulf("wait", self.id, timeout_s=TIMEOUT_S)
        assert answer.returncode == 0, f"{answer.stdout}{answer.stderr}\n{self.log}"


def start(beowulf: Beowulf, name: str, *options: str, ranks: int | None = None) -> ExampleJob:
    """Submit an example job and return while it runs. Ranks as its job file says if None."""
    resources = () if ranks is None else ("--ranks", str(ranks), "--threads-per-rank", "1")
    job_file = REPOSITORY / "jobs" / name / "job.toml"
    submit = ("submit", job_file, *resources, "--detach", "--json")
    status = answer_of(beowulf, *submit, "--", *options)["job"]
    return ExampleJob(beowulf, status["id"], JobDirectory(Path(status["directory"])))


def run(beowulf: Beowulf, name: str, *options: str, ranks: int | None = None) -> ExampleJob:
    """Run an example job to its end."""
    job = start(beowulf, name, *options, ranks=ranks)
    job.wait_for_end()
    return job


def run_with_a_cancel(
    beowulf: Beowulf, name: str, *options: str, ranks: tuple[int, int], at_step: int
) -> ExampleJob:
    """Run a job on ``ranks[0]`` ranks, cancel it, and let it go on to its end on ``ranks[1]``."""
    job = cancel_at(beowulf, name, *options, ranks=ranks[0], at_step=at_step)
    resume = ("submit", "--resume", job.id, "--ranks", str(ranks[1]), "--detach")
    answer = beowulf(*resume)
    assert answer.returncode == 0, answer.stderr
    job.wait_for_end()
    return job


def cancel_at(beowulf: Beowulf, name: str, *options: str, ranks: int, at_step: int) -> ExampleJob:
    """Start a job and cancel it once it has come to ``at_step``."""
    for pause_s in (0.05, 0.2, 1.0):  # slower on a machine so busy that the cancel came too late
        job = start(beowulf, name, *options, "--pause-s", str(pause_s), ranks=ranks)
        job.wait_for_step(at_step)
        answer = beowulf("cancel", job.id)
        assert answer.returncode == 0, answer.stderr
        if job.state == "CANCELLED":
            print(f"cancelled at step {job.metrics[-1]['step']}, wanted {at_step} or later")
            return job
    raise AssertionError(f"no cancel came before the job's end; it is {job.state}\n{job.log}")


def answer_of(beowulf: Beowulf, *arguments: str | Path) -> dict[str, Any]:
    """Return the JSON document that a command prints."""
    answer = beowulf(*arguments)
    assert answer.returncode == 0, answer.stderr
    document: dict[str, Any] = json.loads(answer.stdout)
    return document


def assert_every_step_once(job: ExampleJob, steps: int) -> None:
    """Check that the metrics tell of one continuous training."""
    assert [line["step"] for line in job.metrics] == list(range(1, steps + 1))
    assert job.result["steps"] == steps


def assert_losses_agree(
    losses: Sequence[float], reference: Sequence[float], *, relative: float
) -> None:
    """Check that two loss sequences differ by rounding alone."""
    assert len(losses) == len(reference)
    differences = [abs(a - b) / abs(b) for a, b in zip(losses, reference, strict=True)]
    largest = max(differences)
    print(f"largest relative difference {largest:.1e} at step {differences.index(largest) + 1}")
    assert largest <= relative


def assert_is_a_picture(path: Path) -> None:
    """Check that a PNG can be read and shows something."""
    pixels = (imread(path)[..., :3] * 255).round().astype(int)
    height, width, _ = pixels.shape
    assert height >= 300
    assert width >= 400
    colours = pixels @ [65536, 256, 1]
    background = (colours == colours[0, 0]).mean()
    assert len(set(colours.flat)) > 20, f"{path} has next to no colours"
    assert background < 0.99, f"{path} is empty"
