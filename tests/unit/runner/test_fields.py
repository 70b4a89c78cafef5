"""Single values are taken or refused with their field, the cause and a remedy."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beowulf.errors import InvalidInput
from beowulf.runner import fields
from tests.unit.conftest import short


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("45s", 45), ("2m", 120), ("2h", 7200), ("1d", 86_400), ("1h30m", 5400),
        ("1d2h3m4s", 93_784), ("0h5s", 5), ("007s", 7), ("365d", 31_536_000),
    ],
)  # fmt: skip
def test_durations(text: str, seconds: int) -> None:
    assert fields.duration_s("time_limit", text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "5", "2 h", "h", "-2h", "+2h", "1.5h", "2H", "30m1h", "1h1h", "0s", "0h0m", "366d",
        "1e3s", "2h\n", "٣h", "forever", "9" * 10 + "s", "9" * 5000 + "s", "2h; rm -rf /",
    ],
    ids=short,
)  # fmt: skip
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"^time_limit: ") as refusal:
        fields.duration_s("time_limit", text)
    assert len(str(refusal.value)) < 200


@pytest.mark.parametrize(
    ("value", "range_"),
    [("3", (3, 3)), ("2-4", (2, 4)), (5, (5, 5)), ("1-4096", (1, 4096)), ("4-4", (4, 4))],
)
def test_numbers_of_nodes(value: object, range_: tuple[int, int]) -> None:
    assert fields.node_range("nodes", value) == range_


@pytest.mark.parametrize(
    "value",
    [
        "", "0", "0-2", "4-2", "-3", "2-", "a", "2-4-6", "4097", "1-4097", "٣", "3\n", 0, -1,
        10**30, 16**5000, True, 2.0, None, [], {},
    ],
    ids=short,
)  # fmt: skip
def test_what_is_no_number_of_nodes_is_refused(value: object) -> None:
    with pytest.raises(InvalidInput, match=r"^nodes: "):
        fields.node_range("nodes", value)


@pytest.mark.parametrize("value", [1, 7, 10])
def test_whole_numbers_within_the_bounds(value: int) -> None:
    assert fields.integer("ranks", value, 1, 10) == value


@pytest.mark.parametrize(
    "value",
    [0, -1, 11, 10**9, 10**30, 16**5000, -(16**5000), True, False, 2.0, "3", None, [], {}],
    ids=short,
)
def test_other_numbers_are_refused_shortly(value: object) -> None:
    with pytest.raises(InvalidInput, match=r"^ranks: ") as refusal:
        fields.integer("ranks", value, 1, 10)
    assert len(str(refusal.value)) < 200


@pytest.mark.parametrize("name", ["a", "digits", "7", "A.b_c-d", "x" * 64, "v1.0"])
def test_names(name: str) -> None:
    assert fields.name("name", name) == name


@pytest.mark.parametrize(
    "name",
    [
        "", "../../x", "-rf", "$(id)", "a b", "x" * 65, "🐢", ".hidden", "_x", "a/b", "a\n", "a\0b",
        "é", "\udcff", "a;b", "..",
    ],
)  # fmt: skip
def test_what_cannot_name_a_job_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(InvalidInput, match=r"^name: ") as refusal:
        fields.name("name", name)
    assert str(refusal.value).isprintable()


@given(st.text())
def test_any_file_name_suggests_a_valid_job_name(stem: str) -> None:
    suggested = fields.name_from(stem)
    assert fields.name("name", suggested) == suggested


def test_a_suggested_name_resembles_the_file_name() -> None:
    assert fields.name_from("train") == "train"
    assert fields.name_from("my model (2)") == "my-model-2"
    assert fields.name_from("...") == "job"


def test_variables_are_checked_by_name_and_value() -> None:
    given_ = {"A": "1", "_b2": "", "PATH": "/x:/y", "TEXT": "two\nlines é"}
    assert fields.environment("environment", given_) == given_


@pytest.mark.parametrize(
    ("variables", "field"),
    [
        ({"": "x"}, "environment."),
        ({"A B": "x"}, "environment.A B"),
        ({"2A": "x"}, "environment.2A"),
        ({"A=B": "x"}, "environment.A=B"),
        ({"É": "x"}, "environment.É"),
        ({"BEOWULF_RANK": "x"}, "environment.BEOWULF_RANK"),
        ({"A": 1}, "environment.A"),
        ({"A": "x\0y"}, "environment.A"),
        ({"A": "x\udcffy"}, "environment.A"),
        ({"A\nB": "x"}, "environment.A\\nB"),
    ],
)
def test_other_variables_are_refused(variables: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        fields.environment("environment", variables)
    assert str(refusal.value).startswith(f"{field}: ")


@pytest.mark.parametrize(
    ("key", "remedy"),
    [("rank", "did you mean ranks?"), ("tume_limit", "did you mean time_limit?"),
     ("zzz", "known keys: ranks, time_limit"), ("x" * 100_000, "known keys: ranks, time_limit")],
    ids=short,
)  # fmt: skip
def test_unknown_keys_are_refused_with_the_nearest_one(key: str, remedy: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        fields.refuse_unknown_keys({"ranks": 1, key: 2}, ("ranks", "time_limit"), "resources.")
    assert refusal.value.remedy == remedy
    assert len(str(refusal.value)) < 200
