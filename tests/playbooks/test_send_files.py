"""Files travel in archives that unpack as root's, readable by all, whoever packed them."""

from __future__ import annotations

import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import send_files
from ansible.errors import AnsibleActionFail

ODD = ["-rf.whl", "a b.whl", "line\nbreak.whl", "zoë.whl", "*.whl"]


class Shell:
    tmpdir = "/tmp/ansible-there"  # noqa: S108

    @staticmethod
    def join_path(*parts: str) -> str:
        return "/".join(parts)


class Sending:
    """An action whose machine notes what arrives."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, words: dict[str, Any]) -> None:
        self.arrived: list[list[str]] = []
        self.answers: list[dict[str, Any]] = []
        action = send_files.ActionModule
        monkeypatch.setattr(action, "__init__", lambda _: None)
        self.action = action()
        self.action._task = SimpleNamespace(check_mode=False)
        self.action._connection = SimpleNamespace(_shell=Shell())
        monkeypatch.setattr(action.__mro__[1], "run", lambda *_: {})
        monkeypatch.setattr(action, "validate_argument_spec", lambda *_: (None, words))
        monkeypatch.setattr(action, "_fixup_perms2", lambda *_: None)
        monkeypatch.setattr(action, "_transfer_file", self.transfer)
        monkeypatch.setattr(action, "_execute_module", self.execute)

    def transfer(self, here: str, there: str) -> None:
        assert there == f"{Shell.tmpdir}/files.tar"
        with tarfile.open(here) as archive:
            self.arrived.append(archive.getnames())

    def execute(self, module_name: str, module_args: dict[str, Any], **_: Any) -> dict[str, Any]:
        assert module_name == "ansible.builtin.unarchive"
        assert module_args["remote_src"] is True
        return self.answers.pop(0) if self.answers else {"changed": True}


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / name for name in ODD]
    for path in paths:
        path.write_bytes(path.name.encode())
        path.chmod(0o600)
    return paths


def test_an_archive_has_the_files_as_roots_for_all_to_read(
    files: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "link.whl").symlink_to(files[0])
    (tmp_path / "second name.whl").hardlink_to(files[0])
    archive = tmp_path / "files.tar"
    links = [tmp_path / "link.whl", tmp_path / "second name.whl"]
    send_files.pack([*files, *links], str(archive))
    with tarfile.open(archive) as tar:
        members = tar.getmembers()
        texts = {m.name: (tar.extractfile(m) or pytest.fail(m.name)).read() for m in members}
    expected = {name: name.encode() for name in ODD}
    # What they lead to, not the links.
    assert texts == {**expected, **dict.fromkeys((path.name for path in links), ODD[0].encode())}
    assert all(member.isreg() for member in members)
    assert {(m.uid, m.gid, m.uname, m.gname, m.mode) for m in members} == {
        (0, 0, "root", "root", 0o644)
    }


def test_all_files_arrive(
    files: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with (tmp_path / "large.whl").open("wb") as large:
        large.truncate(send_files.BATCH_BYTES + 1)
    names = [*map(str, files), large.name]
    sending = Sending(monkeypatch, {"files": names, "directory": "/opt"})
    result = sending.action.run()
    assert [sorted(names) for names in sending.arrived] == [sorted(ODD), ["large.whl"]]
    assert (result["changed"], sorted(result["files"])) == (True, sorted([*ODD, "large.whl"]))


def test_without_files_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    sending = Sending(monkeypatch, {"files": [], "directory": "/opt"})
    assert not sending.action.run()["changed"]
    assert sending.arrived == []


def test_a_file_that_lacks_here_stops_all(
    files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [str(files[0]), "/nonexistent/x.whl", str(files[0].parent)]
    sending = Sending(monkeypatch, {"files": names, "directory": "/opt"})
    with pytest.raises(AnsibleActionFail, match=r"no such file here: /nonexistent/x\.whl, "):
        sending.action.run()
    assert sending.arrived == []


def test_check_mode_says_what_it_would_send(
    files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    sending = Sending(monkeypatch, {"files": list(map(str, files)), "directory": "/opt"})
    sending.action._task.check_mode = True
    assert sending.action.run()["changed"]
    assert sending.arrived == []


def test_what_fails_there_is_told_and_ends_it(
    files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(send_files.batches, "__defaults__", (1,))
    sending = Sending(monkeypatch, {"files": list(map(str, files)), "directory": "/opt"})
    sending.answers = [{"changed": True}, {"failed": True, "msg": "No space left on device"}]
    result = sending.action.run()
    assert (result["failed"], result["msg"]) == (True, "No space left on device")
    assert len(sending.arrived) == 2
