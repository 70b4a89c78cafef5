"""``beowulf cluster``, against an SSH server in this process with a Slurm that is a script."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import BEOWULF, Beowulf
from tests.unit.cli.conftest import assert_refused
from tests.unit.transport.conftest import Person, Serve, new_host_key
from tests.unit.transport.conftest import person as person  # noqa: PLC0414 - a fixture
from tests.unit.transport.conftest import serve as serve  # noqa: PLC0414 - likewise
from tests.unit.transport.ssh_server import Server

SINFO = """#!/bin/sh
case $1 in
  -V) echo slurm-wlm 24.11.5 ;;
  *) printf 'head\\nnode1\\nnode2\\n' ;;
esac
"""
NO_ANSWER = """#!/bin/sh
[ "$1" = -V ] && echo slurm-wlm 24.11.5 && exit
echo "slurm_load_partitions: Unable to contact slurm controller (connect failure)" >&2
exit 1
"""


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ``sinfo`` on the path of the servers' commands."""
    path = tmp_path / "bin" / "sinfo"
    path.parent.mkdir()
    path.write_text(SINFO)
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{path.parent}:{os.environ['PATH']}")
    return path


@pytest.fixture
def config(tmp_path: Path, person: Person, environment: dict[str, str]) -> Path:
    """The configuration file of whoever runs ``beowulf`` here. It is not there yet."""
    environment["XDG_CONFIG_HOME"] = str(tmp_path / "config")
    environment["BEOWULF_SSH_CONFIG"] = str(person.directory / "config")
    return tmp_path / "config" / "beowulf" / "config.toml"


@pytest.fixture
def head(serve: Serve, slurm: Path, config: Path) -> Server:
    return serve()


def at(server: Server) -> str:
    return f"127.0.0.1:{server.port}"


def add(beowulf: Beowulf, name: str, server: Server, *more: str) -> None:
    fingerprint = server.key.fingerprint
    answer = beowulf("cluster", "add", name, at(server), "--fingerprint", fingerprint, *more)
    assert answer.returncode == 0, answer.stderr


def listed(beowulf: Beowulf) -> dict[str, bool]:
    document = json.loads(beowulf("cluster", "list", "--json").stdout)
    assert document["schema"] == 1
    return {cluster["name"]: cluster["default"] for cluster in document["clusters"]}


def test_adding_says_in_one_line_what_was_found(
    beowulf: Beowulf, head: Server, config: Path
) -> None:
    fingerprint = head.key.fingerprint
    answer = beowulf("cluster", "add", "lab", f"ada@{at(head)}", "--fingerprint", fingerprint)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout == ""
    assert answer.stderr.count("\n") == 1
    for words in ("added lab (the default)", "slurm-wlm 24.11.5", "3 nodes", f"ada@{at(head)}"):
        assert words in answer.stderr
    assert str(head.key) in config.read_text()
    document = json.loads(beowulf("cluster", "list", "--json").stdout)
    assert document["clusters"] == [
        {"name": "lab", "host": "127.0.0.1", "user": "ada", "port": head.port,
         "fingerprint": fingerprint, "default": True}
    ]  # fmt: skip
    shown = beowulf("cluster", "list").stdout
    assert shown == f"* lab  ada@{at(head)}  {fingerprint}\n"


def test_without_a_terminal_a_fingerprint_is_asked_for(
    beowulf: Beowulf, head: Server, config: Path
) -> None:
    answer = beowulf("cluster", "add", "lab", at(head))
    command = f"beowulf cluster add lab {at(head)} --fingerprint SHA256:..."
    assert_refused(answer, "no terminal", command, state=None)
    assert not config.exists()


def test_another_fingerprint_is_refused_with_both(
    beowulf: Beowulf, head: Server, config: Path, tmp_path: Path
) -> None:
    other = new_host_key(tmp_path / "other").fingerprint
    answer = beowulf("cluster", "add", "lab", at(head), "--fingerprint", other)
    assert_refused(answer, other, head.key.fingerprint, status=5, state=None)
    assert not config.exists()
    assert head.logins == 0


