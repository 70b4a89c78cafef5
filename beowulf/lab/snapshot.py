"""Keep the state of a lab's disks under a name, and go back to it.

A snapshot holds what the nodes changed of the image, not their memory: User-Mode
Linux has no way to keep that. Going back is a power cut, a change of disks and a boot,
into what was on the disks when all had been written out.
"""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING, Any

from beowulf.durable import read_json, write_json
from beowulf.errors import LabError, LabNotFound, NodeUnreachable
from beowulf.lab import network, power
from beowulf.lab.access import ssh_command
from beowulf.lab.directory import check_name
from beowulf.lab.host import require_host
from beowulf.lab.hostkeys import write_known_hosts
from beowulf.lab.lab import for_each, switch_on, wait_until_ready
from beowulf.lab.locked import locked
from beowulf.lab.settings import read_settings
from beowulf.transport.local import run

if TYPE_CHECKING:
    from pathlib import Path

    from beowulf.lab.directory import LabDirectory
    from beowulf.lab.lab import Report
    from beowulf.lab.machine import Machine, Plan

SCHEMA = 1
SYNC_TIMEOUT_S = 120
SETTLE_S = 0.2  # the disk's own thread on the host ends the write that it is in


def save(directory: LabDirectory, name: str, report: Report) -> None:
    """Keep the disks of all nodes under a name; one that exists is replaced when all is there.

    Running nodes write out what they have, stand still for the copy, and go on.

    Raises:
        BeowulfError: There is no such lab, or a running node does not answer.
    """
    require_host()
    check_name("NAME", name)
    settings = read_settings(directory)
    with locked(directory.lock):
        unfinished = directory.snapshots / f".{name}"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700, parents=True)
        machines = [
            m for m in settings.plan.machines if power.state(directory, m.name) != power.ABSENT
        ]
        for_each(machines, lambda machine: _save_node(directory, machine, unfinished))
        _save_records(directory, unfinished)
        cables = network.cables(directory.name, settings.plan)
        write_json(
            unfinished / "snapshot.json",
            {
                "schema": SCHEMA,
                "base": str(settings.base),
                "nodes": {
                    machine.name: {
                        "on": power.state(directory, machine.name) == power.ON,
                        "connected": cables[machine.name].connected,
                        "rate": cables[machine.name].rate,
                    }
                    for machine in machines
                },
            },
        )
        whole = directory.snapshots / name
        shutil.rmtree(whole, ignore_errors=True)
        unfinished.rename(whole)
    report("lab", f"saved as {name}")


def _save_node(directory: LabDirectory, machine: Machine, target: Path) -> None:
    files = directory.node(machine.name)
    power.refuse_paused(directory, machine.name)
    if power.state(directory, machine.name) == power.OFF:
        _copy_node(files.disk, files.host_keys, target / machine.name)
        return
    command = ssh_command(directory, machine.name, ["sync"], ["-o", "BatchMode=yes"])
    synced = run(command, timeout_s=SYNC_TIMEOUT_S, check=False)
    if synced.status != 0:
        raise NodeUnreachable(
            f"{machine.name} does not answer, so that it can't write out its disk; "
            f"heal its cable, or run: {directory.command(f'power {machine.name} off')}"
        )
    power.pause(directory, machine.name)
    try:
        time.sleep(SETTLE_S)
        _copy_node(files.disk, files.host_keys, target / machine.name)
    finally:
        power.resume(directory, machine.name)


def _copy_node(disk: Path, host_keys: Path, target: Path) -> None:
    """Copy a disk, as sparse as it is, with the host keys that belong to it."""
    _copy(disk, target.with_name(f"{target.name}.cow"))
    shutil.copyfile(host_keys, target.with_name(f"{target.name}.host_keys"))


def _save_records(directory: LabDirectory, target: Path) -> None:
    """Keep what the playbooks remember of the nodes: by that they know a node's disk as it is."""
    records = target / directory.measured.name
    records.mkdir()
    if directory.measured.is_dir():
        shutil.copytree(directory.measured, records, dirs_exist_ok=True)


