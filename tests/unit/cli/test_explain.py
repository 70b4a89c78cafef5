"""``submit --explain``: everything about a job, and no job."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.conftest import Beowulf
from tests.unit.cli.conftest import assert_refused

ENOUGH = ("-n", "2", "--threads-per-rank", "1")


def test_a_job_is_explained_and_not_submitted(
    beowulf: Beowulf, script: Path, state_home: Path
) -> None:
    script.write_text("from beowulf import train\ntrain.Run(global_batch=8, averaging='naive')\n")
    answer = beowulf("submit", "--explain", *ENOUGH, script, "--", "--epochs", "3")
    assert answer.returncode == 0, answer.stderr
    lines = [line.split(maxsplit=1) for line in answer.stdout.splitlines()]
    assert ["command", "python train.py --epochs 3"] in lines
    assert ["place", "this computer"] in lines
    assert ["ranks", "2"] in lines
    assert ["averaging", "naive, by train.py, line 2"] in lines
    assert re.search(
        r"mpi_yield_when_idle = 1 +a rank that waits lets others compute", answer.stdout
    )
    assert "#!/bin/bash\n" in answer.stdout
    assert "nothing was submitted" in answer.stderr
    assert not [path for path in state_home.rglob("*") if path.is_file()]


def test_the_same_for_programs(beowulf: Beowulf, script: Path) -> None:
    answer = beowulf("submit", "--explain", "--json", *ENOUGH, script)
    document = json.loads(answer.stdout)
    assert document["schema"] == 1
    told = document["explanation"]
    assert (told["cluster"], told["name"], told["ranks"]) == (None, "train", 2)
    assert told["script"].startswith("#!/bin/bash\n")
    assert {"name": "btl", "value": "self,sm", "reason": "and open no port"} in told["settings"]


@pytest.mark.parametrize(
    "more", [("--detach",), ("--after", "1"), ("--array", "lr=1,2"), ("--resume", "1")]
)
def test_only_one_new_job_can_be_explained(
    beowulf: Beowulf, script: Path, state_home: Path, more: tuple[str, ...]
) -> None:
    answer = beowulf("submit", "--explain", *more, *([] if "--resume" in more else [script]))
    assert_refused(answer, "--explain", f"leave {more[0]} or --explain out", state=state_home)


def test_what_cannot_run_is_refused_here_too(
    beowulf: Beowulf, script: Path, state_home: Path
) -> None:
    answer = beowulf("submit", "--explain", "-n", "60000", script)
    assert_refused(answer, "resources.ranks", "too many", state=state_home)
