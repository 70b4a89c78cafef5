"""What is told of a job before it is submitted: where, how many, how it averages."""

from __future__ import annotations

import inspect
from dataclasses import replace
from pathlib import Path

import pytest

from beowulf.runner.explanation import DEFAULT_AVERAGING, averaging_of, of_cluster, of_this_computer
from beowulf.runner.machine import Layout
from beowulf.runner.mpi_settings import CLUSTER, LOCAL, SURVIVAL
from beowulf.runner.spec import JobSpec, Resources
from beowulf.train import Run

SPEC = JobSpec("digits", ("python", "train.py", "--epochs", "2"))


def test_the_default_is_the_library_s() -> None:
    assert inspect.signature(Run).parameters["averaging"].default == DEFAULT_AVERAGING


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("with train.Run(global_batch=8) as run: pass", "auto, since train.py names no other"),
        ("Run(\n    averaging='naive')", "naive, by train.py, line 2"),
        ("a.b.Run(averaging=options.way)", "options.way, by train.py, line 1"),
        ("x.Run(averaging=Fp16())", "Fp16(), by train.py, line 1"),
        ("print('Run(averaging=1)')", "up to train.py, which opens no train.Run itself"),
        ("(lambda: 1)()", "up to train.py, which opens no train.Run itself"),
        ("with train.Run(", "up to train.py, which cannot be read"),
        ("\0", "up to train.py, which cannot be read"),
    ],
)
def test_how_gradients_are_averaged_is_read_from_the_script(
    script: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / "train.py").write_text(script)
    assert averaging_of(SPEC.command, tmp_path) == said


def test_other_commands_decide_for_themselves(tmp_path: Path) -> None:
    assert averaging_of(("./program",), tmp_path) == "up to the command"
    assert averaging_of(SPEC.command, tmp_path) == "up to train.py, which cannot be read"


def test_a_job_on_this_computer(tmp_path: Path) -> None:
    told = of_this_computer(SPEC, Layout(ranks=3, threads_per_rank=2), "script", tmp_path)
    assert (told.cluster, told.ranks, told.nodes, told.ranks_per_node) == (None, 3, "1", 3)
    assert (told.threads_per_rank, told.settings, told.script) == (2, (*LOCAL, *SURVIVAL), "script")


@pytest.mark.parametrize(
    ("resources", "ranks", "nodes", "each"),
    [
        (Resources(), 5, "5", 1),
        (Resources(ranks=7), 7, None, None),
        (Resources(nodes="3", ranks_per_node=2), 6, "3", 2),
        (Resources(nodes="2-4"), None, "2-4", 1),
    ],
)
def test_a_job_on_a_cluster(
    resources: Resources, ranks: int | None, nodes: str | None, each: int | None, tmp_path: Path
) -> None:
    spec = replace(SPEC, resources=resources)
    told = of_cluster("closet", spec, 5, "script", tmp_path)
    assert (told.ranks, told.nodes, told.ranks_per_node) == (ranks, nodes, each)
    assert told.settings == (*CLUSTER, *SURVIVAL)
    document = told.to_json()
    assert document["settings"][0].keys() == {"name", "value", "reason"}
    assert document["command"] == SPEC.command
