"""A node's power button and its plug."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

from beowulf.errors import LabError
from beowulf.lab import console, process
from beowulf.lab.firmware import ensure_firmware
from beowulf.lab.host import MEMORY
from beowulf.lab.hostkeys import collect_host_keys
from beowulf.lab.kernel import KERNEL, Boot, command_line
from beowulf.lab.locked import locked
from beowulf.lab.namespace import NAMESPACES
from beowulf.lab.network import namespace_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from beowulf.lab.directory import LabDirectory
    from beowulf.lab.machine import Machine, Plan

ABSENT, OFF, ON, PAUSED = "absent", "off", "on", "paused"
LOOK_S = 0.05
START_TIMEOUT_S = 20
SHUTDOWN_TIMEOUT_S = 60


@dataclass(frozen=True)
class PowerSupply:
    """What a node is switched on with, the same for all nodes of a lab."""

    directory: LabDirectory
    plan: Plan
    base: Path
    preload: Path | None
    program: str = KERNEL


def state(directory: LabDirectory, name: str) -> str:
    """Return whether a node is ``absent`` (never made), ``off``, ``on`` or ``paused``."""
    files = directory.node(name)
    if not files.path.is_dir():
        return ABSENT
    kernel = _kernel(directory, name)
    if kernel is None:
        return OFF
    try:
        return PAUSED if kernel.status() == psutil.STATUS_STOPPED else ON
    except psutil.NoSuchProcess:
        return OFF


def refuse_paused(directory: LabDirectory, name: str) -> None:
    """Refuse to do to a frozen node what only one that answers can take part in.

    Raises:
        LabError: The node is paused.
    """
    if state(directory, name) == PAUSED:
        raise LabError(f"{name} is paused; run: {directory.command(f'power {name} resume')}")


def kernel_pid(directory: LabDirectory, name: str) -> int | None:
    """Return the process that is a node's kernel, None where the node is off."""
    kernel = _kernel(directory, name)
    return kernel.pid if kernel else None


def switch_on(supply: PowerSupply, machine: Machine) -> bool:
    """Give a node power, and say whether it had none. Its disk is made if there is none.

    Raises:
        LabError: User-Mode Linux did not start; the message has its last words.
    """
    with _held(supply.directory, machine.name):
        if _kernel(supply.directory, machine.name) is not None:
            return False
        _start(supply, machine)
        return True


def pull_the_plug(directory: LabDirectory, name: str) -> None:
    """Take a node's power away: what it had not written to its disk is lost."""
    if directory.node(name).path.is_dir():
        with _held(directory, name):
            _end(directory, name)


def press_the_button(directory: LabDirectory, name: str) -> None:
    """Have a node shut itself down, and wait until it has. A node that is off stays off.

    Raises:
        LabError: It did not within a minute, or it is paused.
    """
    if not directory.node(name).path.is_dir():
        return
    with _held(directory, name):
        refuse_paused(directory, name)
        kernel = _kernel(directory, name)
        if kernel is not None:
            console.ask(directory.management_console(name), "cad")
            try:
                kernel.wait(SHUTDOWN_TIMEOUT_S)
            except psutil.TimeoutExpired:
                raise LabError(
                    f"{name} did not shut down within {SHUTDOWN_TIMEOUT_S} s; "
                    f"run: {directory.command(f'power {name} off')}"
                ) from None
        _end(directory, name)


def pause(directory: LabDirectory, name: str) -> None:
    """Freeze a node: it keeps its connections and answers nothing.

    Raises:
        LabError: The node is off.
    """
    _running(directory, name).suspend()


def resume(directory: LabDirectory, name: str) -> None:
    """Let a frozen node go on.

    Raises:
        LabError: The node is off.
    """
    _running(directory, name).resume()


def _running(directory: LabDirectory, name: str) -> psutil.Process:
    kernel = _kernel(directory, name)
    if kernel is None:
        raise LabError(f"{name} is off; run: {directory.command(f'power {name} on')}")
    return kernel


