"""What a person types for a head, and what their ssh says of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beowulf.errors import CommandFailed, InvalidInput
from beowulf.transport.ssh_config import Address, parse_address, parse_settings, read_settings
from tests.unit.transport.conftest import Person


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("head", Address("head")),
        ("ada@head", Address("head", "ada")),
        ("ada@head.example.org:2222", Address("head.example.org", "ada", 2222)),
        ("10.77.0.10", Address("10.77.0.10")),
        ("fe80::1", Address("fe80::1")),
        ("ada@[fe80::1]:22", Address("fe80::1", "ada", 22)),
        ("ada@lab.org@head", Address("head", "ada@lab.org")),
    ],
)
def test_a_login_is_read(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    "text",
    [
        "", "@head", "ada@", "-oProxyCommand=id", "ada@-oProxyCommand=id", "head;id", "$(id)@head",
        "a b@head", "head\n", "head:0", "head:65536", "head:9999999999999",
        "head:x", "head:",
        "`id`", "héad", "ada@he ad", "head/path", "x" * 300, "[head", "ada@[]:22", "\0", "-l@head",
    ],
)  # fmt: skip
def test_hostile_logins_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_address(text)


@given(st.text(max_size=40))
def test_whatever_is_typed_it_is_read_or_refused(text: str) -> None:
    try:
        address = parse_address(text)
    except InvalidInput:
        return
    assert not address.host.startswith("-")
    assert not set(str(address)) & set(" \t\n;|&$`'\"\\<>()*?") - {"$"}


def test_what_ssh_prints_is_read() -> None:
    settings = parse_settings(
        "host head\nuser ada\nhostname 10.0.0.1\nport 2222\nidentitiesonly yes\n"
        "identityfile ~/.ssh/one\nidentityfile /keys/%r@%h\nidentityfile none\n"
        "proxyjump eve@jump:2200,other\nuserknownhostsfile /a /b\nglobalknownhostsfile none\n"
        "connecttimeout 7\nidentityagent none\nproxycommand none\n"
    )
    assert (settings.host, settings.user, settings.port) == ("10.0.0.1", "ada", 2222)
    assert settings.known_as == "[10.0.0.1]:2222"
    assert settings.identity_files[0].is_absolute()
    assert settings.identity_files[1:] == (Path("/keys/ada@10.0.0.1"),)
    assert settings.jumps == (Address("jump", "eve", 2200), Address("other"))
    assert settings.known_hosts_files == (Path("/a"), Path("/b"))
    assert settings.connect_timeout_s == 7
    assert (settings.agent_socket, settings.proxy_command) == ("", "")
    assert settings.identities_only


def test_tokens_of_a_proxy_command_are_filled_in() -> None:
    settings = parse_settings("hostname h\nuser u\nport 5\nproxycommand nc %h %p %r %% %x\n")
    assert settings.proxy_command == "nc h 5 u % %x"


def test_what_was_typed_outweighs_the_configuration(person: Person) -> None:
    person.configure("Host head\n    User eve\n    Port 99\n    HostName elsewhere\n")
    settings = read_settings(Address("head", "ada", 22))
    assert (settings.host, settings.user, settings.port) == ("elsewhere", "ada", 22)


def test_included_files_are_read(person: Person) -> None:
    more = person.directory / "more"
    more.write_text("Host head\n    Port 77\n")
    person.configure(f"Include {more}\n")
    assert read_settings(Address("head")).port == 77


def test_a_configuration_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEOWULF_SSH_CONFIG", "/no/such/file")
    with pytest.raises(InvalidInput, match="BEOWULF_SSH_CONFIG: there is no file /no/such/file"):
        read_settings(Address("head"))


def test_a_configuration_that_ssh_cannot_read_is_told_in_its_words(person: Person) -> None:
    person.configure("Nonsense yes\n")
    with pytest.raises(CommandFailed, match="bad configuration options"):
        read_settings(Address("head"))


def test_without_an_ssh_there_is_no_configuration(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("BEOWULF_SSH_CONFIG", raising=False)
    monkeypatch.setattr("beowulf.transport.ssh_config._home", lambda: tmp_path)
    settings = read_settings(Address("head", "ada"))
    assert (settings.host, settings.user, settings.port) == ("head", "ada", 22)
    assert tmp_path / ".ssh" / "id_ed25519" in settings.identity_files