def test_if_the_login_fails_nothing_is_written(
    beowulf: Beowulf, serve: Serve, slurm: Path, config: Path
) -> None:
    server = serve(lets_in=[])
    fingerprint = server.key.fingerprint
    answer = beowulf("cluster", "add", "lab", at(server), "--fingerprint", fingerprint)
    assert_refused(answer, "was not let in", status=5, state=None)
    assert not config.exists()


def test_a_computer_without_slurm_is_no_head(
    beowulf: Beowulf, head: Server, slurm: Path, config: Path
) -> None:
    slurm.write_text("#!/bin/sh\nexit 127\n")
    fingerprint = head.key.fingerprint
    answer = beowulf("cluster", "add", "lab", at(head), "--fingerprint", fingerprint)
    assert_refused(answer, "there is no Slurm", status=1, state=None)
    assert not config.exists()


def test_a_slurm_that_does_not_answer_is_told_and_added(
    beowulf: Beowulf, head: Server, slurm: Path, config: Path
) -> None:
    slurm.write_text(NO_ANSWER)
    fingerprint = head.key.fingerprint
    answer = beowulf("cluster", "add", "lab", at(head), "--fingerprint", fingerprint)
    assert answer.returncode == 0
    assert "which does not answer (slurm_load_partitions: Unable to contact" in answer.stderr
    assert config.exists()


def test_a_head_that_is_off_is_unreachable(beowulf: Beowulf, head: Server, config: Path) -> None:
    answer = beowulf("cluster", "add", "lab", "127.0.0.1:1", "--fingerprint", head.key.fingerprint)
    assert_refused(answer, "127.0.0.1 port 1", status=3, state=None)


def test_a_name_whose_key_changed_is_refused_with_both_and_the_remedy(
    beowulf: Beowulf, head: Server, serve: Serve, config: Path
) -> None:
    add(beowulf, "lab", head)
    before = config.read_text()
    other = serve()
    fingerprint = other.key.fingerprint
    answer = beowulf("cluster", "add", "lab", at(other), "--fingerprint", fingerprint)
    assert_refused(
        answer,
        fingerprint,
        head.key.fingerprint,
        "beowulf cluster remove lab",
        status=5,
        state=None,
    )
    assert config.read_text() == before


def test_a_name_whose_key_is_the_same_can_be_added_anew_without_a_question(
    beowulf: Beowulf, head: Server, config: Path
) -> None:
    add(beowulf, "lab", head)
    answer = beowulf("cluster", "add", "lab", f"ada@{at(head)}")
    assert answer.returncode == 0, answer.stderr
    assert 'user = "ada"' in config.read_text()


def test_the_first_is_the_default_until_another_is_chosen(
    beowulf: Beowulf, head: Server, config: Path
) -> None:
    add(beowulf, "one", head)
    add(beowulf, "two", head)
    assert listed(beowulf) == {"one": True, "two": False}
    add(beowulf, "three", head, "--default")
    assert listed(beowulf) == {"one": False, "two": False, "three": True}
    assert beowulf("cluster", "default").stdout == "three\n"
    assert beowulf("cluster", "default", "two").returncode == 0
    assert beowulf("cluster", "default").stdout == "two\n"
    assert "it was the default" in beowulf("cluster", "remove", "two").stderr
    assert beowulf("cluster", "default").stdout == "local\n"
    assert listed(beowulf) == {"one": False, "three": False}


def test_this_computer_may_be_the_head(beowulf: Beowulf, slurm: Path, config: Path,
                                       environment: dict[str, str]) -> None:  # fmt: skip
    environment["PATH"] = os.environ["PATH"]
    answer = beowulf("cluster", "add", "here", "local")
    assert answer.returncode == 0, answer.stderr
    assert "3 nodes on this computer" in answer.stderr