@contextmanager
def _held(directory: LabDirectory, name: str) -> Iterator[None]:
    files = directory.node(name)
    files.path.mkdir(parents=True, exist_ok=True)
    with locked(files.lock):
        yield


def _start(supply: PowerSupply, machine: Machine) -> None:
    directory = supply.directory
    files = directory.node(machine.name)
    collect_host_keys(files)  # the console's last words are about to be overwritten
    _end(directory, machine.name)
    empty = directory.consoles / ".empty"  # which can be no node's name
    empty.mkdir(parents=True, exist_ok=True)
    public_key = directory.identity.with_suffix(".pub").read_text().strip()
    boot = Boot(
        supply.base, files.disk, directory.consoles, empty, f"{public_key}\n", supply.program
    )
    started = _spawn(supply, machine, files.console, command_line(machine, supply.plan, boot))
    try:
        process.record(files.process, started.pid)
        _wait_for_console(supply, machine, started)
    except BaseException:
        started.kill()
        started.wait()
        raise


def _spawn(
    supply: PowerSupply, machine: Machine, output: Path, words: list[str]
) -> subprocess.Popen[bytes]:
    """Start User-Mode Linux in a process namespace of its own, so that all of it ends at once.

    Bound to one processor it is faster, twice as fast where it is alone: every system
    call inside passes between two processes of the host, which are then never moved apart.
    """
    namespace = NAMESPACES / namespace_of(supply.directory.name)
    firmware = supply.directory.consoles / ".firmware"  # no node's name either
    wrapped = ["nsenter", f"--net={namespace}",
               "unshare", "--pid", "--fork", "--kill-child", "--mount-proc",
               "taskset", "--cpu-list", processor_of(supply.plan, machine),
               str(ensure_firmware(firmware, supply.program)), *words[1:]]  # fmt: skip
    environment = {**os.environ, "TMPDIR": str(MEMORY)}
    if supply.preload is not None:
        environment["LD_PRELOAD"] = str(supply.preload)
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
    try:
        return subprocess.Popen(
            wrapped,
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            env=environment,
            start_new_session=True,
            umask=0o077,  # a disk holds the node's private keys
            cwd="/",
        )
    finally:
        os.close(descriptor)


def processor_of(plan: Plan, machine: Machine) -> str:
    """Return the processor that a machine is bound to: each of this computer's in turn."""
    available = sorted(os.sched_getaffinity(0))
    return str(available[plan.machines.index(machine) % len(available)])


def _wait_for_console(
    supply: PowerSupply, machine: Machine, started: subprocess.Popen[bytes]
) -> None:
    """Wait until the node's kernel takes orders: from here on it has power."""
    socket = supply.directory.management_console(machine.name)
    deadline = time.monotonic() + START_TIMEOUT_S
    while not socket.exists():
        if started.poll() is not None or time.monotonic() > deadline:
            log = supply.directory.node(machine.name).console
            last = log.read_text(errors="replace").strip().splitlines()[-1:] or ["nothing"]
            raise LabError(f"{machine.name}: {supply.program} did not start: {last[0]}; see {log}")
        time.sleep(LOOK_S)


def _kernel(directory: LabDirectory, name: str) -> psutil.Process | None:
    """Return the process that is a node's kernel: the first in its process namespace."""
    outer = process.read(directory.node(name).process)
    try:
        children = outer.children() if outer else []
    except psutil.NoSuchProcess:
        return None
    return children[0] if children else None


def _end(directory: LabDirectory, name: str) -> None:
    """Kill a node's processes and wait: without the first one its namespace ends as a whole.

    Those that a killed command started and did not write down are known by their words.
    """
    kernel = _kernel(directory, name)
    if kernel is not None:
        process.kill([kernel])
    process.end(directory.node(name).process)
    process.kill(process.find_by_words({f"umid={name}", f"uml_dir={directory.consoles}/"}))
    shutil.rmtree(directory.consoles / name, ignore_errors=True)
