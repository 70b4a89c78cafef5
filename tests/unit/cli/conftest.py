"""A work directory to submit from, and the check that a refusal changed nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import subprocess


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """A script in a work directory of its own. It is never run here."""
    path = tmp_path / "work" / "train.py"
    path.parent.mkdir()
    path.write_text("raise SystemExit('this script should not have been started')\n")
    return path


def assert_refused(
    answer: subprocess.CompletedProcess[str], *words: str, status: int = 2, state: Path | None
) -> None:
    """Check that a command was refused in one line that holds ``words``, and left nothing."""
    assert answer.returncode == status, answer.stderr
    assert answer.stdout == ""
    assert answer.stderr.count("\n") == 1, answer.stderr
    line = answer.stderr.removesuffix("\n")
    assert line.startswith("beowulf: ")
    assert line.isprintable()
    assert "Traceback" not in line
    assert len(line) < 1000
    for word in words:
        assert word in line
    if state is not None:
        assert [path for path in state.rglob("*") if path.is_file() and path.name != ".lock"] == []
        assert list(state.glob("beowulf/jobs/.staging-*")) == []
        assert list(state.glob("beowulf/jobs/[0-9]*")) == []
