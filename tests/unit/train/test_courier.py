"""The thread that sends carries everything in order, and its errors reach the script."""

from __future__ import annotations

import threading

import pytest

from beowulf.train.courier import Courier


def test_everything_is_carried_in_order_by_another_thread() -> None:
    carried: list[tuple[int, str]] = []
    courier = Courier[int](lambda n: carried.append((n, threading.current_thread().name)))
    for first in (0, 50):
        for number in range(first, first + 50):
            courier.send(number)
        courier.wait()
        assert [number for number, _ in carried] == list(range(first + 50))
    assert {name for _, name in carried} == {"beowulf-courier"}
    courier.close(wait=True)


def test_an_error_is_raised_to_who_waits_and_nothing_is_carried_after_it() -> None:
    carried: list[int] = []

    def carry(number: int) -> None:
        if number == 2:
            raise ValueError("the wire is cut")
        carried.append(number)

    courier = Courier[int](carry)
    for number in range(5):
        courier.send(number)
    for _ in range(2):  # it stays broken
        with pytest.raises(ValueError, match="the wire is cut"):
            courier.wait()
    assert carried == [0, 1]
    courier.close(wait=True)


def test_sending_does_not_wait_and_closing_need_not() -> None:
    go_on = threading.Event()
    courier = Courier[threading.Event](lambda event: (event.wait(60), None)[1])
    courier.send(go_on)
    courier.close(wait=False)
    assert threading.active_count() > 1
    go_on.set()
    courier.wait()
