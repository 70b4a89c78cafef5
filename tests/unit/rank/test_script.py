"""A job's command runs as it would from a shell, and its end is told in one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from beowulf.errors import RanksLost
from beowulf.rank.script import LAUNCHER_IS_GONE

if TYPE_CHECKING:
    from pathlib import Path

RUN_ALONE = """
import os, sys
from beowulf.rank.script import run_command
status, error = run_command(3, [b"python", b"train.py"])
with open("end", "w") as end:
    end.write(f"{status} {error}")
"""
RUN = """
import json, os, sys
from beowulf.rank.script import run_command
words = [os.fsencode(word) for word in sys.argv[1:]]
status, error = run_command(3, words)
sys.stdout.flush()
print(json.dumps([status, error]))
"""


def run(directory: Path, *words: str | bytes) -> subprocess.CompletedProcess[str]:
    """Run a command as rank 3 of a job does, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", RUN, *words],
        cwd=directory, capture_output=True, encoding="utf-8", errors="surrogateescape",
        timeout=60, check=False,
    )  # fmt: skip


def end_of(answer: subprocess.CompletedProcess[str]) -> tuple[int, str]:
    status, error = json.loads(answer.stdout.splitlines()[-1])
    return status, error


def script(directory: Path, text: str) -> None:
    (directory / "train.py").write_text(text)


def test_a_script_sees_its_arguments_its_name_and_its_directory(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "beside.py").write_text("VALUE = 7")
    (tmp_path / "sub" / "train.py").write_text(
        "import sys, os, beside\n"
        "print([os.fsencode(word) for word in sys.argv], __name__, beside.VALUE, os.getcwd())\n"
    )
    answer = run(tmp_path, "python", "sub/train.py", "a b", "", "--", b"\xff", "$(id)")
    arguments = [b"sub/train.py", b"a b", b"", b"--", b"\xff", b"$(id)"]
    assert answer.stdout.splitlines()[0] == f"{arguments} __main__ 7 {tmp_path}"
    assert end_of(answer) == (0, "")


@pytest.mark.parametrize(
    ("text", "status", "error"),
    [
        ("pass", 0, ""),
        ("import sys; sys.exit()", 0, ""),
        ("import sys; sys.exit(0)", 0, ""),
        ("import sys; sys.exit(3)", 3, "sys.exit(3)"),
        ("import sys; sys.exit(-1)", 255, "sys.exit(-1)"),
        ("import sys; sys.exit('no data')", 1, "no data"),
        ("raise ValueError('7')", 1, "ValueError: 7 (train.py line 1)"),
        ("raise KeyboardInterrupt", 1, "KeyboardInterrupt (train.py line 1)"),
        ("def broken(:", 1, "SyntaxError: invalid syntax (train.py line 1)"),
        ("import no_such_module_anywhere", 1,
         "ModuleNotFoundError: No module named 'no_such_module_anywhere' (train.py line 1)"),
    ],
)  # fmt: skip
def test_how_a_script_ends(tmp_path: Path, text: str, status: int, error: str) -> None:
    script(tmp_path, text)
    assert end_of(run(tmp_path, "python", "train.py")) == (status, error)


def test_a_traceback_names_the_rank_and_starts_in_the_script(tmp_path: Path) -> None:
    script(tmp_path, "def broken():\n    raise ValueError('7')\n\nbroken()\n")
    lines = run(tmp_path, "python", "train.py").stderr.splitlines()
    assert lines[:2] == ["beowulf: rank 3 failed:", "Traceback (most recent call last):"]
    assert 'train.py", line 4, in <module>' in lines[2]
    assert lines[-1] == "ValueError: 7"
    assert not any("runpy" in line for line in lines)


def test_another_program_takes_the_place_of_the_rank(tmp_path: Path) -> None:
    answer = run(tmp_path, "printf", "%s|", "a b", "$(id)", b"\xff")
    assert (answer.returncode, answer.stdout) == (0, "a b|$(id)|\udcff|")
    assert run(tmp_path, "sh", "-c", "exit 9").returncode == 9


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("no-such-program-anywhere", "No such file or directory"),
        ("./train.py", "Permission denied"),
        ("./sub", "Permission denied"),
    ],
)
def test_a_program_that_cannot_be_started(tmp_path: Path, program: str, why: str) -> None:
    script(tmp_path, "")
    (tmp_path / "sub").mkdir()
    answer = run(tmp_path, program)
    assert end_of(answer) == (127, f"cannot start '{program}': {why}")
    assert answer.stderr == f"beowulf: rank 3 cannot start '{program}': {why}\n"


@pytest.mark.parametrize("python", ["python", "python3"])
def test_python_means_the_one_that_beowulf_is_installed_in(tmp_path: Path, python: str) -> None:
    script(tmp_path, "import sys; print(sys.executable)")
    answer = run(tmp_path, python, "train.py")
    assert answer.stdout.splitlines()[0] == sys.executable
    other = tmp_path / python
    other.write_text("#!/bin/sh\necho another\n")
    other.chmod(0o755)
    assert run(tmp_path, f"./{python}", "train.py").stdout == "another\n"


def test_modules_and_commands_run_under_mpi4py_s_runner(tmp_path: Path) -> None:
    """Its modules are seen without starting MPI: ``-m mpi4py`` alone imports them."""
    tell = "import sys; print('mpi4py.run' in sys.modules, sys.argv[1:])"
    answer = run(tmp_path, "python", "-c", tell, "x y")
    assert (answer.returncode, answer.stdout) == (0, "True ['x y']\n"), answer.stderr
    (tmp_path / "package.py").write_text(tell)
    answer = run(tmp_path, "python", "-m", "package", "x y")
    assert (answer.returncode, answer.stdout) == (0, "True ['x y']\n"), answer.stderr


def test_the_order_of_output_is_kept_when_a_script_fails(tmp_path: Path) -> None:
    script(tmp_path, "import os\nprint('said', flush=True)\nos._exit(4)\n")
    answer = run(tmp_path, "python", "train.py")
    assert (answer.returncode, answer.stdout) == (4, "said\n")


@pytest.mark.parametrize("text", ["print('7', flush=True)", "raise ValueError('7')"])
def test_a_script_that_fails_since_nobody_reads_what_it_prints_misses_the_launcher(
    tmp_path: Path, text: str
) -> None:
    script(tmp_path, text)
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-c", RUN_ALONE], cwd=tmp_path, stdout=write, stderr=write,
        timeout=60, check=False,
    )  # fmt: skip
    os.close(write)
    assert done.returncode == 0
    status, _, error = (tmp_path / "end").read_text().partition(" ")
    assert (int(status), error) == (RanksLost.exit_status, LAUNCHER_IS_GONE)


def test_a_script_that_has_closed_its_errors_fails_by_itself(tmp_path: Path) -> None:
    script(tmp_path, "import sys\nsys.stderr.close()\nraise ValueError('7')\n")
    assert end_of(run(tmp_path, "python", "train.py")) == (1, "ValueError: 7 (train.py line 3)")


def test_a_missing_script(tmp_path: Path) -> None:
    status, error = end_of(run(tmp_path, "python", "missing.py"))
    assert status == 1
    assert "missing.py" in error
    assert os.strerror(2) in error
