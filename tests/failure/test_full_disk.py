"""A disk that fills up while a job trains costs checkpoints, not the training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from beowulf.durable import read_json_lines
from beowulf.job.heartbeat import read_heartbeats
from tests.conftest import Beowulf, fill
from tests.failure.conftest import TRAIN_SLOWLY, Job, write_script

RANKS = 2
STEPS = 160


@pytest.fixture
def state_home(small_disk: Path) -> Path:
    """Jobs are on a disk with room for one megabyte."""
    return small_disk


@pytest.mark.root
def test_a_full_disk_does_not_end_a_training(
    submit: Callable[..., Job], state_home: Path, tmp_path: Path, beowulf: Beowulf
) -> None:
    script = write_script(tmp_path, TRAIN_SLOWLY.format(steps=STEPS, step_s=0.05))
    job = submit(script, "--ranks", str(RANKS))
    job.wait_for_training(20)
    filler = fill(state_home)
    answer = beowulf("status", job.id)
    assert "if power fails now you lose" in answer.stdout
    begun = max(beat.step for beat in read_heartbeats(job.directory, RANKS))
    job.wait_until(
        lambda: min(beat.step for beat in read_heartbeats(job.directory, RANKS)) > begun + 40
    )
    assert job.status()["state"] == "RUNNING"
    filler.unlink()
    assert job.wait_until_over()["state"] == "COMPLETED"
    assert [line["step"] for line in job.metrics()] == list(range(1, STEPS + 1))
    assert job.directory.checkpoint_steps()[0] == STEPS
    assert "could be written, as none could since step" in job.directory.log.read_text()
    events = [event["event"] for event in read_json_lines(job.directory.events)]
    assert events.count("checkpoint_failed") == 1
