"""What a lab remembers of itself: its machines, its image and where it was described."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beowulf.durable import read_json, write_json
from beowulf.errors import LabError, LabNotFound
from beowulf.lab import shim
from beowulf.lab.directory import cache_directory
from beowulf.lab.image.recipe import program_of
from beowulf.lab.kernel import KERNEL
from beowulf.lab.machine import Machine, Plan
from beowulf.lab.power import PowerSupply

if TYPE_CHECKING:
    from collections.abc import Sequence

    from beowulf.lab.directory import LabDirectory

SCHEMA = 1


@dataclass(frozen=True)
class Settings:
    """A lab as it was made: what it is to be, and the image its nodes have."""

    plan: Plan
    image: str
    base: Path
    inventory: Path

    def supply(self, directory: LabDirectory) -> PowerSupply:
        """Return what the lab's nodes are switched on with."""
        program = program_of(self.base.parent)
        lacks = program == KERNEL and shim.needed()
        preload = shim.ensure_shim(cache_directory()) if lacks else None
        return PowerSupply(directory, self.plan, self.base, preload, program)

    def chosen(self, names: Sequence[str]) -> tuple[Machine, ...]:
        """Return the machines of these names, or all where none is named.

        Raises:
            LabNotFound: The lab has no such machine.
        """
        known = {machine.name: machine for machine in self.plan.machines}
        for name in names:
            if name not in known:
                raise LabNotFound(f"the lab has no node {name}; it has: {', '.join(known)}")
        return tuple(machine for name, machine in known.items() if not names or name in names)


def write_settings(directory: LabDirectory, settings: Settings) -> None:
    """Remember what a lab is."""
    write_json(
        directory.settings,
        {
            "schema": SCHEMA,
            "plan": settings.plan.to_json(),
            "image": settings.image,
            "base": str(settings.base),
            "inventory": str(settings.inventory),
        },
    )
    directory.settings.chmod(0o644)  # status needs no root


def read_settings(directory: LabDirectory) -> Settings:
    """Return what a lab remembers of itself.

    Raises:
        LabNotFound: There is no such lab.
        LabError: Its file cannot be read.
    """
    if not directory.settings.exists():
        raise LabNotFound(
            f"there is no lab {directory.name}; to make it: {directory.command('up')}"
        )
    settings = _parse(read_json(directory.settings))
    if settings is None:
        raise LabError(
            f"{directory.settings}: not a lab of this version; run: {directory.command('destroy')}"
        )
    return settings


def _parse(value: Any) -> Settings | None:
    try:
        plan = Plan.from_json(value["plan"])
        settings = Settings(
            plan, str(value["image"]), Path(value["base"]), Path(value["inventory"])
        )
        return settings if value["schema"] == SCHEMA else None
    except (TypeError, KeyError, ValueError):
        return None
