"""Packages for the image come from where this computer's own come from."""

from __future__ import annotations

import pytest

from beowulf.errors import CommandFailed, LabError
from beowulf.lab.image import mirrors
from beowulf.lab.image.mirrors import Mirrors, find_mirrors, sources_on
from beowulf.transport.local import Finished

TARGETS = """\
Debian\tbookworm\thttp://mirror.example/debian/
Debian\tbookworm-updates\thttp://mirror.example/debian/
Debian\tbookworm-security\thttp://security.example/debian-security/
Somebody\tbookworm\thttps://packages.example/apt/
"""


def test_the_suite_is_replaced_and_foreign_archives_are_left_out() -> None:
    assert sources_on(TARGETS, "trixie") == (
        "deb http://mirror.example/debian trixie main",
        "deb http://mirror.example/debian trixie-updates main",
        "deb http://security.example/debian-security trixie-security main",
    )


def test_without_security_updates_here_there_is_no_guess_where_they_are() -> None:
    sources = sources_on("Debian\tbookworm\thttp://mirror.example:8080/debian\n", "trixie")
    assert sources == (
        "deb http://mirror.example:8080/debian trixie main",
        "deb http://mirror.example:8080/debian trixie-updates main",
    )


def test_an_encrypted_mirror_is_asked_in_the_open_and_keeps_no_password() -> None:
    targets = "Debian\tbookworm\thttps://me:secret@mirror.example/debian/\n"
    assert sources_on(targets, "trixie")[0] == "deb http://mirror.example/debian trixie main"


@pytest.mark.parametrize(
    "targets",
    [
        "",
        "Ubuntu\tnoble\thttp://mirror.example/ubuntu/\n",
        "Debian\tbookworm\tfile:/media/cdrom/\n",
        "Debian\tbookworm\thttps://mirror.example:8443/debian/\n",
        "Debian\tbookworm-security\thttp://mirror.example/debian-security/\n",
        "Debian\n",
    ],
)
def test_what_is_no_mirror_of_the_suite_is_not_taken_for_one(targets: str) -> None:
    assert sources_on(targets, "trixie") == ()


def test_servers_are_named_once_with_their_port() -> None:
    found = Mirrors(
        (
            "deb http://mirror.example/debian trixie main",
            "deb http://mirror.example/debian trixie-updates main",
            "deb http://other.example:8080/debian trixie-security main",
        )
    )
    assert found.servers == (("mirror.example", 80), ("other.example", 8080))


def answering(monkeypatch: pytest.MonkeyPatch, answers: dict[str, str | Exception]) -> None:
    """Let the programs named print this, or fail so."""

    def run(words: list[str], **_: object) -> Finished:
        answer = answers[words[0]]
        if isinstance(answer, Exception):
            raise answer
        return Finished(tuple(words), 0, answer, answer)

    monkeypatch.setattr(mirrors, "run", run)


@pytest.mark.parametrize("apt", ["", CommandFailed("apt-get: not installed")])
def test_a_computer_without_a_debian_mirror_takes_mmdebstrap_s(
    monkeypatch: pytest.MonkeyPatch, apt: str | Exception
) -> None:
    said = "I: running\ndeb http://mirror.example/debian trixie main\nE: command failed: cat\n"
    answering(monkeypatch, {"apt-get": apt, "mmdebstrap": said})
    assert find_mirrors("trixie").sources == ("deb http://mirror.example/debian trixie main",)


def test_no_mirror_at_all_is_an_error_that_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answering(monkeypatch, {"apt-get": "", "mmdebstrap": "E: no such suite\n"})
    with pytest.raises(LabError, match=r"no Debian mirror .*; add one to /etc/apt/sources\.list"):
        find_mirrors("trixie")


def test_a_missing_mmdebstrap_is_named_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    missing = CommandFailed("mmdebstrap: not installed on this computer")
    answering(monkeypatch, {"apt-get": "", "mmdebstrap": missing})
    with pytest.raises(LabError, match=r"mmdebstrap: not installed.*apt-get install mmdebstrap"):
        find_mirrors("trixie")
