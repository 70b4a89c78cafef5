"""What stands behind ``--`` reaches the script byte for byte, on its way through a whole job."""

from __future__ import annotations

import ast
from pathlib import Path

from beowulf.job.directory import JobDirectory
from tests.conftest import Beowulf

ARGUMENTS = [
    b"two words", b"'single' \"double\"", b"two\nlines", b"$(id)", b"`id`", b"$HOME", b"*", b"?",
    b"", b"caf\xc3\xa9 \xf0\x9f\x90\xa2", b"\xff", b"\xff\xfe\x80", b"-rf", b"--ranks", b"--", b"-",
    b"\\", b"\t\r\x1b", b";", b"&& id", b"| id", b"> file", b"~", b"{a,b}", b"#", b"!", b"%s", b"=",
    b"x" * 1000,
]  # fmt: skip


def test_arguments_reach_the_script_byte_for_byte(
    beowulf: Beowulf, tmp_path: Path, state_home: Path
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    script = work / "tell me.py"
    script.write_text(
        "import os, sys\nprint('ARGUMENTS', [os.fsencode(word) for word in sys.argv])\n"
    )
    answer = beowulf("submit", "-n", "1", script, "--", *ARGUMENTS)
    assert answer.returncode == 0, answer.stderr
    (line,) = (line for line in answer.stdout.splitlines() if line.startswith("ARGUMENTS "))
    assert ast.literal_eval(line.removeprefix("ARGUMENTS ")) == [b"tell me.py", *ARGUMENTS]
    directory = JobDirectory(state_home / "beowulf" / "jobs" / "1")
    assert directory.arguments.read_bytes().split(b"\0")[2:-1] == ARGUMENTS
    assert not (directory.code / "file").exists()
