"""Running commands on another computer through SSH, against servers in this process."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import paramiko
import pytest

from beowulf.errors import (
    AuthenticationFailed,
    CommandFailed,
    ConnectionLost,
    HostKeyMismatch,
    Unreachable,
)
from beowulf.transport import ssh
from beowulf.transport.ssh import SshConnection, first_contact, search_host_key
from beowulf.transport.ssh_channel import ChannelConversation
from beowulf.transport.ssh_config import Address
from beowulf.transport.ssh_transport import Timeouts
from tests.unit.transport.conftest import Connect, Person, Serve, new_host_key
from tests.unit.transport.ssh_server import USER, Server, write_key

MEGABYTE = 1 << 20


def gone_within(seconds: float, connection: SshConnection) -> None:
    """Wait until the server's hanging up has arrived here."""
    deadline = time.monotonic() + seconds
    while connection._alive() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not connection._alive()


def receive_all(talk: ChannelConversation, received: bytearray) -> None:
    """Receive to the end, or to the loss, of a conversation."""
    while data := talk.receive(timeout_s=60):
        received += data


# Commands


def test_a_command_s_output_errors_and_status_come_back(server: Server, connect: Connect) -> None:
    finished = connect(server).run(
        ["sh", "-c", "cat; echo words >&2; exit 3"], stdin="data é", check=False
    )
    assert (finished.status, finished.output, finished.errors) == (3, "data é", "words\n")


def test_a_failure_names_the_computer_the_command_and_its_last_words(
    server: Server, connect: Connect
) -> None:
    with pytest.raises(CommandFailed, match=r"^127\.0\.0\.1:\d+: sh -c .*: exit 4: last$"):
        connect(server).run(["sh", "-c", "echo first >&2; echo last >&2; exit 4"])


def test_words_arrive_as_they_are(server: Server, connect: Connect) -> None:
    words = ["$(id)", "two words", "'", '"', "a\nb", "\\", "", "*", "é", "--", ";", "!x"]
    printed = connect(server).run(["printf", "%s|", *words]).output
    assert printed == "".join(f"{word}|" for word in words)


def test_all_commands_share_one_connection_opened_by_the_first(
    server: Server, connect: Connect
) -> None:
    connection = connect(server)
    assert server.logins == 0
    for _ in range(3):
        connection.run(["true"])
    assert server.logins == 1


def test_a_program_that_is_not_there_is_the_other_shell_s_word(
    server: Server, connect: Connect
) -> None:
    assert connect(server).run(["no-such-program"], check=False).status == 127


def test_a_command_that_does_not_end_is_given_up(server: Server, connect: Connect) -> None:
    connection = connect(server)
    connection.run(["true"])
    with pytest.raises(CommandFailed, match=r"sleep 30: no end after 0\.5 s"):
        connection.run(["sleep", "30"], timeout_s=0.5)
    assert connection.run(["echo", "still here"]).output == "still here\n"
    assert server.logins == 1


def test_a_command_that_reads_none_of_its_input_tells_its_status(
    server: Server, connect: Connect
) -> None:
    finished = connect(server).run(["false"], stdin="x" * MEGABYTE, check=False)
    assert finished.status == 1


def test_a_command_that_a_signal_ended_has_the_status_that_ssh_gives(
    server: Server, connect: Connect
) -> None:
    assert connect(server).run(["sh", "-c", "kill -9 $$"], check=False).status == 255


def test_ten_megabytes_go_both_ways_at_once(server: Server, connect: Connect) -> None:
    data = os.urandom(MEGABYTE) * 10
    with connect(server).converse(["cat"]) as talk:
        talk.send(data)  # nothing is received meanwhile: the other side must not be held up
        talk.end_input()
        received = b"".join(iter(lambda: talk.receive(timeout_s=60), b""))
        assert talk.finish(60).status == 0
    assert received == data


def test_three_megabytes_of_errors_hold_nothing_up_and_their_end_is_kept(
    server: Server, connect: Connect
) -> None:
    words = "head -c 3000000 /dev/zero | tr '\\0' e >&2; echo end >&2; echo out; exit 7"
    with connect(server).converse(["sh", "-c", words]) as talk:
        assert b"".join(iter(lambda: talk.receive(timeout_s=60), b"")) == b"out\n"
        finished = talk.finish(60)
    assert finished.status == 7
    assert finished.errors.endswith("eee" + "end\n")
    assert len(finished.errors) <= 65_536


def test_a_piece_is_no_larger_than_asked_for(server: Server, connect: Connect) -> None:
    with connect(server).converse(["printf", "abcdef"]) as talk:
        pieces = list(iter(lambda: talk.receive(4, timeout_s=60), b""))
        assert b"".join(pieces) == b"abcdef"
        assert max(map(len, pieces)) <= 4
        assert talk.finish().status == 0


