"""The training benchmark's cases, and the limits that they are measured against."""

from __future__ import annotations

import pytest

from bench.cases import BATCH, CASES, FAST, SLOW, UNEQUAL, Case, limit_s, predicted, wire_of
from bench.network import mbit_per_s
from bench.ranks.shapes import MODELS, bytes_of
from beowulf.train.shares import split

MEGABYTE_PER_S = 1e6


def case(**more: object) -> Case:
    given = {"name": "x", "model": "2.6 MB", "rates": (SLOW,) * 3, "speeds": UNEQUAL,
             "compute_s": 0.7, "ways": ("dense",)}  # fmt: skip
    return Case(**{**given, **more})  # type: ignore[arg-type]  # the test says what each is


def test_models_are_as_large_as_they_are_called() -> None:
    for name in ("0.1 MB", "1 MB", "2.6 MB", "5 MB", "25 MB"):
        assert bytes_of(MODELS[name]) / 1e6 == pytest.approx(float(name.split()[0]), rel=0.05)
    assert bytes_of(MODELS["ResNet-18"]) / 4 == 11_689_512  # as torchvision's resnet18 has
    assert bytes_of(MODELS["transformer"]) / 4 == pytest.approx(10e6, rel=0.02)


def test_cases_make_sense_together() -> None:
    assert len({one.name for one in CASES}) == len(CASES)
    for one in CASES:
        assert len(one.rates) == len(one.speeds)
        assert one.model in MODELS
        assert sum(split(BATCH, one.speeds)) == BATCH
        assert all(mbit_per_s(rate) for rate in one.rates)
    assert [one for one in CASES if one.is_quick]


def test_speeds_make_the_compute_time_when_shares_follow_them() -> None:
    speeds = case().samples_per_s
    shares = split(BATCH, UNEQUAL)
    assert [share / speed for share, speed in zip(shares, speeds, strict=True)] == pytest.approx(
        [0.7] * 3
    )


def test_quotas_are_as_the_speeds_and_no_node_has_more_than_a_core() -> None:
    assert case().cores_per_node == ()
    assert case(cores=1.4).cores_per_node == pytest.approx((0.8, 0.4, 0.2))
    assert all(part <= 1 for one in CASES for part in one.cores_per_node)


def test_one_hundred_mbit_among_gigabits() -> None:
    wire = wire_of(case(rates=(SLOW, FAST, FAST)), 12e6)
    assert wire.bytes_per_s == pytest.approx((12e6, 120e6, 120e6))
    assert wire_of(case(rates=(FAST,) * 3), 118e6).bytes_per_s == pytest.approx((118e6,) * 3)


def test_the_limit_without_a_wire_is_the_compute_time() -> None:
    assert limit_s(case(), 1e15) == pytest.approx(0.7)


def test_the_limit_with_a_slow_wire_is_mostly_the_ring() -> None:
    ring_s = 4 / 3 * bytes_of(MODELS["2.6 MB"]) / MEGABYTE_PER_S
    found = limit_s(case(), MEGABYTE_PER_S)
    assert ring_s + 0.7 / 3 < found < ring_s + 0.7


def test_one_node_alone_takes_what_its_speed_takes() -> None:
    told = predicted(case(), "alone", MEGABYTE_PER_S)
    assert told is not None
    assert told.step_s == pytest.approx(0.7 * 7 / 4)
    assert told.wire_s == 0


def test_equal_shares_wait_for_the_slowest() -> None:
    told = predicted(case(), "dense equal", 1e15)
    assert told is not None
    assert told.step_s == pytest.approx(0.7 * 7 / 3)


def test_what_the_model_does_not_know_is_not_predicted() -> None:
    assert predicted(case(), "DDP balanced", MEGABYTE_PER_S) is None


def test_a_hurried_case_is_the_same_case() -> None:
    quick = case().quick()
    assert (quick.name, quick.model, quick.samples_per_s) == ("x", "2.6 MB", case().samples_per_s)
    assert quick.rounds < case().rounds
    assert case(halves=True, steps=40).quick().steps == 20
