"""Which hosts of a job still answer: by a connection to Slurm's own service on each of them.

Slurm asks its nodes too, but gives one up only after SlurmdTimeout. A host that refuses the
connection is there, only the service is not: it may be started anew, or the host just begins.
"""

from __future__ import annotations

import errno
import socket
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

SLURMD_PORT = 6818  # role slurm_controller says so, and the firewalls let the cluster's hosts in
EVERY_S = 5.0
AGAIN_S = 1.0  # between questions to a host that is waited for
ANSWER_S = 3.0  # a host that is up answers in milliseconds; one packet may get lost
POLL_S = 0.05
BEING_ASKED = (errno.EINPROGRESS, errno.EWOULDBLOCK)
ANSWERED = (0, errno.EISCONN)


class HostProbe:
    """Asks hosts again and again without ever waiting for one.

    As long as no host has ever answered, nobody is called silent or out of service: then it is the
    question that is wrong, for want of such a service or because of a firewall.
    """

    def __init__(self, hosts: Sequence[str], port: int = SLURMD_PORT) -> None:
        self._hosts = {host: _Asked(host, port) for host in hosts}

    @property
    def hosts(self) -> Collection[str]:
        """The hosts that are asked."""
        return self._hosts.keys()

    def look(self, now: float) -> None:
        """Take the answers that have come, and ask again who was asked long ago."""
        for asked in self._hosts.values():
            asked.look(now)

    def silent(self, now: float, for_s: float = 0.0) -> list[str]:
        """Return the hosts that have given no sign of life for at least ``for_s`` seconds."""
        return [
            host
            for host, asked in self._trusted()
            if asked.silent_since is not None and now - asked.silent_since >= for_s
        ]

    def out_of_service(self) -> list[str]:
        """Return the hosts whose service did not answer when it was asked last."""
        return [host for host, asked in self._trusted() if not asked.serves]

    def ask_all(self) -> list[str]:
        """Ask every host now, wait for the answers, and return who is silent."""
        self._ask(self._hosts.values())
        return self.silent(time.monotonic())

    def wait_for_service(self, patience_s: float, hosts: Collection[str]) -> list[str]:
        """Ask these hosts now, those that refuse again and again; return who is out of service.

        A host that gives no sign of life is not waited for.
        """
        until = time.monotonic() + patience_s
        self._ask([self._hosts[host] for host in hosts])
        while time.monotonic() < until and (refusing := self._refusing(hosts)):
            time.sleep(AGAIN_S)
            self._ask(refusing)
        return [host for host in self.out_of_service() if host in hosts]

    def _refusing(self, hosts: Collection[str]) -> list[_Asked]:
        trusted = [asked for host, asked in self._trusted() if host in hosts]
        return [asked for asked in trusted if not asked.serves and asked.silent_since is None]

    def _trusted(self) -> Iterable[tuple[str, _Asked]]:
        if any(asked.has_answered for asked in self._hosts.values()):
            yield from self._hosts.items()

    def _ask(self, hosts: Collection[_Asked]) -> None:
        for asked in hosts:
            asked.ask(time.monotonic())
        while any(asked.is_open for asked in hosts):
            time.sleep(POLL_S)
            for asked in hosts:
                asked.hear(time.monotonic())

    def close(self) -> None:
        """Forget questions that are on their way."""
        for asked in self._hosts.values():
            asked.close()


class _Asked:
    """One host. ``silent_since`` is when the first question was asked that it did not answer.

    ``serves`` says whether its service answered the last one, True as long as it was not asked.
    """

    def __init__(self, host: str, port: int) -> None:
        self.has_answered = False
        self.serves = True
        self.silent_since: float | None = None
        self._place = _place(host, port)
        self._socket: socket.socket | None = None
        self._asked_at = float("-inf")

    @property
    def is_open(self) -> bool:
        return self._socket is not None

    def look(self, now: float) -> None:
        if self._socket is not None:
            self.hear(now)
        elif now - self._asked_at >= EVERY_S:
            self.ask(now)

    def ask(self, now: float) -> None:
        self.close()
        self._asked_at = now
        if self._place is None:  # a name that means nothing here
            return
        self._socket = socket.socket(self._place[0], socket.SOCK_STREAM)
        self._socket.setblocking(False)  # noqa: FBT003 - its only argument
        self.hear(now)

    def hear(self, now: float) -> None:
        """Take the answer if there is one, or call it silence after a while."""
        if self._socket is None or self._place is None:
            return
        said = self._socket.connect_ex(self._place[1])
        if said in (*BEING_ASKED, errno.EALREADY) and now - self._asked_at < ANSWER_S:
            return
        self.close()
        self.serves = said in ANSWERED
        if self.serves:
            self.has_answered = True
        if self.serves or said == errno.ECONNREFUSED:
            self.silent_since = None
        elif self.silent_since is None:
            self.silent_since = self._asked_at

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _place(host: str, port: int) -> tuple[socket.AddressFamily, tuple[str, int]] | None:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        return None
    family, _, _, _, address = found[0]
    return family, (str(address[0]), int(address[1]))
