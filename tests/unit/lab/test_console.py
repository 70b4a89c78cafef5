"""The management console's protocol, against a real socket that answers as a kernel would."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from beowulf.errors import LabError
from beowulf.lab.console import MAGIC, MOST_BYTES, MOST_REPLIES, VERSION, ask

REQUEST = struct.Struct(f"=III{MOST_BYTES}s")
Reply = tuple[int, int, bytes]  # is it an error, is there more, its text


class Kernel(threading.Thread):
    """Answer one request with some replies, as ``arch/um/drivers/mconsole_user.c`` does."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.replies: list[bytes] = []
        self.requests: list[tuple[int, int, int, bytes]] = []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.settimeout(60)

    def answer(self, *replies: Reply) -> None:
        self.replies = [
            struct.pack(f"=iII{MOST_BYTES}s", error, more, len(text) + 1, text + b"\0")
            for error, more, text in replies
        ]
        self.start()

    def run(self) -> None:
        request, asker = self.socket.recvfrom(REQUEST.size)
        self.requests.append(REQUEST.unpack(request))
        with contextlib.suppress(FileNotFoundError):  # the asker has heard enough
            for reply in self.replies:
                self.socket.sendto(reply, asker)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "mconsole"


@pytest.fixture
def kernel(path: Path) -> Iterator[Kernel]:
    kernel = Kernel(path)
    yield kernel
    if kernel.ident is not None:
        kernel.join(60)
    kernel.socket.close()


def test_an_order_is_sent_and_answered(kernel: Kernel, path: Path) -> None:
    kernel.answer((0, 0, b"OK Linux node1"))
    assert ask(path, "version") == "OK Linux node1"
    ((magic, version, length, data),) = kernel.requests
    assert (magic, version) == (MAGIC, VERSION) == (0xCAFEBABE, 2)
    assert data[:length] == b"version"
    assert data[length:].strip(b"\0") == b""


def test_an_answer_in_several_parts_is_put_together(kernel: Kernel, path: Path) -> None:
    parts = [b"a" * (MOST_BYTES - 1), b"b" * (MOST_BYTES - 1), b"end"]
    kernel.answer(*((0, int(part != b"end"), part) for part in parts))
    assert ask(path, "log") == b"".join(parts).decode()


@pytest.mark.parametrize("parts", [[(1, 0)], [(1, 1), (0, 0)], [(0, 1), (1, 0)]])
def test_a_refusal_in_any_part_is_an_error(
    kernel: Kernel, path: Path, parts: list[tuple[int, int]]
) -> None:
    kernel.answer(*((error, more, b"no. ") for error, more in parts))
    with pytest.raises(LabError, match=r"^management console .*/mconsole: cad: no\."):
        ask(path, "cad")


def test_a_refusal_without_a_word(kernel: Kernel, path: Path) -> None:
    kernel.answer((1, 0, b""))
    with pytest.raises(LabError, match=r": cad: refused$"):
        ask(path, "cad")


def test_a_kernel_that_does_not_answer_is_given_up(kernel: Kernel, path: Path) -> None:
    kernel.answer()
    with pytest.raises(LabError, match=r"mconsole: no answer \(timed out\)$"):
        ask(path, "cad", timeout_s=0.2)


def test_an_answer_that_does_not_end_is_given_up(kernel: Kernel, path: Path) -> None:
    kernel.answer((0, 1, b"first"))
    with pytest.raises(LabError, match=r"no answer \(timed out\)$"):
        ask(path, "cad", timeout_s=0.2)


def test_an_answer_without_end_is_cut_off(kernel: Kernel, path: Path) -> None:
    kernel.answer(*[(0, 1, b"x")] * (MOST_REPLIES + 8))
    assert ask(path, "log") == "x" * MOST_REPLIES


def test_what_is_no_text_is_answered_all_the_same(kernel: Kernel, path: Path) -> None:
    kernel.answer((0, 0, b"\xff\xfe"))
    assert ask(path, "log") == "\ufffd\ufffd"


def test_a_short_reply_is_padded(kernel: Kernel, path: Path) -> None:
    kernel.replies = [struct.pack("=iII", 0, 0, 2) + b"ok"]
    kernel.start()
    assert ask(path, "version") == "ok"


@pytest.mark.parametrize("reason", ["missing", "nobody reads it", "no socket"])
def test_where_no_kernel_listens(path: Path, reason: str) -> None:
    if reason == "nobody reads it":
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as left_behind:
            left_behind.bind(str(path))
    if reason == "no socket":
        path.touch()
    with pytest.raises(LabError, match=r"^management console .*/mconsole: no answer \("):
        ask(path, "cad")


def test_an_order_that_is_too_long_is_refused(path: Path) -> None:
    with pytest.raises(LabError, match="an order of 512 bytes is too long"):
        ask(path, "x" * MOST_BYTES)


def test_nothing_is_left_of_the_asker(
    kernel: Kernel, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "own"))
    kernel.answer((0, 0, b"OK"))
    ask(path, "version")
    assert list((tmp_path / "own").iterdir()) == []
