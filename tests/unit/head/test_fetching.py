"""A job's log and files are sent, less what the client has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from beowulf.errors import BeowulfError, InvalidInput
from beowulf.head import fetching
from beowulf.head.__main__ import record
from beowulf.head.fetching import fetch, log
from beowulf.head.frames import Frame
from beowulf.job import follow
from beowulf.job.events import record_event
from beowulf.runner.arrival import Arrival
from tests.unit.head.conftest import Client

if TYPE_CHECKING:
    from pathlib import Path

    from beowulf.job.directory import JobDirectory


def fetched(target: Path, *without: str) -> Arrival:
    arrival = Arrival(target)
    client = Client()
    fetch(client.peer(), {"id": None, "without": list(without), "have": arrival.have()})
    *files, over = client.told
    assert over.document == {"over": True, "id": "1"}
    arrival.take(files)
    return arrival


def test_files_arrive_with_their_times_and_only_once(
    running: JobDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "CHUNK_BYTES", 7)
    running.log.write_bytes(b"0123456789" * 5)
    running.metrics.touch()
    target = tmp_path / "here"
    first = fetched(target)
    assert (target / "output.log").read_bytes() == b"0123456789" * 5
    assert (target / "metrics.jsonl").read_bytes() == b""
    assert (target / "output.log").stat().st_mtime_ns == running.log.stat().st_mtime_ns
    assert {"output.log", "metrics.jsonl", "events.jsonl"} <= set(first.brought)
    running.metrics.write_bytes(b"{}\n")
    second = fetched(target)
    assert second.brought == ["metrics.jsonl"]
    assert sorted(second.kept) == sorted(set(first.brought) - {"metrics.jsonl"})
    assert second.size_bytes == 3


def test_directories_can_stay_and_private_files_do(running: JobDirectory, tmp_path: Path) -> None:
    for name in ("checkpoints/step-00000001/model.npz", "code/train.py", "code/checkpoints/x"):
        path = running.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    (running.path / ".result.json.new").touch()
    running.claim(1).touch()
    (running.path / "keypoints.png").touch()
    (running.path / "code/package").mkdir()
    (running.path / "code/package/.settings").touch()
    brought = set(fetched(tmp_path / "here", "checkpoints").brought)
    assert {"code/train.py", "code/checkpoints/x", "code/package/.settings"} <= brought
    assert "keypoints.png" in brought
    assert not {name for name in brought if name.startswith(("checkpoints", ".", "claim"))}


def test_links_are_not_followed(running: JobDirectory, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x")
    (running.path / "link").symlink_to(secret)
    assert "link" not in fetched(tmp_path / "here").brought


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a/../../x", "", "a\0"])
def test_a_path_that_leads_out_of_the_target_is_refused(tmp_path: Path, path: str) -> None:
    frame = Frame({"path": path, "mode": 0o644, "mtime_ns": 0, "more": False}, b"x")
    with pytest.raises(BeowulfError, match="not one of a job"):
        Arrival(tmp_path / "here").take([frame])
    assert list(tmp_path.iterdir()) == []


def test_a_target_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "here").touch()
    with pytest.raises(InvalidInput, match=r"--to: .* is no directory"):
        Arrival(tmp_path / "here").have()


def test_a_log_is_told_whole_or_its_last_lines(
    running: JobDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "PIECE_BYTES", 5)
    running.log.write_bytes(b"one\ntwo\nthree\n")
    client = Client()
    log(client.peer(), {"id": "1"})
    assert b"".join(frame.data for frame in client.told) == b"one\ntwo\nthree\n"
    assert client.told[-1].document["offset"] == 14
    client = Client()
    log(client.peer(), {"id": None, "tail": 2})
    *pieces, last = client.told
    assert [frame.data for frame in pieces] == [b"two\nt", b"hree\n"]
    assert last.document == {"id": "1", "offset": 14}


@pytest.mark.parametrize(("state", "said"), [("FAILED", b"x" * 65_535 + b"\n"), ("COMPLETED", b"")])
def test_a_record_comes_with_a_bounded_piece_of_what_a_failed_job_said_last(
    running: JobDirectory, state: str, said: bytes
) -> None:
    running.log.write_bytes(b"x" * 1_000_000 + b"\n")
    record_event(running, "ended", state=state, reason="", exit_code=3)
    running.exit_code.write_text("3\n")
    client = Client()
    record(client.peer(), {"last_words": True})
    (told,) = client.told
    assert told.document["job"]["state"] == state
    assert told.data == said
