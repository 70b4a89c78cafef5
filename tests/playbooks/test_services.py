"""Services run with the files there are, and helpers that nobody wants stay masked."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import masked_units
import pytest
import settled_service

from tests.playbooks.conftest import Answer, Commands, Cut, Failed, Play

UNITS = ["rpcbind.socket", "rpcbind.service", "rpc-statd.service"]


class Systemd:
    """Units with a state; the file of a unit may not be there."""

    def __init__(self) -> None:
        self.loaded: dict[str, str] = {}
        self.active: dict[str, str] = {}
        self.enabled: dict[str, str] = {}
        self.starts = 0
        self.says = ""

    def unit(self, name: str, active: str = "inactive", enabled: str = "disabled") -> None:
        self.loaded[name], self.active[name], self.enabled[name] = "loaded", active, enabled

    def does(self, command: list[str]) -> Answer:
        match command:
            case ["systemctl", "show", "--property", names, *units]:
                told = (self.properties(unit) for unit in units)
                return 0, "\n".join(lines_of(words, names) for words in told), ""
            case ["journalctl", *_]:
                return 0, "it broke\n", ""
            case ["systemctl", "mask", *units]:
                self.enabled.update(dict.fromkeys(units, "masked"))
            case ["systemctl", "stop", *units]:
                self.active.update(dict.fromkeys(units, "inactive"))
            case ["systemctl", "enable", unit]:
                self.enabled[unit] = "enabled"
            case ["systemctl", "start" | "restart" | "reload", unit]:
                if self.says:
                    return 1, "", self.says
                self.starts += 1
                self.active[unit] = "active"
        return 0, "", ""

    def properties(self, unit: str) -> dict[str, str]:
        return {
            "Id": unit,
            "LoadState": self.loaded.get(unit, "not-found"),
            "ActiveState": self.active.get(unit, "inactive"),
            "UnitFileState": self.enabled.get(unit, ""),
            "NeedDaemonReload": "no",
        }


def lines_of(words: dict[str, str], names: str) -> str:
    return "".join(f"{name}={words[name]}\n" for name in sorted(names.split(",")))


@pytest.fixture
def systemd(play: Play) -> Systemd:
    found = Systemd()
    play.commands = Commands(found.does)
    return found


# --- masked_units --------------------------------------------------------------------


def test_units_are_masked_then_stopped_once(play: Play, systemd: Systemd) -> None:
    systemd.unit("rpcbind.socket", "active", "enabled")
    systemd.unit("rpcbind.service", "activating", "enabled")
    told = play(masked_units, names=UNITS)
    assert (told["masked"], told["stopped"]) == (UNITS, UNITS[:2])
    assert [command[1] for command in play.commands.run] == ["show", "mask", "stop"]
    assert not play(masked_units, names=UNITS)["changed"]


def test_masking_says_in_check_mode_what_it_would_do(play: Play, systemd: Systemd) -> None:
    systemd.unit("rpcbind.socket", "active", "enabled")
    told = play(masked_units, check_mode=True, names=UNITS)
    assert (told["changed"], told["stopped"]) == (True, ["rpcbind.socket"])
    assert [command[1] for command in play.commands.run] == ["show"]


@pytest.mark.parametrize("number", range(3))
def test_masking_that_was_cut_is_made_whole_by_the_next(
    number: int, play: Play, systemd: Systemd
) -> None:
    systemd.unit("rpcbind.socket", "active", "enabled")
    play.commands.cut_at = number
    with pytest.raises(Cut):
        play(masked_units, names=UNITS)
    play.commands.cut_at = None
    assert play(masked_units, names=UNITS)["changed"]
    assert systemd.active["rpcbind.socket"] == "inactive"
    assert set(systemd.enabled.values()) == {"masked"}
    assert not play(masked_units, names=UNITS)["changed"]


def test_a_unit_that_failed_need_not_be_stopped(play: Play, systemd: Systemd) -> None:
    systemd.unit("rpcbind.service", "failed", "masked")
    assert not play(masked_units, names=["rpcbind.service"])["changed"]


def test_what_systemctl_says_is_passed_on(play: Play) -> None:
    play.commands = Commands(lambda _: (1, "", "Failed to connect to bus\n"))
    with pytest.raises(Failed, match="systemctl show: Failed to connect to bus"):
        play(masked_units, names=UNITS)


# --- settled_service -----------------------------------------------------------------


@pytest.fixture
def words(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "conf").write_text("1")
    return {
        "name": "munge.service",
        "files": [str(tmp_path / "conf")],
        "stamps": str(tmp_path / "services"),
    }


def test_a_service_is_started_once(play: Play, systemd: Systemd, words: dict[str, Any]) -> None:
    systemd.unit("munge.service")
    assert play(settled_service, **words)["actions"] == ["enable", "restart"]
    assert not play(settled_service, **words)["changed"]
    assert systemd.starts == 1
    (stamp,) = Path(words["stamps"]).iterdir()
    assert stat.S_IMODE(stamp.stat().st_mode) == 0o600


@pytest.mark.parametrize("number", range(3))
def test_a_restart_is_not_forgotten_when_a_run_is_cut(
    number: int, play: Play, systemd: Systemd, words: dict[str, Any]
) -> None:
    systemd.unit("munge.service")
    play.commands.cut_at = number
    with pytest.raises(Cut):
        play(settled_service, **words)
    play.commands.cut_at = None
    assert play(settled_service, **words)["changed"]
    assert systemd.active["munge.service"] == "active"
    assert systemd.enabled["munge.service"] == "enabled"
    assert not play(settled_service, **words)["changed"]


def test_a_cut_between_restart_and_stamp_costs_one_more_restart(
    play: Play, systemd: Systemd, words: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    systemd.unit("munge.service")

    def cut(*_: Any, **__: Any) -> None:
        raise Cut

    with monkeypatch.context() as patched:
        patched.setattr(settled_service, "write_whole", cut)
        with pytest.raises(Cut):
            play(settled_service, **words)
    assert play(settled_service, **words)["actions"] == ["restart"]
    assert systemd.starts == 2
    assert not play(settled_service, **words)["changed"]


def test_what_the_service_reads_may_be_changed_during_the_restart(
    play: Play, systemd: Systemd, words: dict[str, Any]
) -> None:
    """The stamp is of what was there before it: too many restarts, never too few."""
    systemd.unit("munge.service")

    def does(command: list[str]) -> Answer:
        if "restart" in command:
            Path(words["files"][0]).write_text("2")
        return systemd.does(command)

    play.commands.does = does
    play(settled_service, **words)
    assert play(settled_service, **words)["actions"] == ["restart"]


def test_a_service_that_does_not_start_is_tried_again(
    play: Play, systemd: Systemd, words: dict[str, Any]
) -> None:
    systemd.unit("munge.service", enabled="enabled")
    systemd.says = "Job for munge.service failed.\nSee systemctl status\n"
    with pytest.raises(Failed, match=r"munge.service can't restart: Job .* failed\.\. Look"):
        play(settled_service, **words)
    assert not Path(words["stamps"]).exists()
    systemd.says = ""
    assert play(settled_service, **words)["actions"] == ["restart"]


def test_in_check_mode_no_service_is_touched(
    play: Play, systemd: Systemd, words: dict[str, Any]
) -> None:
    assert play(settled_service, check_mode=True, **words)["actions"] == ["install"]
    systemd.unit("munge.service")
    assert play(settled_service, check_mode=True, **words)["actions"] == ["enable", "restart"]
    assert {command[1] for command in play.commands.run} == {"show"}
    assert not Path(words["stamps"]).exists()
