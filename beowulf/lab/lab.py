"""A lab as a whole: make it, and put it away."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from beowulf.cluster.inventory import (
    ENVIRONMENT,
    inventory_command,
    parse_inventory,
    refuse_unread,
)
from beowulf.errors import CommandFailed, LabError, NodeUnreachable
from beowulf.lab import network, power, process
from beowulf.lab.access import (
    ensure_identity,
    wait_for_host_keys,
    wait_for_login,
    write_ssh_config,
)
from beowulf.lab.directory import cache_directory, check_room, lab_directory, lab_names
from beowulf.lab.host import allow_mappings, require_host, require_memory
from beowulf.lab.hostkeys import write_known_hosts
from beowulf.lab.image.build import ensure_image, remove_unused
from beowulf.lab.image.compile import compile_kernel
from beowulf.lab.keeper import end_keeper, ensure_keeper
from beowulf.lab.locked import locked
from beowulf.lab.machine import plan_of
from beowulf.lab.proxy import ensure_proxy, stop_proxy
from beowulf.lab.settings import Settings, read_settings, write_settings
from beowulf.transport.local import explanation, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from beowulf.lab.directory import LabDirectory
    from beowulf.lab.machine import Machine, Plan

    # Called with whom something happens to (a node, the image, the lab) and what.
    Report = Callable[[str, str], None]

BARE = "bare"


def read_plan(inventory: Path) -> Plan:
    """Return the lab that an inventory describes.

    Raises:
        InvalidInput: There is no such inventory, or it describes no lab.
        CommandFailed: Ansible itself failed.
    """
    finished = run(inventory_command(inventory), environment=ENVIRONMENT, check=False)
    refuse_unread(finished.errors, str(inventory))
    if finished.status != 0:
        raise CommandFailed(explanation(finished))
    return plan_of(parse_inventory(finished.output, str(inventory)))


def up(
    directory: LabDirectory, inventory: Path, kind: str | None, names: Sequence[str], report: Report
) -> None:
    """Bring nodes up, all where none is named, until one can log in to each.

    What is there already stays as it is. A run that was killed half-way is taken up
    where it ended. A paused node stays paused and is an error.

    Raises:
        BeowulfError: The inventory cannot be used, this computer lacks something (then
            nothing was touched), or a node did not come up.
    """
    require_host()
    plan = read_plan(inventory)
    # A name that is wrong is refused before an image is made.
    Settings(plan, kind or BARE, inventory, inventory).chosen(names)
    check_room(directory, (machine.name for machine in plan.machines))
    directory.path.parent.mkdir(parents=True, exist_ok=True)
    with locked(directory.lock, lambda: report("lab", "another command changes it: waiting")):
        settings = _settled(directory, inventory, plan, kind, report)
        machines = settings.chosen(names)
        _make_surroundings(directory, settings)
    starting = [m for m in machines if power.state(directory, m.name) != power.ON]
    require_memory(starting)
    allow_mappings()
    supply = settings.supply(directory)

    cables = network.cables(directory.name, settings.plan)

    def bring_up(machine: Machine) -> None:
        if not cables[machine.name].connected:
            raise NodeUnreachable(
                f"{machine.name}: its cable is cut; "
                f"run: {directory.command(f'cable {machine.name} heal')}"
            )
        power.refuse_paused(directory, machine.name)
        if power.switch_on(supply, machine):
            report(machine.name, "booting")
        wait_for_host_keys(directory, machine)
        report(machine.name, "waiting for a login")
        with locked(directory.lock):
            write_known_hosts(directory, settings.plan)
        wait_for_login(directory, machine)
        report(machine.name, "ready")

    for machine in machines:
        report(machine.name, "starting")
    for_each(machines, bring_up)


def _settled(
    directory: LabDirectory, inventory: Path, plan: Plan, kind: str | None, report: Report
) -> Settings:
    """Return what the lab is, made now if it is new; nodes that exist can't change."""
    if not directory.settings.exists():
        image = ensure_image(
            kind or BARE, cache=cache_directory(), report=lambda words: report("image", words)
        )
        ensure_proxy(cache_directory())
        settings = Settings(plan, image.kind, image.disk, inventory.resolve())
        directory.path.mkdir(mode=0o755, exist_ok=True)
        write_settings(directory, settings)
        return settings
    settings = read_settings(directory)
    if settings.plan != plan or kind not in {None, settings.image}:
        what = "other machines" if settings.plan != plan else f"image {settings.image}"
        raise LabError(
            f"{directory.name} is a lab with {what}; give another name with --lab, or remove "
            f"this one with all its disks: {directory.command('destroy')}"
        )
    if not settings.base.exists():
        raise LabError(
            f"lab {directory.name}: its image {settings.base} is gone; "
            f"run: {directory.command('destroy')}"
        )
    return settings


def _make_surroundings(directory: LabDirectory, settings: Settings) -> None:
    """Make all that nodes need besides their disks, as far as it is missing."""
    ensure_identity(directory)
    network.create(directory.name, settings.plan)
    write_ssh_config(directory, settings.plan)
    write_known_hosts(directory, settings.plan)
    ensure_keeper(directory)  # which also starts the package proxy where it is gone


