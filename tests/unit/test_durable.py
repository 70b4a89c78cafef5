"""Files are whole or absent, and half-written lines harm nothing but themselves."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beowulf.durable import (
    append,
    append_json_line,
    open_to_append,
    overwrite,
    parse_json_lines,
    read_json,
    read_json_lines,
    read_tail,
    sync_file_system,
    write_file,
    write_json,
    write_once,
)
from tests.conftest import fill

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
OBJECTS = st.lists(st.dictionaries(st.text(), JSON, max_size=4), max_size=6)

APPEND_MANY = """
import sys
from pathlib import Path
from beowulf.durable import append_json_line
for index in range(200):
    append_json_line(Path(sys.argv[1]), {"writer": sys.argv[2], "index": index, "more": "x" * 500})
"""


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_file(path, b"old")
    write_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "file"
    write_file(path, b"old")
    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match="No space left"):
        write_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


@pytest.mark.root
def test_a_full_disk_leaves_the_old_file(small_disk: Path) -> None:
    path = small_disk / "file"
    write_file(path, b"old")
    filler = fill(small_disk)
    with pytest.raises(OSError, match="No space left"):
        write_file(path, b"n" * 10_000)
    assert path.read_bytes() == b"old"
    assert sorted(entry.name for entry in small_disk.iterdir()) == ["file", "filler"]
    filler.unlink()
    write_file(path, b"n" * 10_000)
    assert path.read_bytes() == b"n" * 10_000


def test_file_and_directory_are_flushed_before_it_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[str] = []
    real = os.fsync

    def remember(descriptor: int) -> None:
        flushed.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", remember)
    write_file(tmp_path / "file", b"data")
    assert len(flushed) == 2
    assert flushed[0].startswith(f"{tmp_path}/.file.")
    assert flushed[1] == str(tmp_path)
    flushed.clear()
    write_file(tmp_path / "file", b"data", sync=False)
    assert flushed == []
    append_json_line(tmp_path / "lines", {})
    assert flushed == [str(tmp_path / "lines")]
    flushed.clear()
    assert write_once(tmp_path / "claim", b"mine")
    assert flushed[-1] == str(tmp_path)


def test_a_file_system_is_flushed_or_it_is_said_that_it_cannot_be(tmp_path: Path) -> None:
    sync_file_system(tmp_path)
    with pytest.raises(FileNotFoundError):
        sync_file_system(tmp_path / "nothing")


@given(JSON)
def test_json_comes_back_as_it_was(tmp_path: Path, value: Any) -> None:
    write_json(tmp_path / "value", value)
    assert read_json(tmp_path / "value") == value


@pytest.mark.parametrize("damage", [b"", b"{", b'{"a": 1', b"\xff\xfe\x00", b"[" * 100_000])
def test_damaged_json_reads_as_nothing(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "value").write_bytes(damage)
    assert read_json(tmp_path / "value") is None


def test_missing_files_read_as_nothing(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    assert read_json(missing) is None
    assert read_json_lines(missing) == []
    assert read_tail(missing, 10) == b""


@given(lines=OBJECTS, cut=st.integers(min_value=0, max_value=2000))
def test_a_file_cut_off_anywhere_keeps_its_whole_lines(
    lines: list[dict[str, Any]], cut: int
) -> None:
    data = b"".join(json.dumps(line).encode() + b"\n" for line in lines)[:cut]
    read = list(parse_json_lines(data))
    assert read == lines[: len(read)]
    assert len(read) == data.count(b"\n")


@given(st.binary(max_size=400))
def test_any_bytes_read_as_some_objects(data: bytes) -> None:
    assert all(isinstance(line, dict) for line in parse_json_lines(data))


def test_damaged_lines_are_left_out_and_the_others_kept() -> None:
    data = b'{"a": 1}\nnot json\n[1, 2]\n\n\xff\xff\n{"b": 2}\n{"c": 3'
    assert list(parse_json_lines(data)) == [{"a": 1}, {"b": 2}]


def test_the_line_after_a_half_written_one_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    append_json_line(path, {"n": 1})
    with path.open("ab") as file:
        file.write(b'{"n": 2, "mor')
    append_json_line(path, {"n": 3})
    append_json_line(path, {"n": 4})
    assert read_json_lines(path) == [{"n": 1}, {"n": 3}, {"n": 4}]


@pytest.mark.root
def test_a_line_that_does_not_fit_on_the_disk_is_an_error(small_disk: Path) -> None:
    path = small_disk / "lines"
    append_json_line(path, {"n": 1})
    filler = fill(small_disk)
    with pytest.raises(OSError, match="No space left"):
        append_json_line(path, {"n": 2, "more": "x" * 100_000})
    filler.unlink()
    append_json_line(path, {"n": 3})
    assert read_json_lines(path) == [{"n": 1}, {"n": 3}]


def test_writers_at_the_same_time_never_mix_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    writers = [
        subprocess.Popen([sys.executable, "-c", APPEND_MANY, str(path), str(writer)])
        for writer in range(4)
    ]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0, 0]
    written = [line for line in path.read_bytes().split(b"\n") if line]
    assert len(written) == 800
    lines = read_json_lines(path)
    for writer in range(4):
        mine = [line["index"] for line in lines if line["writer"] == str(writer)]
        assert mine == list(range(200))


@given(data=st.binary(max_size=50), size=st.integers(min_value=0, max_value=60))
def test_the_tail_is_the_end_of_the_file(tmp_path: Path, data: bytes, size: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    assert read_tail(path, size) == (data[-size:] if size else b"")


def test_all_is_appended(tmp_path: Path) -> None:
    path = tmp_path / "file"
    descriptor = open_to_append(path)
    append(descriptor, b"one\n")
    append(descriptor, b"two\n")
    os.close(descriptor)
    assert path.read_bytes() == b"one\ntwo\n"


@pytest.mark.root
def test_on_a_full_disk_all_is_appended_or_nothing(small_disk: Path) -> None:
    path = small_disk / "file"
    descriptor = open_to_append(path)
    append(descriptor, b"one\n")
    filler = fill(small_disk)
    os.truncate(filler, filler.stat().st_size - 4 * 4096)  # room for a part
    with pytest.raises(OSError, match="No space left"):
        append(descriptor, b"x" * 100_000)
    assert path.read_bytes() == b"one\n"
    filler.unlink()
    append(descriptor, b"two\n")
    os.close(descriptor)
    assert path.read_bytes() == b"one\ntwo\n"


def test_what_was_longer_is_covered(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b'{"a": "long"}\n')
    overwrite(path, b'{"b": 1}')
    assert path.read_bytes() == b'{"b": 1}      '
    overwrite(path, b'{"c": "longer than that"}')
    assert read_json(path) == {"c": "longer than that"}
    with pytest.raises(FileNotFoundError):
        overwrite(tmp_path / "missing", b"")
