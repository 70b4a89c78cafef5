"""What one side puts into frames the other takes out, however the wire cuts it up."""

from __future__ import annotations

import io
import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beowulf.errors import ConnectionLost
from beowulf.head.frames import Frame, FrameReader, Peer

if TYPE_CHECKING:
    from collections.abc import Callable

FRAMES = st.builds(
    Frame,
    st.dictionaries(st.text().filter(lambda key: key != "bytes"), st.text() | st.integers()),
    st.binary(),
)


def in_pieces(raw: bytes, size: int) -> Callable[[int], bytes]:
    stream = io.BytesIO(raw)
    return lambda most: stream.read(min(size, most))


@given(st.lists(FRAMES), st.integers(1, 9))
def test_frames_arrive_as_they_were_sent(frames: list[Frame], size: int) -> None:
    reader = FrameReader(in_pieces(b"".join(frame.encode() for frame in frames), size))
    assert [reader.read() for _ in frames] == frames
    assert reader.read() is None


@given(FRAMES, st.integers(1, 50))
def test_a_frame_that_is_cut_off_is_a_lost_connection(frame: Frame, less: int) -> None:
    raw = frame.encode()
    cut = raw[: max(1, len(raw) - less)]
    with pytest.raises(ConnectionLost, match="ended within"):
        FrameReader(in_pieces(cut, 8)).read()


@pytest.mark.parametrize(
    "raw", [b"Welcome to the head!\n", b"[1]\n", b'{"bytes": "x"}\n', b"[" * 100_000 + b"\n"]
)
def test_what_is_no_frame_is_shown(raw: bytes) -> None:
    with pytest.raises(ConnectionLost, match="said something else"):
        FrameReader(io.BytesIO(raw).read).read()


def test_a_client_that_has_gone_is_noticed() -> None:
    with pytest.raises(ConnectionLost, match="the client has gone"):
        Peer(FrameReader(lambda _: b""), io.BytesIO()).hear()


def test_telling_writes_a_frame() -> None:
    output = io.BytesIO()
    Peer(FrameReader(lambda _: b""), output).tell(b"\0\n", job={"id": "1"})
    assert FrameReader(io.BytesIO(output.getvalue()).read).read() == Frame(
        {"job": {"id": "1"}}, b"\0\n"
    )


def test_a_client_hears_every_few_seconds_that_it_is_worked_for() -> None:
    told: list[bytes] = []
    thrice = threading.Event()

    class Output(io.BytesIO):
        def flush(self) -> None:
            told.append(self.getvalue())
            if len(told) == 3:
                thrice.set()

    peer = Peer(FrameReader(lambda _: b""), Output())
    with peer.showing_life(0.01):
        assert thrice.wait(60)
    count = len(told)
    peer.tell(job="done")
    lines = told[-1].splitlines()
    assert lines == [b'{"waiting": true}'] * count + [b'{"job": "done"}']


def test_a_client_that_has_gone_ends_the_signs_of_life_and_not_the_work() -> None:
    gone = threading.Event()

    class Output(io.BytesIO):
        def write(self, _: object) -> int:
            gone.set()
            raise BrokenPipeError

    with Peer(FrameReader(lambda _: b""), Output()).showing_life(0.01):
        assert gone.wait(60)
