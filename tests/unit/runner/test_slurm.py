"""The cluster's backend against the real program for the head, run on this computer.

Slurm alone is not there: scripts stand in for its commands. The connection can be cut.
"""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from beowulf.errors import (
    CommandFailed,
    InvalidInput,
    JobNotFound,
    LaunchError,
    Unreachable,
)
from beowulf.job.directory import JobDirectory
from beowulf.job.events import record_event
from beowulf.runner import head_program, reconnecting
from beowulf.runner import slurm as slurm_module
from beowulf.runner.manifest import Manifest, list_snapshot
from beowulf.runner.slurm import SlurmBackend
from beowulf.runner.spec import Resources, spec_from
from beowulf.runner.trusting import ask_trust
from tests.unit.head.conftest import home, slurm
from tests.unit.runner.jobs import directory_of
from tests.unit.runner.weather import Weather, backend, weather, work

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from beowulf.transport.connection import Conversation
    from tests.unit.head.conftest import FakeSlurm

__all__ = ["backend", "home", "slurm", "weather", "work"]

SPEC = spec_from(
    {"command": ["python", "train.py", "--text", "it's\n$(x)"], "resources": {"ranks": 2}}
)


def end(job: JobDirectory, state: str = "COMPLETED", exit_code: int = 0) -> None:
    record_event(job, "ended", state=state, reason="", exit_code=exit_code)
    job.exit_code.write_text(f"{exit_code}\n")


def test_a_job_arrives_whole(backend: SlurmBackend, work: Path, home: Path) -> None:
    job = directory_of(backend.submit(SPEC, work))
    assert job.path == home / "beowulf/jobs/1"
    assert (job.code / "train.py").read_text() == "print('hello')\n"
    assert (job.code / "data.bin").stat().st_size == 3_000_000
    assert (job.code / "link").readlink() == Path("train.py")
    assert job.arguments.read_bytes() == b"python\0train.py\0--text\0it's\n$(x)\0"
    script = job.batch_script.read_text()
    assert "@JOB_ID@" not in script
    assert "$(x)" not in script
    record = backend.record("1")
    assert (record.state, record.ranks, record.slurm_job_id) == ("QUEUED", 2, 101)
    assert backend.records() == [replace(record, story=())]


def test_a_job_is_explained_and_nothing_is_kept(
    backend: SlurmBackend, work: Path, home: Path
) -> None:
    told = backend.explain(SPEC, work)
    assert (told.cluster, told.ranks, told.nodes) == ("lab", 2, None)
    assert f"#SBATCH --chdir={home}/beowulf/jobs/@JOB_ID@\n" in told.script
    assert "#SBATCH --comment=beowulf:@JOB_ID@:@JOB_KEY@\n" in told.script
    must_have = spec_from({"command": ["true"], "resources": {"nodes": "2-4"}})
    script = backend.explain(must_have, work).script
    assert "#SBATCH --comment=beowulf:@JOB_ID@:@JOB_KEY@:2\n" in script
    assert not (home / "beowulf/jobs").exists()
    assert backend.explain(spec_from({"command": ["true"]}), work).nodes == "2"  # as many are up


