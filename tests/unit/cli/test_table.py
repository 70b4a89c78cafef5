"""The table of jobs keeps what every other verb needs, however narrow the terminal is."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import termios
from pathlib import Path

import pytest

from beowulf.cli.jobs import GAP, fit
from beowulf.cli.main import colour_wanted
from tests.conftest import BEOWULF, Beowulf

WIDTHS = {
    "ID": 3, "NAME": 10, "STATE": 9, "RANKS": 5, "STEP": 15, "LOSS": 8, "ELAPSED": 7,
    "SUBMITTED": 12, "REASON": 70,
}  # fmt: skip


def total(widths: dict[str, int]) -> int:
    return sum(widths.values()) + len(GAP) * (len(widths) - 1)


def test_everything_is_shown_where_there_is_room() -> None:
    assert fit(WIDTHS, 500) == (list(WIDTHS), WIDTHS)


@pytest.mark.parametrize("available", range(74, 160))
def test_line_fits_and_only_the_reason_is_cut(available: int) -> None:
    columns, widths = fit(WIDTHS, available)
    assert total(widths) <= available
    assert list(widths) == columns
    for name in ("ID", "NAME", "STATE", "RANKS", "STEP"):
        assert widths[name] == WIDTHS[name]
    assert widths["REASON"] >= 12


def test_first_to_go_is_when_it_was_submitted() -> None:
    assert "SUBMITTED" not in fit(WIDTHS, 90)[0]
    assert "ELAPSED" in fit(WIDTHS, 90)[0]


def in_terminal(columns: int, arguments: list[str], environment: dict[str, str]) -> str:
    """Run ``beowulf`` in a terminal of so many columns and return what stands there."""
    terminal, inside = pty.openpty()
    fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        [BEOWULF, *arguments], env=environment, stdin=inside, stdout=inside, stderr=inside
    )
    os.close(inside)
    seen = b""
    try:
        while chunk := os.read(terminal, 4096):
            seen += chunk
    except OSError:  # the other end is closed: everything has been read
        pass
    os.close(terminal)
    assert process.wait(60) == 0
    return seen.decode()


def test_failed_job_in_a_narrow_terminal(
    beowulf: Beowulf, environment: dict[str, str], tmp_path: Path
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (work / "train.py").write_text(f"raise ValueError('{'long ' * 30}')\n")
    assert beowulf("submit", work / "train.py", "--ranks", "1").returncode == 1
    plain = {name: value for name, value in environment.items() if name != "COLUMNS"}
    coloured = in_terminal(80, ["jobs"], {**plain, "TERM": "xterm"})
    assert "\x1b[31mFAILED" in coloured
    heading, row = in_terminal(80, ["jobs"], {**plain, "NO_COLOR": "1"}).splitlines()
    assert "\x1b" not in row
    assert heading.split()[:4] == ["ID", "NAME", "STATE", "RANKS"]
    assert row.split()[:4] == ["1", "train", "FAILED", "1"]
    assert len(row) <= 80
    assert row.endswith("…")
    assert "long long" in beowulf("jobs").stdout  # where a program reads, nothing is cut


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [({}, None), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, None), ({"TERM": "dumb"}, False)],
)
def test_colour_is_left_out_where_nobody_wants_it(
    environ: dict[str, str], wanted: bool | None
) -> None:
    assert colour_wanted(environ) is wanted