def test_what_a_login_shell_prints_first_is_not_the_command_s(
    serve: Serve, connect: Connect
) -> None:
    greeting = "echo Welcome, ada; printf 'no end of line'; echo odd >&2; "
    connection = connect(serve(greeting=greeting))
    assert connection.run(["printf", "a\\nb"]).output == "a\nb"
    with connection.converse(["cat"]) as talk:
        talk.send(b"x" * MEGABYTE)
        talk.end_input()
        assert b"".join(iter(lambda: talk.receive(7_000, timeout_s=60), b"")) == b"x" * MEGABYTE
        assert talk.finish(60).status == 0


def test_a_login_shell_that_runs_nothing_is_quoted(serve: Serve, connect: Connect) -> None:
    connection = connect(serve(greeting="echo This account is not available.; exit 1; "))
    with pytest.raises(CommandFailed, match=r"exit 1: This account is not available\."):
        connection.run(["true"])


def test_the_last_words_of_one_that_takes_no_more_are_heard(
    server: Server, connect: Connect
) -> None:
    with connect(server).converse(["sh", "-c", "head -c 100000 > /dev/null; echo full"]) as talk:
        with pytest.raises(ConnectionLost, match="it took not all of its input"):
            talk.send(b"x" * 30 * MEGABYTE)
        assert b"".join(iter(lambda: talk.receive(timeout_s=60), b"")) == b"full\n"


def test_a_fast_writer_is_held_up_while_nobody_reads(
    server: Server, connect: Connect, tmp_path: Path
) -> None:
    note = tmp_path / "written"
    words = f"head -c 30000000 /dev/zero; echo all > {note}"
    with connect(server).converse(["sh", "-c", words]) as talk:
        assert talk.receive(1, timeout_s=60) == b"\0"
        time.sleep(1)
        assert not note.exists()
        size = 1 + sum(len(data) for data in iter(lambda: talk.receive(timeout_s=60), b""))
        assert size == 30_000_000
        assert talk.finish(60).status == 0


def test_silence_is_told_after_as_long_as_one_waits(server: Server, connect: Connect) -> None:
    with connect(server).converse(["sleep", "30"]) as talk:
        with pytest.raises(ConnectionLost, match=r"no word after 0\.3 s"):
            talk.receive(timeout_s=0.3)
        with pytest.raises(ConnectionLost, match=r"sleep has not ended after 0\.3 s"):
            talk.finish(0.3)


# Being lost


def test_a_server_that_hangs_up_midway_is_a_connection_lost(serve: Serve, connect: Connect) -> None:
    connection = connect(serve(hangs_up_after=100_000))
    with connection.converse(["head", "-c", "1000000", "/dev/zero"]) as talk:
        received = bytearray()
        with pytest.raises(ConnectionLost, match="the connection is lost"):
            receive_all(talk, received)
        assert 0 < len(received) <= 100_000
        with pytest.raises(ConnectionLost):
            talk.finish()
    with pytest.raises(ConnectionLost):
        connection.run(["head", "-c", "1000000", "/dev/zero"])


def test_input_to_a_connection_that_is_gone_says_so(server: Server, connect: Connect) -> None:
    connection = connect(server)
    with connection.converse(["cat"]) as talk:
        server.hang_up()
        gone_within(30, connection)
        with pytest.raises(ConnectionLost):
            talk.send(b"x" * 100)


def test_the_next_command_opens_a_lost_connection_anew(server: Server, connect: Connect) -> None:
    connection = connect(server)
    connection.run(["true"])
    server.hang_up()  # whether or not it was noticed here yet
    assert connection.run(["echo", "again"]).output == "again\n"
    assert server.logins == 2


