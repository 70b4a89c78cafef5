"""The local backend's book-keeping: IDs, whole directories or none, and what is refused."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from beowulf.durable import write_file
from beowulf.errors import InvalidInput, JobNotFound, LaunchError
from beowulf.job.directory import JobDirectory
from beowulf.job.events import record_event
from beowulf.job.lock import is_locked, take_lock
from beowulf.job.record import read_record
from beowulf.runner import local
from beowulf.runner.local import LocalBackend, find_mpiexec, jobs_root
from beowulf.runner.spec import Files, JobSpec, Resources, format_spec
from tests.unit.runner.jobs import directory_of

if TYPE_CHECKING:
    from collections.abc import Callable

SPEC = JobSpec("mine", ("python", "train.py"), Resources(ranks=1))


@pytest.fixture
def work(tmp_path: Path) -> Path:
    path = tmp_path / "work"
    path.mkdir()
    (path / "train.py").write_text("print('hello')\n")
    return path


@pytest.fixture
def backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalBackend:
    """A backend that prepares jobs but starts none: nobody supervises them."""

    def start_nothing(
        _: LocalBackend, directory: JobDirectory, lock: int, attempt: int
    ) -> JobDirectory:
        assert is_locked(directory)
        os.close(lock)
        return directory

    monkeypatch.setattr(LocalBackend, "_start", start_nothing)
    return LocalBackend(tmp_path / "state" / "jobs")


def left_in(backend: LocalBackend) -> list[str]:
    """Return what is in the state directory besides the lock that keeps submitters apart."""
    return sorted(path.name for path in backend.root.path.iterdir() if path.name != ".lock")


# --- Where jobs live ----------------------------------------------------------------------


def test_jobs_live_in_the_state_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/var/state")
    assert jobs_root() == Path("/var/state/beowulf/jobs")
    monkeypatch.setenv("XDG_STATE_HOME", "")
    monkeypatch.setenv("HOME", "/home/me")
    assert jobs_root() == Path("/home/me/.local/state/beowulf/jobs")
    monkeypatch.delenv("XDG_STATE_HOME")
    assert jobs_root() == Path("/home/me/.local/state/beowulf/jobs")


@pytest.mark.parametrize("value", ["state", "./state", "~/state"])
def test_a_state_directory_must_be_absolute(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", value)
    with pytest.raises(InvalidInput, match=r"^XDG_STATE_HOME: "):
        jobs_root()


def test_somebody_without_a_home_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(InvalidInput, match=r"^HOME: is not set; set HOME or XDG_STATE_HOME"):
        jobs_root()


# --- Submitting ---------------------------------------------------------------------------


def test_a_submitted_job_has_everything_in_its_directory(backend: LocalBackend, work: Path) -> None:
    directory = directory_of(backend.submit(SPEC, work))
    assert directory.path == backend.root.path / "1"
    names = {path.name for path in directory.path.iterdir()}
    assert names == {
        "argv", "batch.sh", "checkpoints", "code", "events.jsonl", "heartbeat", "job.toml",
        "output.log", "supervisor.lock",
    }  # fmt: skip
    assert directory.arguments.read_bytes() == b"python\0train.py\0"
    assert (directory.code / "train.py").read_text() == "print('hello')\n"
    record = read_record(directory)
    assert (record.name, record.ranks, record.attempt) == ("mine", 1, 1)
    assert stat.S_IMODE(backend.root.path.stat().st_mode) == 0o700


def test_ids_count_up_and_are_not_given_twice(backend: LocalBackend, work: Path) -> None:
    assert [backend.submit(SPEC, work).id for _ in range(3)] == ["1", "2", "3"]
    shutil.rmtree(backend.root.path / "2")
    assert backend.submit(SPEC, work).id == "4"
    (backend.root.path / "9").mkdir()
    (backend.root.path / "notes").mkdir()
    (backend.root.path / "007").mkdir()
    assert backend.submit(SPEC, work).id == "10"
    assert backend.ids() == ["1", "3", "4", "9", "10"]


def test_the_job_keeps_its_code_when_the_work_goes_on(backend: LocalBackend, work: Path) -> None:
    directory = directory_of(backend.submit(SPEC, work))
    (work / "train.py").write_text("broken(")
    assert (directory.code / "train.py").read_text() == "print('hello')\n"


@pytest.mark.usefixtures("backend")
def test_jobs_that_lie_in_the_work_directory_are_not_copied(work: Path) -> None:
    inside = LocalBackend(work / ".local" / "jobs")
    inside.submit(SPEC, work)
    directory = directory_of(inside.submit(SPEC, work))
    assert sorted(path.name for path in directory.code.rglob("*")) == [".local", "train.py"]


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        (JobSpec("x", ("python", "missing.py")), "command"),
        (JobSpec("x", ("python", "train.py"), files=Files(exclude=("*.py",))), "command"),
        (JobSpec("x", ("python", "train.py"), Resources(ranks=60_000)), "resources.ranks"),
        (JobSpec("x", ("python", "train.py"), files=Files(exclude=("[",))), r"files.exclude\[0\]"),
    ],
)
def test_a_job_that_is_refused_leaves_nothing(
    backend: LocalBackend, work: Path, spec: JobSpec, field: str
) -> None:
    with pytest.raises(InvalidInput, match=f"^{field}: "):
        backend.submit(spec, work)
    assert not backend.root.path.exists() or left_in(backend) == []


def failing_after(calls: int) -> Callable[..., None]:
    """Return a ``write_file`` that finds the disk full after some calls."""
    made = 0

    def write(path: Path, data: bytes) -> None:
        nonlocal made
        made += 1
        if made > calls:
            raise OSError(28, "No space left on device")
        write_file(path, data)

    return write


@pytest.mark.parametrize("calls", [0, 1, 2])
def test_a_disk_that_fills_up_meanwhile(
    backend: LocalBackend, work: Path, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    backend.submit(SPEC, work)
    monkeypatch.setattr(local, "write_file", failing_after(calls))
    with pytest.raises(
        InvalidInput, match=r"No space left on device\); free some space"
    ) as refusal:
        backend.submit(SPEC, work)
    assert refusal.value.field == "job directory"
    assert left_in(backend) == ["1"]


def test_an_interrupted_submit_leaves_nothing(
    backend: LocalBackend, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(local, "record_event", interrupt)
    with pytest.raises(KeyboardInterrupt):
        backend.submit(SPEC, work)
    assert left_in(backend) == []


def test_what_a_killed_submit_left_behind_is_swept_away(backend: LocalBackend, work: Path) -> None:
    hour_ago = time.time() - 3600
    for name in ("dead", "alive", "young"):
        (backend.root.path / f".staging-{name}").mkdir(parents=True)
    alive = take_lock(JobDirectory(backend.root.path / ".staging-alive"))
    assert alive is not None
    for name in ("dead", "alive"):
        os.utime(backend.root.path / f".staging-{name}", (hour_ago, hour_ago))
    backend.submit(SPEC, work)
    os.close(alive)
    assert left_in(backend) == [".staging-alive", ".staging-young", "1"]


def test_a_staging_directory_that_is_published_meanwhile(
    backend: LocalBackend, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = backend.root.path / ".staging-gone"
    monkeypatch.setattr(Path, "glob", lambda *_: iter([gone]))
    assert backend.submit(SPEC, work).id == "1"


SUBMIT_MANY = """
import os, sys
from pathlib import Path
from beowulf.runner.local import LocalBackend
from beowulf.runner.spec import JobSpec, Resources
LocalBackend._start = lambda self, directory, lock, attempt: (os.close(lock), directory)[1]
backend = LocalBackend(Path(sys.argv[1]))
for _ in range(10):
    spec = JobSpec("x", ("python", "train.py"), Resources(ranks=1))
    print(backend.submit(spec, Path(sys.argv[2])).id)
