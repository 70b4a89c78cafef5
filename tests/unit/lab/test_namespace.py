"""A socket is made inside a lab's network while this process stays where it is."""

from __future__ import annotations

import errno
import socket
import struct
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from beowulf.errors import LabError
from beowulf.lab import namespace, network
from beowulf.lab.namespace import socket_inside
from beowulf.lab.network import namespace_of
from beowulf.transport.local import run
from tests.unit.lab.plans import PLAN

SO_NETNS_COOKIE = 71  # asm-generic/socket.h


def cookie_of(made: socket.socket) -> int:
    """Return the number of the network namespace to which a socket belongs."""
    try:
        data = made.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8)
    except OSError as error:
        if error.errno != errno.ENOPROTOOPT:
            raise
        pytest.skip("this kernel does not tell a socket's network namespace")
    (cookie,) = struct.unpack("=Q", data)
    return int(cookie)


@pytest.mark.root
def test_the_socket_is_inside_and_this_process_is_not(lab: str) -> None:
    network.create(lab, PLAN)
    here = Path("/proc/self/ns/net").readlink()
    with socket_inside(namespace_of(lab), socket.AF_INET, socket.SOCK_STREAM) as made:
        code = f"import socket; s = socket.socket(); print(s.getsockopt(1, {SO_NETNS_COOKIE}, 8))"
        command = ["ip", "netns", "exec", namespace_of(lab), sys.executable, "-c", code]
        assert run(command).output == f"{struct.pack('=Q', cookie_of(made))!r}\n"
        with socket.socket() as outside:
            assert cookie_of(outside) != cookie_of(made)
    assert {path.readlink() for path in Path("/proc/self/task").glob("*/ns/net")} == {here}


@pytest.mark.root
def test_an_address_of_the_lab_s_exists_only_there(lab: str) -> None:
    network.create(lab, PLAN)
    with socket_inside(namespace_of(lab), socket.AF_INET, socket.SOCK_STREAM) as made:
        made.bind((PLAN.gateway, 3128))
        assert made.getsockname() == (PLAN.gateway, 3128)
    with socket.socket() as outside, pytest.raises(OSError, match="Cannot assign"):
        outside.bind((PLAN.gateway, 3128))


@pytest.mark.root
def test_many_at_once_are_all_inside(lab: str) -> None:
    network.create(lab, PLAN)

    def make(_: int) -> int:
        with socket_inside(namespace_of(lab), socket.AF_INET, socket.SOCK_DGRAM) as made:
            return cookie_of(made)

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(make, range(32)))) == 1


def test_no_such_network_is_one_clear_line() -> None:
    with pytest.raises(LabError) as refusal:
        socket_inside("beowulf-none", socket.AF_INET, socket.SOCK_STREAM)
    assert str(refusal.value) == (
        "network namespace beowulf-none: No such file or directory; up makes it again"
    )


def test_what_is_no_network_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "beowulf-odd").touch()
    monkeypatch.setattr(namespace, "NAMESPACES", tmp_path)
    with pytest.raises(LabError, match=r"^network namespace beowulf-odd: .*; up makes it again$"):
        socket_inside("beowulf-odd", socket.AF_INET, socket.SOCK_STREAM)


@pytest.mark.root
def test_a_socket_that_cannot_be_made_is_one_clear_line(lab: str) -> None:
    network.create(lab, PLAN)
    with pytest.raises(LabError, match=r"^network namespace .*: .* not supported"):
        socket_inside(namespace_of(lab), 99, socket.SOCK_STREAM)
