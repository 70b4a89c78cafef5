"""What the package proxy is told: read from the mirrors, keep it, and listen to nobody else."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from beowulf.errors import LabError
from beowulf.lab import proxy as module
from beowulf.lab.proxy import Proxy, configuration, ensure_proxy, stop_proxy

HOME = Path("/var/cache/beowulf/packages")
SERVERS = [("mirror.example", 80), ("other.example", 8080)]


def lines(*servers: tuple[str, int]) -> list[str]:
    return configuration(HOME, 3128, servers).splitlines()


def test_it_listens_on_this_computer_only_and_on_one_port() -> None:
    ports = [line for line in lines(*SERVERS) if re.match(r"\w*_port\b", line)]
    assert ports == ["http_port 127.0.0.1:3128", "icp_port 0", "htcp_port 0", "snmp_port 0"]


def test_reading_from_a_mirror_s_port_is_all_that_is_allowed() -> None:
    rules = [line for line in lines(*SERVERS) if line.startswith(("acl", "http_access"))]
    assert rules == [
        "acl reading method GET HEAD",
        "http_access deny manager",
        "acl host0 dstdomain -n mirror.example",
        "acl port0 port 80",
        "http_access allow reading host0 port0",
        "acl host1 dstdomain -n other.example",
        "acl port1 port 8080",
        "http_access allow reading host1 port1",
        "http_access deny all",
    ]


def test_without_mirrors_nothing_is_allowed() -> None:
    rules = [line for line in lines() if line.startswith("http_access")]
    assert rules == ["http_access deny manager", "http_access deny all"]


def test_everything_it_writes_lies_in_its_own_directory() -> None:
    paths = [word for line in lines(*SERVERS) for word in re.findall(r"(?<![\w.])/\w\S*", line)]
    written = [path for path in paths if path != "/by-hash/"]
    assert len(written) >= 4
    assert all(path.startswith(f"{HOME}/") for path in written)


@pytest.mark.parametrize(
    "record",
    ["", "{", "[]", '{"port": 1}', '{"port": 1, "pid": 2, "started": 3, "more": 4}', "null"],
)
def test_a_damaged_record_is_as_none(tmp_path: Path, record: str) -> None:
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages/proxy.json").write_text(record)
    stop_proxy(tmp_path)
    assert not (tmp_path / "packages/proxy.json").exists()


def test_a_process_that_was_given_the_proxy_s_old_number_is_left_alone(tmp_path: Path) -> None:
    other = subprocess.Popen(["sleep", "1000"])
    try:
        record = {"port": 1, "pid": other.pid, "started": module._started(os.getpid())}
        (tmp_path / "packages").mkdir()
        (tmp_path / "packages/proxy.json").write_text(json.dumps(record))
        assert module._is_alive(Proxy(1, other.pid, module._started(other.pid) or 0))
        stop_proxy(tmp_path)
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_stopping_where_there_never_was_one_touches_nothing(tmp_path: Path) -> None:
    stop_proxy(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_squid_is_named_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(LabError, match=r"squid: not installed .* apt-get install squid"):
        ensure_proxy(tmp_path, SERVERS)


@pytest.mark.skipif(not shutil.which("squid"), reason="needs squid: apt-get install squid")
def test_a_path_that_squid_cannot_be_told_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="without spaces; set BEOWULF_LAB_CACHE_DIR"):
        ensure_proxy(tmp_path / "two words", SERVERS)
