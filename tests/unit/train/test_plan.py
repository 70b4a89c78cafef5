"""A plan is no worse than what it was chosen over, and says what it costs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beowulf.limits.quantities import Job, Node, Wire
from beowulf.limits.wire import ring_s
from beowulf.train.plan import (
    DENSE,
    FP16,
    GAIN_AT_LEAST,
    Survey,
    bucket_bytes_for,
    choose,
    hidden_part,
    link_kinds,
    offers,
    predict,
)

MBIT_100, MBIT_1000 = 11.9e6, 119e6


def survey_of(
    speeds: tuple[float, ...],
    rates: tuple[float, ...],
    gradient_bytes: float = 2.6e6,
    *,
    batch: int = 84,
    hidden: float = 0.0,
    machines: tuple[int, ...] = (),
) -> Survey:
    """Return what would be found on nodes that do just what the limit model says."""
    wire = Wire(rates, 1e-4)
    job = Job(batch, gradient_bytes)
    return Survey(
        nodes=tuple(Node(speed) for speed in speeds),
        machines=machines or tuple(range(len(speeds))),
        wire=wire,
        job=job,
        wire_s=ring_s(wire, gradient_bytes, job.bucket_bytes),
        hidden=hidden,
    )


@st.composite
def surveys(draw: st.DrawFn) -> Survey:
    n = draw(st.integers(2, 6))
    speeds = draw(st.lists(st.floats(1.0, 1000.0), min_size=n, max_size=n))
    rates = draw(st.lists(st.sampled_from([MBIT_100, MBIT_1000]), min_size=n, max_size=n))
    size, hidden = draw(st.floats(1e3, 1e8)), draw(st.floats(0, 1))
    survey = survey_of(tuple(speeds), tuple(rates), size, hidden=hidden)
    return replace(survey, wire_s=survey.wire_s * draw(st.floats(1.0, 3.0)))


@given(surveys())
def test_a_plan_is_no_slower_than_dense_on_all_ranks(survey: Survey) -> None:
    plan = choose(survey)
    usual = predict(survey, range(len(survey.nodes)), DENSE)
    assert plan.step_s <= usual.step_s * (1 + 1e-9)
    assert plan.ranks == tuple(sorted(set(plan.ranks)))


@given(surveys())
def test_a_plan_is_nearly_as_fast_as_the_fastest_rank_alone(survey: Survey) -> None:
    plan = choose(survey)
    alone_s = min(predict(survey, [rank], DENSE).step_s for rank in range(len(survey.nodes)))
    allowed = 1.21 if 0 in plan.ranks else 1 + GAIN_AT_LEAST  # rank 0 is not left out for less
    assert plan.step_s <= alone_s * (allowed + GAIN_AT_LEAST)


@given(surveys())
def test_who_may_not_rest_does_not(survey: Survey) -> None:
    assert len(choose(replace(survey, may_rest=False)).ranks) == len(survey.nodes)


@given(surveys())
def test_nothing_that_changes_the_result_is_chosen_unless_allowed(survey: Survey) -> None:
    assert choose(survey).strategy.name in {"dense", "weighted", "alone"}


@given(surveys(), st.floats(0, 1))
def test_overlap_makes_no_step_longer(survey: Survey, hidden: float) -> None:
    everybody = range(len(survey.nodes))
    without = predict(replace(survey, hidden=0.0), everybody, DENSE)
    assert predict(replace(survey, hidden=hidden), everybody, DENSE).step_s <= without.step_s


def test_all_train_where_the_wire_keeps_up() -> None:
    plan = choose(survey_of((96, 48, 24), (MBIT_1000,) * 3))
    assert (plan.ranks, plan.strategy.name) == ((0, 1, 2), "dense")


def test_one_trains_alone_where_the_wire_takes_longer_than_all_it_saves() -> None:
    plan = choose(survey_of((96, 48, 24), (MBIT_100,) * 3, 25e6))
    assert (plan.ranks, plan.strategy.name) == ((0,), "alone")
    assert plan.step_s == pytest.approx(84 / 96)


def test_rank_0_rests_only_for_a_large_gain() -> None:
    assert choose(survey_of((24, 48, 96), (MBIT_100,) * 3, 25e6)).ranks == (2,)
    assert 0 in choose(survey_of((90, 96), (MBIT_100,) * 2, 25e6)).ranks


def test_a_node_with_a_slow_link_and_little_speed_rests() -> None:
    rates = (MBIT_1000, MBIT_1000, MBIT_1000, MBIT_100 / 10)
    assert choose(survey_of((50, 50, 50, 10), rates, 25e6)).ranks == (0, 1, 2)


def test_a_good_node_with_a_slow_link_is_weighed() -> None:
    rates = (MBIT_100, MBIT_1000, MBIT_1000, MBIT_1000)
    survey = replace(survey_of((70.0,) * 4, rates, 25e6, batch=840), may_rest=False)
    assert choose(survey).strategy.name == "weighted"


def test_ranks_of_one_machine_rest_together() -> None:
    rates = (MBIT_1000, MBIT_1000, MBIT_100 / 10, MBIT_100 / 10)
    survey = survey_of((50, 50, 5, 5), rates, 25e6, machines=(0, 0, 2, 2))
    assert choose(survey).ranks == (0, 1)


def test_what_changes_the_result_is_named_with_its_gain_and_chosen_if_allowed() -> None:
    survey = replace(survey_of((96, 96, 96), (MBIT_100,) * 3, 25e6, batch=500), may_rest=False)
    plan = choose(survey)
    named = dict(offers(survey, plan))
    assert plan.strategy.name == "dense"
    assert 1.2 < named["fp16"] < 2
    assert choose(survey, [FP16]).strategy.name == "fp16"


def test_nothing_is_named_where_it_gains_nothing() -> None:
    survey = survey_of((10, 10), (MBIT_1000,) * 2, 1e5)
    assert offers(survey, choose(survey)) == []


def test_hidden_part_is_what_overlap_gained_of_what_it_could() -> None:
    survey = survey_of((96, 48, 24), (MBIT_100,) * 3, 8e6)
    all_of_it = predict(replace(survey, hidden=1.0), range(3), DENSE)
    none_of_it = predict(survey, range(3), DENSE)
    half_s = (all_of_it.step_s + none_of_it.step_s) / 2
    computed_s = none_of_it.time.compute_s
    assert hidden_part(survey, none_of_it.step_s, none_of_it.step_s, computed_s) == 0
    assert hidden_part(survey, none_of_it.step_s, half_s, computed_s) == pytest.approx(0.5)
    assert hidden_part(survey, none_of_it.step_s, 0.0, computed_s) == 1


def test_predictions_take_the_wire_as_it_was_found() -> None:
    survey = survey_of((96, 48, 24), (MBIT_100,) * 3, 8e6)
    slower = replace(survey, wire_s=survey.wire_s * 2)
    plans = [predict(one, range(3), DENSE).time for one in (survey, slower)]
    assert plans[1].wire_s == pytest.approx(2 * plans[0].wire_s)
    assert plans[1].compute_s == plans[0].compute_s


def test_buckets_are_small_on_slow_wires_and_no_larger_than_they_need_be() -> None:
    usual = 1_000_000
    slow = bucket_bytes_for(Wire((MBIT_100,) * 3, 1e-4), usual)
    fast = bucket_bytes_for(Wire((MBIT_1000,) * 3, 1e-4), usual)
    assert slow == usual // 4
    assert slow < fast <= 4 * usual


def test_links_are_of_one_kind_unless_a_port_of_another_kind_explains_them() -> None:
    assert link_kinds([MBIT_1000, 0.7 * MBIT_1000, MBIT_100]) == [0, 0, 1]
    assert link_kinds([MBIT_100, 250e6, MBIT_1000]) == [2, 0, 1]
