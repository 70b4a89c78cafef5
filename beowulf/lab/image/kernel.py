"""Find the kernel that the lab's nodes run."""

from __future__ import annotations

from pathlib import Path

from beowulf.errors import CommandFailed, LabError
from beowulf.lab.image.recipe import Kernel
from beowulf.transport.local import run

MODULES = Path("/usr/lib/uml/modules")
REMEDY = "type: apt-get install user-mode-linux"


def find_kernel(modules: Path = MODULES) -> Kernel:
    """Return the User-Mode Linux that is installed on this computer.

    Raises:
        LabError: It is not installed, or it is not clear which modules belong to it.
    """
    try:
        asked = run(["dpkg-query", "--show", "--showformat", "${Version}", "user-mode-linux"])
    except CommandFailed:
        raise LabError(f"user-mode-linux: not installed on this computer; {REMEDY}") from None
    found = sorted(path for path in modules.glob("*") if path.is_dir())
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise LabError(f"{modules}: modules of one kernel expected, found {names}; {REMEDY}")
    return Kernel(asked.output.strip(), found[0])
