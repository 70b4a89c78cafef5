"""Make an image, or find the one that was made before."""

from __future__ import annotations

import re
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from beowulf.errors import CommandFailed, InvalidInput, LabError, one_line
from beowulf.lab.image.bake import bake
from beowulf.lab.image.compile import compiled_kernel
from beowulf.lab.image.kernel import find_kernel
from beowulf.lab.image.mirrors import SUITE, find_mirrors
from beowulf.lab.image.pack import pack, packages_in
from beowulf.lab.image.recipe import DISK_NAME, KINDS, RECORD_NAME, Image, recipe_for, record_of
from beowulf.lab.image.secrets import secrets_in
from beowulf.lab.locked import locked
from beowulf.lab.proxy import ensure_proxy
from beowulf.transport.local import run

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from beowulf.lab.image.recipe import Recipe

BUILDING = ".building-"
NAME = re.compile(rf"({'|'.join(KINDS)})-([0-9a-f]{{16}})(?:-([1-9][0-9]*))?")


def ensure_image(
    kind: str, *, cache: Path, report: Callable[[str], None], rebuild: bool = False
) -> Image:
    """Return the image of this kind in ``cache``; make it first if there is none.

    Everything that goes in decides which image is the right one: package lists,
    files, mirrors, kernel (one that was compiled here, else Debian's), and the builder
    itself. ``rebuild`` makes another one with today's packages beside an old one, which
    running nodes may still stand on. Of two callers at once, one waits and takes what
    the other made. ``report`` is called with a line of text whenever something begins
    that takes time. Needs root.

    Raises:
        InvalidInput: No such kind.
        LabError: A program is missing, a package could not be fetched or installed,
            or the image would hold a secret. Nothing is left behind.
    """
    if kind not in KINDS:
        raise InvalidInput("image", f"no kind {kind!r}", f"choose one of {', '.join(KINDS)}")
    mirrors = find_mirrors(SUITE)
    kernel = compiled_kernel(cache) or find_kernel()
    recipe = recipe_for(kind, mirrors.sources, SUITE, kernel)
    images = cache / "images"
    images.mkdir(parents=True, exist_ok=True)
    if (found := newest(images, recipe)) and not rebuild:
        return found
    with locked(images / "lock", lambda: report("another image is being built: waiting for it")):
        remove_leftovers(images)
        if (found := newest(images, recipe)) and not rebuild:
            return found
        proxy = ensure_proxy(cache, mirrors.servers)
        return _build(recipe, images, proxy.port, report)


def newest(images: Path, recipe: Recipe) -> Image | None:
    """Return the newest whole image of a recipe, None if there is none."""
    made = [
        (int(name[3] or 1), directory)
        for directory in images.iterdir()
        if (name := NAME.fullmatch(directory.name))
        and (name[1], name[2]) == (recipe.kind, recipe.digest)
    ]
    return Image(recipe.kind, recipe.digest, max(made)[1]) if made else None


def remove_unused(cache: Path, keep: Collection[Path]) -> list[Path]:
    """Remove every image whose directory is not in ``keep``; return what was removed.

    A node's disk is useless without the image it is a copy over: ``keep`` has to name
    the images of all labs, running or not.
    """
    images = cache / "images"
    if not images.is_dir():
        return []
    kept = {path.resolve() for path in keep}
    with locked(images / "lock"):
        unused = [
            path
            for path in sorted(images.iterdir())
            if NAME.fullmatch(path.name) and path.resolve() not in kept
        ]
        for path in unused:
            # Renamed first: an image that is half removed must not be found.
            doomed = path.rename(path.with_name(f"{BUILDING}{path.name}"))
            shutil.rmtree(doomed)
    return unused


def remove_leftovers(images: Path) -> None:
    """Remove what a killed build left. The caller holds the lock, so no build is running."""
    for path in images.glob(f"{BUILDING}*"):
        for mounted in reversed(mounts_below(path, Path("/proc/self/mounts").read_text())):
            run(["umount", "--lazy", mounted], check=False)
        if mounts_below(path, Path("/proc/self/mounts").read_text()):
            raise LabError(f"{path}: something is still mounted there; type: umount -R {path}")
        shutil.rmtree(path)


def mounts_below(folder: Path, mounts: str) -> list[str]:
    """Return the mount points at or below a folder, in the order they were mounted."""
    points = [line.split(" ")[1] for line in mounts.splitlines() if line]
    plain = [re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), point) for point in points]
    return [point for point in plain if Path(point).is_relative_to(folder.resolve())]


def _build(recipe: Recipe, images: Path, port: int, report: Callable[[str], None]) -> Image:
    work = Path(tempfile.mkdtemp(prefix=BUILDING, dir=images))
    try:
        work.chmod(0o755)
        tree = work / "tree"
        times_s = bake(recipe, tree, port, work / "build.log", report)
        if secrets := secrets_in(tree):
            raise LabError(f"image {recipe.kind}: {secrets[0]}; make {_last(recipe)} remove it")
        packages = packages_in(tree)
        began = time.monotonic()
        report(f"image {recipe.kind}: packing {len(packages)} packages into a disk")
        pack(tree, work / DISK_NAME)
        shutil.rmtree(tree)
        times_s["disk"] = time.monotonic() - began
        (work / RECORD_NAME).write_text(record_of(recipe, packages, times_s))
        (work / DISK_NAME).chmod(0o444)
        directory = work.rename(_free_name(images, recipe))
    except (CommandFailed, OSError) as error:
        raise LabError(f"image {recipe.kind}: {one_line(str(error))}") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    image = Image(recipe.kind, recipe.digest, directory)
    report(f"image {recipe.kind}: made in {image.built_in_s:.0f} s")
    return image


def _last(recipe: Recipe) -> str:
    return f"the step {recipe.steps[-1].name!r}"


def _free_name(images: Path, recipe: Recipe) -> Path:
    """Return where the next image of a recipe goes; one that exists is never replaced."""
    name = f"{recipe.kind}-{recipe.digest}"
    before = newest(images, recipe)
    if before is None:
        return images / name
    number = before.directory.name.removeprefix(name).lstrip("-") or "1"
    return images / f"{name}-{int(number) + 1}"
