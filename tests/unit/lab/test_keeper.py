"""A lab's keeper passes connections on, and wakes the nodes that a frame names."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil
import pytest

from beowulf.errors import LabError
from beowulf.lab import keeper, network, power, process
from beowulf.lab.directory import LabDirectory, lab_directory
from beowulf.lab.keeper import Keeper, ensure_keeper
from beowulf.lab.kernel import PROXY_PORT
from beowulf.lab.magic import magic_packet
from beowulf.lab.namespace import socket_inside
from beowulf.lab.network import namespace_of
from beowulf.lab.settings import Settings, write_settings
from tests.unit.lab.plans import NODE1, NODE2, PLAN

HEADER = b"\xff" * 6 + bytes(6) + b"\x08\x42"
Client = Callable[[int], Awaitable[None]]


async def serve(
    directory: LabDirectory, answer: Callable[..., Awaitable[None]], client: Client
) -> None:
    """Run a keeper before a proxy that answers as told, and a client of the keeper's."""
    there = await asyncio.start_server(answer, "127.0.0.1", 0)
    listening = socket.create_server(("127.0.0.1", 0))
    ear, mouth = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ear, mouth:
        kept = Keeper(directory, PLAN)
        kept.proxy_port = there.sockets[0].getsockname()[1]
        task = asyncio.create_task(kept.keep(listening, ear))
        await asyncio.wait_for(client(listening.getsockname()[1]), 60)
        task.cancel()
        there.close()
        asyncio.get_running_loop().remove_reader(ear)


async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer everything in capitals, once all of it has come."""
    writer.write((await reader.read()).upper())
    await writer.drain()
    writer.close()


def test_what_a_node_asks_is_answered_by_the_proxy(tmp_path: Path) -> None:
    asked = b"a package, please" * 100_000

    async def client(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(asked)
        writer.write_eof()
        assert await reader.read() == asked.upper()
        writer.close()

    asyncio.run(serve(LabDirectory(tmp_path), shout, client))


def test_no_connection_stays_open(tmp_path: Path) -> None:
    async def client(port: int) -> None:
        me = psutil.Process()
        before = me.num_fds()
        for _ in range(20):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write_eof()
            assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()
        deadline = time.monotonic() + 60
        while me.num_fds() > before and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        assert me.num_fds() <= before

    gc.disable()  # which would hide what nobody closes
    try:
        asyncio.run(serve(LabDirectory(tmp_path), shout, client))
    finally:
        gc.enable()


def test_a_proxy_that_hangs_up_ends_the_node_s_connection(tmp_path: Path) -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async def client(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()

    asyncio.run(serve(LabDirectory(tmp_path), hang_up, client))


def test_without_a_proxy_the_node_is_hung_up_on_and_the_keeper_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_proxy(_: Path) -> None:
        raise LabError("squid did not start")

    monkeypatch.setattr(keeper, "ensure_proxy", no_proxy)

    async def client(port: int) -> None:
        for _ in range(2):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            assert await reader.read() == b""
            writer.close()

    async def main() -> None:
        listening = socket.create_server(("127.0.0.1", 0))
        ear, mouth = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        with ear, mouth:
            task = asyncio.create_task(Keeper(LabDirectory(tmp_path), PLAN).keep(listening, ear))
            await asyncio.wait_for(client(listening.getsockname()[1]), 60)
            task.cancel()
            asyncio.get_running_loop().remove_reader(ear)

    asyncio.run(main())
    assert capsys.readouterr().out.count("no package proxy: squid did not start") == 2


def test_only_a_node_that_is_off_is_woken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    states = {"node1": power.OFF, "node2": power.ON}
    monkeypatch.setattr(power, "state", lambda _, name: states[name])
    woken: list[str] = []

    async def wake(_: Keeper, name: str) -> None:
        woken.append(name)

    monkeypatch.setattr(Keeper, "_wake", wake)

    async def main() -> None:
        ear, mouth = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        with ear, mouth:
            ear.setblocking(False)
            kept = Keeper(LabDirectory(tmp_path), PLAN)
            for payload in (b"no magic", magic_packet(NODE2.mac), magic_packet(NODE1.mac)):
                mouth.send(HEADER + payload)
            kept._hear(ear)
            assert len(kept.tasks) == 1
            await asyncio.gather(*kept.tasks)
            assert kept.tasks == set()

    asyncio.run(main())
    assert woken == ["node1"]


# --- A keeper of its own --------------------------------------------------------------------


@pytest.fixture
def directory(lab: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LabDirectory:
    monkeypatch.setenv("BEOWULF_LAB_STATE_DIR", str(tmp_path))
    directory = lab_directory(lab)
    directory.path.mkdir(parents=True)
    write_settings(directory, Settings(PLAN, "bare", tmp_path / "base", tmp_path))
    return directory


@pytest.mark.root
def test_a_keeper_is_started_once_and_listens_in_the_lab_alone(directory: LabDirectory) -> None:
    network.create(directory.name, PLAN)
    ensure_keeper(directory)
    first = process.read(directory.keeper)
    ensure_keeper(directory)
    assert process.read(directory.keeper) == first
    assert first is not None
    try:
        namespace = namespace_of(directory.name)
        with socket_inside(namespace, socket.AF_INET, socket.SOCK_STREAM) as asking:
            asking.settimeout(60)
            asking.connect((PLAN.gateway, PROXY_PORT))
        assert os.readlink(f"/proc/{first.pid}/ns/net") == os.readlink("/proc/self/ns/net")  # noqa: PTH115
        here = [c for c in first.net_connections("inet") if c.status == psutil.CONN_LISTEN]
        assert here == []
    finally:
        process.end(directory.keeper)
    assert not first.is_running() or first.status() == psutil.STATUS_ZOMBIE


@pytest.mark.root
def test_a_keeper_that_was_killed_is_started_again(directory: LabDirectory) -> None:
    network.create(directory.name, PLAN)
    ensure_keeper(directory)
    first = process.read(directory.keeper)
    assert first is not None
    process.kill([first])
    try:
        ensure_keeper(directory)
        second = process.read(directory.keeper)
        assert second is not None
        assert second.pid != first.pid
    finally:
        process.end(directory.keeper)


@pytest.mark.root
def test_a_keeper_without_a_network_says_so(directory: LabDirectory) -> None:
    with pytest.raises(LabError, match=r"its keeper did not start: .*No such file .*; see .*\.log"):
        ensure_keeper(directory)
    assert process.read(directory.keeper) is None
