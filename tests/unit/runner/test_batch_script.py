"""The batch script is plain text, sets threads, and holds none of the user's words."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from beowulf.runner.batch_script import THREAD_VARIABLES, render_local
from beowulf.runner.machine import Layout
from beowulf.runner.spec import JobSpec

SPEC = JobSpec(
    name="digits",
    command=("python", "train.py", "$(touch /tmp/never)", "`id`"),
    environment={"SECRET": "$(touch /tmp/never)", "MKL_NUM_THREADS": "7"},
)


def render(ranks: int = 4, threads_per_rank: int = 2, mpiexec: str = "/opt/mpiexec") -> str:
    layout = Layout(ranks, threads_per_rank)
    return render_local(SPEC, layout, mpiexec=Path(mpiexec), python=Path("/opt/python"))


def started_by(script: str, directory: Path) -> list[str]:
    """Run a script whose ``mpiexec`` only writes down its arguments; return them."""
    path = directory / "batch.sh"
    path.write_text(script)
    (directory / "code").mkdir()
    answer = subprocess.run(
        ["/bin/bash", str(path)], check=True, capture_output=True, text=True, timeout=60
    )
    return answer.stdout.splitlines()


def fake_mpiexec(path: Path) -> str:
    path.write_text(
        '#!/bin/bash\npwd\necho "$BEOWULF_JOB_DIR $BEOWULF_RANKS $OMP_NUM_THREADS"\n'
        'printf "%s\\n" "$@"\n'
    )
    path.chmod(0o755)
    return str(path)


def test_the_script_starts_the_ranks_from_the_code(tmp_path: Path) -> None:
    directory = tmp_path / "a job's $(directory)"
    directory.mkdir()
    mpiexec = fake_mpiexec(tmp_path / "mpi exec's")
    lines = started_by(render(mpiexec=mpiexec), directory)
    assert lines[0] == str(directory / "code")
    assert lines[1] == f"{directory} 4 2"
    assert lines[2:4] == ["-n", "4"]
    assert lines[-4:] == ["/opt/python", "-P", "-m", "beowulf.rank"]
    assert lines[lines.index("--bind-to") :][:2] == ["--bind-to", "none"]


def test_none_of_the_users_words_are_in_the_script() -> None:
    assert "never" not in render()
    assert "`id`" not in render()
    assert "SECRET" not in render()


def test_every_library_is_told_its_threads_unless_the_user_did() -> None:
    script = render()
    for variable in THREAD_VARIABLES:
        assert (f"export {variable}=2\n" in script) == (variable != "MKL_NUM_THREADS")


def test_waiting_ranks_let_others_compute() -> None:
    words = shlex.split(render(), comments=True)
    assert words[words.index("mpi_yield_when_idle") + 1] == "1"


@pytest.mark.parametrize(("ranks", "threads_per_rank"), [(1, 1), (16, 1), (2, 64)])
def test_bash_can_read_every_script(ranks: int, threads_per_rank: int) -> None:
    script = render(ranks, threads_per_rank).encode()
    checked = subprocess.run(["/bin/bash", "-n"], input=script, capture_output=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, b"")
