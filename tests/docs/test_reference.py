"""The reference pages know every verb, option, job-file key and file of a job."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING

import click
import pytest

from beowulf.cli.main import VERBS, cli
from beowulf.job.directory import JobDirectory
from beowulf.runner import spec
from beowulf.runner.batch_script import THREAD_VARIABLES
from tests.conftest import REPOSITORY
from tests.docs.markdown import anchors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DOCS = REPOSITORY / "docs"


def read(name: str) -> str:
    return (REPOSITORY / name).read_text(encoding="utf-8")


def section(page: str, heading: str) -> str:
    """Return the text below a second-level heading."""
    return page.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def run_generator(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, DOCS / "generate_cli.py", *arguments],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


def test_cli_page_is_up_to_date() -> None:
    ended = run_generator("--check")
    assert ended.returncode == 0, ended.stderr


def test_generator_refuses_what_it_does_not_know() -> None:
    ended = run_generator("--chek")
    assert ended.returncode == 1
    assert "usage" in ended.stderr


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_of_a_verb_is_in_the_cli_page(verb: str) -> None:
    page = read("docs/cli.md")
    assert verb in anchors(page)
    command = cli.get_command(click.Context(cli), verb)
    assert command is not None
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.opts[-1] in section(page, verb)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_shown_at_work(verb: str) -> None:
    assert f"beowulf {verb}" in read("README.md") + read("docs/tutorial.md") + read(
        "docs/cluster.md"
    )


def job_file_keys(table: type, prefix: str = "") -> Iterator[str]:
    """Yield the keys of a job file as they are named in the tutorial."""
    for field in fields(table):
        nested = getattr(spec, str(field.type), None)
        if is_dataclass(nested) and isinstance(nested, type):
            yield from job_file_keys(nested, f"{field.name}.")
        else:
            yield f"{prefix}{field.name}"


def test_job_file_reference_names_every_key_and_no_other() -> None:
    reference = section(read("docs/tutorial.md"), "The job file")
    documented = re.findall(r"^\| `([a-z_.]+)` \|", reference, re.MULTILINE)
    assert sorted(documented) == sorted(job_file_keys(spec.JobSpec))


@pytest.mark.parametrize(
    "limit",
    ["MOST_RANKS", "MOST_THREADS", "MOST_MEMORY_MB", "MOST_RETRIES", "DEFAULT_SIZE_LIMIT_MB",
     "MOST_SIZE_LIMIT_MB"],
)  # fmt: skip
def test_job_file_reference_states_the_limits(limit: str) -> None:
    assert str(getattr(spec, limit)) in section(read("docs/tutorial.md"), "The job file")


def test_architecture_explains_every_file_of_a_job() -> None:
    directory = JobDirectory(REPOSITORY)
    named: list[Path] = [
        value
        for name in dir(JobDirectory)
        if isinstance(getattr(JobDirectory, name), property)
        and isinstance(value := getattr(directory, name), type(REPOSITORY))
    ]
    text = section(read("docs/architecture.md"), "The job directory")
    missing = [path.name for path in named if f"`{path.name}" not in text]
    assert named
    assert not missing


def test_tutorial_names_the_variables_of_a_rank() -> None:
    from beowulf.rank.environment import Placement, framework_variables

    placement = Placement(rank=0, ranks=1, local_rank=0, attempt=1)
    names = framework_variables(placement, ["127.0.0.1:1"])
    text = section(read("docs/tutorial.md"), "Other programs")
    missing = [name for name in (*names, THREAD_VARIABLES[0]) if f"`{name}`" not in text]
    assert not missing
