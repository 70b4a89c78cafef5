"""A bare ``mpiexec`` is compared fairly only if it gets what a job's own gets."""

from __future__ import annotations

import sys

import pytest

from bench.launch import mpi_options, mpiexec, sandbox


def test_options_are_those_of_the_batch_script() -> None:
    options = mpi_options(3)
    assert options[:2] == ["-n", "3"]
    assert "--mca" in options
    assert not [word for word in options if "#" in word or "{" in word]


def test_ranks_run_under_mpi4pys_runner() -> None:
    command = mpiexec(2, "train.py", "--steps", "1")
    assert command[-6:] == [sys.executable, "-m", "mpi4py", "train.py", "--steps", "1"]


def test_a_sandbox_is_a_users_without_jobs_and_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEOWULF_JOB_DIR", "/elsewhere")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    with sandbox() as here:
        environment = here.environment()
        assert environment["HOME"] == str(here.path)
        assert environment["OMP_NUM_THREADS"] == "1"
        assert environment.keys().isdisjoint({"BEOWULF_JOB_DIR", "PYTHONDONTWRITEBYTECODE"})
        job = here.job_environment(2)
        assert job["BEOWULF_RANKS"] == "2"
        assert job["BEOWULF_JOB_DIR"].startswith(str(here.path))
    assert not here.path.exists()
