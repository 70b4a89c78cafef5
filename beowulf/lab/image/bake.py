"""Let mmdebstrap make a tree out of packages, and run a recipe's steps against it."""

from __future__ import annotations

import re
import shlex
import shutil
import time
from typing import TYPE_CHECKING

from beowulf.errors import LabError, one_line
from beowulf.lab.image.alone import run_alone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from beowulf.lab.image.recipe import Recipe

LONGEST_S = 1800
TOOLS = {
    "mmdebstrap": "mmdebstrap",
    "mkfs.ext4": "e2fsprogs",
    "setpriv": "util-linux",
    "unshare": "util-linux",
}
MARK = "lab-step: "
# Documentation would be two thirds of the files to pack. Copyrights stay, as they must.
LEFT_OUT = ("/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*", "/usr/share/doc/*")
KEPT = ("/usr/share/doc/*/copyright", "/usr/share/locale/locale.alias")
PHASES = {
    "running apt-get update": "fetching package lists",
    "downloading packages": "fetching packages",
    "extracting archives": "unpacking packages",
    "installing remaining packages": "installing packages",
}


def bake(
    recipe: Recipe, tree: Path, port: int, log: Path, report: Callable[[str], None]
) -> dict[str, float]:
    """Make ``tree`` from a recipe, fetching through the proxy on ``port``; return the seconds.

    The words of all programs go to ``log``. The seconds are those of the packages and
    of each step, by name.

    Raises:
        LabError: A program is missing, failed, or took longer than half an hour.
    """
    for program, package in TOOLS.items():
        if shutil.which(program) is None:
            raise LabError(f"{program}: not installed here; type: apt-get install {package}")
    progress = Progress(recipe.kind, report)
    words = mmdebstrap_words(recipe, tree, port)
    status = run_alone(words, log, progress.read, longest_s=LONGEST_S)
    if status != 0:
        raise LabError(f"image {recipe.kind}: {why_failed(log.read_text().splitlines(), status)}")
    return progress.times_s()


def mmdebstrap_words(recipe: Recipe, tree: Path, port: int) -> list[str]:
    """Return the command that makes ``tree`` from a recipe."""
    words = ["mmdebstrap", "--mode=root", "--variant=minbase", "--format=directory"]
    words.append("--include=" + ",".join(recipe.packages))
    words.append(f'--aptopt=Acquire::http::Proxy "http://127.0.0.1:{port}"')
    words.append('--aptopt=Acquire::Retries "3"')
    words += [f"--dpkgopt=path-exclude={pattern}" for pattern in LEFT_OUT]
    words += [f"--dpkgopt=path-include={pattern}" for pattern in KEPT]
    for step in recipe.steps:
        # mmdebstrap hands the tree's path to a hook as the first word.
        command = f'echo {shlex.quote(MARK + step.name)} && {shlex.join(step.command)} "$1"'
        words.append(f"--customize-hook={command}")
    return [*words, recipe.suite, str(tree), *recipe.sources]


class Progress:
    """Read what mmdebstrap prints, tell what it does, and note when each part began."""

    def __init__(self, kind: str, report: Callable[[str], None]) -> None:
        self._kind = kind
        self._report = report
        self._began = [("packages", time.monotonic())]

    def read(self, line: str) -> None:
        """Take notice of one line of output."""
        if line.startswith(MARK):
            step = line.removeprefix(MARK).strip()
            self._began.append((f"step {step}", time.monotonic()))
            self._report(f"image {self._kind}: step {step}")
        elif line.startswith("I: "):
            for beginning, words in PHASES.items():
                if line.startswith(f"I: {beginning}"):
                    self._report(f"image {self._kind}: {words}")

    def times_s(self) -> dict[str, float]:
        """Return the seconds of each part; the last one ends now."""
        ends = [*(at for _, at in self._began[1:]), time.monotonic()]
        return {name: end - at for (name, at), end in zip(self._began, ends, strict=True)}


def why_failed(lines: Iterable[str], status: int) -> str:
    """Return in one line why a build failed, from what was printed."""
    found = [line.strip() for line in lines if line.strip()]
    telling = [line for line in found if re.match(r"(E|Err|dpkg|chroot|cp|useradd)\b.*:", line)]
    chosen = (telling or found or ["it printed nothing"])[:1]
    return one_line(f"exit {status}: {chosen[0]}")