def test_without_clusters_the_list_says_how_to_add_one(beowulf: Beowulf, config: Path) -> None:
    answer = beowulf("cluster", "list")
    assert (answer.returncode, answer.stdout) == (0, "")
    assert "beowulf cluster add" in answer.stderr
    assert listed(beowulf) == {}


@pytest.mark.parametrize("verb", ["remove", "default"])
def test_a_cluster_that_is_not_there_is_not_found(
    beowulf: Beowulf, config: Path, verb: str
) -> None:
    assert_refused(beowulf("cluster", verb, "lab"), "'lab'", status=4, state=None)


@pytest.mark.parametrize(
    ("name", "login"),
    [
        ("local", "head"), ("Lab", "head"), ("../x", "head"), ("a" * 33, "head"), ("", "head"),
        ("lab", "ada@-oProxyCommand=id"), ("lab", "$(id)@head"), ("lab", "head;id"), ("lab", ""),
        ("lab", "a\nb"), ("lab", "\x1b[31mhead"), ("lab", "head:99999"), ("lab", "x" * 5000),
    ],
    ids=lambda value: repr(value)[:24],
)  # fmt: skip
def test_hostile_names_and_logins_are_refused(
    beowulf: Beowulf, config: Path, name: str, login: str
) -> None:
    answer = beowulf("cluster", "add", "--fingerprint", "SHA256:" + "A" * 43, "--", name, login)
    assert_refused(answer, state=None)
    assert not config.exists()


def test_a_fingerprint_that_is_none_is_refused(beowulf: Beowulf, config: Path) -> None:
    answer = beowulf("cluster", "add", "lab", "head", "--fingerprint", "MD5:aa")
    assert_refused(answer, "--fingerprint", "ssh-keygen -lf", state=None)


def test_a_configuration_that_is_damaged_is_named_by_every_verb(
    beowulf: Beowulf, config: Path
) -> None:
    config.parent.mkdir(parents=True)
    config.write_text("colour = 1\n")
    for words in (["list"], ["default"], ["remove", "lab"], ["add", "lab", "head"]):
        assert_refused(beowulf("cluster", *words), str(config), "colour", state=None)


@pytest.fixture
def terminal(environment: dict[str, str]) -> Iterator[int]:
    ours, theirs = pty.openpty()
    environment["TEST_TERMINAL"] = str(theirs)
    yield ours
    os.close(ours)
    os.close(theirs)


def on_terminal(
    environment: dict[str, str], ours: int, keys: bytes, *words: str
) -> tuple[int, str]:
    """Run ``beowulf`` on a terminal, answer its question, return its status and what it said."""
    theirs = int(environment["TEST_TERMINAL"])
    process = subprocess.Popen(
        [BEOWULF, *words], stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    )
    seen, deadline = b"", time.monotonic() + 60
    os.set_blocking(ours, False)
    answered = False
    while time.monotonic() < deadline:
        ended = process.poll() is not None
        try:
            seen += os.read(ours, 65_536)
        except BlockingIOError:
            if ended:
                break
            time.sleep(0.02)
        if b"[y/N]" in seen and not answered:
            answered = True
            os.write(ours, keys)
    process.kill()
    return process.wait(), seen.decode()


def test_on_a_terminal_the_key_is_shown_and_agreed_to(
    head: Server, config: Path, environment: dict[str, str], terminal: int
) -> None:
    status, seen = on_terminal(environment, terminal, b"y\n", "cluster", "add", "lab", at(head))
    assert status == 0, seen
    assert head.key.fingerprint in seen
    assert "ssh-ed25519" in seen
    assert str(head.key) in config.read_text()


@pytest.mark.parametrize("answer", [b"n\n", b"\n"])
def test_a_key_that_is_not_agreed_to_is_not_kept(
    head: Server, config: Path, environment: dict[str, str], terminal: int, answer: bytes
) -> None:
    status, seen = on_terminal(environment, terminal, answer, "cluster", "add", "lab", at(head))
    assert status == 5
    assert "nothing was added" in seen
    assert not config.exists()
    assert head.logins == 0
