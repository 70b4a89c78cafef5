"""Buckets leave in their order, whatever the order in which gradients become ready."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from beowulf.train.buckets import BUCKET_BYTES, Bucket
from beowulf.train.shipment import Shipment

F8: np.dtype[np.floating] = np.dtype(np.float64)
HALF = BUCKET_BYTES // 8 // 2  # two of these fill a bucket


@given(order=st.permutations(range(7)), ready=st.integers(0, 7))
def test_each_bucket_leaves_once_in_order_and_only_when_complete(
    order: list[int], ready: int
) -> None:
    shipment = Shipment([(F8, (HALF,))] * 7, room_behind=2, first_index=3)
    sent: list[Bucket] = []
    done: set[int] = set()
    for index in order[:ready]:
        shipment.ready(index, sent.append)
        done.add(index)
        for bucket in sent:
            assert {i for i, p in enumerate(shipment.places) if p.base is bucket.flat} <= done
    assert shipment.left_early == len(sent) < len(shipment.buckets) == 4
    for index in range(7):
        assert shipment.is_gone(index) == any(
            shipment.places[index].base is bucket.flat for bucket in sent
        )
    shipment.send_rest(sent.append)
    assert [bucket.index for bucket in sent] == [3, 4, 5, 6]
    assert shipment.left_early == 0


def test_the_next_step_begins_anew() -> None:
    shipment = Shipment([(F8, (HALF * 2,))] * 2, room_behind=1)
    for _ in range(2):
        sent: list[Bucket] = []
        shipment.ready(1, sent.append)
        assert len(sent) == 1
        shipment.send_rest(sent.append)
        assert len(sent) == 2


def test_what_is_not_ready_after_all_holds_its_bucket_back() -> None:
    shipment = Shipment([(F8, (HALF * 2,)), (F8, (HALF,)), (F8, (HALF,))], room_behind=1)
    sent: list[Bucket] = []
    shipment.ready(1, sent.append)
    shipment.not_ready(1)
    shipment.ready(2, sent.append)
    assert not sent
    shipment.ready(1, sent.append)
    assert len(sent) == 1


def test_the_body_of_a_bucket_is_its_gradients_alone() -> None:
    shipment = Shipment([(F8, (HALF * 2,)), (F8, (3,))], room_behind=2)
    shipment.behind[...] = 7
    bodies = [shipment.body(bucket) for bucket in shipment.buckets]
    assert [body.size for body in bodies] == [3, HALF * 2]
    assert all((body == 0).all() for body in bodies)
