"""``beowulf submit``."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from beowulf.cli.output import json_option, print_json, say_what_next
from beowulf.cli.parameters import JobId, cluster_option
from beowulf.errors import InvalidInput
from beowulf.runner import fields
from beowulf.runner.choice import open_backend
from beowulf.runner.spec import JobSpec, read_spec, spec_from

if TYPE_CHECKING:
    from beowulf.job.record import JobRecord
    from beowulf.runner.backend import Backend

RESOURCE_FLAGS = (
    "ranks", "nodes", "ranks_per_node", "threads_per_rank", "memory_per_rank_mb", "time_limit",
)  # fmt: skip


@click.command(
    "submit",
    epilog="Words after -- go to the script as they are:  beowulf submit train.py -- --epochs 20",
)
@click.argument("script", required=False, type=click.Path(readable=False))  # asked later
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.option("-n", "--ranks", type=int, help="How many ranks to start.")
@click.option("--nodes", help='How many nodes, as "3" or "2-4".')
@click.option("--ranks-per-node", type=int, help="How many ranks on each node.")
@click.option("--threads-per-rank", type=int, help="How many threads each rank may use.")
@click.option("--memory-per-rank-mb", type=int, help="How much memory each rank needs.")
@click.option("--time-limit", help='End the job after this long, as "2h" or "1h30m".')
@click.option("--name", help="The job's name; the script's if left out.")
@click.option("--env", "variables", multiple=True, metavar="KEY=VALUE", help="Set a variable.")
@click.option(
    "--exclude", multiple=True, metavar="PATTERN", help="Leave out files (.gitignore syntax)."
)
@click.option(
    "-C",
    "--directory",
    type=click.Path(path_type=Path, readable=False),
    help="The work directory to copy; the script's own if left out.",
)
@click.option(
    "--resume", metavar="ID", type=JobId(), help="Go on with a job from its newest checkpoint."
)
@click.option(
    "--after", multiple=True, metavar="ID", type=JobId(), help="Start once this job has completed."
)
@click.option(
    "--array",
    multiple=True,
    metavar="NAME=V1,V2,...",
    help="Submit one job per value, given to the script as --NAME VALUE.",
)
@click.option(
    "--explain", is_flag=True, help="Show what would be run, and why, without submitting it."
)
@click.option(
    "--any-node", is_flag=True, help="Use nodes too that are left out for losing jobs lately."
)
@click.option("--detach", is_flag=True, help="Return at once instead of following the job.")
@cluster_option
@json_option
def command(script: str | None, **flags: Any) -> int:
    """Start a training job and follow it to its end.

    SCRIPT is a Python script or a job file (.toml). Its directory is copied into the
    job, so you can go on editing. Ctrl-C stops following, not the job.
    """
    backend = open_backend(flags["cluster"])
    if flags["explain"]:
        _refuse_with_explain(flags)
    overrides = {name: flags[name] for name in RESOURCE_FLAGS}
    if flags["resume"] is not None:
        _refuse_with_resume(script, flags)
        log_start = backend.log(flags["resume"], 0, len).offset
        record = backend.resume(flags["resume"], **overrides)
    else:
        spec, work_directory = _read_request(script, flags)
        spec = spec.with_resources(**overrides)
        if flags["explain"]:
            from beowulf.cli.explain import explain  # noqa: PLC0415 - most submits don't

            return explain(backend, spec, work_directory, as_json=flags["as_json"])
        if flags["array"]:
            return _sweep(backend, spec, work_directory, flags)
        log_start = 0
        record = backend.submit(spec, work_directory, flags["after"])
    if flags["detach"]:
        return _detach(record, as_json=flags["as_json"])
    from beowulf.cli.attached import attend  # noqa: PLC0415 - rich is slow to import

    return attend(backend, record, log_start, as_json=flags["as_json"])


def _sweep(backend: Backend, spec: JobSpec, work_directory: Path, flags: dict[str, Any]) -> int:
    from beowulf.cli.sweep import sweep  # noqa: PLC0415 - most submits are none
    from beowulf.runner.sweep import trials  # noqa: PLC0415

    todo = trials(flags["array"])
    how = {"after": flags["after"], "detach": flags["detach"], "as_json": flags["as_json"]}
    return sweep(backend, spec, work_directory, todo, **how)


def _read_request(script: str | None, flags: dict[str, Any]) -> tuple[JobSpec, Path]:
    """Return the job that the command line describes and the directory it takes along."""
    if script is None:
        raise InvalidInput("SCRIPT", "is missing", "try: beowulf submit train.py")
    path = Path(fields.text("SCRIPT", script))
    _refuse_unreadable(path)
    if path.suffix == ".toml":
        work_directory = (flags["directory"] or path.resolve().parent).resolve()
        spec = read_spec(path)
    elif path.suffix != ".py":
        raise InvalidInput(
            "SCRIPT",
            f"{str(path)!r} is neither a Python script (.py) nor a job file (.toml)",
            'to run something else, write a job file with command = ["./program"]',
        )
    else:
        work_directory = (flags["directory"] or path.parent).resolve()
        spec = spec_from({"command": ["python", _script_inside(path, work_directory)]},
                         default_name=fields.name_from(path.stem))  # fmt: skip
    if not work_directory.is_dir():
        raise InvalidInput("--directory", f"{work_directory} is no directory", "check the path")
    return _apply_flags(spec, flags), work_directory


def _refuse_unreadable(path: Path) -> None:
    try:
        if path.is_dir():
            raise InvalidInput(
                "SCRIPT",
                f"{str(path)!r} is a directory",
                "name a Python script or a job file in it",
            )
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for a writer
            raise InvalidInput("SCRIPT", f"{str(path)!r} is not a file", "name a regular file")
        path.open("rb").close()
    except OSError as error:
        raise InvalidInput(
            "SCRIPT",
            f"cannot read {str(path)!r} ({error.strerror})",
            "check the path and its permissions",
        ) from None


def _script_inside(script: Path, work_directory: Path) -> str:
    """Return the script's path below the work directory, as the ranks will see it."""
    absolute = script.parent.resolve() / script.name
    if not absolute.is_relative_to(work_directory):
        raise InvalidInput(
            "--directory", f"{work_directory} does not hold {script}", "name one that does"
        )
    inside = str(absolute.relative_to(work_directory))
    return f"./{inside}" if inside.startswith("-") else inside


