"""The plugs and cables of a lab, by the words with which people ask for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beowulf.lab import network, power
from beowulf.lab.host import require_host
from beowulf.lab.lab import switch_on
from beowulf.lab.locked import locked
from beowulf.lab.settings import read_settings

if TYPE_CHECKING:
    from beowulf.lab.directory import LabDirectory


def set_power(directory: LabDirectory, name: str, action: str) -> None:
    """Switch a node ``on`` or ``off``, ``cycle`` it, ``pause`` or ``resume`` it.

    Raises:
        BeowulfError: There is no such lab or node, or it is off and should be paused.
    """
    require_host()
    (machine,) = read_settings(directory).chosen([name])
    if action in {"off", "cycle"}:
        power.pull_the_plug(directory, machine.name)
    if action == "on":
        power.refuse_paused(directory, machine.name)
    if action in {"on", "cycle"}:
        switch_on(directory, [machine.name])
    if action == "pause":
        power.pause(directory, machine.name)
    if action == "resume":
        power.resume(directory, machine.name)


def set_cable(directory: LabDirectory, name: str, action: str, rate: str) -> None:
    """``cut`` a node's cable, ``heal`` it, or limit its ``rate``.

    Raises:
        BeowulfError: There is no such lab or node, or the rate is none.
    """
    require_host()
    settings = read_settings(directory)
    plan = settings.plan
    (machine,) = settings.chosen([name])
    with locked(directory.lock):
        network.create(directory.name, plan)
        if action == "cut":
            network.cut(directory.name, plan, machine)
        elif action == "heal":
            network.heal(directory.name, plan, machine)
        else:
            network.limit(directory.name, plan, machine, rate)
