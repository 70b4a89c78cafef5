"""A script that fails on one rank ends the job at once, with its traceback and its status."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Beowulf
from tests.failure.conftest import write_script

ON_RANK_1 = """
import sys
from mpi4py import MPI

comm = MPI.COMM_WORLD
if comm.rank == 1:
    {statement}
comm.Barrier()  # rank 1 never comes
"""


@pytest.mark.parametrize("ranks", ["2", "4"])
def test_exception_on_one_rank_ends_the_job_with_its_traceback(
    beowulf: Beowulf, tmp_path: Path, ranks: str
) -> None:
    script = write_script(tmp_path, ON_RANK_1.format(statement="raise ValueError('no such luck')"))
    answer = beowulf("submit", script, "--ranks", ranks)
    assert answer.returncode == 1
    assert "beowulf: rank 1 failed:" in answer.stdout
    assert 'File "train.py", line 7' in answer.stdout
    assert "ValueError: no such luck" in answer.stdout
    assert "runpy" not in answer.stdout
    assert "rank 1 on" in answer.stderr
    assert "failed: ValueError: no such luck" in answer.stderr
    status = beowulf("status")
    assert "ValueError: no such luck" in status.stdout
    assert "attempt" not in status.stdout  # to start it again would not help


WHILE_GRADIENTS_TRAVEL = """
import numpy as np
from beowulf import train

weights = {"first": np.zeros(200_000), "second": np.zeros(200_000)}
with train.Run(global_batch=8, overlap=True) as run:
    run.track(weights=weights)
    gradients = run.gradients(weights)
    for batch in run.batches(64, steps=5):
        for part in batch:
            run.ready(gradients["second"])  # on its way, by the thread that sends
            if batch.step == 3 and run.rank == 1:
                raise ValueError("no such luck")
        run.average(gradients)
"""


def test_exception_while_gradients_travel_ends_the_job_at_once(
    beowulf: Beowulf, tmp_path: Path
) -> None:
    answer = beowulf("submit", write_script(tmp_path, WHILE_GRADIENTS_TRAVEL), "--ranks", "3")
    assert answer.returncode == 1
    assert "beowulf: rank 1 failed:" in answer.stdout
    assert "failed: ValueError: no such luck" in answer.stderr


@pytest.mark.parametrize("exit_code", [1, 7, 125, 255])
def test_exit_status_of_the_script_is_handed_through(
    beowulf: Beowulf, tmp_path: Path, exit_code: int
) -> None:
    script = write_script(tmp_path, ON_RANK_1.format(statement=f"sys.exit({exit_code})"))
    answer = beowulf("submit", script, "--ranks", "2")
    assert answer.returncode == exit_code
    assert beowulf("wait", "1").returncode == exit_code


def test_exit_with_words_prints_them_and_fails(beowulf: Beowulf, tmp_path: Path) -> None:
    script = write_script(tmp_path, ON_RANK_1.format(statement="sys.exit('the data is missing')"))
    answer = beowulf("submit", script, "--ranks", "2")
    assert answer.returncode == 1
    assert "the data is missing" in answer.stdout
    assert "failed: the data is missing" in answer.stderr


def test_syntax_error_is_shown_with_its_line(beowulf: Beowulf, tmp_path: Path) -> None:
    script = write_script(tmp_path, "print('before'\n")
    answer = beowulf("submit", script, "--ranks", "2")
    assert answer.returncode == 1
    assert "SyntaxError" in answer.stdout
    assert "print('before'" in answer.stdout


def test_clean_end_is_completed(beowulf: Beowulf, tmp_path: Path) -> None:
    script = write_script(tmp_path, "import sys\nprint('here')\nsys.exit()\n")
    answer = beowulf("submit", script, "--ranks", "3")
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.count("here") == 3


def test_missing_program_is_said(beowulf: Beowulf, tmp_path: Path) -> None:
    (tmp_path / "job.toml").write_text('command = ["./no-such-program"]\nresources.ranks = 2\n')
    answer = beowulf("submit", tmp_path / "job.toml")
    assert answer.returncode == 127
    assert "cannot start './no-such-program'" in answer.stdout


def test_other_programs_run_as_ranks(beowulf: Beowulf, tmp_path: Path) -> None:
    (tmp_path / "job.toml").write_text(
        'command = ["printenv", "RANK", "WORLD_SIZE"]\nresources.ranks = 2\n'
    )
    answer = beowulf("submit", tmp_path / "job.toml")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert sorted(answer.stdout.split()) == ["0", "1", "2", "2"]


def test_module_runs_under_the_runner_that_ends_all_ranks(beowulf: Beowulf, tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (work / "trainer.py").write_text(ON_RANK_1.format(statement="raise ValueError('in a module')"))
    (work / "job.toml").write_text('command = ["python", "-m", "trainer"]\nresources.ranks = 2\n')
    answer = beowulf("submit", work / "job.toml")
    assert answer.returncode == 1
    assert "ValueError: in a module" in answer.stdout


def test_rank_refuses_a_world_of_another_size(tmp_path: Path) -> None:
    """Plain ``srun`` would start N worlds of one rank: no user code may run in them."""
    (tmp_path / "argv").write_bytes(b"touch\0ran\0")
    (tmp_path / "heartbeat").mkdir()
    environment = {
        **os.environ,
        "BEOWULF_JOB_DIR": str(tmp_path),
        "BEOWULF_RANKS": "2",
        "BEOWULF_ENDPOINTS": "127.0.0.1:1,127.0.0.1:2",
    }
    answer = subprocess.run(
        [sys.executable, "-m", "beowulf.rank"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 125
    assert "promised 2 ranks, but MPI started a world of 1" in answer.stderr
    assert not (tmp_path / "ran").exists()
