"""The batch script is plain text, sets threads, and holds none of the user's words."""

from __future__ import annotations

import shlex
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from beowulf.errors import InvalidInput
from beowulf.runner.batch_script import (
    THREAD_VARIABLES,
    render_local,
    render_slurm,
)
from beowulf.runner.machine import Layout
from beowulf.runner.mpi_settings import CLUSTER, LOCAL, SURVIVAL, allreduce_rules
from beowulf.runner.spec import JobSpec, Resources

SPEC = JobSpec(
    name="digits",
    command=("python", "train.py", "$(touch /tmp/never)", "`id`"),
    environment={"SECRET": "$(touch /tmp/never)", "MKL_NUM_THREADS": "7"},
)


def render(
    ranks: int = 4,
    threads_per_rank: int = 2,
    mpiexec: str = "/opt/mpiexec",
    spec: JobSpec = SPEC,
) -> str:
    layout = Layout(ranks, threads_per_rank)
    return render_local(spec, layout, mpiexec=Path(mpiexec), python=Path("/opt/python"))


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


# --- On a cluster ---------------------------------------------------------------------------


def for_slurm(resources: Resources | None = None, spec: JobSpec = SPEC, **given: Any) -> str:
    defaults: dict[str, Any] = {
        "directory": "/home/ada/beowulf/jobs/7", "python": "/opt/python", "comment": "beowulf:k",
        "nodes_up": 4,
    }  # fmt: skip
    return render_slurm(replace(spec, resources=resources or Resources()), **defaults | given)


def asked(resources: Resources | None = None, **given: Any) -> dict[str, str]:
    """Return what a script asks of Slurm, by option."""
    lines = for_slurm(resources, **given).splitlines()
    assert lines[0] == "#!/bin/bash"
    options = [line.removeprefix("#SBATCH --") for line in lines if line.startswith("#SBATCH")]
    assert lines[1 : len(options) + 1] == [f"#SBATCH --{option}" for option in options]
    return {option.partition("=")[0]: option.partition("=")[2] for option in options}


ALWAYS = {
    "job-name": "digits",
    "chdir": "/home/ada/beowulf/jobs/7",
    "output": "/home/ada/beowulf/jobs/7/supervisor.log",
    "open-mode": "append",
    "comment": "beowulf:k",
    "no-kill": "",
    "requeue": "",
}


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        (Resources(), {"nodes": "4", "ntasks-per-node": "1", "exclusive": "", "mem": "0"}),
        (Resources(ranks=6), {"ntasks": "6"}),
        (
            Resources(ranks=6, threads_per_rank=4, memory_per_rank_mb=1001),
            {"ntasks": "6", "cpus-per-task": "4", "mem-per-cpu": "251"},
        ),
        (Resources(ranks=6, memory_per_rank_mb=300), {"ntasks": "6", "mem-per-cpu": "300"}),
        (
            Resources(nodes="2-4", ranks_per_node=2),
            {"nodes": "2-4", "ntasks-per-node": "2", "exclusive": "", "mem": "0"},
        ),
        (
            Resources(nodes="2", ranks_per_node=2, threads_per_rank=2, memory_per_rank_mb=300),
            {"nodes": "2", "ntasks-per-node": "2", "cpus-per-task": "2", "mem": "600"},
        ),
        (
            Resources(memory_per_rank_mb=300),
            {"nodes": "4", "ntasks-per-node": "1", "exclusive": "", "mem": "300"},
        ),
    ],
)
def test_what_a_job_asks_of_slurm(resources: Resources, expected: dict[str, str]) -> None:
    assert asked(resources) == ALWAYS | expected


@pytest.mark.parametrize(
    ("limit", "minutes"), [("1s", "3"), ("60s", "3"), ("61s", "4"), ("2h", "122")]
)
def test_slurm_s_time_limit_is_a_little_later_than_the_job_s(limit: str, minutes: str) -> None:
    assert asked(Resources(ranks=1, time_limit=limit))["time"] == minutes


def test_a_job_may_wait_for_others_to_succeed() -> None:
    assert asked(after=(12, 13))["dependency"] == "afterok:12:13"
    assert "dependency" not in asked()


def test_a_cluster_without_any_node_up_is_asked_for_one() -> None:
    assert asked(nodes_up=0)["nodes"] == "1"


@pytest.mark.parametrize(
    "word", ["", "a b", "a\nb", "%j", "a'b", 'a"b', "$(id)", "a\\b", "`id`", "#"]
)
def test_slurm_is_given_no_word_that_it_would_misread(word: str) -> None:
    with pytest.raises(InvalidInput, match=r"job directory: .* Slurm"):
        for_slurm(directory=word)
    with pytest.raises(InvalidInput, match=r"comment: .* Slurm"):
        for_slurm(comment=word)


def test_none_of_the_users_words_are_in_slurm_s_script_either() -> None:
    script = for_slurm()
    assert "never" not in script
    assert "`id`" not in script
    assert "SECRET" not in script
    assert "MKL_NUM_THREADS" not in script


