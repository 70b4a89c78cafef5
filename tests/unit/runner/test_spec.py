"""Job files: what is right comes back as it was; what is wrong is named in one line."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from beowulf.errors import InvalidInput
from beowulf.runner.spec import (
    Files,
    JobSpec,
    Resources,
    Retry,
    format_spec,
    parse_spec,
    read_spec,
    spec_from,
)
from tests.unit.conftest import short

COMPLETE = b"""
name = "digits"
command = ["python", "train.py", "--epochs", "20"]
[resources]
ranks = 4
threads_per_rank = 2
memory_per_rank_mb = 1024
time_limit = "2h"
[files]
exclude = ["*.ckpt"]
size_limit_mb = 100
[retry]
limit = 5
[environment]
KEY = "value"
"""

# --- Any job that may be asked for --------------------------------------------------------

WORDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
PLACES = st.one_of(
    st.fixed_dictionaries({}, optional={"ranks": st.integers(1, 65_536)}),
    st.fixed_dictionaries(
        {"nodes": st.sampled_from(["1", "3", "2-4", "1-4096"])},
        optional={"ranks_per_node": st.integers(1, 65_536)},
    ),
)
LIMITS = st.fixed_dictionaries(
    {},
    optional={
        "threads_per_rank": st.integers(1, 1024),
        "memory_per_rank_mb": st.integers(1, 1 << 24),
        "time_limit": st.sampled_from(["45s", "1h30m", "365d"]),
    },
)
SPECS = st.builds(
    JobSpec,
    name=st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z"),
    command=st.builds(
        lambda first, rest: (first, *rest), WORDS.filter(bool), st.lists(WORDS, max_size=4)
    ),
    resources=st.builds(lambda places, limits: Resources(**places, **limits), PLACES, LIMITS),
    files=st.builds(
        Files, exclude=st.lists(WORDS, max_size=3).map(tuple), size_limit_mb=st.integers(1, 1 << 20)
    ),
    retry=st.builds(Retry, limit=st.integers(0, 100), leave_out=st.booleans()),
    environment=st.dictionaries(
        st.from_regex(r"\A[A-Za-z_][A-Za-z0-9_]{0,9}\Z").filter(
            lambda key: not key.startswith("BEOWULF_")
        ),
        WORDS,
        max_size=3,
    ),
)

# --- Anything that a job file may hold instead ----------------------------------------------

KEYS = st.sampled_from(
    ["name", "command", "resources", "files", "retry", "environment", "ranks", "nodes", "limit",
     "ranks_per_node", "threads_per_rank", "memory_per_rank_mb", "time_limit", "exclude",
     "size_limit_mb", "comand", "rank"]
) | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)  # fmt: skip
VALUES = st.recursive(
    st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.datetimes()
    | st.dates()
    | st.times()
    | st.sampled_from(["2h", "2-4", "train", "python"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=10,
)
DOCUMENTS = st.dictionaries(KEYS, VALUES, max_size=6)


def tables(*keys: str) -> st.SearchStrategy[Any]:
    """Return tables with the right keys and any values."""
    return st.fixed_dictionaries({}, optional=dict.fromkeys(keys, VALUES))


NEARLY_RIGHT = st.fixed_dictionaries(
    {"command": st.just(["python", "train.py"]) | VALUES},
    optional={
        "name": st.just("digits") | VALUES,
        "resources": tables(*vars(Resources())),
        "files": tables(*vars(Files())),
        "retry": tables(*vars(Retry())),
        "environment": st.dictionaries(KEYS, st.text(max_size=5) | VALUES, max_size=3),
    },
)


def assert_taken_or_refused_in_one_line(raw: bytes) -> None:
    answer = answer_to(raw)
    if isinstance(answer, JobSpec):
        assert parse_spec(format_spec(answer)) == answer
    else:
        assert str(answer).isprintable()
        assert len(str(answer)) < 1000


def answer_to(raw: bytes) -> JobSpec | InvalidInput:
    """Parse a job file; anything else than a job or a refusal fails the test."""
    try:
        return parse_spec(raw)
    except InvalidInput as refusal:
        return refusal


def test_a_complete_job_file() -> None:
    assert parse_spec(COMPLETE) == JobSpec(
        name="digits",
        command=("python", "train.py", "--epochs", "20"),
        resources=Resources(ranks=4, threads_per_rank=2, memory_per_rank_mb=1024, time_limit="2h"),
        files=Files(exclude=("*.ckpt",), size_limit_mb=100),
        retry=Retry(limit=5),
        environment={"KEY": "value"},
    )
    assert parse_spec(COMPLETE).resources.time_limit_s == 7200


def test_the_shortest_job_file_gets_the_documented_defaults() -> None:
    spec = parse_spec(b'command = ["python", "train.py"]', default_name="mine")
    assert spec == JobSpec(name="mine", command=("python", "train.py"))
    assert spec.files == Files(exclude=(), size_limit_mb=512)
    assert spec.retry == Retry(limit=3)
    assert spec.resources.time_limit_s is None


@given(SPECS)
def test_every_job_survives_being_written_down(spec: JobSpec) -> None:
    assert parse_spec(format_spec(spec)) == spec


@settings(max_examples=300)
@given(st.binary(max_size=300))
def test_any_bytes_are_taken_or_refused_in_one_line(raw: bytes) -> None:
    assert_taken_or_refused_in_one_line(raw)


@settings(max_examples=300)
@given(st.text(st.sampled_from("[]{}=\"'\\\n .#,-_+:0123456789aeinfuxTZ\t\r\0é"), max_size=60))
def test_any_text_that_looks_like_toml_is_taken_or_refused(text: str) -> None:
    assert_taken_or_refused_in_one_line(text.encode())


@settings(max_examples=400)
@given(DOCUMENTS | NEARLY_RIGHT)
def test_any_document_is_taken_or_refused(document: dict[str, Any]) -> None:
    assert_taken_or_refused_in_one_line(tomli_w.dumps(document).encode())


@given(data=st.data(), position=st.integers(0, len(COMPLETE) - 1), bit=st.integers(0, 7))
def test_a_job_file_with_a_flipped_bit_is_taken_or_refused(
    data: st.DataObject, position: int, bit: int
) -> None:
    damaged = bytearray(COMPLETE)
    damaged[position] ^= 1 << bit
    cut = data.draw(st.integers(0, len(COMPLETE)))
    assert_taken_or_refused_in_one_line(bytes(damaged))
    assert_taken_or_refused_in_one_line(COMPLETE[:cut])


WRONG_TYPES: dict[str, list[Any]] = {
    "name": [1, 1.5, True, [], {}],
    "command": [1, True, "python train.py", {}, [1], [["python"]], [{}]],
    "resources": [1, "4", [], [{"ranks": 4}]],
    "resources.ranks": ["4", 4.0, True, [], {}],
    "resources.nodes": [1.5, True, [], {}],
    "resources.threads_per_rank": ["2", 2.0, False, []],
    "resources.memory_per_rank_mb": ["1GB", 1.5, True, {}],
    "resources.time_limit": [7200, 1.5, True, [], {}],
    "files": ["*.ckpt", 1, []],
    "files.exclude": ["*.ckpt", 1, True, {}, [1], [[]]],
    "files.size_limit_mb": ["100", 1.5, True, []],
    "retry": [3, "3", []],
    "retry.limit": ["3", 1.5, True, []],
    "retry.leave_out": ["yes", 1, 0, []],
    "environment": ["A=1", 1, []],
    "environment.KEY": [1, 1.5, True, [], {}],
}


@pytest.mark.parametrize(
    ("field", "value"),
    [(field, value) for field, values in WRONG_TYPES.items() for value in values],
)
def test_wrong_types_are_refused_with_field_and_remedy(field: str, value: object) -> None:
    with pytest.raises(InvalidInput) as refusal:
        parse_spec(tomli_w.dumps(document_with(field, value)).encode())
    assert refusal.value.field.split("[")[0] == field
    assert refusal.value.problem.startswith("must be ")
    assert refusal.value.remedy


def test_no_field_is_forgotten_among_the_wrong_types() -> None:
    known = {f"resources.{name}" for name in vars(Resources())} - {"resources.ranks_per_node"}
    known |= {f"files.{name}" for name in vars(Files())}
    known |= {f"retry.{name}" for name in vars(Retry())}
    known |= {"environment.KEY"}
    known |= {"name", "command", "resources", "files", "retry", "environment"}
    assert set(WRONG_TYPES) == known


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""), ("name", "a b"), ("command", []), ("command", [""]), ("command", ["a\0b"]),
        ("resources.ranks", 0), ("resources.ranks", -1), ("resources.ranks", 65_537),
        ("resources.ranks", 10**9), ("resources.ranks", 10**30), ("resources.nodes", "0"),
        ("resources.nodes", "4-2"), ("resources.threads_per_rank", 0),
        ("resources.threads_per_rank", 1025), ("resources.memory_per_rank_mb", 0),
        ("resources.memory_per_rank_mb", 1 << 40), ("resources.time_limit", "0s"),
        ("resources.time_limit", "two hours"), ("files.exclude", ["a\0b"]),
        ("files.size_limit_mb", 0), ("files.size_limit_mb", -5), ("retry.limit", -1),
        ("retry.limit", 101), ("environment.KEY", "a\0b"),
    ],
)  # fmt: skip
def test_wrong_values_are_refused_with_field_and_remedy(field: str, value: object) -> None:
    with pytest.raises(InvalidInput) as refusal:
        spec_from(document_with(field, value))
    assert refusal.value.field.split("[")[0] == field
    assert refusal.value.remedy


def document_with(field: str, value: object) -> dict[str, Any]:
    """Return a job file that is right but for one field."""
    document: dict[str, Any] = {"command": ["python", "train.py"]}
    table, dot, key = field.rpartition(".")
    if dot:
        document[table] = {key: value}
    else:
        document[field] = value
    return document


@pytest.mark.parametrize(
    ("document", "field", "suggestion"),
    [
        ('comand = ["python"]', "comand", "command"),
        ('command = ["a"]\nenviroment = {A = "1"}', "enviroment", "environment"),
        ('command = ["a"]\nresource.ranks = 4', "resource", "resources"),
        ('command = ["a"]\n[resources]\nrank = 4', "resources.rank", "ranks"),
        ('command = ["a"]\n[resources]\ntimelimit = "2h"', "resources.timelimit", "time_limit"),
        ('command = ["a"]\n[files]\nexcludes = []', "files.excludes", "exclude"),
        ('command = ["a"]\n[retry]\nlimits = 1', "retry.limits", "limit"),
    ],
)
def test_unknown_keys_suggest_the_nearest_one(document: str, field: str, suggestion: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        parse_spec(document.encode())
    assert refusal.value.field == field
    assert refusal.value.remedy == f"did you mean {suggestion}?"


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (b"\x7fELF\x02\x01\x01\x00\xff\xfe", "is not UTF-8 text"),
        ("name = 'caf\xe9'".encode("latin-1"), "is not UTF-8 text"),
        ("command = ['a']".encode("utf-16"), "is not UTF-8 text"),
        (b'command = ["a\x00b"]', "is not valid TOML"),
        (b"[" * 50_000, "is not valid TOML"),
        (b"command = " + b"[" * 50_000, "is not valid TOML (nested too deeply)"),
        (b"a = " + b"{b=" * 50_000, "is not valid TOML (nested too deeply)"),
        (b"command = ['a']\nresources.ranks = " + b"9" * 5000, "(a number is too long)"),
        (b"#" * 10_000_000, "is larger than 1 MB"),
        (b"name = 'x'\nname = 'y'", "is not valid TOML"),
        (b"train.py", "is not valid TOML"),
    ],
    ids=short,
)
def test_what_is_no_job_file_is_refused(raw: bytes, problem: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        parse_spec(raw)
    assert refusal.value.field == "job file"
    assert problem in refusal.value.problem
    assert len(str(refusal.value)) < 300


def test_a_command_is_needed() -> None:
    with pytest.raises(InvalidInput, match=r"^command: is missing; add: command = "):
        parse_spec(b"name = 'x'")


@pytest.mark.parametrize(
    ("resources", "field"),
    [
        ("ranks = 2\nnodes = '2'", "resources.ranks"),
        ("ranks = 2\nranks_per_node = 2\nnodes = '1'", "resources.ranks"),
        ("ranks = 2\nranks_per_node = 2", "resources.ranks"),
        ("ranks_per_node = 2", "resources.ranks_per_node"),
    ],
)
def test_contradicting_resources_are_refused(resources: str, field: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        parse_spec(f"command = ['a']\n[resources]\n{resources}".encode())
    assert refusal.value.field == field


# --- Flags over the file --------------------------------------------------------------------


def with_resources(before: Resources, **overrides: int | str | None) -> Resources:
    return JobSpec("x", ("a",), before).with_resources(**overrides).resources


def test_flags_replace_what_the_file_says() -> None:
    before = Resources(ranks=4, threads_per_rank=2, time_limit="2h")
    assert with_resources(before, ranks=8) == Resources(8, threads_per_rank=2, time_limit="2h")
    assert with_resources(before, time_limit="1h", ranks=None).time_limit == "1h"
    assert with_resources(before) == before


def test_a_flag_for_ranks_takes_the_place_of_nodes_and_the_other_way_round() -> None:
    by_ranks, by_nodes = Resources(ranks=4), Resources(nodes="2", ranks_per_node=3)
    assert with_resources(by_nodes, ranks=8) == Resources(ranks=8)
    assert with_resources(by_ranks, nodes="2-4") == Resources(nodes="2-4")
    assert with_resources(by_nodes, nodes="5") == Resources(nodes="5", ranks_per_node=3)
    assert with_resources(by_nodes, ranks_per_node=1) == Resources(nodes="2", ranks_per_node=1)


@pytest.mark.parametrize(
    "overrides",
    [
        {"ranks": 2, "nodes": "2"}, {"ranks": 2, "ranks_per_node": 2}, {"ranks_per_node": 2},
        {"ranks": 0}, {"ranks": 10**30}, {"time_limit": ""}, {"nodes": ""},
    ],
)  # fmt: skip
@pytest.mark.parametrize("before", [Resources(), Resources(ranks=3)])
def test_flags_are_checked_like_the_file(before: Resources, overrides: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=r"^resources\."):
        with_resources(before, **overrides)


def test_ranks_per_node_need_nodes_whatever_ranks_the_file_has() -> None:
    for before in (Resources(), Resources(ranks=3)):
        with pytest.raises(InvalidInput, match=r"^resources\.ranks_per_node: needs nodes"):
            with_resources(before, ranks_per_node=2)


def test_an_argument_that_is_not_text_is_shown_with_question_marks() -> None:
    spec = JobSpec("x", ("python", os.fsdecode(b"a\xffb")))
    assert parse_spec(format_spec(spec)).command == ("python", "a?b")


# --- Reading from a file --------------------------------------------------------------------


def test_a_job_without_a_name_gets_its_directory_s(tmp_path: Path) -> None:
    directory = tmp_path / "my job"
    directory.mkdir()
    (directory / "job.toml").write_text('command = ["python", "train.py"]')
    assert read_spec(directory / "job.toml").name == "my-job"


def test_a_missing_job_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="No such file") as refusal:
        read_spec(tmp_path / "job.toml")
    assert refusal.value.field == str(tmp_path / "job.toml")


def test_pipes_devices_and_directories_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    for path in (tmp_path / "pipe.toml", tmp_path, Path("/dev/zero")):
        with pytest.raises(InvalidInput, match="is not a file"):
            read_spec(path)


def test_what_is_written_down_is_a_job_file_for_people(tmp_path: Path) -> None:
    text = format_spec(parse_spec(COMPLETE)).decode()
    assert 'name = "digits"' in text
    assert "[resources]\nranks = 4\n" in text
    assert json.dumps("*.ckpt") in text
