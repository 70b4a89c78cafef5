"""SSH's transport layer that notices when nobody is at the other end any more."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import paramiko

WATCHES_PER_SILENCE = 6
PINGS_PER_SILENCE = 3


@dataclass(frozen=True)
class Timeouts:
    """How long to wait for an answer: at first, and once the connection stands."""

    connect_s: float = 15
    silence_s: float = 30


def load_paramiko() -> None:
    """Import paramiko without what it would read ssh's configuration with: ssh itself does.

    That library, invoke, is a third of the import's time, and paramiko does without it.
    """
    if "paramiko" in sys.modules or "invoke" in sys.modules:
        return
    sys.modules["invoke"] = None  # type: ignore[assignment]  # Python's way to say: not there
    try:
        import paramiko  # noqa: F401, PLC0415 - slow to import
    finally:
        del sys.modules["invoke"]


def lively_transport(way: Any, timeouts: Timeouts) -> paramiko.Transport:
    """Return a transport over ``way`` that ends itself once the other end is silent.

    It asks for a sign of life when nothing was sent for a while. TCP alone would notice
    after a quarter of an hour, and through a jump host or a proxy never.
    """
    import paramiko  # noqa: PLC0415 - slow to import
    from paramiko.common import cMSG_GLOBAL_REQUEST  # noqa: PLC0415
    from paramiko.packet import Packetizer  # noqa: PLC0415

    class Listening(Packetizer):
        """Remember when something was heard last."""

        heard_at = time.monotonic()

        def read_message(self) -> Any:
            message = super().read_message()
            self.heard_at = time.monotonic()
            return message

        def close(self) -> None:
            """Close, although the way beneath may be lost too: a jump host's channel says so."""
            with contextlib.suppress(paramiko.SSHException, EOFError, OSError):
                super().close()

    class Lively(paramiko.Transport):
        """Close when nothing was heard for too long."""

        packetizer: Listening

        def watch(self) -> None:
            """Ask for signs of life and wait for them, in a thread of its own."""
            self.packetizer.heard_at = time.monotonic()
            self.packetizer.set_keepalive(timeouts.silence_s / PINGS_PER_SILENCE, self.ping)
            threading.Thread(target=self._watch, daemon=True, name="ssh watch").start()

        def ping(self) -> None:
            """Ask something that every server answers, with a refusal."""
            message = paramiko.Message()
            message.add_byte(cMSG_GLOBAL_REQUEST)
            message.add_string("keepalive@openssh.com")
            message.add_boolean(True)  # noqa: FBT003 - it wants an answer
            self._send_user_message(message)  # type: ignore[attr-defined]  # not in the stubs

        def _watch(self) -> None:
            ended = threading.Event()
            while self.is_active():
                ended.wait(timeouts.silence_s / WATCHES_PER_SILENCE)
                if time.monotonic() - self.packetizer.heard_at > timeouts.silence_s:
                    self.close()

    transport = Lively(way, packetizer_class=Listening)
    transport.banner_timeout = timeouts.connect_s
    transport.handshake_timeout = timeouts.connect_s
    transport.auth_timeout = timeouts.silence_s
    transport.channel_timeout = timeouts.connect_s
    return transport


def watch(transport: paramiko.Transport) -> None:
    """Have a transport that stands notice when the other end is gone."""
    transport.watch()  # type: ignore[attr-defined]