@pytest.mark.parametrize("resources", [Resources(), Resources(ranks=3, threads_per_rank=2)])
@pytest.mark.parametrize("python", ["/opt/python", "/opt/a python's $(id)"])
def test_bash_can_read_every_script_for_slurm(resources: Resources, python: str) -> None:
    script = for_slurm(resources, python=python).encode()
    checked = subprocess.run(["/bin/bash", "-n"], input=script, capture_output=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, b"")


def run_for_slurm(script: str, directory: Path, **environment: str) -> list[str]:
    """Run a script with an ``mpirun`` that only writes down what it is given; return that."""
    fake_mpiexec(directory / "mpirun")
    answer = subprocess.run(
        ["/bin/bash", "-s"], input=script, check=True, capture_output=True, text=True, timeout=60,
        env={"PATH": f"{directory}:/usr/bin:/bin", **environment},
    )  # fmt: skip
    return answer.stdout.splitlines()


def test_slurm_starts_the_supervisor_and_that_the_ranks(tmp_path: Path) -> None:
    python = tmp_path / "a python's"
    python.write_text('#!/bin/bash\necho "supervisor $*"\n')
    python.chmod(0o755)
    (tmp_path / "code").mkdir()
    script = for_slurm(directory=str(tmp_path), python=str(python), attempt=3)
    # Another job's variables may be there: of the job that submits this one.
    leaked = {"BEOWULF_JOB_DIR": "/of/another", "BEOWULF_ATTEMPT": "1"}
    assert run_for_slurm(script, tmp_path, **leaked) == [
        f"supervisor -P -m beowulf.runner.supervisor {tmp_path} 3"
    ]
    lines = run_for_slurm(script, tmp_path, BEOWULF_JOB_DIR=str(tmp_path), BEOWULF_RANKS="5")
    assert lines[0] == str(tmp_path / "code")
    assert lines[2:4] == ["-n", "5"]
    assert lines[-4:] == [str(python), "-P", "-m", "beowulf.rank"]
    assert lines[lines.index("--map-by") :][:4] == ["--map-by", "slot", "--bind-to", "none"]


def test_threads_that_are_not_stated_are_left_to_the_ranks() -> None:
    script = for_slurm(Resources(ranks=2))
    assert "export OMP_NUM_THREADS" not in script
    assert 'BEOWULF_THREAD_VARIABLES="OMP_NUM_THREADS ' in script
    assert "export OMP_NUM_THREADS=3\n" in for_slurm(Resources(ranks=2, threads_per_rank=3))


def test_open_mpi_is_told_how_to_use_the_wire(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    script = for_slurm(directory=str(tmp_path), python="/opt/python")
    lines = run_for_slurm(script, tmp_path, BEOWULF_JOB_DIR=str(tmp_path), BEOWULF_RANKS="5")
    words = lines[2:-4]
    given = {words[i + 1]: words[i + 2] for i, word in enumerate(words) if word == "--mca"}
    assert given == {
        **{setting.name: setting.value for setting in (*CLUSTER, *SURVIVAL)},
        "coll_tuned_dynamic_rules_filename": str(tmp_path / "allreduce.rules"),
    }
    assert (tmp_path / "allreduce.rules").read_text() == allreduce_rules() + "\n"


def test_each_setting_of_open_mpi_stands_with_its_reason() -> None:
    for script, place in ((render(), LOCAL), (for_slurm(), CLUSTER)):
        settings = (*place, *SURVIVAL)
        for setting in settings:
            assert f"--mca {setting.name} " in script
            assert f"  # {setting.reason}\n" in script


@pytest.mark.parametrize(
    ("command", "survives"),
    [
        (("python", "train.py"), True),
        (("python3", "train.py", "-x"), True),
        (("python", "-m", "package"), False),  # these end by themselves, in MPI_Finalize
        (("python",), False),
        (("./program",), False),
    ],
)
def test_ranks_survive_others_where_they_can_end_without_mpi(
    command: tuple[str, ...], survives: bool
) -> None:
    spec = replace(SPEC, command=command)
    for script in (render(spec=spec), for_slurm(spec=spec)):
        assert ("--with-ft ulfm " in script) == survives
        assert ("mpi_ft_detector_thread true" in script) == survives


def test_ranks_that_wait_let_others_compute() -> None:
    for threads in (None, 1, 3):
        script = for_slurm(Resources(ranks=2, threads_per_rank=threads))
        assert "mpi_yield_when_idle 1" in script


def test_the_loss_of_a_node_ends_nothing_on_the_others(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    script = for_slurm(directory=str(tmp_path), python="/opt/python")
    given = {"BEOWULF_JOB_DIR": str(tmp_path), "BEOWULF_RANKS": "5"}
    words = run_for_slurm(script, tmp_path, **given)
    settings = {words[i + 1]: words[i + 2] for i, word in enumerate(words) if word == "--prtemca"}
    assert settings["plm_slurm_args"] == "--no-kill --kill-on-bad-exit=0"
    assert settings["oob_tcp_keepalive_time"] == "100000"
    assert "--hostfile" not in words
    words = run_for_slurm(script, tmp_path, BEOWULF_HOSTFILE="/a b/hosts", **given)
    assert words[words.index("--hostfile") + 1] == "/a b/hosts"
