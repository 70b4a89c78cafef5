"""Talk to a node through its management console, which needs no network.

The protocol is in the Linux sources, ``arch/um/drivers/mconsole.h``: one datagram
asks, one or more answer.
"""

from __future__ import annotations

import socket
import struct
import tempfile
from pathlib import Path

from beowulf.errors import LabError

MAGIC = 0xCAFEBABE
VERSION = 2
MOST_BYTES = 512
REQUEST = struct.Struct(f"=III{MOST_BYTES}s")
REPLY = struct.Struct(f"=iII{MOST_BYTES}s")
MOST_REPLIES = 64


def ask(console: Path, order: str, *, timeout_s: float = 10) -> str:
    """Give a node one order, such as ``cad`` or ``version``, and return its answer.

    Raises:
        LabError: The node does not answer in time, or refuses.
    """
    data = order.encode("ascii")
    if len(data) >= MOST_BYTES:
        raise LabError(f"management console: an order of {len(data)} bytes is too long")
    with (
        tempfile.TemporaryDirectory(prefix="beowulf-console-") as directory,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as asking,
    ):
        # A name in the file system: abstract ones end at the node's network namespace.
        asking.bind(str(Path(directory) / "reply"))
        asking.settimeout(timeout_s)
        try:
            asking.sendto(REQUEST.pack(MAGIC, VERSION, len(data), data), str(console))
            failed, answer = _answer(asking)
        except OSError as error:
            raise LabError(f"management console {console}: no answer ({error})") from None
    if failed:
        raise LabError(f"management console {console}: {order}: {answer.strip() or 'refused'}")
    return answer


def _answer(asking: socket.socket) -> tuple[bool, str]:
    failed, text = False, b""
    for _ in range(MOST_REPLIES):
        error, more, length, data = REPLY.unpack(asking.recv(REPLY.size).ljust(REPLY.size, b"\0"))
        failed, text = failed or error != 0, text + data[:length].rstrip(b"\0")
        if not more:
            break
    return failed, text.decode("utf-8", "replace")
