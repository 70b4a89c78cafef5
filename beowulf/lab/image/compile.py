"""Compile a kernel for the nodes that is about twice as fast as the one Debian compiled.

Its processes ask it by a signal, where Debian 12's and 13's stop them as a debugger does (Linux
6.16, ``seccomp=on``). Debian's newer ones have that too, but no tables for a firewall.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from beowulf.durable import read_json, write_json
from beowulf.errors import CommandFailed, LabError, one_line
from beowulf.lab.host import COMPILER
from beowulf.lab.image.alone import run_alone
from beowulf.lab.image.mirrors import find_mirrors
from beowulf.lab.image.recipe import Kernel
from beowulf.lab.image.source import fetch_source
from beowulf.lab.locked import locked
from beowulf.lab.proxy import ensure_proxy
from beowulf.transport.local import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from beowulf.lab.image.source import Source

OPTIONS = Path(__file__).with_name("kernel.config")
# What is called, and the Debian package that has it.
TOOLS = dict((COMPILER, ("xz", "xz-utils")), make="make", flex="flex", bison="bison", bc="bc")
PROGRAM_NAME = "linux.uml"
RECORD_NAME = "kernel.json"
BUILDING = ".building-"
ABOUT_FILES = 1100
TOLD_EVERY = 100
ROOM_MB = 3000
LONGEST_S = 3600
UNPACK_TIMEOUT_S = 600


def compiled_kernel(cache: Path) -> Kernel | None:
    """Return the newest kernel that was compiled into ``cache`` with these options, if any."""
    found = []
    for directory in _kernels(cache).glob(f"*-{_digest()}"):
        record = read_json(directory / RECORD_NAME)
        with contextlib.suppress(TypeError, KeyError, ValueError):
            modules = directory / "modules" / record["version"]
            kernel = Kernel(str(record["package"]), modules, str(directory / PROGRAM_NAME))
            found.append((float(record["made"]), kernel))
    return max(found, key=lambda pair: pair[0])[1] if found else None


def compile_kernel(cache: Path, report: Callable[[str], None], *, rebuild: bool = False) -> Kernel:
    """Return the kernel in ``cache``; compile it first, if there is none or ``rebuild`` is said.

    Of two callers at once, one waits and takes what the other made. ``report`` is called with
    a line of text now and then. Needs root.

    Raises:
        LabError: A program or room on the disk is missing, the source could not be fetched, an
            option is none any more, or the compiler failed. Nothing is left behind.
    """
    kernels = _kernels(cache)
    kernels.mkdir(parents=True, exist_ok=True)
    if (found := compiled_kernel(cache)) and not rebuild:
        return found
    with locked(kernels / "lock", lambda: report("another one is being compiled: waiting for it")):
        for left in kernels.glob(f"{BUILDING}*"):
            shutil.rmtree(left)
        if (found := compiled_kernel(cache)) and not rebuild:
            return found
        _require(kernels)
        work = Path(tempfile.mkdtemp(prefix=BUILDING, dir=kernels))
        try:
            made = _compile(work, cache, report)
        except (CommandFailed, OSError) as error:
            raise LabError(f"kernel: {one_line(str(error))}") from error
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return made


def lost(wanted: str, configuration: str) -> list[str]:
    """Return the options that a configuration does not have as they were wanted."""
    given = set(configuration.splitlines())
    options = [line for line in wanted.splitlines() if line.startswith("CONFIG_")]
    return [option for option in options if option not in given]


def _kernels(cache: Path) -> Path:
    return cache.resolve() / "kernels"


def _digest() -> str:
    return hashlib.sha256(OPTIONS.read_bytes()).hexdigest()[:8]


def lacking_packages() -> list[str]:
    """Return the Debian packages whose programs are missing here, sorted."""
    return sorted({package for tool, package in TOOLS.items() if shutil.which(tool) is None})


def _require(folder: Path) -> None:
    if missing := lacking_packages():
        raise LabError(f"to compile a kernel, first: apt-get install {' '.join(missing)}")
    free_mb = shutil.disk_usage(folder).free // 2**20
    if free_mb < ROOM_MB:
        raise LabError(
            f"{folder}: to compile a kernel takes {ROOM_MB} MB for a while; {free_mb} MB are free"
        )


def _compile(work: Path, cache: Path, report: Callable[[str], None]) -> Kernel:
    report("fetching the source")
    mirrors = find_mirrors()
    home = work / "apt"
    home.mkdir()
    place = mirrors.sources[0].split()[1]
    source = fetch_source(home, place, ensure_proxy(cache, mirrors.servers).port)
    report(f"{source.package} {source.version}: unpacking")
    tree = _unpack(source, work / "source")
    log = work / "build.log"
    make = ["make", "-C", str(tree), "ARCH=um", f"O={work / 'build'}", f"-j{os.cpu_count() or 1}"]
    _run_make([*make, f"KCONFIG_ALLCONFIG={OPTIONS}", "allnoconfig"], log, lambda _: None)
    if missing := lost(OPTIONS.read_text(), (work / "build/.config").read_text()):
        raise LabError(f"kernel: {source.package} has no {', '.join(missing)}; see {OPTIONS}")
    _run_make([*make, "linux", "modules"], log, report)
    made = work / "made"
    _run_make([*make, f"INSTALL_MOD_PATH={work / 'installed'}", "modules_install"], log, report)
    version = (work / "build/include/config/kernel.release").read_text().strip()
    shutil.copytree(
        work / "installed/lib/modules" / version,
        made / "modules" / version,
        ignore=shutil.ignore_patterns("build", "source"),
    )
    run(["strip", "-o", made / PROGRAM_NAME, work / "build/linux"])
    return _put(made, f"{source.package} {source.version}", version)


def _put(made: Path, package: str, version: str) -> Kernel:
    """Write down what was made, and put it where kernels are: the name says it is whole."""
    now = time.time()
    package = f"{package} {_digest()}"
    write_json(made / RECORD_NAME, {"package": package, "version": version, "made": now})
    directory = made.parent.with_name(f"{version}-{int(now)}-{_digest()}")
    made.rename(directory)
    return Kernel(package, directory / "modules" / version, str(directory / PROGRAM_NAME))


def _unpack(source: Source, folder: Path) -> Path:
    """Unpack the source below a folder that is not there yet; return where it is."""
    run(["dpkg-deb", "--extract", source.archive, folder], timeout_s=UNPACK_TIMEOUT_S)
    packed = next((folder / "usr/src").glob("linux-source-*.tar.xz"))
    words = ["tar", "--extract", "--use-compress-program=xz -T0", "--no-same-owner"]
    run([*words, f"--directory={folder}", f"--file={packed}"], timeout_s=UNPACK_TIMEOUT_S)
    return next(path for path in folder.glob("linux-source-*") if path.is_dir())


def _run_make(words: Sequence[str], log: Path, report: Callable[[str], None]) -> None:
    """Run make to its end, and tell now and then how many files were compiled."""
    files = 0

    def read(line: str) -> None:
        nonlocal files
        if line.startswith("  CC "):
            files += 1
            if files % TOLD_EVERY == 0:
                report(f"compiled {files} files of about {ABOUT_FILES}")

    if run_alone(words, log, read, longest_s=LONGEST_S) != 0:
        raise LabError(f"kernel: make {words[-1]}: {why_failed(log.read_text().splitlines())}")


def why_failed(lines: Iterable[str]) -> str:
    """Return the line that says why a build failed, from what was printed."""
    found = [line.strip() for line in lines if line.strip()]
    telling = [line for line in found if re.search(r"\b(error|Error|fatal|\*\*\*)\b.*", line)]
    return (telling or found[-1:] or ["it printed nothing"])[0]


if __name__ == "__main__":  # for the Makefile, which installs them
    print(*lacking_packages())
