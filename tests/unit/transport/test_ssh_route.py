"""The way to a computer as the person's ssh configuration has it: jump hosts, proxies, aliases."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from beowulf.errors import AuthenticationFailed, HostKeyMismatch, Unreachable
from beowulf.transport.ssh import SshConnection
from beowulf.transport.ssh_config import Address
from tests.unit.transport.conftest import PATIENCE, Person, Serve
from tests.unit.transport.ssh_server import Server

NETCAT = Path(__file__).with_name("netcat.py")


def host(name: str, server: Server, *more: str) -> str:
    lines = ["HostName 127.0.0.1", f"Port {server.port}", *more]
    return f"Host {name}\n" + "".join(f"    {line}\n" for line in lines)


def connection_to(name: str, server: Server) -> SshConnection:
    return SshConnection(Address(name), str(server.key), cluster="lab", timeouts=PATIENCE)


def echoes(connection: SshConnection) -> bool:
    try:
        return connection.run(["echo", "there"]).output == "there\n"
    finally:
        connection.close()


def test_an_alias_means_what_it_means_to_ssh(server: Server, person: Person) -> None:
    person.configure(host("cluster", server))
    assert echoes(connection_to("cluster", server))


def test_a_jump_host_is_on_the_way(serve: Serve, person: Person) -> None:
    head, jump = serve(), serve()
    person.knows(jump)
    person.configure(host("jump", jump) + host("head", head, "ProxyJump jump"))
    assert echoes(connection_to("head", head))
    assert (jump.logins, head.logins) == (1, 1)


def test_a_pattern_for_everything_does_not_have_the_jump_host_jump_to_itself(
    serve: Serve, person: Person
) -> None:
    head, jump = serve(), serve()
    person.knows(jump)
    everything = "Host *\n    ProxyJump jump\n"
    person.configure(host("jump", jump) + host("head", head) + everything)
    assert echoes(connection_to("head", head))


def test_several_jump_hosts_are_passed_in_turn(serve: Serve, person: Person) -> None:
    head, first, second = serve(), serve(), serve()
    person.knows(first)
    person.knows(second)
    person.configure(
        host("first", first) + host("second", second)
        + host("head", head, f"ProxyJump first,ada@127.0.0.1:{second.port}")
    )  # fmt: skip
    assert echoes(connection_to("head", head))
    assert (first.logins, second.logins, head.logins) == (1, 1, 1)


def test_a_jump_host_that_is_not_known_is_refused(serve: Serve, person: Person) -> None:
    head, jump = serve(), serve()
    person.configure(host("jump", jump) + host("head", head, "ProxyJump jump"))
    with pytest.raises(HostKeyMismatch, match=r"^jump host jump: .*known_hosts lacks.*: ssh jump$"):
        connection_to("head", head).run(["true"])
    assert jump.logins == 0


def test_a_jump_host_with_another_key_is_refused_with_both_fingerprints(
    serve: Serve, person: Person
) -> None:
    head, jump = serve(), serve()
    person.knows(jump, key=head.key)
    person.configure(host("jump", jump) + host("head", head, "ProxyJump jump"))
    with pytest.raises(HostKeyMismatch) as caught:
        connection_to("head", head).run(["true"])
    assert jump.key.fingerprint in str(caught.value)
    assert head.key.fingerprint in str(caught.value)
    assert f"ssh-keygen -R '[127.0.0.1]:{jump.port}'" in str(caught.value)
    assert jump.logins == 0


def test_a_jump_host_s_revoked_key_is_refused(serve: Serve, person: Person) -> None:
    head, jump = serve(), serve()
    person.knows(jump)
    with person.known_hosts.open("a") as file:
        file.write(f"@revoked * {jump.key}\n")
    person.configure(host("jump", jump) + host("head", head, "ProxyJump jump"))
    with pytest.raises(HostKeyMismatch, match="revokes"):
        connection_to("head", head).run(["true"])


def test_a_jump_host_that_refuses_the_key_is_the_one_named(serve: Serve, person: Person) -> None:
    head, jump = serve(), serve(lets_in=[])
    person.knows(jump)
    person.configure(host("jump", jump) + host("head", head, "ProxyJump jump"))
    with pytest.raises(AuthenticationFailed, match=r"^jump host jump: user ada was not let in"):
        connection_to("head", head).run(["true"])


def test_a_jump_host_that_forwards_nothing_is_named(serve: Serve, person: Person) -> None:
    head, jump = serve(), serve(forwards=False)
    person.knows(jump)
    person.configure(host("jump", jump) + host("head", head, "ProxyJump jump"))
    with pytest.raises(Unreachable, match=r"^jump host jump: no way from it to 127\.0\.0\.1"):
        connection_to("head", head).run(["true"])


def test_jump_hosts_in_a_circle_end(serve: Serve, person: Person) -> None:
    head, jump = serve(), serve()
    person.configure(
        host("one", jump, "ProxyJump two") + host("two", jump, "ProxyJump one")
        + host("head", head, "ProxyJump one")
    )  # fmt: skip
    with pytest.raises(Unreachable, match="a circle in ProxyJump"):
        connection_to("head", head).run(["true"])


def test_the_head_s_key_is_pinned_behind_a_jump_host_too(serve: Serve, person: Person) -> None:
    head, jump = serve(), serve()
    person.knows(jump)
    person.knows(head)
    person.configure(host("jump", jump) + host("head", head, "ProxyJump jump"))
    with pytest.raises(HostKeyMismatch, match="is pinned"):
        connection_to("head", jump).run(["true"])
    assert head.logins == 0


def test_a_proxy_command_is_run_as_ssh_runs_it(server: Server, person: Person) -> None:
    person.configure(
        f"Host head\n    HostName 127.0.0.1\n    Port {server.port}\n"
        f"    ProxyCommand {sys.executable} {NETCAT} %h %p 2>/dev/null\n"
    )
    assert echoes(connection_to("head", server))


def test_a_proxy_command_that_fails_is_unreachable(server: Server, person: Person) -> None:
    person.configure("Host head\n    ProxyCommand false\n")
    with pytest.raises(Unreachable, match=r"^head: no SSH answer"):
        connection_to("head", server).run(["true"])


def test_a_connection_over_a_jump_host_that_is_lost_is_opened_anew(
    serve: Serve, person: Person
) -> None:
    head, jump = serve(), serve()
    person.knows(jump)
    person.configure(host("jump", jump) + host("head", head, "ProxyJump jump"))
    connection = connection_to("head", head)
    connection.run(["true"])
    jump.hang_up()
    assert echoes(connection)
    assert jump.logins == 2
