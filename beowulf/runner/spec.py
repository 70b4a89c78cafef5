"""What a job asks for: the job file and the flags, checked, as frozen dataclasses."""

from __future__ import annotations

import stat
import tomllib
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from beowulf.errors import InvalidInput
from beowulf.runner import fields

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MOST_BYTES = 1_000_000
MOST_RANKS = 65_536
MOST_THREADS = 1_024
MOST_MEMORY_MB = 16 * 1024 * 1024
MOST_RETRIES = 100
DEFAULT_SIZE_LIMIT_MB = 512
MOST_SIZE_LIMIT_MB = 1024 * 1024


@dataclass(frozen=True)
class Resources:
    """What the ranks need. None means: let the backend decide from its machines."""

    ranks: int | None = None
    nodes: str | None = None
    ranks_per_node: int | None = None
    threads_per_rank: int | None = None
    memory_per_rank_mb: int | None = None
    time_limit: str | None = None

    @property
    def time_limit_s(self) -> int | None:
        """The longest that the job may run, in seconds."""
        if self.time_limit is None:
            return None
        return fields.duration_s("resources.time_limit", self.time_limit)


@dataclass(frozen=True)
class Files:
    """What travels with the job: the work directory less these patterns (gitignore syntax)."""

    exclude: tuple[str, ...] = ()
    size_limit_mb: int = DEFAULT_SIZE_LIMIT_MB


@dataclass(frozen=True)
class Retry:
    """How often to start again after a node is lost, and whether to keep away from such nodes."""

    limit: int = 3
    leave_out: bool = True


@dataclass(frozen=True)
class JobSpec:
    """One job, as asked for. ``command`` is an argument vector, never a shell string."""

    name: str
    command: tuple[str, ...]
    resources: Resources = field(default_factory=Resources)
    files: Files = field(default_factory=Files)
    retry: Retry = field(default_factory=Retry)
    environment: dict[str, str] = field(default_factory=dict)

    def with_resources(self, **overrides: int | str | None) -> JobSpec:
        """Return this job with the resources that are given here replaced, and checked again."""
        given = {key: value for key, value in overrides.items() if value is not None}
        before = asdict(self.resources)
        if "ranks" in given:
            before.update(nodes=None, ranks_per_node=None)
        if "nodes" in given or "ranks_per_node" in given:
            before["ranks"] = None
        kept = {key: value for key, value in (before | given).items() if value is not None}
        return replace(self, resources=_resources(kept))


def read_spec(path: Path) -> JobSpec:
    """Read a job file.

    Raises:
        InvalidInput: The file cannot be read, is not TOML, or a field is wrong.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for, a device has no end
            raise InvalidInput(str(path), "is not a file", "name a job file (.toml)")
        with path.open("rb") as file:
            raw = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise InvalidInput(
            str(path), error.strerror or str(error), "check the path and its permissions"
        ) from None
    return parse_spec(raw, default_name=fields.name_from(path.resolve().parent.name))


def parse_spec(raw: bytes, default_name: str = "job") -> JobSpec:
    """Parse the text of a job file.

    Raises:
        InvalidInput: It is not TOML, or a field is wrong; the message names the field.
    """
    if len(raw) > MOST_BYTES:
        raise InvalidInput("job file", "is larger than 1 MB", "name a job file, not a data file")
    try:
        document = tomllib.loads(raw.decode())
    except UnicodeDecodeError:
        raise InvalidInput("job file", "is not UTF-8 text", "save it as UTF-8") from None
    except (ValueError, RecursionError) as error:
        problem = f"is not valid TOML ({_why(error)})"
        raise InvalidInput("job file", problem, "compare with docs/tutorial.md") from None
    return spec_from(document, default_name)


def _why(error: Exception) -> str:
    """Say in a reader's words why a job file cannot be parsed."""
    if isinstance(error, tomllib.TOMLDecodeError):
        return str(error)
    # The parser lets these two through: Python's own limits on depth and on digits.
    return "nested too deeply" if isinstance(error, RecursionError) else "a number is too long"


def spec_from(document: Mapping[str, Any], default_name: str = "job") -> JobSpec:
    """Check a parsed job file.

    Raises:
        InvalidInput: A field has the wrong type or value, or a key is unknown.
    """
    known = ("name", "command", "resources", "files", "retry", "environment")
    fields.refuse_unknown_keys(document, known)
    if "command" not in document:
        raise InvalidInput("command", "is missing", 'add: command = ["python", "train.py"]')
    command = fields.words("command", document["command"])
    if not command or not command[0]:
        raise InvalidInput("command", "is empty", 'write: command = ["python", "train.py"]')
    return JobSpec(
        name=fields.name("name", document.get("name", default_name)),
        command=command,
        resources=_resources(fields.table("resources", document.get("resources", {}))),
        files=_files(fields.table("files", document.get("files", {}))),
        retry=_retry(fields.table("retry", document.get("retry", {}))),
        environment=fields.environment("environment", document.get("environment", {})),
    )


def _resources(table: Mapping[str, Any]) -> Resources:
    numbers = {
        "ranks": MOST_RANKS,
        "ranks_per_node": MOST_RANKS,
        "threads_per_rank": MOST_THREADS,
        "memory_per_rank_mb": MOST_MEMORY_MB,
    }
    fields.refuse_unknown_keys(table, (*numbers, "nodes", "time_limit"), "resources.")
    if "ranks" in table and ("nodes" in table or "ranks_per_node" in table):
        raise InvalidInput(
            "resources.ranks",
            "is given together with nodes",
            "give either ranks, or nodes with ranks_per_node",
        )
    if "ranks_per_node" in table and "nodes" not in table:
        raise InvalidInput("resources.ranks_per_node", "needs nodes", 'add nodes = "2-4"')
    checked: dict[str, Any] = {
        key: fields.integer(f"resources.{key}", table[key], 1, highest)
        for key, highest in numbers.items()
        if key in table
    }
    if "nodes" in table:
        fewest, most = fields.node_range("resources.nodes", table["nodes"])
        checked["nodes"] = str(most) if fewest == most else f"{fewest}-{most}"
    if "time_limit" in table:
        fields.duration_s("resources.time_limit", table["time_limit"])
        checked["time_limit"] = table["time_limit"]
    return Resources(**checked)


def _files(table: Mapping[str, Any]) -> Files:
    fields.refuse_unknown_keys(table, ("exclude", "size_limit_mb"), "files.")
    limit = table.get("size_limit_mb", DEFAULT_SIZE_LIMIT_MB)
    return Files(
        exclude=fields.words("files.exclude", table.get("exclude", [])),
        size_limit_mb=fields.integer("files.size_limit_mb", limit, 1, MOST_SIZE_LIMIT_MB),
    )


def _retry(table: Mapping[str, Any]) -> Retry:
    fields.refuse_unknown_keys(table, ("limit", "leave_out"), "retry.")
    return Retry(
        limit=fields.integer("retry.limit", table.get("limit", 3), 0, MOST_RETRIES),
        leave_out=fields.boolean("retry.leave_out", table.get("leave_out", True)),
    )


def format_spec(spec: JobSpec) -> bytes:
    """Return the job file that ``parse_spec`` reads back as ``spec``.

    An argument that is not UTF-8 cannot be written in TOML: its odd bytes appear as
    ``?`` here, and whole in the job directory's ``argv``.
    """
    import tomli_w  # noqa: PLC0415 - only a submit needs it

    document = asdict(spec)
    document["resources"] = {k: v for k, v in document["resources"].items() if v is not None}
    kept = {key: value for key, value in document.items() if value != {}}
    return tomli_w.dumps(kept).encode(errors="replace")
