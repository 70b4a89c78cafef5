"""Carry the connections that a local port gets to a port on a job's node.

On the head, ssh carries each one on to the node, to the node's own loopback: the service
there need not listen on the network, and no port has to be opened.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

from beowulf.errors import BeowulfError, ConnectionLost, InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable

    from beowulf.transport.connection import Connection, Conversation

LOOPBACK = "127.0.0.1"
CHUNK_BYTES = 65_536
MOST_AT_ONCE = 64
LAST_WORDS_S = 10.0


def listen(port: int) -> socket.socket:
    """Listen on a port of this computer's loopback; 0 takes one that is free.

    Raises:
        InvalidInput: Somebody else listens there.
    """
    listener = socket.socket()
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((LOOPBACK, port))
        listener.listen(MOST_AT_ONCE)
    except OSError as error:
        listener.close()
        raise InvalidInput(
            "--local-port",
            f"cannot listen on {LOOPBACK}:{port} ({error.strerror})",
            "choose another, or leave it out",
        ) from None
    return listener


def relay(
    listener: socket.socket,
    connection: Connection,
    host: str,
    port: int,
    complain: Callable[[str], None],
) -> None:
    """Serve the listener's connections until it is closed. One that fails ends alone."""
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        worker = threading.Thread(
            target=_serve, args=(client, connection, host, port, complain), daemon=True
        )
        worker.start()


def _serve(
    client: socket.socket,
    connection: Connection,
    host: str,
    port: int,
    complain: Callable[[str], None],
) -> None:
    words = ["ssh", "-o", "BatchMode=yes", "-W", f"{LOOPBACK}:{port}", host]
    with client:
        try:
            with connection.converse(words) as remote:
                outward = threading.Thread(target=_outward, args=(client, remote), daemon=True)
                outward.start()
                while data := remote.receive(CHUNK_BYTES):
                    client.sendall(data)
                ended = remote.finish(LAST_WORDS_S)
                if ended.status != 0:
                    said = ended.errors.strip().splitlines()
                    complain(f"{host} port {port}: {said[-1] if said else 'closed'}")
        except BeowulfError as error:
            complain(str(error))
        except OSError:  # the browser has left
            return
        finally:
            with contextlib.suppress(OSError):  # the other thread may still wait for its words
                client.shutdown(socket.SHUT_RDWR)


def _outward(client: socket.socket, remote: Conversation) -> None:
    with contextlib.suppress(OSError, ConnectionLost):
        while data := client.recv(CHUNK_BYTES):
            remote.send(data)
        remote.end_input()
