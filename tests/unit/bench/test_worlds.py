"""Worlds of ranks get what a job gets, and say why they failed."""

from __future__ import annotations

import itertools
import shlex
from pathlib import Path

import pytest

from bench.worlds import cluster_options, last_words
from beowulf.runner.batch_script import render_slurm
from beowulf.runner.spec import spec_from


def test_settings_are_those_of_a_job_on_a_cluster(tmp_path: Path) -> None:
    spec = spec_from({"command": ["true"]}, default_name="bench")
    script = render_slurm(
        spec, directory=str(tmp_path), python="/python", comment="c", nodes_up=3
    )  # fmt: skip
    options = shlex.split(script.partition("\noptions=(\n")[2].partition("\n)\n")[0], comments=True)
    words = cluster_options(tmp_path)
    given = [word.replace("$rules", str(tmp_path / "allreduce.rules")) for word in options]
    settings = [given[at : at + 3] for at, word in enumerate(given) if word == "--mca"]
    assert words == list(itertools.chain(*settings))
    rules = (tmp_path / "allreduce.rules").read_text()
    assert f"<<'END'\n{rules}END\n" in script


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("Traceback\n  File\nValueError: no\nNOTE: MPI_ABORT\nprterun ended", "ValueError: no"),
        ("Traceback\na.errors.TrainingError: shares", "a.errors.TrainingError: shares"),
        ("\n  no node node7\n", "no node node7"),
        ("", "it said nothing"),
    ],
)
def test_the_first_error_says_why_a_world_failed(said: str, why: str) -> None:
    assert last_words(said) == why
