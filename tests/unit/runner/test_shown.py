"""What was written is sent on to the server: once, and again when the file has grown."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from beowulf.runner import shown
from beowulf.runner.shown import Shown


def test_files_are_sent_on_when_they_have_grown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    monkeypatch.setattr(shown, "sync_file", lambda path: sent.append(path.name))
    log, metrics = tmp_path / "output.log", tmp_path / "metrics.jsonl"
    files = Shown([log, metrics])
    log.write_text("")
    files.pass_on()
    assert sent == []
    log.write_text("one\n")
    files.pass_on()
    files.pass_on()
    assert sent == ["output.log"]
    metrics.write_text("{}\n")
    log.write_text("one\ntwo\n")
    files.pass_on()
    assert sent == ["output.log", "output.log", "metrics.jsonl"]


def test_a_file_that_cannot_be_sent_now_is_sent_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "output.log"
    log.write_text("one\n")
    tries: list[Path] = []

    def refuse(path: Path) -> None:
        tries.append(path)
        raise OSError("the head is off")

    files = Shown([log])
    monkeypatch.setattr(shown, "sync_file", refuse)
    files.pass_on()
    files.pass_on()
    assert tries == [log, log]


def test_a_file_is_really_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    (tmp_path / "output.log").write_text("one\n")
    Shown([tmp_path / "output.log"]).pass_on()
    assert len(synced) == 1