"""


def test_submits_at_the_same_time_get_ids_of_their_own(tmp_path: Path, work: Path) -> None:
    root = tmp_path / "jobs"
    command = [sys.executable, "-c", SUBMIT_MANY, str(root), str(work)]
    submitters = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    ids = [job_id for one in submitters for job_id in one.communicate(timeout=120)[0].split()]
    assert sorted(map(int, ids)) == list(range(1, 41))
    assert left_in(LocalBackend(root)) == sorted(ids)


def test_a_supervisor_that_cannot_be_started(
    tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
    backend = LocalBackend(tmp_path / "jobs")
    with pytest.raises(LaunchError, match="cannot start the supervisor"):
        backend.submit(SPEC, work)
    assert read_record(JobDirectory(tmp_path / "jobs" / "1")).state == "FAILED"


def test_mpiexec_lies_beside_this_python(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert os.access(find_mpiexec(), os.X_OK)
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path))
    with pytest.raises(InvalidInput, match=r"^mpiexec: .* pip install 'beowulf\[local\]'"):
        find_mpiexec()


# --- Finding ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "job_id",
    ["", "0", "01", "2", "999", "-1", "+1", "1 ", "1\n", "a", "../1", "../../x", "1/..", "1/", ".",
     "$(id)", "-rf", "1.0", "\u0661", "9" * 5000],
)  # fmt: skip
def test_what_is_no_job(backend: LocalBackend, work: Path, job_id: str) -> None:
    backend.submit(SPEC, work)
    with pytest.raises(JobNotFound, match=r"^no job '.*'; beowulf jobs lists them$") as refusal:
        backend.find(job_id)
    assert len(str(refusal.value)) < 200


def test_finding_one_and_the_newest(backend: LocalBackend, work: Path) -> None:
    with pytest.raises(JobNotFound, match="no jobs yet; start one with: beowulf submit"):
        backend.newest()
    assert backend.records() == []
    for _ in range(11):
        backend.submit(SPEC, work)
    assert backend.find("3").job_id == "3"
    assert backend.newest().job_id == "11"
    assert [record.id for record in backend.records()] == [str(n) for n in range(1, 12)]


# --- Going on -----------------------------------------------------------------------------


def ended(backend: LocalBackend, work: Path, state: str, exit_code: int) -> JobDirectory:
    directory = directory_of(backend.submit(SPEC, work))
    record_event(directory, "ended", state=state, reason="", exit_code=exit_code)
    directory.exit_code.write_text(f"{exit_code}\n")
    return directory


def test_a_failed_job_goes_on_under_its_id(backend: LocalBackend, work: Path) -> None:
    directory = ended(backend, work, "FAILED", 3)
    directory.cancel_request.touch()
    (directory.heartbeats / "0").touch()
    (directory.code / "train.py").write_text("kept")
    shutil.rmtree(work)
    assert directory_of(backend.resume("1", ranks=2, time_limit="5m")) == directory
    record = read_record(directory)
    assert (record.attempt, record.ranks, record.exit_code) == (2, 2, None)
    assert not directory.cancel_request.exists()
    assert not directory.exit_code.exists()
    assert list(directory.heartbeats.iterdir()) == []
    assert (directory.code / "train.py").read_text() == "kept"
    assert "export BEOWULF_RANKS=2" in directory.batch_script.read_text()
    assert 'time_limit = "5m"' in directory.spec.read_text()


def test_a_completed_job_does_not_go_on(backend: LocalBackend, work: Path) -> None:
    directory = ended(backend, work, "COMPLETED", 0)
    with pytest.raises(InvalidInput, match=r"^--resume: job 1 has completed; submit it anew"):
        backend.resume("1")
    assert not is_locked(directory)
    assert read_record(directory).state == "COMPLETED"


def test_a_running_job_is_not_started_twice(backend: LocalBackend, work: Path) -> None:
    directory = directory_of(backend.submit(SPEC, work))
    lock = take_lock(directory)
    assert lock is not None
    with pytest.raises(InvalidInput, match=r"^--resume: job 1 is still running; first: beowulf"):
        backend.resume("1")
    os.close(lock)


HOLD_A_MOMENT = """
import sys, time
from pathlib import Path
from beowulf.job.directory import JobDirectory
from beowulf.job.lock import take_lock
assert take_lock(JobDirectory(Path(sys.argv[1]))) is not None
print("locked", flush=True)
time.sleep(0.3)
"""


def test_a_supervisor_that_is_about_to_leave_is_waited_for(
    backend: LocalBackend, work: Path
) -> None:
    directory = ended(backend, work, "FAILED", 3)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD_A_MOMENT, str(directory.path)], stdout=subprocess.PIPE
    ) as leaving:
        assert leaving.stdout is not None
        leaving.stdout.readline()
        assert directory_of(backend.resume("1")) == directory
    assert read_record(directory).attempt == 2


def test_a_resume_that_is_refused_changes_nothing(backend: LocalBackend, work: Path) -> None:
    directory = ended(backend, work, "FAILED", 3)
    before = {path: path.read_bytes() for path in directory.path.iterdir() if path.is_file()}
    for overrides in ({"ranks": 60_000}, {"ranks": 0}, {"nodes": "9"}, {"time_limit": "x"}):
        with pytest.raises(InvalidInput, match=r"^resources\."):
            backend.resume("1", **overrides)
    assert {path: path.read_bytes() for path in before} == before
    assert not is_locked(directory)


def test_a_resume_on_a_full_disk_keeps_the_old_end(
    backend: LocalBackend, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = ended(backend, work, "FAILED", 3)
    monkeypatch.setattr(local, "write_file", failing_after(0))
    with pytest.raises(InvalidInput, match="No space left"):
        backend.resume("1")
    record = read_record(directory)
    assert (record.state, record.exit_code, record.attempt) == ("FAILED", 3, 1)
    assert not is_locked(directory)


def test_a_job_file_that_was_edited_badly(backend: LocalBackend, work: Path) -> None:
    directory = ended(backend, work, "FAILED", 3)
    directory.spec.write_bytes(format_spec(SPEC) + b"ranks = \n")
    with pytest.raises(InvalidInput, match=r"^job file: is not valid TOML"):
        backend.resume("1")
    assert read_record(directory).state == "FAILED"
