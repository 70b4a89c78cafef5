"""Render the script that starts a job's ranks: pure text, readable by people."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from beowulf import __version__

if TYPE_CHECKING:
    from pathlib import Path

    from beowulf.runner.machine import Layout
    from beowulf.runner.spec import JobSpec

# Every library that starts threads of its own reads one of these.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


def render_local(spec: JobSpec, layout: Layout, *, mpiexec: Path, python: Path) -> str:
    """Return the batch script of a job on this machine.

    It holds none of the user's words but the job's checked name: the command travels
    in a file of its own, the environment is set by the supervisor.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: PLC0415 - slow to import

    templates = Environment(
        loader=PackageLoader("beowulf.runner"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - a shell script, not HTML; every value is checked or quoted
    )
    return templates.get_template("local.sh.j2").render(
        name=spec.name,
        version=__version__,
        ranks=layout.ranks,
        threads_per_rank=layout.threads_per_rank,
        thread_variables=[name for name in THREAD_VARIABLES if name not in spec.environment],
        mpiexec=shlex.quote(str(mpiexec)),
        python=shlex.quote(str(python)),
    )
