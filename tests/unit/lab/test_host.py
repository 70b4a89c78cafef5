"""What this computer lacks is said in one line, and nothing is touched."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from beowulf.errors import LabError
from beowulf.lab import host, shim
from beowulf.lab.host import Lack, lacking, require_host, require_memory
from tests.unit.lab.plans import NODE1, NODE2


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A computer with no program; return where some may be put."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(host, "SYSTEM_PROGRAMS", str(tmp_path))
    monkeypatch.setattr(shim, "needed", lambda: False)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    return tmp_path


def provide(directory: Path, *programs: str) -> None:
    for program in programs:
        (directory / program).touch(mode=0o755)


def test_every_package_is_named_once(bare: Path) -> None:
    assert lacking().packages == (
        "e2fsprogs", "iproute2", "mmdebstrap", "netcat-openbsd", "openssh-client", "procps",
        "squid", "user-mode-linux", "util-linux",
    )  # fmt: skip


def test_the_refusal_is_one_line_with_what_to_type(bare: Path) -> None:
    with pytest.raises(LabError) as refusal:
        require_host()
    said = str(refusal.value)
    assert said.isprintable()
    assert said.startswith("a lab cannot run here yet: install what it needs (Debian: apt install ")
    assert "e2fsprogs iproute2 mmdebstrap" in said


def test_a_package_is_wanted_if_one_of_its_programs_is_missing(bare: Path) -> None:
    provide(bare, *(program for program in host.PROGRAMS if program != "tc"))
    assert lacking().packages == ("iproute2",)


def test_a_compiler_is_wanted_only_where_the_processor_needs_the_shim(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provide(bare, *host.PROGRAMS)
    assert lacking().packages == ()
    monkeypatch.setattr(shim, "needed", lambda: True)
    assert lacking().packages == ("gcc libc6-dev",)
    provide(bare, "cc")
    assert lacking().packages == ()


def test_the_missing_device_is_named(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    provide(bare, *host.PROGRAMS)
    monkeypatch.setattr(host, "TUN", bare / "tun")
    said = lacking().sentence()
    assert said == f"a lab cannot run here yet: provide {bare}/tun (modprobe tun)"


def test_all_that_is_missing_is_said_at_once(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr(host, "TUN", bare / "tun")
    with pytest.raises(LabError) as refusal:
        require_host()
    said = str(refusal.value)
    assert said.isprintable()
    assert said.index("apt install") < said.index("modprobe tun") < said.index("as root (sudo)")


def test_somebody_else_than_root_is_told_so(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    provide(bare, *host.PROGRAMS)
    monkeypatch.setattr(host, "TUN", bare)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(LabError, match=r"^only root may handle a lab: run it as root \(sudo\)$"):
        require_host()


def test_looking_touches_nothing(bare: Path) -> None:
    before = dict(os.environ)
    with pytest.raises(LabError):
        require_host()
    assert dict(os.environ) == before
    assert list(bare.iterdir()) == []


def test_nothing_lacks_nothing_said() -> None:
    assert Lack(root=False, packages=(), devices=()).sentence() == ""


@pytest.mark.parametrize("path", ["", ":", "/usr/bin::", None])
def test_programs_are_never_looked_for_in_the_work_directory(
    monkeypatch: pytest.MonkeyPatch, path: str | None
) -> None:
    monkeypatch.setattr(host, "lacking", lambda: Lack(root=False, packages=(), devices=()))
    if path is None:
        monkeypatch.delenv("PATH")
    else:
        monkeypatch.setenv("PATH", path)
    require_host()
    places = os.environ["PATH"].split(":")
    assert all(place.startswith("/") for place in places)
    assert {"/usr/sbin", "/sbin"} <= set(places)


def test_a_path_that_has_the_system_s_programs_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "lacking", lambda: Lack(root=False, packages=(), devices=()))
    monkeypatch.setenv("PATH", "/opt/bin:/usr/sbin:/usr/bin")
    require_host()
    assert os.environ["PATH"] == "/opt/bin:/usr/sbin:/usr/bin"


def test_machines_must_fit_into_memory_together(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def free(megabytes: int) -> None:
        usage = type("Usage", (), {"free": megabytes * 2**20})
        monkeypatch.setattr("shutil.disk_usage", lambda _: usage)

    free(NODE1.memory_mb + NODE2.memory_mb)
    require_memory([NODE1, NODE2])
    free(NODE1.memory_mb + NODE2.memory_mb - 1)
    with pytest.raises(LabError, match=r"have 768 MB .* only 767 MB are free here; lower lab_mem"):
        require_memory([NODE1, NODE2])
    require_memory([NODE1])
    require_memory([])


def test_programs_in_nodes_may_have_many_mappings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = tmp_path / "max_map_count"
    monkeypatch.setattr(host, "MAPPINGS", limit)
    host.allow_mappings()
    assert not limit.exists(), "a kernel without the setting is left alone"
    limit.write_text("65530\n")
    host.allow_mappings()
    assert limit.read_text() == "1048576\n"
    limit.write_text("2097152\n")
    host.allow_mappings()
    assert limit.read_text() == "2097152\n", "more than enough stays"