def test_a_channel_of_a_connection_that_has_just_ended_is_not_believed(
    server: Server, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = connect(server)
    connection.run(["true"])
    transport = connection._transport()
    opens = transport.open_channel

    def then_ended(*words: object, **more: object) -> paramiko.Channel:
        channel = opens(*words, **more)  # type: ignore[arg-type]  # whatever it takes
        transport.close()
        return channel

    monkeypatch.setattr(transport, "open_channel", then_ended)
    assert connection.run(["echo", "again"]).output == "again\n"
    assert server.logins == 2


def test_a_channel_that_is_closed_a_moment_before_the_connection_is_no_refusal(
    server: Server, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = connect(server)
    connection.run(["true"])

    def closed(*_: object) -> None:
        threading.Timer(0.1, server.hang_up).start()
        raise paramiko.SSHException("Channel closed.")

    monkeypatch.setattr(ssh, "ENDING_S", 60.0)
    monkeypatch.setattr(paramiko.Channel, "exec_command", closed)
    with pytest.raises(ConnectionLost, match="whether true started is not known"):
        connection.run(["true"])


def test_a_command_behind_close_opens_it_anew(server: Server, connect: Connect) -> None:
    connection = connect(server)
    connection.run(["true"])
    connection.close()
    assert connection.run(["echo", "again"]).output == "again\n"


def test_a_server_that_freezes_is_noticed(server: Server, connect: Connect) -> None:
    connection = connect(server, timeouts=Timeouts(connect_s=30, silence_s=2))
    with connection.converse(["sleep", "60"]) as talk:
        server.freeze()
        with pytest.raises(ConnectionLost, match="the connection is lost"):
            talk.receive(timeout_s=60)


def test_silence_alone_is_no_loss_while_the_server_lives(server: Server, connect: Connect) -> None:
    connection = connect(server, timeouts=Timeouts(connect_s=30, silence_s=3))
    assert connection.run(["sh", "-c", "sleep 8; echo here"]).output == "here\n"
    assert server.logins == 1


# Not getting there


def test_a_port_on_which_nobody_listens_is_unreachable(person: Person) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    connection = SshConnection(Address("127.0.0.1", None, port), None)
    with pytest.raises(Unreachable, match=rf"127\.0\.0\.1 port {port}: Connection refused"):
        connection.run(["true"])


def test_a_name_that_is_unknown_is_unreachable(person: Person) -> None:
    with pytest.raises(Unreachable, match=r"no computer is called no-such-head\.invalid"):
        SshConnection(Address("no-such-head.invalid"), None).run(["true"])


def test_a_server_that_never_answers_is_unreachable(person: Person) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = Address("127.0.0.1", None, listener.getsockname()[1])
        connection = SshConnection(address, None, timeouts=Timeouts(connect_s=0.5))
        with pytest.raises(Unreachable, match="no SSH answer"):
            connection.run(["true"])


def test_something_that_speaks_no_ssh_is_unreachable(person: Person) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        address = Address("127.0.0.1", None, listener.getsockname()[1])
        with pytest.raises(Unreachable, match="no SSH answer"):
            SshConnection(address, None).run(["true"])
        thread.join()


# Host keys


def test_another_host_key_than_the_pinned_one_is_refused_with_both_fingerprints(
    server: Server, connect: Connect, tmp_path: Path
) -> None:
    other = new_host_key(tmp_path / "other")
    pinned = f"{other.get_name()} {other.get_base64()}"
    with pytest.raises(HostKeyMismatch) as caught:
        connect(server, pinned=pinned).run(["true"])
    said = str(caught.value)
    assert server.key.fingerprint in said
    assert other.fingerprint in said  # as the library itself writes it
    assert "beowulf cluster remove lab" in said
    assert f"beowulf cluster add lab 127.0.0.1:{server.port} --fingerprint" in said
    assert server.logins == 0


def test_a_pinned_key_of_another_type_is_refused_as_well(server: Server, connect: Connect) -> None:
    rsa = paramiko.RSAKey.generate(2048)
    with pytest.raises(HostKeyMismatch, match=server.key.kind):
        connect(server, pinned=f"ssh-rsa {rsa.get_base64()}").run(["true"])
    assert server.logins == 0


def test_without_a_pinned_key_nobody_logs_in(server: Server, connect: Connect) -> None:
    with pytest.raises(HostKeyMismatch, match=r"none is pinned.*beowulf cluster add lab"):
        connect(server, pinned=None).run(["true"])
    assert server.logins == 0


def test_known_hosts_does_not_stand_in_for_the_pinned_key(
    server: Server, connect: Connect, person: Person
) -> None:
    person.knows(server)
    with pytest.raises(HostKeyMismatch):
        connect(server, pinned=None).run(["true"])


def test_a_key_that_changes_between_two_connections_is_refused(
    serve: Serve, connect: Connect
) -> None:
    first = serve()
    connection = connect(first)
    connection.run(["true"])
    first.host_key = serve().host_key
    first.hang_up()
    with pytest.raises(HostKeyMismatch, match=first.key.fingerprint.replace("+", r"\+")):
        connection.run(["true"])
    assert first.logins == 1


def test_first_contact_shows_the_key_and_logs_nobody_in(server: Server) -> None:
    address = Address("127.0.0.1", None, server.port)
    assert first_contact(address) == server.key
    assert search_host_key(address, server.key.fingerprint) == server.key
    assert search_host_key(address, "SHA256:other") == server.key
    assert server.logins == 0


# Keys


def test_a_key_that_is_refused_is_named_with_the_user_and_what_to_type(
    serve: Serve, connect: Connect, person: Person
) -> None:
    with pytest.raises(AuthenticationFailed) as caught:
        connect(serve(lets_in=[])).run(["true"])
    said = str(caught.value)
    assert f"user {USER} was not let in" in said
    assert str(person.identity) in said
    assert re.search(r"ssh-copy-id -p \d+ 127\.0\.0\.1$", said)


def test_another_user_is_not_let_in(server: Server, connect: Connect) -> None:
    with pytest.raises(AuthenticationFailed, match="user eve was not let in"):
        connect(server, user="eve").run(["true"])


def test_without_any_key_the_message_says_so(
    server: Server, connect: Connect, person: Person
) -> None:
    person.configure(identity=person.directory / "absent")
    with pytest.raises(AuthenticationFailed, match="keys tried: none"):
        connect(server).run(["true"])


def test_a_file_that_is_no_key_is_named(server: Server, connect: Connect, person: Person) -> None:
    broken = person.directory / "broken"
    broken.write_text("no key\n")
    person.configure(identity=broken)
    with pytest.raises(AuthenticationFailed, match=f"{broken} \\(no key that can be used\\)"):
        connect(server).run(["true"])


@pytest.fixture
def locked(person: Person) -> bytes:
    """The person's key has a passphrase from now on."""
    path = person.directory / "locked"
    blob = write_key(path, "open sesame")
    person.configure(identity=path)
    return blob


def test_a_passphrase_is_asked_for_until_it_is_right(
    serve: Serve, connect: Connect, locked: bytes
) -> None:
    answers = iter(["wrong", "open sesame"])
    asked = []

    def ask(prompt: str) -> str:
        asked.append(prompt)
        return next(answers)

    connect(serve(lets_in=[locked]), ask=ask).run(["true"])
    assert len(asked) == 2
    assert "locked" in asked[0]


def test_three_wrong_passphrases_are_enough(serve: Serve, connect: Connect, locked: bytes) -> None:
    with pytest.raises(AuthenticationFailed, match="wrong passphrase"):
        connect(serve(lets_in=[locked]), ask=lambda _: "wrong").run(["true"])


def test_without_a_terminal_a_locked_key_says_what_to_type(
    serve: Serve, connect: Connect, person: Person, locked: bytes
) -> None:
    with pytest.raises(AuthenticationFailed, match=f"ssh-add {person.directory / 'locked'}"):
        connect(serve(lets_in=[locked])).run(["true"])


def test_an_agent_unlocks_it(
    serve: Serve, connect: Connect, locked: bytes, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = person.directory / "agent"
    with subprocess.Popen(["ssh-agent", "-D", "-a", str(agent)], stdout=subprocess.DEVNULL) as held:
        try:
            deadline = time.monotonic() + 30
            while not agent.exists() and time.monotonic() < deadline:
                time.sleep(0.01)
            path = person.directory / "locked"
            unlock = ["ssh-keygen", "-q", "-p", "-P", "open sesame", "-N", "", "-f", str(path)]
            before = path.read_bytes()
            subprocess.run(unlock, check=True, stdout=subprocess.DEVNULL)
            environment = {**os.environ, "SSH_AUTH_SOCK": str(agent)}
            subprocess.run(["ssh-add", "-q", str(path)], env=environment, check=True)
            path.write_bytes(before)
            monkeypatch.setenv("SSH_AUTH_SOCK", str(agent))
            connection = connect(serve(lets_in=[locked]))
            assert connection.run(["echo", "in"]).output == "in\n"
        finally:
            held.terminate()


def test_an_agent_that_is_gone_is_no_trouble(
    server: Server, connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "nobody-listens"))
    assert connect(server).run(["echo", "in"]).output == "in\n"


def test_importing_it_does_not_import_paramiko() -> None:
    code = "import sys, beowulf.transport.ssh; assert 'paramiko' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_paramiko_comes_without_what_it_does_not_need_here(server: Server, person: Person) -> None:
    code = (
        "import sys\n"
        "from beowulf.transport.ssh import SshConnection\n"
        "from beowulf.transport.ssh_config import Address\n"
        "connection = SshConnection(Address('127.0.0.1', None, int(sys.argv[1])), sys.argv[2])\n"
        "print(connection.run(['echo', 'there']).output.strip(), 'invoke' in sys.modules)\n"
        "connection.close()\n"
    )
    command = [sys.executable, "-c", code, str(server.port), str(server.key)]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert answer.stdout == "there False\n"
