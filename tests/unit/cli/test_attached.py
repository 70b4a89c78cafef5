"""Above a live line, what ranks print comes in whole lines, and all of it comes."""

from __future__ import annotations

from beowulf.cli.attached import LONGEST_LINE_BYTES, _whole_lines


def test_parts_of_a_line_wait_for_its_end_and_the_last_one_for_the_end_of_all() -> None:
    shown: list[bytes] = []
    write = _whole_lines(shown.append)
    for text in (b"one\ntw", b"o\nthr", b"ee", b""):
        write(text)
    assert shown == [b"one\n", b"two\n", b"three\n"]
    write(b"")
    assert len(shown) == 3


def test_a_line_without_an_end_does_not_wait_for_ever() -> None:
    shown: list[bytes] = []
    write = _whole_lines(shown.append)
    write(b"x" * LONGEST_LINE_BYTES)
    assert shown == []
    write(b"x")
    assert shown == [b"x" * (LONGEST_LINE_BYTES + 1) + b"\n"]
