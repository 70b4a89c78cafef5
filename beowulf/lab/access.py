"""How people and programs get into a node: the lab's key, its ssh configuration, a login."""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING

from beowulf.durable import write_file
from beowulf.errors import NodeUnreachable
from beowulf.lab import power
from beowulf.lab.host import require_host
from beowulf.lab.hostkeys import collect_host_keys
from beowulf.lab.kernel import USER
from beowulf.lab.namespace import NAMESPACES, socket_inside
from beowulf.lab.network import cables, namespace_of
from beowulf.lab.settings import read_settings
from beowulf.transport.local import run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from beowulf.lab.directory import LabDirectory
    from beowulf.lab.machine import Machine, Plan

SSH_PORT = 22
LOOK_S = 0.1
BOOT_TIMEOUT_S = 180  # ten times what a slow computer was seen to take
LOGIN_TIMEOUT_S = 60


def ensure_identity(directory: LabDirectory) -> None:
    """Make the lab's own key unless it is there. It never leaves this computer."""
    if not directory.identity.with_suffix(".pub").exists():
        directory.identity.unlink(missing_ok=True)
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"beowulf lab {directory.name}",
             "-f", directory.identity])  # fmt: skip


def write_ssh_config(directory: LabDirectory, plan: Plan) -> None:
    """Write how ssh reaches every node, verified by the host keys that they told."""
    write_file(directory.ssh_config, ssh_config(directory, plan).encode())
    directory.ssh_config.chmod(0o644)


def ssh_config(directory: LabDirectory, plan: Plan) -> str:
    """Return the lab's ssh configuration."""
    hosts = "".join(
        f"Host {machine.name} {machine.address}\n    HostName {machine.address}\n"
        for machine in plan.machines
    )
    return (
        f"# How to reach the nodes of lab {directory.name}. Written by: beowulf lab up\n"
        f"{hosts}"
        "Host *\n"
        f"    User {USER}\n"
        f"    IdentityFile {directory.identity}\n"
        "    IdentitiesOnly yes\n"
        f"    UserKnownHostsFile {directory.known_hosts}\n"
        "    GlobalKnownHostsFile none\n"
        "    StrictHostKeyChecking yes\n"
        "    UpdateHostKeys no\n"
        "    PasswordAuthentication no\n"
        "    ConnectTimeout 30\n"
        f"    ProxyCommand nsenter --net={NAMESPACES}/{namespace_of(directory.name)} nc %h %p\n"
    )


def ssh_command(
    directory: LabDirectory, name: str, words: Sequence[str] = (), options: Sequence[str] = ()
) -> list[str]:
    """Return the command that logs in to a node, to run ``words`` there if there are any."""
    # Behind -- a command's own flags are none of ssh's.
    command = ["--", *words] if words else []
    return ["ssh", "-F", str(directory.ssh_config), *options, name, *command]


def wait_for_host_keys(directory: LabDirectory, machine: Machine) -> None:
    """Wait until a node has told its host keys on its console; those known are not asked again.

    Raises:
        NodeUnreachable: It has not after three minutes.
    """
    deadline = time.monotonic() + BOOT_TIMEOUT_S
    while not collect_host_keys(directory.node(machine.name)):
        _check(directory, machine, deadline)
        time.sleep(LOOK_S)


def wait_for_login(directory: LabDirectory, machine: Machine) -> None:
    """Wait until one can log in to a node. Its host keys must be in ``known_hosts``.

    Raises:
        NodeUnreachable: One can't after three minutes, or it refuses the lab's key.
    """
    deadline = time.monotonic() + BOOT_TIMEOUT_S
    while not _answers(directory, machine):
        _check(directory, machine, deadline)
        time.sleep(LOOK_S)
    command = ssh_command(directory, machine.name, ["true"], ["-o", "BatchMode=yes"])
    login = run(command, timeout_s=LOGIN_TIMEOUT_S, check=False)
    if login.status != 0:
        said = login.errors.strip().splitlines()[-1:] or ["no word"]
        raise NodeUnreachable(f"{machine.name}: no login: {said[0]}")


def _answers(directory: LabDirectory, machine: Machine) -> bool:
    """Say whether a node's sshd greets who connects, which costs it less than a login."""
    asking = socket_inside(namespace_of(directory.name), socket.AF_INET, socket.SOCK_STREAM)
    with asking:
        asking.settimeout(1)
        try:
            asking.connect((machine.address, SSH_PORT))
            asking.settimeout(10)
            return asking.recv(4) == b"SSH-"
        except OSError:
            return False


def _check(directory: LabDirectory, machine: Machine, deadline: float) -> None:
    console = directory.node(machine.name).console
    if power.state(directory, machine.name) in {power.OFF, power.ABSENT}:
        raise NodeUnreachable(f"{machine.name}: it went off while it started; see {console}")
    if time.monotonic() > deadline:
        raise NodeUnreachable(f"{machine.name}: no answer after {BOOT_TIMEOUT_S} s; see {console}")


def enter(directory: LabDirectory, name: str, words: Sequence[str]) -> None:
    """Become ssh to a node: this process does not return.

    Raises:
        BeowulfError: There is no such lab or node, the node is off, or only root may.
    """
    require_host()
    settings = read_settings(directory)
    settings.chosen([name])
    remedies = {power.OFF: f"up {name}", power.ABSENT: f"up {name}",
                power.PAUSED: f"power {name} resume"}  # fmt: skip
    state = power.state(directory, name)
    if state in remedies:
        raise NodeUnreachable(f"{name} is {state}; run: {directory.command(remedies[state])}")
    cable = cables(directory.name, settings.plan).get(name)
    if cable is not None and not cable.connected:
        raise NodeUnreachable(
            f"{name}: its cable is cut; run: {directory.command(f'cable {name} heal')}"
        )
    command = ssh_command(directory, name, words)
    os.execvp(command[0], command)  # noqa: S606 - an argument list, and no shell
