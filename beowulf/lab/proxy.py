"""The caching proxy that packages come through: a squid of the lab's own, shared by all labs.

It listens on 127.0.0.1 only, answers only questions for Debian's mirrors, and keeps
what it fetched between runs. It outlives the command that started it; whoever needs
it next finds it by the record it left, or starts it again on the same port, which
relays of running labs still point to.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from beowulf.errors import LabError, one_line
from beowulf.lab.image.mirrors import find_mirrors
from beowulf.lab.locked import locked

if TYPE_CHECKING:
    from collections.abc import Iterable

USER = "proxy"  # the account that Debian's squid package makes
CACHE_MB = 8192
LARGEST_MB = 512
READY_S = 20
STOP_S = 10
PORTS_TRIED = 5


@dataclass(frozen=True)
class Proxy:
    """A running proxy: where it listens on this computer, and its process.

    ``started`` is the kernel's tick at which the process began: another process that
    was given the same number later began at another one.
    """

    port: int
    pid: int
    started: int


def ensure_proxy(cache: Path, servers: Iterable[tuple[str, int]] | None = None) -> Proxy:
    """Return the proxy that keeps its packages below ``cache``; start it if it is not running.

    ``servers`` are the hosts and ports it may ask, by default those of
    ``find_mirrors``. A proxy that was started with others is replaced.

    Raises:
        LabError: squid is not installed, cannot use ``cache``, or did not start.
    """
    allowed = sorted(find_mirrors().servers if servers is None else set(servers))
    home = (cache / "packages").resolve()
    home.mkdir(parents=True, exist_ok=True)
    with locked(home / "lock"):
        known = _recorded(home)
        if known and _is_alive(known):
            if _text(home / "squid.conf") == configuration(home, known.port, allowed):
                return known
            _end(known)
        return _start(home, known.port if known else None, allowed)


def stop_proxy(cache: Path) -> None:
    """End the proxy of ``cache`` if it runs; its packages stay."""
    home = (cache / "packages").resolve()
    if not home.is_dir():
        return
    with locked(home / "lock"):
        known = _recorded(home)
        if known and _is_alive(known):
            _end(known)
        (home / "proxy.json").unlink(missing_ok=True)


def configuration(home: Path, port: int, servers: Iterable[tuple[str, int]]) -> str:
    """Return squid's configuration: read from ``servers`` and from nowhere else, and keep it.

    ``home`` is an absolute path without white space or ``#``.
    """
    rules = []
    for number, (host, its_port) in enumerate(servers):
        # -n: an address in a URL is refused as it is, without asking DNS for its name.
        rules.append(f"acl host{number} dstdomain -n {host}")
        rules.append(f"acl port{number} port {its_port}")
        rules.append(f"http_access allow reading host{number} port{number}")
    return TEMPLATE.format(
        home=home, port=port, user=USER, cache_mb=CACHE_MB, largest_mb=LARGEST_MB,
        rules="\n".join(rules),
    )  # fmt: skip


# A package never changes under its name, an index never under its hash. Everything
# else is asked for again each time. apt asks for indexes with "max-age=0", even for
# those that cannot change: ignore-reload answers these from the store all the same.
TEMPLATE = """\
http_port 127.0.0.1:{port}
acl reading method GET HEAD
http_access deny manager
{rules}
http_access deny all
icp_port 0
htcp_port 0
snmp_port 0
pinger_enable off
forwarded_for delete
via off
httpd_suppress_version_string on
visible_hostname beowulf-lab
cache_effective_user {user}
pid_filename none
cache_log {home}/cache.log
access_log stdio:{home}/access.log
cache_store_log none
coredump_dir {home}/store
cache_mem 32 MB
maximum_object_size {largest_mb} MB
cache_dir aufs {home}/store {cache_mb} 16 64
collapsed_forwarding on
quick_abort_min -1 KB
refresh_pattern -i \\.u?deb$ 525600 100% 525600 override-expire override-lastmod ignore-reload
refresh_pattern /by-hash/ 525600 100% 525600 override-expire override-lastmod ignore-reload
refresh_pattern . 0 0% 0 refresh-ims
"""


def _start(home: Path, wanted: int | None, servers: list[tuple[str, int]]) -> Proxy:
    if shutil.which("squid") is None:
        raise LabError("squid: not installed on this computer; type: apt-get install squid")
    if any(character.isspace() or character in "#\"'\\" for character in str(home)):
        raise LabError(f"{home}: squid needs a path without spaces; set BEOWULF_LAB_CACHE_DIR")
    for number in range(PORTS_TRIED):
        port = _free_port(wanted if number == 0 else None)
        _write(home / "squid.conf", configuration(home, port, servers))
        _prepare(home)
        proxy = _launch(home, port)
        if proxy is not None:
            return proxy
    raise LabError(f"squid: no port could be used; see {home / 'cache.log'}")


def _prepare(home: Path) -> None:
    """Make squid's directories, owned by the account it runs as."""
    home.chmod(0o755)
    store = home / "store"
    store.mkdir(exist_ok=True)
    for log in ("cache.log", "access.log"):
        (home / log).touch()
    if os.geteuid() == 0:
        account = _account()
        for path in (store, home / "cache.log", home / "access.log"):
            os.chown(path, account.pw_uid, account.pw_gid)
    if (store / "swap.state").exists():
        return
    made = subprocess.run(
        ["squid", "-N", "-z", "-f", home / "squid.conf"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        cwd="/",
        timeout=60,
        check=False,
    )
    if made.returncode != 0:
        raise LabError(f"squid: {_last_words(home)}; user {USER} must be able to enter {home}")


def _launch(home: Path, port: int) -> Proxy | None:
    """Start squid and wait until it answers. None: somebody else took the port meanwhile."""
    process = subprocess.Popen(
        ["squid", "-N", "-f", home / "squid.conf"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        start_new_session=True,  # Ctrl-C in the terminal that started it is not meant for it
    )
    deadline = time.monotonic() + READY_S
    while process.poll() is None and time.monotonic() < deadline:
        if port in _listening(process.pid):
            proxy = Proxy(port, process.pid, _started(process.pid) or 0)
            _write(home / "proxy.json", json.dumps(asdict(proxy)))
            return proxy
        time.sleep(0.02)
    ended = process.poll() is not None
    process.kill()
    process.wait()
    if ended and not _is_free(port):
        return None
    raise LabError(f"squid: it did not start: {_last_words(home)}")


def _end(proxy: Proxy) -> None:
    """End a proxy, and wait until it is gone.

    At SIGINT squid writes the index of its store and ends; at SIGTERM it would first
    wait for its clients.
    """
    for number in (signal.SIGINT, signal.SIGKILL):
        try:
            os.kill(proxy.pid, number)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + STOP_S
        while time.monotonic() < deadline:
            _reap(proxy.pid)
            if not _is_alive(proxy):
                return
            time.sleep(0.02)
    raise LabError(f"squid: process {proxy.pid} does not end; type: kill -9 {proxy.pid}")


def _reap(pid: int) -> None:
    """Take leave of an ended process if it is this one's own child."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


def _recorded(home: Path) -> Proxy | None:
    try:
        return Proxy(**json.loads(_text(home / "proxy.json")))
    except (ValueError, TypeError):
        return None


def _is_alive(proxy: Proxy) -> bool:
    return proxy.started > 0 and _started(proxy.pid) == proxy.started


def _started(pid: int) -> int | None:
    """Return the tick at which a process began, None if it has ended."""
    text = _text(Path(f"/proc/{pid}/stat"))
    fields = text.rpartition(")")[2].split()  # its name may hold spaces and brackets
    return int(fields[19]) if fields and fields[0] not in "ZX" else None


def _listening(pid: int) -> set[int]:
    """Return the TCP ports on 127.0.0.1 at which a process listens."""
    sockets = set()
    for link in Path(f"/proc/{pid}/fd").glob("*"):
        try:
            sockets.add(str(link.readlink()).removeprefix("socket:[").removesuffix("]"))
        except OSError:
            continue  # closed meanwhile
    found = set()
    for line in _text(Path(f"/proc/{pid}/net/tcp")).splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A" and fields[9] in sockets:
            found.add(int(fields[1].rpartition(":")[2], 16))
    return found


def _free_port(wanted: int | None) -> int:
    if wanted and _is_free(wanted):
        return wanted
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _account() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(USER)
    except KeyError:
        raise LabError(f"no user {USER} on this computer; type: apt-get install squid") from None


def _last_words(home: Path) -> str:
    lines = [line for line in _text(home / "cache.log").splitlines() if line.strip()]
    telling = [line for line in lines if "FATAL" in line or "ERROR" in line] or lines
    return one_line(telling[-1].strip()) if telling else f"see {home / 'cache.log'}"


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _write(path: Path, text: str) -> None:
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_text(text)
    fresh.replace(path)
