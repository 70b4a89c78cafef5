"""The process that keeps a lab: it relays packages to the nodes and wakes them.

Run as ``python -m beowulf.lab.keeper LAB``. It stands in this computer's network and
holds two sockets in the lab's: one on which nodes ask for packages, passed on to the
caching proxy and to nothing else; and one that hears every frame at the switch, for
the magic packet that wakes a node which is off. A node's own card can't listen while
the node has no power, so that the keeper does it for all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from beowulf.errors import BeowulfError, LabError
from beowulf.lab import power, process
from beowulf.lab.directory import cache_directory, lab_directory
from beowulf.lab.kernel import PROXY_PORT
from beowulf.lab.magic import magic_packet, woken_by
from beowulf.lab.namespace import socket_inside
from beowulf.lab.network import SWITCH, namespace_of
from beowulf.lab.proxy import ensure_proxy
from beowulf.lab.settings import read_settings

if TYPE_CHECKING:
    from beowulf.lab.directory import LabDirectory
    from beowulf.lab.machine import Plan

MODULE = "beowulf.lab.keeper"
ETH_P_ALL = 3
LOOPBACK = "127.0.0.1"
LARGEST_FRAME_BYTES = 65_536
BLOCK_BYTES = 65_536
MOST_FRAMES_AT_ONCE = 256
START_TIMEOUT_S = 20


def ensure_keeper(directory: LabDirectory) -> None:
    """Start a lab's keeper unless it runs, and return once it listens.

    Raises:
        LabError: It ended at once; the message has its last words.
    """
    if process.read(directory.keeper) is not None:
        return
    end_keeper(directory)
    with directory.keeper_log.open("ab") as log:
        started = subprocess.Popen(
            [sys.executable, "-P", "-m", MODULE, directory.name],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
        )
    deadline = time.monotonic() + START_TIMEOUT_S
    while process.read(directory.keeper) is None:
        if started.poll() is not None or time.monotonic() > deadline:
            started.kill()
            last = directory.keeper_log.read_text(errors="replace").strip().splitlines()[-1:]
            raise LabError(
                f"lab {directory.name}: its keeper did not start: {''.join(last) or 'no word'}; "
                f"see {directory.keeper_log}"
            )
        time.sleep(power.LOOK_S)


def end_keeper(directory: LabDirectory) -> None:
    """End a lab's keeper, and one that a killed command started and did not write down."""
    process.end(directory.keeper)
    process.kill(process.find_by_words({MODULE, directory.name}))


def main(lab: str) -> None:
    """Keep a lab until this process is ended."""
    directory = lab_directory(lab)
    plan = read_settings(directory).plan
    namespace = namespace_of(lab)
    listening = socket_inside(namespace, socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((plan.gateway, PROXY_PORT))
    hearing = socket_inside(namespace, socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    hearing.bind((SWITCH, 0))
    process.record(directory.keeper, os.getpid())
    asyncio.run(Keeper(directory, plan).keep(listening, hearing))


class Keeper:
    """What a lab's keeper does, and the tasks in which it does it."""

    def __init__(self, directory: LabDirectory, plan: Plan) -> None:
        self.directory = directory
        self.packets = {machine.name: magic_packet(machine.mac) for machine in plan.machines}
        self.tasks: set[asyncio.Task[None]] = set()
        self.proxy_port = 0

    async def keep(self, listening: socket.socket, hearing: socket.socket) -> None:
        """Serve until the process ends."""
        hearing.setblocking(False)  # noqa: FBT003 - the standard library's signature
        asyncio.get_running_loop().add_reader(hearing, self._hear, hearing)
        server = await asyncio.start_server(self._relay, sock=listening)
        async with server:
            await server.serve_forever()

    def _hear(self, hearing: socket.socket) -> None:
        """Read the frames that have come, and see to the nodes that they wake."""
        for _ in range(MOST_FRAMES_AT_ONCE):
            try:
                frame = hearing.recv(LARGEST_FRAME_BYTES)
            except BlockingIOError:
                return
            for name in woken_by(frame, self.packets):
                # A machine that was never switched on has no standby power to listen with.
                if power.state(self.directory, name) == power.OFF:
                    task = asyncio.create_task(self._wake(name))
                    self.tasks.add(task)
                    task.add_done_callback(self.tasks.discard)

    async def _wake(self, name: str) -> None:
        """Switch a node on from a process of its own, whose end leaves the node to init."""
        waking = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "beowulf.lab.wake", self.directory.name, name
        )
        if await waking.wait() == 0:
            _log(f"{name} was woken by a magic packet")

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass one node's connection on to the package proxy, in both directions."""
        try:
            there = await self._connect()
        except (BeowulfError, OSError) as error:
            _log(f"no package proxy: {error}")
            writer.close()
            return
        await asyncio.gather(_pass_on(reader, there[1]), _pass_on(there[0], writer))
        for done in (writer, there[1]):  # a connection stays half open until it is closed
            done.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to the proxy, which is started again where somebody has ended it."""
        if self.proxy_port:
            with contextlib.suppress(OSError):
                return await asyncio.open_connection(LOOPBACK, self.proxy_port)
        proxy = await asyncio.to_thread(ensure_proxy, cache_directory())
        self.proxy_port = proxy.port
        return await asyncio.open_connection(LOOPBACK, proxy.port)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on what one side says until it has said all, and tell the other side so."""
    try:
        while block := await reader.read(BLOCK_BYTES):
            writer.write(block)
            await writer.drain()
        writer.write_eof()
    except (OSError, RuntimeError):  # one of them has hung up: so does the other
        writer.close()


def _log(words: str) -> None:
    print(time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), words, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
