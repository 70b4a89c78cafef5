"""Files are kept by content, and laid out as copies that a job may change."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from typing import TYPE_CHECKING, Any

import pytest

from beowulf.errors import InvalidInput
from beowulf.head import store as store_module
from beowulf.head.store import Entry, Store

if TYPE_CHECKING:
    from pathlib import Path

TEXT = b"print('hello')\n"
DIGEST = hashlib.sha256(TEXT).hexdigest()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_what_was_received_is_not_missing_any_more(store: Store) -> None:
    assert store.missing([DIGEST, DIGEST]) == [DIGEST]
    store.receive(DIGEST, [TEXT[:5], b"", TEXT[5:]])
    assert store.missing([DIGEST]) == []
    assert store.path(DIGEST).read_bytes() == TEXT


def test_a_file_that_changed_on_its_way_is_not_kept(store: Store) -> None:
    with pytest.raises(InvalidInput, match="changed while it was sent; submit again"):
        store.receive(DIGEST, [b"something else"])
    assert [path for path in store.root.rglob("*") if path.is_file()] == []


def test_what_arrives_in_part_is_not_kept(store: Store) -> None:
    def cut_off() -> Any:
        yield TEXT[:3]
        raise ConnectionError

    with pytest.raises(ConnectionError):
        store.receive(DIGEST, cut_off())
    assert store.missing([DIGEST]) == [DIGEST]
    assert [path for path in store.root.rglob("*") if path.is_file()] == []


def test_a_snapshot_is_laid_out_with_modes_times_and_links(store: Store, tmp_path: Path) -> None:
    store.receive(DIGEST, [TEXT])
    entries = [
        Entry("package", "directory"),
        Entry("package/a b\n.py", "file", 0o755, 1_600_000_000_123_456_789, DIGEST),
        Entry("link", "link", content="package/a b\n.py"),
        Entry("\udcff", "file", 0o600, 0, DIGEST),
    ]
    assert [Entry.from_json(entry.to_json()) for entry in entries] == entries
    store.lay_out(entries, tmp_path / "code")
    copy = tmp_path / "code/package/a b\n.py"
    assert copy.read_bytes() == (tmp_path / "code/link").read_bytes() == TEXT
    assert stat.S_IMODE(copy.stat().st_mode) == 0o755
    assert copy.stat().st_mtime_ns == 1_600_000_000_123_456_789
    copy.write_bytes(b"changed by the job")
    assert store.path(DIGEST).read_bytes() == TEXT
    assert os.path.exists(os.fsencode(tmp_path / "code") + b"/\xff")  # noqa: PTH110


@pytest.mark.parametrize(
    "entry",
    [
        ["../../.ssh/authorized_keys", "file", 420, 0, DIGEST],
        ["/etc/passwd", "file", 420, 0, DIGEST], ["a/../../b", "directory", 0, 0, ""],
        ["", "directory", 0, 0, ""], ["a\0b", "directory", 0, 0, ""],
        ["a", "file", 420, 0, "../../../etc/shadow"], ["a", "file", 420, 0, ""], ["a"], {}, None,
        ["a", "file", "x", 0, DIGEST],
    ],
)  # fmt: skip
def test_an_entry_that_could_leave_the_snapshot_is_refused(entry: Any) -> None:
    with pytest.raises(InvalidInput, match=r"^snapshot: "):
        Entry.from_json(entry)


def test_what_nobody_asked_for_in_a_month_is_swept_away(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = hashlib.sha256(b"other").hexdigest()
    store.receive(DIGEST, [TEXT])
    store.receive(other, [b"other"])
    long_ago = time.time() - store_module.KEPT_S - 60
    for digest in (DIGEST, other):
        os.utime(store.path(digest), (long_ago, long_ago))
    store.missing([other])  # a job asks for it
    store.sweep()
    assert store.missing([DIGEST, other]) == [DIGEST]
    os.utime(store.path(other), (long_ago, long_ago))
    store.sweep()  # a second time on the same day it does not even look
    assert store.path(other).exists()


def test_what_is_kept_is_on_the_disk_before_it_has_a_name(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_disk: list[tuple[int, bool]] = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        on_disk.append((os.fstat(descriptor).st_size, store.path(DIGEST).exists()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    store.receive(DIGEST, [TEXT])
    assert on_disk == [(len(TEXT), False)]


@pytest.mark.parametrize("damaged", [b"", b"x" * len(TEXT), TEXT[:-1]])
def test_a_kept_file_that_was_damaged_is_not_laid_out_and_travels_again(
    store: Store, tmp_path: Path, damaged: bytes
) -> None:
    store.receive(DIGEST, [TEXT])
    store.path(DIGEST).write_bytes(damaged)
    with pytest.raises(InvalidInput, match=r"train\.py: .* damaged.* submit again"):
        store.lay_out([Entry("train.py", "file", content=DIGEST)], tmp_path / "code")
    assert store.missing([DIGEST]) == [DIGEST]