def _apply_flags(spec: JobSpec, flags: dict[str, Any]) -> JobSpec:
    """Return the job with the flags put over the file, all of it checked again."""
    from dataclasses import replace  # noqa: PLC0415

    arguments = tuple(fields.text("ARGS", word) for word in flags["arguments"])
    files = replace(spec.files, exclude=(*spec.files.exclude, *flags["exclude"]))
    return replace(
        spec,
        name=fields.name("--name", flags["name"]) if flags["name"] is not None else spec.name,
        command=(*spec.command, *arguments),
        files=files,
        retry=replace(spec.retry, leave_out=spec.retry.leave_out and not flags["any_node"]),
        environment=spec.environment | _variables(flags["variables"]),
    )


def _variables(settings: tuple[str, ...]) -> dict[str, str]:
    pairs = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise InvalidInput("--env", f"{setting!r} has no value", "write KEY=VALUE")
        pairs[name] = value
    return fields.environment("--env", pairs)


def _refuse_with_resume(script: str | None, flags: dict[str, Any]) -> None:
    """A resumed job keeps its code and command: refuse what would change them."""
    extra = ("array", "after", "name", "variables", "exclude", "directory", "any_node", "arguments")
    given = ["SCRIPT"] if script is not None else []
    given += [name for name in extra if flags[name]]
    if given:
        raise InvalidInput(
            "--resume", f"a resumed job keeps its {given[0]}", "leave it out, or submit a new job"
        )


def _refuse_with_explain(flags: dict[str, Any]) -> None:
    """Explaining is about one new job, which is not started: refuse what asks for more."""
    for name in ("resume", "array", "after", "detach"):
        if flags[name]:
            raise InvalidInput(
                "--explain", f"it cannot explain --{name}", f"leave --{name} or --explain out"
            )


def _detach(record: JobRecord, *, as_json: bool) -> int:
    if as_json:
        print_json(job=record.to_json())
    else:
        click.echo(record.id)
        say_what_next(record)
    return 0
