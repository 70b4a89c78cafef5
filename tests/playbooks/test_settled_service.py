"""A service is restarted when what it reads has changed, whoever was killed in between."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, Any

import pytest
import settled_service

if TYPE_CHECKING:
    from pathlib import Path

RUNNING = {
    "LoadState": "loaded",
    "ActiveState": "active",
    "UnitFileState": "enabled",
    "NeedDaemonReload": "no",
}
WANTED: dict[str, Any] = {"enabled": True, "state": "started", "on_change": "restart"}


@pytest.mark.parametrize(
    ("wanted", "found", "known", "actions"),
    [
        ({}, {}, "same", []),
        ({}, {}, "other", ["restart"]),
        ({}, {}, None, ["restart"]),  # Debian started it, with its own files
        ({"on_change": "reload"}, {}, "other", ["reload"]),
        ({"on_change": "reload"}, {"ActiveState": "failed"}, "other", ["restart"]),
        ({}, {"ActiveState": "failed"}, "same", ["start"]),
        ({}, {"ActiveState": "inactive", "UnitFileState": "disabled"}, None, ["enable", "restart"]),
        ({}, {"UnitFileState": "static"}, "same", []),
        ({}, {"NeedDaemonReload": "yes"}, "same", ["daemon-reload"]),
        ({"state": "stopped"}, {}, "other", ["stop"]),
        ({"state": "stopped", "enabled": False}, {}, "same", ["disable", "stop"]),
        ({"state": "stopped"}, {"ActiveState": "inactive"}, None, []),
    ],
)
def test_what_is_needed_is_done(
    wanted: dict[str, Any], found: dict[str, str], known: str | None, actions: list[str]
) -> None:
    assert settled_service.needed(WANTED | wanted, RUNNING | found, "same", known) == actions


def test_contents_and_names_and_inputs_make_the_digest(tmp_path: Path) -> None:
    def digest(*inputs: str) -> str:
        return settled_service.digest_of([f"{tmp_path}/main", f"{tmp_path}/*.conf"], list(inputs))

    seen = [digest()]
    (tmp_path / "main").write_text("1")
    seen.append(digest())
    (tmp_path / "main").write_text("2")
    seen.append(digest())
    (tmp_path / "a.conf").write_text("2")
    seen.append(digest())
    (tmp_path / "a.conf").rename(tmp_path / "b.conf")
    seen.append(digest())
    seen.append(digest("x"))
    assert len(set(seen)) == len(seen)
    assert digest("x") == seen[-1]


def test_a_stamp_is_roots_alone_and_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "services" / "a.service"
    assert settled_service.read(str(path)) is None
    settled_service.write(str(path), "abc")
    assert settled_service.read(str(path)) == "abc"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert list(path.parent.iterdir()) == [path]
