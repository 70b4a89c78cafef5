"""The shell completes verbs, flags, and the IDs of jobs."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from beowulf.cli.main import VERBS as VERBS_OF_MAIN
from tests.conftest import Beowulf
from tests.unit.cli.test_listings import end, make_job

if TYPE_CHECKING:
    from pathlib import Path

VERBS = list(VERBS_OF_MAIN)


def completed(beowulf: Beowulf, *words: str, **env: str) -> list[str]:
    """Return what bash would be offered for the last of these words."""
    answer = beowulf(
        env={
            **env,
            "_BEOWULF_COMPLETE": "bash_complete",
            "COMP_WORDS": " ".join(("beowulf", *words)),
            "COMP_CWORD": str(len(words)),
        }
    )
    assert answer.returncode == 0
    assert answer.stderr == ""
    return [line.partition(",")[2] for line in answer.stdout.splitlines() if line]


def test_verbs(beowulf: Beowulf) -> None:
    assert completed(beowulf, "") == VERBS
    assert completed(beowulf, "s") == ["submit", "status", "shell"]


def test_flags(beowulf: Beowulf) -> None:
    assert "--ranks" in completed(beowulf, "submit", "--r")


@pytest.mark.parametrize("verb", ["status", "logs", "cancel", "wait"])
def test_ids_newest_first(beowulf: Beowulf, state_home: Path, verb: str) -> None:
    assert completed(beowulf, verb, "") == []
    for number in (1, 2, 12):
        end(make_job(state_home, number), "COMPLETED", 0)
    assert completed(beowulf, verb, "") == ["12", "2", "1"]
    assert completed(beowulf, verb, "1") == ["12", "1"]


def test_what_is_wrong_with_the_jobs_does_not_disturb_the_typing(beowulf: Beowulf) -> None:
    assert completed(beowulf, "status", "", XDG_STATE_HOME="relative") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_each_shell(beowulf: Beowulf, shell: str) -> None:
    answer = beowulf("completion", shell)
    assert answer.returncode == 0
    assert f"_BEOWULF_COMPLETE={shell}_complete" in answer.stdout
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=answer.stdout, text=True, check=True, timeout=60)
