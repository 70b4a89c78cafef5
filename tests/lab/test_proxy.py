"""The package proxy, as squid really runs it: fetched once, kept, shared, and shut to others."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from beowulf.errors import LabError
from beowulf.lab import proxy as module
from beowulf.lab.proxy import Proxy, ensure_proxy, stop_proxy

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(not shutil.which("squid"), reason="needs squid: apt-get install squid"),
]

PACKAGE = "/debian/pool/main/h/hello/hello_2.10-3_amd64.deb"
INDEX = "/debian/dists/trixie/InRelease"
BY_HASH = "/debian/dists/trixie/main/binary-amd64/by-hash/SHA256/7778d3e3"


@dataclass
class Mirror:
    """A mirror on this computer that counts what it was asked for."""

    port: int
    asked: Counter[str] = field(default_factory=Counter)

    @property
    def server(self) -> tuple[str, int]:
        return ("localhost", self.port)

    def url(self, path: str) -> str:
        return f"http://localhost:{self.port}{path}"


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            served.asked[self.path] += 1
            content = (self.path * 1000).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Last-Modified", "Tue, 02 Jun 2026 10:00:00 GMT")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  # its base's
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served = Mirror(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield served
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def cache() -> Iterator[Path]:
    """A cache directory that squid's account can enter, unlike pytest's own."""
    path = Path(tempfile.mkdtemp(prefix="beowulf-proxy-", dir="/var/tmp"))  # see above
    path.chmod(0o755)
    yield path
    stop_proxy(path)
    shutil.rmtree(path)


def ask(proxy: Proxy, url: str, method: str = "GET") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=60)
    with contextlib.closing(connection):
        # As apt asks for indexes.
        connection.request(method, url, headers={"Cache-Control": "max-age=0"})
        answer = connection.getresponse()
        return answer.status, answer.read()


def kill(proxy: Proxy) -> None:
    os.kill(proxy.pid, signal.SIGKILL)
    os.waitpid(proxy.pid, 0)


def results(cache: Path, url: str) -> list[str]:
    """Return what squid noted for each request for ``url``, once it has."""
    lines = (cache / "packages/access.log").read_text().splitlines()
    return [line.split()[3] for line in lines if line.split()[6] == url]


def wait_for_results(cache: Path, url: str, number: int) -> list[str]:
    deadline = time.monotonic() + 60
    while len(found := results(cache, url)) < number:
        assert time.monotonic() < deadline, f"squid noted {found}"
        time.sleep(0.05)
    return found


@pytest.mark.parametrize("path", [PACKAGE, BY_HASH])
def test_a_package_asked_for_twice_is_fetched_once(cache: Path, mirror: Mirror, path: str) -> None:
    proxy = ensure_proxy(cache, [mirror.server])
    first, second = (ask(proxy, mirror.url(path)) for _ in range(2))
    assert first == second == (200, (path * 1000).encode())
    assert mirror.asked[path] == 1
    noted = wait_for_results(cache, mirror.url(path), 2)
    assert noted[0] == "TCP_MISS/200"
    assert re.fullmatch(r"TCP_(MEM_)?HIT/200", noted[1])


def test_a_list_of_packages_is_asked_for_anew(cache: Path, mirror: Mirror) -> None:
    proxy = ensure_proxy(cache, [mirror.server])
    for _ in range(2):
        ask(proxy, mirror.url(INDEX))
    assert mirror.asked[INDEX] == 2


def test_packages_outlive_the_proxy_even_if_it_is_killed(cache: Path, mirror: Mirror) -> None:
    proxy = ensure_proxy(cache, [mirror.server])
    ask(proxy, mirror.url(PACKAGE))
    stop_proxy(cache)
    again = ensure_proxy(cache, [mirror.server])
    assert ask(again, mirror.url(PACKAGE))[0] == 200
    kill(again)
    assert ask(ensure_proxy(cache, [mirror.server]), mirror.url(PACKAGE))[0] == 200
    assert mirror.asked[PACKAGE] == 1


def test_a_killed_proxy_comes_back_on_the_port_that_relays_know(
    cache: Path, mirror: Mirror
) -> None:
    before = ensure_proxy(cache, [mirror.server])
    kill(before)
    after = ensure_proxy(cache, [mirror.server])
    assert after.port == before.port
    assert after.pid != before.pid
    assert ask(after, mirror.url(PACKAGE))[0] == 200


def test_all_labs_share_one_even_if_they_start_at_once(cache: Path, mirror: Mirror) -> None:
    found: list[Proxy] = []
    threads = [
        threading.Thread(target=lambda: found.append(ensure_proxy(cache, [mirror.server])))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert len(found) == 4
    assert len(set(found)) == 1


def test_other_mirrors_mean_another_proxy_on_the_same_port(cache: Path, mirror: Mirror) -> None:
    before = ensure_proxy(cache, [("mirror.example", 80)])
    assert ask(before, mirror.url(PACKAGE))[0] == 403
    after = ensure_proxy(cache, [mirror.server])
    assert (after.port, after.pid == before.pid) == (before.port, False)
    assert ask(after, mirror.url(PACKAGE))[0] == 200


def test_nothing_else_is_reached_through_it(cache: Path, mirror: Mirror) -> None:
    proxy = ensure_proxy(cache, [mirror.server])
    refused = [
        ask(proxy, "http://other.example/debian/x.deb"),
        ask(proxy, "http://localhost:22/"),
        ask(proxy, f"http://127.0.0.1:{mirror.port}{PACKAGE}"),
        ask(proxy, f"http://sub.localhost:{mirror.port}{PACKAGE}"),
        ask(proxy, "ftp://localhost/debian/x.deb"),
        ask(proxy, mirror.url(PACKAGE), "POST"),
        ask(proxy, mirror.url(PACKAGE), "DELETE"),
        ask(proxy, f"localhost:{mirror.port}", "CONNECT"),
        ask(proxy, f"http://localhost:{proxy.port}/squid-internal-mgr/info"),
    ]
    assert [status for status, _ in refused] == [403] * len(refused)
    assert not mirror.asked


def test_it_listens_on_the_loopback_address_alone(cache: Path, mirror: Mirror) -> None:
    proxy = ensure_proxy(cache, [mirror.server])
    shown = subprocess.run(
        ["ss", "-Hlntp"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    own = [line.split()[3] for line in shown if f"pid={proxy.pid}," in line]
    assert own == [f"127.0.0.1:{proxy.port}"]


@pytest.mark.root
def test_it_gives_up_being_root(cache: Path, mirror: Mirror) -> None:
    proxy = ensure_proxy(cache, [mirror.server])
    status = Path(f"/proc/{proxy.pid}/status").read_text()
    uids = re.search(r"^Uid:\s+(\d+)\s+(\d+)", status, re.MULTILINE)
    assert uids is not None
    assert uids[2] == str(module._account().pw_uid)


@pytest.mark.root
def test_a_place_that_its_account_cannot_enter_is_named(cache: Path) -> None:
    cache.chmod(0o700)
    with pytest.raises(LabError, match=f"user proxy must be able to enter {cache}/packages"):
        ensure_proxy(cache, [("mirror.example", 80)])


def test_it_outlives_the_session_of_who_started_it(cache: Path, mirror: Mirror) -> None:
    proxy = ensure_proxy(cache, [mirror.server])
    assert os.getsid(proxy.pid) == proxy.pid != os.getsid(0)


def test_stopping_leaves_no_process(cache: Path, mirror: Mirror) -> None:
    proxy = ensure_proxy(cache, [mirror.server])
    stop_proxy(cache)
    stop_proxy(cache)
    assert not Path(f"/proc/{proxy.pid}").exists()
