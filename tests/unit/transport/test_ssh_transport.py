"""A transport ends cleanly, whatever becomes of the way it goes over."""

from __future__ import annotations

import socket

import paramiko
import pytest

from beowulf.transport.ssh_transport import Timeouts, lively_transport
from beowulf.transport.ssh_way import close_channel, closing


class LostWay(socket.socket):
    """A way that is gone by the time it is closed, as a jump host's channel can be."""

    def close(self) -> None:
        super().close()
        raise EOFError


class LostChannel(paramiko.Channel):
    """A channel whose connection ends as it is closed."""

    def close(self) -> None:
        raise EOFError


def test_a_transport_closes_over_a_way_that_is_lost() -> None:
    one, other = socket.socketpair()
    with other:
        way = LostWay(fileno=one.detach())
        transport = lively_transport(way, Timeouts(connect_s=1, silence_s=1))
        transport.packetizer.close()
        assert way.fileno() == -1


@pytest.mark.parametrize("lost", [EOFError, OSError, paramiko.SSHException])
def test_a_channel_closes_over_a_connection_that_is_lost(
    lost: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: paramiko.Channel) -> None:
        raise lost

    monkeypatch.setattr(LostChannel, "close", fails)
    close_channel(LostChannel(1))


def test_what_went_wrong_over_a_channel_is_not_hidden_by_its_end() -> None:
    with pytest.raises(ValueError, match="said"), closing(LostChannel(1)):
        raise ValueError("said")
