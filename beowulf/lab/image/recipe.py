"""What goes into an image: packages, files, kernel modules, and the steps that put them there."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from beowulf.durable import read_json
from beowulf.errors import InvalidInput
from beowulf.lab.kernel import KERNEL

HERE = Path(__file__).parent
KINDS = ("bare", "prepared")
DISK_NAME = "base.raw"
RECORD_NAME = "image.json"
PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+")


@dataclass(frozen=True)
class Kernel:
    """The kernel that nodes run: its package's version, its modules' folder, what starts it."""

    package: str
    modules: Path
    program: str = KERNEL

    @property
    def version(self) -> str:
        """What ``uname -r`` says on a node."""
        return self.modules.name


@dataclass(frozen=True)
class Step:
    """One step of baking: a command that is run with the path of the tree as its last word.

    It runs as root, with /proc, /sys and /dev mounted in the tree, where services
    cannot be started, and where apt fetches through the proxy. ``inputs`` is what the
    result depends on besides the words of the command and the builder's own files.
    """

    name: str
    command: tuple[str, ...]
    inputs: str = ""


@dataclass(frozen=True)
class Recipe:
    """All that decides what an image holds."""

    kind: str
    suite: str
    sources: tuple[str, ...]
    packages: tuple[str, ...]
    kernel: Kernel
    steps: tuple[Step, ...]

    @cached_property
    def digest(self) -> str:
        """Sixteen hexadecimal digits that change whenever anything that goes in does.

        Paths don't count, so that two clones of one version share their images.
        """
        parts = {
            "kind": self.kind,
            "suite": self.suite,
            "sources": self.sources,
            "packages": self.packages,
            # What was compiled anew lies elsewhere, and what it was before may be gone.
            "kernel": [self.kernel.package, self.kernel.version, self.kernel.program],
            "steps": [[s.name, *map(without_place, s.command), s.inputs] for s in self.steps],
            "builder": digests_below(HERE),
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Image:
    """A whole image on this computer. Its disk never changes: copies over it depend on that."""

    kind: str
    digest: str
    directory: Path

    @property
    def disk(self) -> Path:
        """The disk: a sparse file that holds an ext4 file system, without partitions."""
        return self.directory / DISK_NAME

    @property
    def record(self) -> dict[str, Any]:
        """What was written down when it was made: packages with versions, kernel, seconds."""
        found: dict[str, Any] = json.loads((self.directory / RECORD_NAME).read_text())
        return found

    @property
    def built_in_s(self) -> float:
        """How many seconds it took to make."""
        return float(self.record["built_in_s"])


def recipe_for(kind: str, sources: tuple[str, ...], suite: str, kernel: Kernel) -> Recipe:
    """Return the recipe for an image of this kind.

    Raises:
        InvalidInput: No such kind.
    """
    if kind not in KINDS:
        raise InvalidInput("image", f"no kind {kind!r}", f"choose one of {', '.join(KINDS)}")
    steps = [
        Step("files", (str(HERE / "steps/put_files.sh"), str(HERE / "tree"))),
        Step("modules", (str(HERE / "steps/put_modules.sh"), str(kernel.modules)), kernel.package),
    ]
    if kind == "prepared":
        more = listed((HERE / "prepared.txt").read_text())
        steps.append(Step("packages", (str(HERE / "steps/install.sh"), " ".join(more))))
    steps.append(Step("finish", (str(HERE / "steps/finish.sh"),)))
    bare = listed((HERE / "bare.txt").read_text())
    return Recipe(kind, suite, sources, bare, kernel, tuple(steps))


def listed(text: str) -> tuple[str, ...]:
    """Return the packages that a list names, one per line; ``#`` begins a comment.

    Raises:
        InvalidInput: A line is not the name of a package.
    """
    names = [line.partition("#")[0].strip() for line in text.splitlines()]
    for name in filter(None, names):
        if not PACKAGE.fullmatch(name):
            raise InvalidInput("package list", f"{name!r} is no package", "write one per line")
    return tuple(filter(None, names))


def without_place(word: str) -> str:
    """Return a word of a command without the place that this package is installed at."""
    return word.removeprefix(str(HERE))


def digests_below(folder: Path) -> dict[str, str]:
    """Return the sha256 of every file below a folder, by its path, and whether it can be run."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            mode = "x" if path.stat().st_mode & 0o100 else "-"
            name = str(path.relative_to(folder))
            found[name] = mode + hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def record_of(recipe: Recipe, packages: dict[str, str], times_s: dict[str, float]) -> str:
    """Return, as JSON, what is written down beside a disk when it is made."""
    document = {
        "schema": 1,
        "kind": recipe.kind,
        "digest": recipe.digest,
        "suite": recipe.suite,
        "sources": recipe.sources,
        "kernel": recipe.kernel.version,
        "program": recipe.kernel.program,
        "steps": [asdict(step)["name"] for step in recipe.steps],
        "built_in_s": round(sum(times_s.values()), 1),
        "times_s": {name: round(seconds, 1) for name, seconds in times_s.items()},
        "packages": packages,
    }
    return json.dumps(document, indent=1) + "\n"


def program_of(directory: Path) -> str:
    """Return what starts the kernel whose modules the image in ``directory`` holds."""
    record = read_json(directory / RECORD_NAME)
    return str(record.get("program", KERNEL)) if isinstance(record, dict) else KERNEL
