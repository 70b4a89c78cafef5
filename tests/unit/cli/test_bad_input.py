"""What cannot be used is refused in one line with field and remedy; nothing is started."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from tests.conftest import SMALL_DISK_BYTES, Beowulf, fill
from tests.unit.cli.conftest import assert_refused
from tests.unit.conftest import BoundBeowulf, short

COMMAND = b'command = ["python", "train.py"]\n'


def write_job(script: Path, content: bytes) -> Path:
    path = script.parent / "job.toml"
    path.write_bytes(content)
    return path


# --- Job files ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "document"),
    [
        ("command", {"command": "python train.py"}),
        ("command[1]", {"command": ["python", 7]}),
        ("command", {"command": []}),
        ("name", {"name": 7}),
        ("resources", {"resources": "4 ranks"}),
        ("resources.ranks", {"resources": {"ranks": "four"}}),
        ("resources.ranks", {"resources": {"ranks": 4.0}}),
        ("resources.ranks", {"resources": {"ranks": True}}),
        ("resources.ranks", {"resources": {"ranks": 0}}),
        ("resources.ranks", {"resources": {"ranks": -3}}),
        ("resources.ranks", {"resources": {"ranks": 10**9}}),
        ("resources.ranks", {"resources": {"ranks": 10**30}}),
        ("resources.ranks", {"resources": {"ranks": 2, "nodes": "2"}}),
        ("resources.nodes", {"resources": {"nodes": "3"}}),
        ("resources.nodes", {"resources": {"nodes": [2, 4]}}),
        ("resources.threads_per_rank", {"resources": {"threads_per_rank": -1}}),
        ("resources.memory_per_rank_mb", {"resources": {"memory_per_rank_mb": 10**7}}),
        ("resources.time_limit", {"resources": {"time_limit": 7200}}),
        ("resources.time_limit", {"resources": {"time_limit": "two hours"}}),
        ("files.exclude", {"files": {"exclude": "*.ckpt"}}),
        ("files.exclude[0]", {"files": {"exclude": ["["]}}),
        ("files.size_limit_mb", {"files": {"size_limit_mb": 0}}),
        ("retry.limit", {"retry": {"limit": -1}}),
        ("environment.A", {"environment": {"A": 1}}),
        ("environment.BEOWULF_RANK", {"environment": {"BEOWULF_RANK": "1"}}),
        ("command[0]", {"command": ["python\0", "train.py"]}),
        ("environment.A", {"environment": {"A": "x\0y"}}),
        ("name", {"name": "../../x"}),
        ("name", {"name": "two\nlines"}),
    ],
    ids=short,
)
def test_a_wrong_field_in_a_job_file(
    beowulf: Beowulf, state_home: Path, script: Path, field: str, document: dict[str, Any]
) -> None:
    whole = {"command": ["python", "train.py"], **document}
    job = write_job(script, tomli_w.dumps(whole).encode())
    assert_refused(beowulf("submit", job), f"beowulf: {field}: ", "; ", state=state_home)


@pytest.mark.parametrize(
    ("key", "remedy"),
    [
        (b'comand = ["python"]', "comand: no such key; did you mean command?"),
        (b"[resource]\nranks = 4", "resource: no such key; did you mean resources?"),
        (b"[resources]\nrank = 4", "resources.rank: no such key; did you mean ranks?"),
        (b"[retry]\nlimits = 4", "retry.limits: no such key; did you mean limit?"),
        (b"zzzzzz = 1", "zzzzzz: no such key; known keys: name, command"),
        (b'"two\\nlines" = 1', "two\\nlines: no such key; known keys: name, command"),
    ],
    ids=short,
)
def test_an_unknown_key_in_a_job_file(
    beowulf: Beowulf, state_home: Path, script: Path, key: bytes, remedy: str
) -> None:
    assert_refused(beowulf("submit", write_job(script, COMMAND + key)), remedy, state=state_home)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"\x7fELF\x02\x01\x01\x00" + bytes(range(256)), "is not UTF-8 text; save it as UTF-8"),
        (COMMAND + "name = 'caf\xe9'".encode("latin-1"), "is not UTF-8 text"),
        (COMMAND.decode().encode("utf-16"), "is not UTF-8 text"),
        (b"command = " + b"[" * 100_000, "is not valid TOML (nested too deeply)"),
        (COMMAND + b"#" * 10_000_000, "is larger than 1 MB"),
        (COMMAND + b"resources.ranks = " + b"9" * 5000, "is not valid TOML (a number is too long)"),
        (COMMAND + b"resources.ranks = 0x" + b"f" * 5000, "resources.ranks: "),
        (b'command = ["python\x00"]', "is not valid TOML"),
        (b"", "command: is missing; add: command = "),
        (b"import torch\n", "is not valid TOML"),
    ],
    ids=short,
)
def test_what_is_no_job_file(
    beowulf: Beowulf, state_home: Path, script: Path, content: bytes, problem: str
) -> None:
    assert_refused(beowulf("submit", write_job(script, content)), problem, state=state_home)


def test_a_job_file_whose_script_does_not_come_along(
    beowulf: Beowulf, state_home: Path, script: Path
) -> None:
    job = write_job(script, b'command = ["python", "missing.py"]')
    assert_refused(beowulf("submit", job), "command: 'missing.py' is not among", state=state_home)
    (script.parent / ".gitignore").write_text("*.py\n")
    job = write_job(script, COMMAND)
    assert_refused(
        beowulf("submit", job), "'train.py' is not among", ".gitignore", state=state_home
    )


# --- Scripts --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["missing.py", "missing.toml", "no/such/train.py", "x" * 300, "a\nb"]
)
def test_a_missing_script(beowulf: Beowulf, state_home: Path, name: str) -> None:
    assert_refused(beowulf("submit", name), "SCRIPT: cannot read ", "; check", state=state_home)


@pytest.mark.parametrize("name", ["work", ".", "", "/", "work/sub.toml"])
def test_a_directory_instead_of_a_script(
    beowulf: Beowulf, state_home: Path, script: Path, name: str
) -> None:
    (script.parent / "sub.toml").mkdir()
    assert_refused(
        beowulf("submit", name),
        "SCRIPT: ",
        "is a directory; name a Python script",
        state=state_home,
    )


@pytest.mark.parametrize("name", ["pipe.py", "pipe.toml"])
def test_a_pipe_instead_of_a_script(
    beowulf: Beowulf, state_home: Path, script: Path, name: str
) -> None:
    os.mkfifo(script.parent / name)
    answer = beowulf("submit", script.parent / name)
    assert_refused(answer, "SCRIPT: ", "is not a file", state=state_home)


def test_no_script_at_all(beowulf: Beowulf, state_home: Path) -> None:
    assert_refused(beowulf("submit"), "SCRIPT: is missing; try: beowulf submit", state=state_home)


def test_a_script_outside_of_the_work_directory(
    beowulf: Beowulf, state_home: Path, script: Path, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    for directory, problem in (("elsewhere", "does not hold"), ("missing", "does not hold")):
        answer = beowulf("submit", "--directory", directory, script)
        assert_refused(answer, "--directory: ", problem, state=state_home)
    job = write_job(script, COMMAND)
    answer = beowulf("submit", "-C", "missing", job)
    assert_refused(answer, "--directory: ", "is no directory; check the path", state=state_home)


def test_a_work_directory_that_is_too_large(
    beowulf: Beowulf, state_home: Path, script: Path
) -> None:
    with (script.parent / "data.bin").open("wb") as file:
        file.truncate(600_000_000)
    answer = beowulf("submit", script)
    assert_refused(
        answer, "work directory: ", "600 MB, over the limit of 512 MB; largest: data.bin",
        ".beowulfignore", state=state_home,
    )  # fmt: skip


# --- Flags ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["../../x", "-rf", "$(id)", "a b", "", "x" * 65, "x" * 10_000, "🐢", "a\nb", ".x", "a/b",
     b"\xff"],
    ids=short,
)  # fmt: skip
def test_a_name_that_cannot_be_used(
    beowulf: Beowulf, state_home: Path, script: Path, name: str | bytes
) -> None:
    answer = beowulf("submit", "--name", name, script)
    assert_refused(answer, "--name: ", "cannot name a job; use up to 64", state=state_home)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["-n", "0"], ["resources.ranks: 0 is out of range"]),
        (["-n", "-1"], ["resources.ranks: -1 is out of range"]),
        (["-n", "1000000000"], ["resources.ranks: 1000000000 is out of range"]),
        (["-n", "60000"], ["resources.ranks: 60000 ranks are too many", "ask for at most"]),
        (["-n", str(10**30)], ["resources.ranks: ", "is out of range"]),
        (["-n", "9" * 5000], ["'--ranks'", "is not a valid integer"]),
        (["-n", "two"], ["'--ranks'", "is not a valid integer"]),
        (["-n", ""], ["'--ranks'", "is not a valid integer"]),
        (["-n", "1.5"], ["'--ranks'", "is not a valid integer"]),
        (["-n", "2", "--nodes", "2"], ["resources.ranks: is given together with nodes"]),
        (["-n", "2", "--ranks-per-node", "2"], ["resources.ranks: is given together"]),
        (["--ranks-per-node", "2"], ["resources.ranks_per_node: needs nodes"]),
        (["--nodes", "2"], ["resources.nodes: ", "this machine is one", '"1-4"']),
        (["--nodes", "0"], ["resources.nodes: '0' is not a number of nodes"]),
        (["--nodes", "4-2"], ["resources.nodes: ", "is not a number of nodes"]),
        (["--nodes", ""], ["resources.nodes: ", "is not a number of nodes"]),
        (["--nodes", "$(id)"], ["resources.nodes: ", "is not a number of nodes"]),
        (["--time-limit", ""], ["resources.time_limit: ", "is not a duration", '"2h"']),
        (["--time-limit", "5"], ["resources.time_limit: ", "is not a duration"]),
        (["--time-limit", "-5m"], ["resources.time_limit: ", "is not a duration"]),
        (["--time-limit", "0s"], ["resources.time_limit: ", "give 1s to 365d"]),
        (["--time-limit", "9" * 500 + "h"], ["resources.time_limit: ", "is not a duration"]),
        (["--threads-per-rank", "0"], ["resources.threads_per_rank: 0 is out of range"]),
        (["--memory-per-rank-mb", "99999999999"], ["resources.memory_per_rank_mb: "]),
        (["--env", "A"], ["--env: 'A' has no value; write KEY=VALUE"]),
        (["--env", ""], ["--env: '' has no value"]),
        (["--env", "=x"], ["--env.: cannot be the name of an environment variable"]),
        (["--env", "A B=x"], ["--env.A B: cannot be the name"]),
        (["--env", "BEOWULF_RANKS=9"], ["--env.BEOWULF_RANKS: is set by beowulf itself"]),
        (["--env", b"A=\xff"], ["--env.A: holds bytes that are not UTF-8"]),
        (["--exclude", "["], ["files.exclude[0]: '[' is not a pattern"]),
        (["--rnks", "2"], ["No such option '--rnks'", "--ranks"]),
    ],
    ids=short,
)
def test_a_flag_that_cannot_be_used(
    beowulf: Beowulf, state_home: Path, script: Path, flags: list[str | bytes], words: list[str]
) -> None:
    assert_refused(beowulf("submit", *flags, script), *words, state=state_home)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["bogus"], ["No such command 'bogus'", "beowulf --help"]),
        ([b"\xff"], ["No such command"]),
        (["jobs", "--last", "0"], ["--last"]),
        (["jobs", "extra"], ["unexpected extra argument"]),
        (["logs", "--tail", "-1"], ["--tail"]),
        (["wait", "--timeout", "soon", "1"], ["--timeout"]),
        (["wait", "--timeout", "nan", "1"], ["--timeout"]),
        (["wait"], ["Missing argument"]),
        (["cancel"], ["Missing argument"]),
        (["completion", "tcsh"], ["bash"]),
    ],
    ids=short,
)
def test_other_verbs_are_told_what_is_wrong(
    beowulf: Beowulf, state_home: Path, arguments: list[str | bytes], words: list[str]
) -> None:
    assert_refused(beowulf(*arguments), *words, state=state_home)


# --- IDs ------------------------------------------------------------------------------------

NO_IDS = ["../../x", "$(id)", "0", "01", "999", "", "1/../1", "a\nb", "9" * 300]


@pytest.mark.parametrize("job_id", NO_IDS, ids=short)
@pytest.mark.parametrize("verb", ["status", "logs", "cancel", "wait"])
def test_an_id_that_is_no_job_s(beowulf: Beowulf, state_home: Path, verb: str, job_id: str) -> None:
    (state_home / "x").mkdir()
    assert_refused(beowulf(verb, job_id), "no job ", "beowulf jobs", status=4, state=state_home)


@pytest.mark.parametrize("verb", ["status", "logs", "cancel", "wait"])
def test_an_id_that_looks_like_a_flag(beowulf: Beowulf, state_home: Path, verb: str) -> None:
    assert_refused(beowulf(verb, "-rz"), "No such option", state=state_home)
    assert_refused(beowulf(verb, "--", "-rf"), "no job '-rf'", status=4, state=state_home)


def test_a_resume_of_no_job(beowulf: Beowulf, state_home: Path, script: Path) -> None:
    for job_id in ("7", "", "../../x"):
        answer = beowulf("submit", "--resume", job_id)
        assert_refused(answer, "no job ", status=4, state=state_home)
    answer = beowulf("submit", "--resume", "7", script)
    assert_refused(answer, "--resume: a resumed job keeps its SCRIPT", state=state_home)


def test_without_jobs_there_is_no_newest(beowulf: Beowulf, state_home: Path) -> None:
    for verb in ("status", "logs"):
        assert_refused(beowulf(verb), "no jobs yet", "beowulf submit", status=4, state=state_home)


# --- Permissions ------------------------------------------------------------------------------


def test_a_script_that_may_not_be_read(
    bound_beowulf: BoundBeowulf, state_home: Path, script: Path
) -> None:
    script.chmod(0o000)
    answer = bound_beowulf("submit", script)
    assert_refused(answer, "SCRIPT: cannot read ", "Permission denied", state=state_home)


@pytest.mark.parametrize("mode", [0o000, 0o444])
def test_a_script_in_a_directory_that_may_not_be_entered(
    bound_beowulf: BoundBeowulf, state_home: Path, script: Path, mode: int
) -> None:
    script.parent.chmod(mode)
    answer = bound_beowulf("submit", script)
    script.parent.chmod(0o755)
    assert_refused(answer, "SCRIPT: cannot read ", "Permission denied", state=state_home)


@pytest.mark.parametrize(
    ("entry", "named"),
    [
        (("data.bin", 0o000), "cannot read data.bin (Permission denied)"),
        (("sub", 0o000), "cannot read sub (Permission denied)"),
        (("sub", 0o444), "cannot read sub/inside (Permission denied)"),
        (("", 0o333), "(Permission denied)"),
        ((".gitignore", 0o000), "cannot read .gitignore (Permission denied)"),
    ],
)
def test_something_in_the_work_directory_that_may_not_be_read(
    bound_beowulf: BoundBeowulf, state_home: Path, script: Path, entry: tuple[str, int], named: str
) -> None:
    name, mode = entry
    (script.parent / "sub").mkdir()
    for file in ("data.bin", ".gitignore", "sub/inside"):
        (script.parent / file).touch()
    (script.parent / name).chmod(mode)
    answer = bound_beowulf("submit", script)
    (script.parent / name).chmod(0o755)
    assert_refused(answer, "work directory: ", named, "chmod u+rX", state=state_home)


def test_an_ignore_file_above_that_may_not_be_read(
    bound_beowulf: BoundBeowulf, state_home: Path, script: Path, tmp_path: Path
) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".gitignore").touch(mode=0o000)
    answer = bound_beowulf("submit", script)
    named = f"cannot read {tmp_path / '.gitignore'} (Permission denied)"
    assert_refused(answer, "work directory: ", named, state=state_home)


def test_what_may_not_be_read_can_be_left_out(
    bound_beowulf: BoundBeowulf, state_home: Path, script: Path
) -> None:
    (script.parent / "data.bin").touch(mode=0o000)
    answer = bound_beowulf("submit", "--exclude", "data.bin", "-n", "60000", script)
    assert_refused(answer, "resources.ranks: ", state=state_home)


def test_a_state_directory_that_may_not_be_written(
    bound_beowulf: BoundBeowulf, state_home: Path, script: Path
) -> None:
    state_home.chmod(0o555)
    answer = bound_beowulf("submit", script)
    assert_refused(
        answer, "job directory: cannot write below ", "Permission denied", "XDG_STATE_HOME",
        state=state_home,
    )  # fmt: skip


@pytest.mark.parametrize("arguments", [["jobs"], ["status"], ["status", "1"], ["cancel", "1"]])
def test_a_state_directory_that_may_not_be_read(
    bound_beowulf: BoundBeowulf, state_home: Path, arguments: list[str]
) -> None:
    jobs = state_home / "beowulf" / "jobs"
    jobs.mkdir(parents=True)
    jobs.chmod(0o000)
    answer = bound_beowulf(*arguments)
    jobs.chmod(0o755)
    assert_refused(answer, "job directory: cannot read ", "Permission denied", state=state_home)


def test_a_log_that_may_not_be_read(bound_beowulf: BoundBeowulf, tmp_path: Path) -> None:
    job = tmp_path / "two\nlines" / "beowulf" / "jobs" / "1"
    job.mkdir(parents=True)
    (job / "output.log").touch(mode=0o000)
    answer = bound_beowulf("logs", "1", env={"XDG_STATE_HOME": str(tmp_path / "two\nlines")})
    assert_refused(answer, "two\\nlines", "output.log: Permission denied", status=1, state=None)


# --- The state directory ------------------------------------------------------------------------


@pytest.mark.parametrize("verb", [["submit", "work/train.py"], ["jobs"], ["status"], ["wait", "1"]])
def test_a_state_directory_that_is_relative(
    beowulf: Beowulf, script: Path, verb: list[str], tmp_path: Path
) -> None:
    before = sorted(tmp_path.rglob("*"))
    answer = beowulf(*verb, env={"XDG_STATE_HOME": "state/a\nb"})
    assert_refused(answer, "XDG_STATE_HOME: 'state/a\\nb' is not absolute", state=None)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("verb", [["submit", "work/train.py"], ["jobs"], ["status", "1"]])
def test_a_state_directory_that_is_a_file(
    beowulf: Beowulf, script: Path, verb: list[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("precious")
    answer = beowulf(*verb, env={"XDG_STATE_HOME": str(tmp_path / "file")})
    assert_refused(answer, "job directory: cannot ", "Not a directory", state=None)
    assert (tmp_path / "file").read_text() == "precious"


def test_a_state_directory_that_cannot_exist(beowulf: Beowulf, script: Path) -> None:
    for path in ("/proc/nothing", "/dev/null/x", "/" + "x" * 300):
        answer = beowulf("submit", script, env={"XDG_STATE_HOME": path})
        assert_refused(answer, "job directory: cannot ", "XDG_STATE_HOME", state=None)


@pytest.mark.root
def test_a_disk_that_has_no_room_for_the_work_directory(
    beowulf: Beowulf, script: Path, small_disk: Path
) -> None:
    (script.parent / "data.bin").write_bytes(b"x" * SMALL_DISK_BYTES)
    answer = beowulf("submit", script, env={"XDG_STATE_HOME": str(small_disk)})
    assert_refused(
        answer, "job directory: cannot write below ", "No space left", "free some space",
        state=small_disk,
    )  # fmt: skip


@pytest.mark.root
def test_a_disk_that_is_full_already(beowulf: Beowulf, script: Path, small_disk: Path) -> None:
    filler = fill(small_disk)
    answer = beowulf("submit", script, env={"XDG_STATE_HOME": str(small_disk)})
    filler.unlink()
    assert_refused(answer, "No space left", "free some space", state=small_disk)
