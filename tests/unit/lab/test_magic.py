"""A magic packet wakes its own machine, wherever in a frame it stands."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beowulf.lab.magic import ETHERNET_HEADER_BYTES, magic_packet, woken_by

MACS = {"node1": "02:be:0f:77:00:11", "node2": "02:be:0f:77:00:12"}
PACKETS = {name: magic_packet(mac) for name, mac in MACS.items()}
HEADER = b"\xff" * 6 + bytes.fromhex("02aabbccddee") + b"\x08\x42"


def test_a_packet_is_what_amd_wrote() -> None:
    assert magic_packet("02:be:0f:77:00:11") == b"\xff" * 6 + b"\x02\xbe\x0f\x77\x00\x11" * 16
    assert len(magic_packet("02:be:0f:77:00:11")) == 102


@given(st.binary(max_size=1300), st.binary(max_size=200), st.sampled_from(sorted(MACS)))
def test_it_is_found_anywhere_in_the_payload(before: bytes, behind: bytes, name: str) -> None:
    assert woken_by(HEADER + before + PACKETS[name] + behind, PACKETS) == [name]


def test_one_frame_may_wake_two() -> None:
    frame = HEADER + PACKETS["node2"] + PACKETS["node1"]
    assert sorted(woken_by(frame, PACKETS)) == ["node1", "node2"]


@pytest.mark.parametrize("begins", range(ETHERNET_HEADER_BYTES))
def test_it_is_not_found_in_the_header(begins: int) -> None:
    assert woken_by(bytes(begins) + PACKETS["node1"], PACKETS) == []


@pytest.mark.parametrize(
    "payload",
    [
        PACKETS["node1"][:-6],
        PACKETS["node1"][:-1],
        PACKETS["node1"][1:],
        b"\xff" * 5 + b"\x00" + PACKETS["node1"][6:],
        PACKETS["node1"][:54] + b"\x00" + PACKETS["node1"][54:],
        magic_packet("02:be:0f:77:00:13"),
        b"",
    ],
)
def test_a_packet_that_is_not_whole_or_not_ours_wakes_nobody(payload: bytes) -> None:
    assert woken_by(HEADER + payload, PACKETS) == []


@given(st.binary(max_size=200))
def test_no_frame_is_an_error(frame: bytes) -> None:
    assert woken_by(frame, PACKETS) == []
    assert woken_by(frame, {}) == []
