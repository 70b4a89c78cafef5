"""Core-hours by user, from what a real cluster's accounts printed, and from garbage."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beowulf.errors import CommandFailed, InvalidInput
from beowulf.hardware.accounting import ask_history, parse_history, parse_span
from beowulf.transport.fake import Answer, FakeConnection
from tests.unit.hardware.recorded import ADA, ALL

LONG_AGO = datetime(2026, 11, 22, tzinfo=UTC)


def sacct(*lines: str) -> str:
    return "asker|ada|2001|None\n@@accounts\n" + "".join(f"{line}\n" for line in lines)


def test_core_hours_are_cores_times_time() -> None:
    (ada,) = parse_history(ADA, LONG_AGO).users
    core_s = 6 * 4 + 2 + 1 + 0 + 1 + 96 * 2 + 78 * 2 + 2 * 4
    assert ada.core_hours == pytest.approx(core_s / 3600, abs=0.001)


def test_jobs_that_slurm_refused_or_that_never_began_do_not_count() -> None:
    (ada,) = parse_history(ADA, LONG_AGO).users
    assert (ada.jobs, ada.failures, ada.running) == (8, 1, 0)


def test_an_ordinary_user_is_told_that_others_are_not_shown_and_an_administrator_not() -> None:
    assert not parse_history(ADA, LONG_AGO).of_everybody
    everybody = parse_history(ALL, LONG_AGO)
    assert everybody.of_everybody
    assert {"ada", "ben"} <= {use.user for use in everybody.users}


@pytest.mark.parametrize(
    ("private", "all_seen"),
    [("none", True), ("accounts,users", True), ("usage", False), ("jobs,usage", False)],
)
def test_what_is_private_decides_for_an_ordinary_user(private: str, all_seen: bool) -> None:
    told = f"asker|ada|2001|None\nPrivateData             = {private}\n@@accounts\n"
    assert parse_history(told, LONG_AGO).of_everybody is all_seen


def test_what_a_person_s_shell_prints_before_is_passed_over() -> None:
    assert parse_history(f"Welcome!\n{ALL}", LONG_AGO) == parse_history(ALL, LONG_AGO)


def test_an_operator_sees_all() -> None:
    told = "asker|ada|2001|Operator\nPrivateData = usage\n@@accounts\n"
    assert parse_history(told, LONG_AGO).of_everybody


def test_who_used_most_comes_first() -> None:
    told = sacct(
        "ben|1|COMPLETED|2026-11-23T04:00:00|2026-11-23T05:00:00|3600|4",
        "ada|2|RUNNING|2026-11-23T04:00:00|Unknown|3600|8",
    )
    users = parse_history(told, LONG_AGO).users
    assert [(use.user, use.core_hours, use.running) for use in users] == [
        ("ada", 8.0, 1), ("ben", 4.0, 0),
    ]  # fmt: skip


def test_a_job_that_began_before_counts_from_then_on() -> None:
    told = sacct("ada|1|COMPLETED|2026-11-21T23:00:00|2026-11-22T01:00:00|7200|2")
    assert parse_history(told, LONG_AGO).users[0].core_hours == pytest.approx(2.0)


def test_states_never_seen_are_no_failures() -> None:
    told = sacct("ada|1|SINGING|2026-11-23T04:00:00|2026-11-23T05:00:00|3600|1")
    assert parse_history(told, LONG_AGO).users[0].failures == 0


def test_the_time_travels_as_a_word_of_its_own_in_utc() -> None:
    connection = FakeConnection([Answer(ADA.encode())])
    now = datetime(2026, 11, 23, 6, tzinfo=UTC)
    history = ask_history(connection, timedelta(days=1), now)
    assert connection.calls[0].arguments[-1] == "2026-11-22T06:00:00"
    assert history.since == "2026-11-22T06:00:00+00:00"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer(b"@@accounts\nSlurm accounting storage is disabled\n", 1), "no accounts"),
        (Answer(b"", 1, "sacct: error: Problem talking to the database: Connection refused\n"),
         "systemctl status slurmdbd"),
        (Answer(b"", 127, "sh: sacct: not found\n"), "not installed"),
    ],
)  # fmt: skip
def test_accounts_that_do_not_answer_are_one_line(answer: Answer, words: str) -> None:
    with pytest.raises(CommandFailed) as caught:
        ask_history(FakeConnection([answer]), timedelta(days=1))
    assert words in str(caught.value)


def test_spans_are_hours_days_and_weeks() -> None:
    assert [parse_span(text) for text in ("12h", "7d", "2w")] == [
        timedelta(hours=12), timedelta(days=7), timedelta(weeks=2),
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["", "7", "d", "0d", "-1d", "7 d", "99999w", "7d\n", "٣d"])
def test_other_spans_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="--since"):
        parse_span(text)


@given(st.text())
def test_garbage_is_survived(text: str) -> None:
    assert parse_history(text, LONG_AGO).users is not None
    assert parse_history(f"{ADA}{text}", LONG_AGO).users[0].user is not None


@given(st.lists(st.text(), min_size=7, max_size=7))
def test_garbage_in_the_fields_is_survived(fields: list[str]) -> None:
    assert parse_history(sacct("|".join(fields)), LONG_AGO).users is not None