def _restore_records(directory: LabDirectory, kept: Path) -> None:
    """Let the playbooks remember what they did then, if the snapshot says what that was."""
    records = kept / directory.measured.name
    if records.is_dir():
        shutil.rmtree(directory.measured, ignore_errors=True)
        shutil.copytree(records, directory.measured)


def _copy(source: Path, target: Path) -> None:
    run(["cp", "--sparse=always", "--reflink=auto", "--preserve=mode", source, target],
        timeout_s=600)  # fmt: skip


def restore(directory: LabDirectory, name: str, report: Report) -> None:
    """Go back to a snapshot: its nodes, their disks and cables, and which of them were on.

    All nodes lose power first. Returns once one can log in to each node that is on.

    Raises:
        BeowulfError: There is no such lab or snapshot, or a node did not come up.
    """
    require_host()
    check_name("NAME", name)
    settings = read_settings(directory)
    kept = directory.snapshots / name
    saved = _read(kept, str(settings.base))
    with locked(directory.lock):
        for machine in settings.plan.machines:
            power.pull_the_plug(directory, machine.name)
            files = directory.node(machine.name)
            if machine.name not in saved:
                shutil.rmtree(files.path, ignore_errors=True)
        present = [m for m in settings.plan.machines if m.name in saved]
        for_each(present, lambda machine: _restore_node(directory, machine, kept))
        _restore_records(directory, kept)
        write_known_hosts(directory, settings.plan)
    running = [machine for machine in present if saved[machine.name]["on"]]
    network.create(directory.name, settings.plan)
    for machine in present:
        _restore_cable(directory, settings.plan, machine, saved[machine.name])
    if running:
        switch_on(directory, [machine.name for machine in running])
    reachable = [machine for machine in running if saved[machine.name]["connected"]]
    wait_until_ready(directory, reachable, report)


def _read(kept: Path, base: str) -> dict[str, Any]:
    value = read_json(kept / "snapshot.json")
    if value is None:
        raise _no_such(kept)
    if value.get("schema") != SCHEMA or value.get("base") != base:
        raise LabError(f"snapshot {kept.name} was made of another image; save it again")
    nodes: dict[str, Any] = value["nodes"]
    return nodes


def _no_such(kept: Path) -> LabNotFound:
    others = _names(kept.parent)
    return LabNotFound(
        f"there is no snapshot {kept.name}; there are: {', '.join(others) or 'none'}"
    )


def _restore_node(directory: LabDirectory, machine: Machine, kept: Path) -> None:
    files = directory.node(machine.name)
    files.path.mkdir(parents=True, exist_ok=True)
    files.console.unlink(missing_ok=True)
    unfinished = files.disk.with_suffix(".tmp")
    _copy(kept / f"{machine.name}.cow", unfinished)
    unfinished.rename(files.disk)
    shutil.copyfile(kept / f"{machine.name}.host_keys", files.host_keys)


def _restore_cable(
    directory: LabDirectory, plan: Plan, machine: Machine, saved: dict[str, Any]
) -> None:
    network.heal(directory.name, plan, machine)
    if saved["rate"]:
        network.limit(directory.name, plan, machine, saved["rate"])
    if not saved["connected"]:
        network.cut(directory.name, plan, machine)


def names(directory: LabDirectory) -> list[str]:
    """Return the names of a lab's snapshots.

    Raises:
        LabNotFound: There is no such lab.
    """
    read_settings(directory)
    return _names(directory.snapshots)


def _names(snapshots: Path) -> list[str]:
    return sorted(path.name for path in snapshots.glob("[a-z0-9]*"))


def delete(directory: LabDirectory, name: str, report: Report) -> None:
    """Remove a snapshot.

    Raises:
        BeowulfError: There is no such lab or snapshot, or only root may.
    """
    require_host()
    check_name("NAME", name)
    read_settings(directory)
    with locked(directory.lock):
        if not (directory.snapshots / name).is_dir():
            raise _no_such(directory.snapshots / name)
        shutil.rmtree(directory.snapshots / name)
    report("lab", f"snapshot {name} is deleted")
