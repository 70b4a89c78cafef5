"""A drill on a job that really trains: the plug is pulled, the job goes on, and it is measured."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tests.conftest import Beowulf
from tests.failure.conftest import Job


def test_a_drill_is_survived_and_measured(
    beowulf: Beowulf, submit: Callable[..., Job], slow_script: Path
) -> None:
    job = submit(slow_script, "--ranks", "3")
    job.wait_for_training(step=10)
    answer = beowulf("drill", job.id, "--yes", "--json", "--rank", "1")
    assert answer.returncode == 0, answer.stderr
    drill = json.loads(answer.stdout)["drill"]
    found = drill["recovery"]
    assert (drill["ranks"], drill["left"], found["ranks"]) == ([1], 2, 2)
    assert 0 <= found["noticed_s"] <= found["carried_on_s"]
    assert found["steps_per_s"] > 0
    told = [one["said"] for one in job.status()["story"]]
    assert any(said.startswith("drill: killed rank 1 on ") for said in told)
    assert any(said.startswith("carried on with 2 ranks on ") for said in told)
    beowulf("cancel", job.id)
