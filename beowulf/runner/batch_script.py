"""Render the script that starts a job's ranks: pure text, readable by people."""

from __future__ import annotations

import importlib
import math
import re
import shlex
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from beowulf import __version__
from beowulf.errors import InvalidInput
from beowulf.job.directory import JobDirectory
from beowulf.runner import mpi_settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from beowulf.runner.machine import Layout
    from beowulf.runner.mpi_settings import Setting
    from beowulf.runner.spec import JobSpec, Resources

# Every library that starts threads of its own reads one of these.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
# The supervisor ends a job at its exact time limit; Slurm only if the supervisor could not.
TIME_MARGIN_MIN = 2
# Slurm reads these without quotes, and "%" as a pattern.
SBATCH_WORD = re.compile(r"[A-Za-z0-9_./:@+=,~-]{1,4096}")


def render_local(spec: JobSpec, layout: Layout, *, mpiexec: Path, python: Path) -> str:
    """Return the batch script of a job on this machine.

    It holds none of the user's words but the job's checked name: the command travels
    in a file of its own, the environment is set by the supervisor.
    """
    return _render(
        "local.sh.j2",
        spec,
        layout.threads_per_rank,
        ranks=layout.ranks,
        mpiexec=shlex.quote(str(mpiexec)),
        python=shlex.quote(str(python)),
        survives=mpi_settings.can_survive(spec.command),
        mpi_settings=_as_options(mpi_settings.settings_for(spec.command, mpi_settings.LOCAL)),
    )


def render_slurm(  # noqa: PLR0913 - what a job file doesn't know, each named at the call
    spec: JobSpec,
    *,
    directory: str,
    python: str,
    comment: str,
    after: tuple[int, ...] = (),
    nodes_up: int,
    attempt: int = 1,
    left_out: tuple[str, ...] = (),
) -> str:
    """Return the batch script of a job on a cluster, for ``sbatch``.

    ``directory`` is the job's, ``python`` that of the environment all nodes see, ``comment`` is
    kept by Slurm with the job, ``after`` are Slurm's numbers of jobs that must succeed first.
    A job that asks for nothing gets one rank on each of ``nodes_up`` nodes, with all its cores.
    No rank runs on the nodes ``left_out``.

    Raises:
        InvalidInput: The directory or comment has characters that Slurm would misread.
    """
    options = {
        "job-name": spec.name,
        "chdir": _sbatch_word("job directory", directory),
        "output": f"{directory}/supervisor.log",
        "open-mode": "append",
        "comment": _sbatch_word("comment", comment),
        # What runs on the other nodes goes on when one is lost. When it is the first one, with
        # the supervisor, Slurm starts the job again; the supervisor counts.
        "no-kill": None,
        "requeue": None,
        **dict(_resource_options(spec.resources, nodes_up)),
    }
    if left_out:
        options["exclude"] = ",".join(_sbatch_word("node", name) for name in left_out)
    if after:
        options["dependency"] = "afterok:" + ":".join(str(int(number)) for number in after)
    return _render(
        "slurm.sh.j2",
        spec,
        spec.resources.threads_per_rank,
        sbatch_options=[f"--{k}={v}" if v else f"--{k}" for k, v in options.items()],
        directory=shlex.quote(directory),
        attempt=int(attempt),
        mpiexec="mpirun",
        python=shlex.quote(python),
        rules=shlex.quote(str(JobDirectory(Path(directory)).allreduce_rules)),
        allreduce_rules=mpi_settings.allreduce_rules(),
        survives=mpi_settings.can_survive(spec.command),
        mpi_settings=_as_options(mpi_settings.settings_for(spec.command, mpi_settings.CLUSTER)),
    )


def prepare() -> None:
    """Import what rendering takes in a thread of its own, while somebody else is waited for."""
    threading.Thread(target=importlib.import_module, args=["jinja2"], daemon=True).start()


def _resource_options(wanted: Resources, nodes_up: int) -> Iterator[tuple[str, str | None]]:
    """Yield what to ask of Slurm: ranks wherever there are cores, or nodes as they are."""
    if wanted.time_limit_s:
        yield "time", str(math.ceil(wanted.time_limit_s / 60) + TIME_MARGIN_MIN)
    if wanted.threads_per_rank:
        yield "cpus-per-task", str(wanted.threads_per_rank)
    if wanted.ranks:
        yield "ntasks", str(wanted.ranks)
        if wanted.memory_per_rank_mb:
            per_core_mb = math.ceil(wanted.memory_per_rank_mb / (wanted.threads_per_rank or 1))
            yield "mem-per-cpu", str(per_core_mb)
        return
    ranks_per_node = wanted.ranks_per_node or 1
    yield "nodes", wanted.nodes or str(max(1, nodes_up))
    yield "ntasks-per-node", str(ranks_per_node)
    if wanted.memory_per_rank_mb:
        yield "mem", str(ranks_per_node * wanted.memory_per_rank_mb)
    if not wanted.threads_per_rank:  # whole nodes, whatever each has
        yield "exclusive", None
        if not wanted.memory_per_rank_mb:
            yield "mem", "0"


def _sbatch_word(field: str, word: str) -> str:
    if not SBATCH_WORD.fullmatch(word):
        raise InvalidInput(
            field,
            f"{word[:80]!r} has characters that Slurm does not take",
            "letters, digits and _./:@+=,~- are fine",
        )
    return word


def _as_options(settings: Sequence[Setting]) -> str:
    """Return settings as lines of a script, each with its reason beside it."""
    options = [f"    --mca {setting.name} {shlex.quote(setting.value)}" for setting in settings]
    width = max(map(len, options))
    lines = zip(options, settings, strict=True)
    return "\n".join(f"{option:{width}}  # {setting.reason}" for option, setting in lines)


def _render(template: str, spec: JobSpec, threads_per_rank: int | None, **values: object) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: PLC0415 - slow to import

    templates = Environment(
        loader=PackageLoader("beowulf.runner"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        autoescape=False,  # noqa: S701 - a shell script, not HTML; every value is checked or quoted
    )
    return templates.get_template(template).render(
        name=spec.name,
        version=__version__,
        threads_per_rank=threads_per_rank,
        thread_variables=[name for name in THREAD_VARIABLES if name not in spec.environment],
        **values,
    )