def test_what_did_not_change_does_not_travel(
    backend: SlurmBackend, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend.submit(SPEC, work)
    sent: list[str] = []
    chunks = Manifest.chunks

    def noted(manifest: Manifest, digest: str) -> Iterator[bytes]:
        sent.append(manifest.sources[digest].name)
        return chunks(manifest, digest)

    monkeypatch.setattr(Manifest, "chunks", noted)
    (work / "train.py").write_text("print('hello again')\n")
    job = directory_of(backend.submit(SPEC, work))
    assert sent == ["train.py"]
    assert (job.code / "data.bin").stat().st_size == 3_000_000


@pytest.mark.parametrize("after", [0, 1, 40, 200, 260, 400])
def test_a_connection_that_is_cut_gives_one_job(
    backend: SlurmBackend, work: Path, weather: Weather, slurm: FakeSlurm, after: int
) -> None:
    backend.submit(SPEC, work)  # the program is there, so that what is cut is the submission
    weather.cuts = [after]
    job = directory_of(backend.submit(SPEC, work))
    given = [words for words in slurm.calls("sbatch") if words[0] == "--parsable"]
    assert given == [
        ["--parsable", str(job.path.parent / "1/batch.sh")],
        ["--parsable", str(job.batch_script)],
    ]
    assert [record.id for record in backend.records()] == ["1", job.job_id]


def test_a_connection_that_is_never_whole_is_given_up(
    backend: SlurmBackend, work: Path, weather: Weather
) -> None:
    weather.cuts = [0] * 100
    with pytest.raises(LaunchError, match="whether the job was accepted is not known"):
        backend.submit(SPEC, work)


def test_a_log_is_followed_across_cuts_without_a_byte_twice(
    backend: SlurmBackend, work: Path, weather: Weather, capsys: pytest.CaptureFixture[str]
) -> None:
    job = directory_of(backend.submit(SPEC, work))
    text = b"".join(b"line %d \xff\x1b[31m\n" % number for number in range(20_000))
    job.log.write_bytes(text)
    end(job)
    weather.cuts = [1_000, 0, 300_000]
    got = b"".join(news.log for news in backend.follow("1", 5))
    assert got == text[5:]
    assert "connection lost" in capsys.readouterr().err


def test_waiting_goes_on_after_a_cut(backend: SlurmBackend, work: Path, weather: Weather) -> None:
    for state, exit_code in (("COMPLETED", 0), ("FAILED", 7)):
        end(directory_of(backend.submit(SPEC, work)), state, exit_code)
    weather.cuts = [30, 0]
    records = backend.wait(["2", "1"])
    assert [(record.id, record.exit_code) for record in records] == [("2", 7), ("1", 0)]


def test_waiting_has_an_end(backend: SlurmBackend, work: Path) -> None:
    backend.submit(SPEC, work)
    with pytest.raises(LaunchError, match="job 1 is still QUEUED; wait longer or cancel it"):
        backend.wait(["1"], timeout_s=0)


class Timed:
    """A conversation that notes for how long it was waited on each time."""

    def __init__(self, inner: Conversation, waited: list[float]) -> None:
        self.inner = inner
        self.waited = waited

    def receive(self, most: int = 65_536, timeout_s: float | None = None) -> bytes:
        assert timeout_s is not None
        self.waited.append(timeout_s)
        return self.inner.receive(most, timeout_s)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def test_waiting_has_an_end_when_the_head_falls_silent(
    backend: SlurmBackend, work: Path, weather: Weather, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend.submit(SPEC, work)
    waited: list[float] = []
    converse = weather.converse
    monkeypatch.setattr(weather, "converse", lambda words: Timed(converse(words), waited))
    with pytest.raises(LaunchError, match=r"job 1 is still QUEUED; wait longer or cancel it"):
        backend.wait(["1"], timeout_s=8)  # the first word takes seconds on a busy machine
    first, *others = waited
    assert first <= slurm_module.FIRST_WORD_S
    assert others
    assert max(others) <= 8


def test_waiting_has_an_end_while_the_connection_is_lost(
    backend: SlurmBackend, work: Path, weather: Weather, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend.submit(SPEC, work)
    monkeypatch.setattr(reconnecting, "TRY_AGAIN_S", 1000.0)
    weather.cuts = [0] * 1000
    with pytest.raises(LaunchError, match="job 1 is still UNKNOWN; wait longer or cancel it"):
        backend.wait(["1"], timeout_s=1)


def test_the_program_is_put_on_the_head_once(
    backend: SlurmBackend, home: Path, weather: Weather
) -> None:
    assert backend.records() == []
    (program,) = (home / ".cache/beowulf/head").iterdir()
    assert program.name == head_program.digest()
    assert program.stat().st_mode & 0o077 == 0
    weather.cuts = [10**9]
    assert backend.records() == []
    assert weather.cuts == [], "one conversation was enough"


def test_a_home_that_cannot_be_written(backend: SlurmBackend, home: Path) -> None:
    (home / ".cache").write_text("not a directory")
    with pytest.raises(CommandFailed, match="cannot write beowulf's program to the home there"):
        backend.records()


def test_a_head_whose_python_is_missing(
    backend: SlurmBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = head_program.START.replace(sys.executable, "/nowhere/python3")
    monkeypatch.setattr(head_program, "START", start)
    with pytest.raises(CommandFailed, match=r"cannot run beowulf's program there: .*nowhere"):
        backend.records()


def test_errors_come_back_as_what_they_are(backend: SlurmBackend, work: Path) -> None:
    with pytest.raises(JobNotFound, match="no job '7'; beowulf jobs lists them"):
        backend.record("7")
    with pytest.raises(JobNotFound, match="no jobs yet"):
        backend.log(None, None, len)
    with pytest.raises(InvalidInput, match=r"^command: 'missing\.py' is not among"):
        backend.submit(spec_from({"command": ["python", "missing.py"]}), work)


def test_what_slurm_refuses_is_told_as_bad_input(
    backend: SlurmBackend, work: Path, slurm: FakeSlurm
) -> None:
    slurm.answer(
        "test",
        status=1,
        errors="allocation failure: Requested node configuration is not available\n",
    )
    with pytest.raises(InvalidInput, match=r"^resources: the cluster has not so many"):
        backend.submit(SPEC, work)
    assert backend.records() == []


def test_a_job_that_ended_is_resumed_with_other_resources(
    backend: SlurmBackend, work: Path
) -> None:
    job = directory_of(backend.submit(SPEC, work))
    end(job, "FAILED", 7)
    assert directory_of(backend.resume("1", ranks=3)) == job
    record = backend.record("1")
    assert (record.state, record.attempt, record.ranks) == ("QUEUED", 2, 3)
    assert record.slurm_job_id == 102
    with pytest.raises(InvalidInput, match="still running"):
        backend.resume("1")


def test_a_job_after_another_waits_for_slurm_s_number_of_it(
    backend: SlurmBackend, work: Path
) -> None:
    first = directory_of(backend.submit(SPEC, work))
    second = directory_of(backend.submit(SPEC, work, after=["1"]))
    assert "--dependency=afterok:101" in second.batch_script.read_text()
    end(first)
    third = directory_of(backend.submit(SPEC, work, after=["1"]))
    assert "--dependency" not in third.batch_script.read_text()
    end(second, "FAILED", 1)
    with pytest.raises(InvalidInput, match="--after: job 2 is FAILED"):
        backend.submit(SPEC, work, after=["2"])


def test_cancelling_and_fetching(backend: SlurmBackend, work: Path, tmp_path: Path) -> None:
    backend.submit(SPEC, work)
    (record,) = backend.cancel(["1"])
    assert record.state == "CANCELLED"
    arrival = backend.fetch("1", tmp_path / "here", ["code"])
    assert "events.jsonl" in arrival.brought
    assert not (tmp_path / "here/code").exists()
    assert backend.fetch("1", tmp_path / "here", ["code"]).brought == []


def test_signs_of_life_while_jobs_end_are_no_answer(
    backend: SlurmBackend, work: Path, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = "from beowulf.head import cancelling, endings\nendings.LAST_WORDS_S = 0\n" + "".join(
        f"cancelling.{name} = {seconds}\n"
        for name, seconds in (("ASK_S", 1), ("SIGN_OF_LIFE_S", 0), ("SLURM_EVERY_S", 0.1))
    )
    start = head_program.START.replace("\nmain()", f"\n{quick}main()")
    monkeypatch.setattr(head_program, "START", start)
    backend.submit(SPEC, work)
    slurm.set(101, "RUNNING", "node1")
    assert [record.state for record in backend.cancel(["1"])] == ["CANCELLED"]


def test_a_head_that_is_away(work: Path) -> None:
    class Away(Weather):
        def converse(self, arguments: Sequence[str]) -> Conversation:
            del arguments
            raise Unreachable("ada@head: does not answer")

    backend = SlurmBackend("lab", Away())
    with pytest.raises(Unreachable, match="does not answer"):
        backend.submit(SPEC, work)
    with pytest.raises(Unreachable, match="does not answer"):
        backend.wait(["1"])
    with pytest.raises(Unreachable, match="does not answer"):
        list(backend.follow("1", 0))


def test_a_head_that_is_away_after_it_was_cut_off_may_have_the_job(
    backend: SlurmBackend, work: Path, weather: Weather, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend.records()  # the program is there
    converse = weather.converse
    asked = 0

    def then_away(arguments: Sequence[str]) -> Conversation:
        nonlocal asked
        asked += 1
        if asked > 1:
            raise Unreachable("ada@head: no such name")
        return converse(arguments)

    monkeypatch.setattr(weather, "converse", then_away)
    weather.cuts = [200]
    with pytest.raises(LaunchError, match="whether the job was accepted is not known"):
        backend.submit(SPEC, work)


def test_a_file_that_changes_while_it_is_sent(
    backend: SlurmBackend, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def then_changed(*arguments: Any) -> Manifest:
        manifest = list_snapshot(*arguments)
        (work / "train.py").write_text("print('changed')\n")
        return manifest

    monkeypatch.setattr(slurm_module, "list_snapshot", then_changed)
    with pytest.raises(InvalidInput, match="changed while it was sent; submit again"):
        backend.submit(SPEC, work)
    assert backend.records() == []
    shutil.rmtree(work)


@pytest.fixture
def heavy(work: Path) -> Path:
    """A work directory of which most is still to be sent when the head says no."""
    (work / "z.bin").write_bytes(os.urandom(1 << 20) * 30)
    return work


def test_a_head_that_cannot_keep_what_is_sent_says_why_at_once(
    backend: SlurmBackend, heavy: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "beowulf").mkdir()
    (home / "beowulf/store").write_text("in the way, as a full disk would be")
    with pytest.raises(InvalidInput, match=r"^job directory: cannot write below .*beowulf/jobs"):
        backend.submit(SPEC, heavy)
    assert "connection lost" not in capsys.readouterr().err
    assert backend.records() == []


def test_a_file_that_changes_early_in_a_long_upload(
    backend: SlurmBackend, heavy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def then_changed(*arguments: Any) -> Manifest:
        manifest = list_snapshot(*arguments)
        (heavy / "data.bin").write_text("changed\n")
        return manifest

    monkeypatch.setattr(slurm_module, "list_snapshot", then_changed)
    with pytest.raises(InvalidInput, match="changed while it was sent; submit again"):
        backend.submit(SPEC, heavy)


# --- Nodes that lost jobs lately --------------------------------------------------------------


@pytest.fixture
def shaky(home: Path, slurm: FakeSlurm) -> None:
    """A node that was lost three times in the last hour, of three."""
    nodes = "".join(f"NodeName=node{n} CPUTot=4 RealMemory=1 State=IDLE\n" for n in (1, 2, 3))
    slurm.answer("scontrol", output=nodes)
    slurm.answer("sinfo", output="node1|idle\nnode2|mixed\nnode3|idle\n")
    old = JobDirectory(home / "beowulf/jobs/1")
    old.path.mkdir(parents=True)
    for minutes in (40, 30, 20):
        moment = datetime.now(UTC) - timedelta(minutes=minutes)
        record_event(old, "lost", time=moment.isoformat(), hosts=["node3"], ranks=[2])
    end(old, "FAILED", 1)


def script_of(backend: SlurmBackend, job_id: str) -> str:
    return JobDirectory(Path(backend.record(job_id).directory)).batch_script.read_text()


@pytest.mark.usefixtures("shaky")
def test_a_node_that_lost_jobs_lately_is_left_out_and_that_is_told(
    backend: SlurmBackend, work: Path
) -> None:
    record = backend.submit(replace(SPEC, resources=Resources()), work)
    script = script_of(backend, record.id)
    assert "#SBATCH --exclude=node3\n" in script
    assert "#SBATCH --nodes=2\n" in script
    assert [(one.node, one.why) for one in record.left_out] == [
        ("node3", "lost 3 times in 24 hours")
    ]
    assert backend.record(record.id).left_out == record.left_out
    assert "without node3" in backend.record(record.id).story[0].said
    assert backend.explain(replace(SPEC, resources=Resources()), work).nodes == "2"


@pytest.mark.usefixtures("shaky")
def test_so_it_is_when_a_job_is_resumed(backend: SlurmBackend, work: Path) -> None:
    record = backend.submit(replace(SPEC, resources=Resources(nodes="3")), work)
    assert "--exclude" not in script_of(backend, record.id)  # all three are asked for
    end(directory_of(record), "FAILED", 1)
    again = backend.resume(record.id, nodes="1-3")
    assert [one.node for one in again.left_out] == ["node3"]
    assert "#SBATCH --exclude=node3\n" in script_of(backend, record.id)


@pytest.mark.usefixtures("shaky")
def test_it_is_used_again_once_that_is_said(backend: SlurmBackend, work: Path) -> None:
    trusts = ask_trust(backend._head.connection)
    assert trusts["node3"].left_out_until is not None
    assert ask_trust(backend._head.connection, "node3")["node3"].left_out_until is None
    record = backend.submit(replace(SPEC, resources=Resources()), work)
    assert record.left_out == ()
    assert "--exclude" not in script_of(backend, record.id)