def switch_on(directory: LabDirectory, names: Sequence[str]) -> None:
    """Give nodes power, all where none is named; doesn't wait for their boot.

    After a restart of this computer it also makes again what they need around them.

    Raises:
        BeowulfError: There is no such lab or node, or one did not start.
    """
    require_host()
    with locked(directory.lock):
        settings = read_settings(directory)
        machines = settings.chosen(names)
        _make_surroundings(directory, settings)
    require_memory([m for m in machines if power.state(directory, m.name) == power.OFF])
    allow_mappings()
    supply = settings.supply(directory)
    for_each(machines, lambda machine: power.switch_on(supply, machine))


def make_image(kind: str, *, rebuild: bool, report: Report) -> Path:
    """Make an image unless there is one, and return its disk.

    Raises:
        BeowulfError: This computer lacks something, or the image could not be made.
    """
    require_host()
    image = ensure_image(
        kind, cache=cache_directory(), report=lambda words: report("image", words), rebuild=rebuild
    )
    report("image", "ready")
    if not lab_names():
        stop_proxy(cache_directory())
    return image.disk


def make_kernel(*, rebuild: bool, report: Report) -> Path:
    """Compile the kernel of the images that are made from now on; return what starts it.

    Raises:
        BeowulfError: This computer lacks something, or it could not be compiled.
    """
    require_host()
    kernel = compile_kernel(
        cache_directory(), lambda words: report("kernel", words), rebuild=rebuild
    )
    report("kernel", "ready")
    if not lab_names():
        stop_proxy(cache_directory())
    return Path(kernel.program)


def remove_images() -> list[Path]:
    """Remove the images that no lab on this computer stands on; return what was removed.

    Raises:
        BeowulfError: Only root may, or a lab's settings cannot be read.
    """
    require_host()
    settings = [
        read_settings(directory)
        for directory in map(lab_directory, lab_names())
        if directory.settings.exists()
    ]
    return remove_unused(cache_directory(), [known.base.parent for known in settings])


def wait_until_ready(directory: LabDirectory, machines: Iterable[Machine], report: Report) -> None:
    """Wait until one can log in to every one of these nodes."""

    def wait(machine: Machine) -> None:
        wait_for_host_keys(directory, machine)
        wait_for_login(directory, machine)
        report(machine.name, "ready")

    for_each(list(machines), wait)


def down(directory: LabDirectory, names: Sequence[str], report: Report) -> None:
    """Have nodes shut themselves down, all where none is named, and wait until they have.

    Raises:
        BeowulfError: There is no such lab or node, or one did not shut down.
    """
    require_host()

    def shut_down(machine: Machine) -> None:
        state = power.state(directory, machine.name)
        if state not in {power.OFF, power.ABSENT, power.PAUSED}:
            report(machine.name, "shutting down")
        power.press_the_button(directory, machine.name)
        report(machine.name, "off")

    for_each(read_settings(directory).chosen(names), shut_down)


def destroy(directory: LabDirectory, names: Sequence[str], report: Report) -> None:
    """Remove nodes with their disks; without names, or with the last node, the whole lab.

    Works on what a killed run left, and on nothing.

    Raises:
        BeowulfError: A named node is none of this lab's.
    """
    require_host()
    directory.path.parent.mkdir(parents=True, exist_ok=True)
    missing = not directory.path.exists() and not network.exists(directory.name)
    with locked(directory.lock):
        if names and directory.settings.exists():
            for machine in read_settings(directory).chosen(names):
                _remove_node(directory, machine.name)
                report(machine.name, "destroyed")
            write_known_hosts(directory, read_settings(directory).plan)
        if not names or not _has_nodes(directory):
            _remove_lab(directory)
            report("lab", f"there is none of the name {directory.name}" if missing else "destroyed")
    if not lab_names():
        stop_proxy(cache_directory())


def _remove_node(directory: LabDirectory, name: str) -> None:
    power.pull_the_plug(directory, name)
    shutil.rmtree(directory.node(name).path, ignore_errors=True)


def _has_nodes(directory: LabDirectory) -> bool:
    return directory.nodes.is_dir() and any(directory.nodes.iterdir())


def _remove_lab(directory: LabDirectory) -> None:
    end_keeper(directory)
    names = [path.name for path in directory.nodes.iterdir()] if directory.nodes.is_dir() else []
    for name in names:
        power.pull_the_plug(directory, name)
    # Whatever is still in the lab's network is the lab's, recorded or not.
    process.kill(_processes(network.processes_inside(directory.name)))
    network.remove(directory.name)
    if directory.path.is_dir():
        shutil.rmtree(directory.path)
    directory.lock.unlink(missing_ok=True)


def _processes(numbers: Iterable[int]) -> list[psutil.Process]:
    found = []
    for number in numbers:
        try:
            found.append(psutil.Process(number))
        except psutil.NoSuchProcess:
            continue
    return found


def for_each(machines: Sequence[Machine], do: Callable[[Machine], object]) -> None:
    """Do something with all machines at once. The first error is raised after all have ended.

    An interrupt ends the waiting at once; what the threads were waiting for goes on
    without them.
    """
    errors: dict[str, BaseException] = {}

    def work(machine: Machine) -> None:
        try:
            do(machine)
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            errors[machine.name] = error

    threads = [threading.Thread(target=work, args=(m,), daemon=True) for m in machines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [errors[machine.name] for machine in machines if machine.name in errors]
    if len(found) > 1 and all(isinstance(error, NodeUnreachable) for error in found):
        raise NodeUnreachable("; ".join(str(error) for error in found))
    if found:
        raise found[0]
