"""What a job takes along: as git would, whole or not at all, whatever lies about."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from beowulf.errors import InvalidInput
from beowulf.runner.snapshot import select, take_snapshot
from beowulf.runner.spec import Files

if TYPE_CHECKING:
    from collections.abc import Mapping

EVERYTHING = Files()


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """An empty work directory outside of any repository."""
    path = tmp_path / "work"
    path.mkdir()
    return path


def write(root: Path, files: Mapping[str, str]) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def taken(work: Path, files: Files = EVERYTHING, left_out: Path | None = None) -> set[str]:
    """Return the names of all files and links, less those of the ignore files."""
    entries = select(work, files, left_out)
    names = {entry.path.as_posix() for entry in entries if not entry.is_directory}
    return {name for name in names if Path(name).name not in (".gitignore", ".beowulfignore")}


def tree(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if not path.is_dir()}


# --- Ignore files -------------------------------------------------------------------------


ALL = {"a.py", "b.ckpt", "sub/a.py", "sub/b.ckpt", "sub/deep/b.ckpt", "out/x"}


@pytest.mark.parametrize(
    ("ignore", "kept"),
    [
        ("", ALL),
        ("*.ckpt", {"a.py", "sub/a.py", "out/x"}),
        ("/*.ckpt", {"a.py", "sub/a.py", "sub/b.ckpt", "sub/deep/b.ckpt", "out/x"}),
        ("out", {"a.py", "b.ckpt", "sub/a.py", "sub/b.ckpt", "sub/deep/b.ckpt"}),
        ("out/", {"a.py", "b.ckpt", "sub/a.py", "sub/b.ckpt", "sub/deep/b.ckpt"}),
        ("a.py/", ALL),
        ("deep", {"a.py", "b.ckpt", "sub/a.py", "sub/b.ckpt", "out/x"}),
        ("/deep", ALL),
        ("sub/*.ckpt", {"a.py", "b.ckpt", "sub/a.py", "sub/deep/b.ckpt", "out/x"}),
        ("sub/**/b.ckpt", {"a.py", "b.ckpt", "sub/a.py", "out/x"}),
        ("*.ckpt\n!b.ckpt", ALL),
        ("*.ckpt\n!/b.ckpt", {"a.py", "b.ckpt", "sub/a.py", "out/x"}),
        ("sub/\n!sub/a.py", {"a.py", "b.ckpt", "out/x"}),
        ("sub/*\n!sub/a.py", {"a.py", "b.ckpt", "sub/a.py", "out/x"}),
        ("*\n!*/\n!*.py", {"a.py", "sub/a.py"}),
        ("# *.py\n\\#x\n\n  \n*.ckpt\r\n", {"a.py", "sub/a.py", "out/x"}),
        ("\ufeff*.ckpt\n", {"a.py", "sub/a.py", "out/x"}),
        ("[z-a]\n!\n\\\n*.ckpt", {"a.py", "sub/a.py", "out/x"}),
    ],
)
@pytest.mark.parametrize("ignore_file", [".gitignore", ".beowulfignore"])
def test_patterns(work: Path, ignore: str, kept: set[str], ignore_file: str) -> None:
    write(work, {**dict.fromkeys(ALL, ""), ignore_file: ignore})
    assert taken(work) == kept


def test_an_ignore_file_below_decides_over_one_above(work: Path) -> None:
    write(work, dict.fromkeys(["a.log", "sub/a.log", "sub/deep/a.log", "sub/deep/b.log"], ""))
    write(work, {".gitignore": "*.log", "sub/.gitignore": "!*.log", "sub/deep/.gitignore": "/b*"})
    assert taken(work) == {"sub/a.log", "sub/deep/a.log"}


def test_beowulfignore_decides_over_gitignore(work: Path) -> None:
    write(work, dict.fromkeys(["data.bin", "model.bin", "notes.txt"], ""))
    write(work, {".gitignore": "*.bin", ".beowulfignore": "!data.bin\nnotes.txt"})
    assert taken(work) == {"data.bin"}


def test_what_the_repository_above_ignores_is_ignored(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    work = repository / "jobs" / "mine"
    write(work, dict.fromkeys(["train.py", "a.ckpt", "b.log", "c.tmp"], ""))
    write(repository, {".gitignore": "*.ckpt\n/c.tmp\n/jobs/mine/b.log", "jobs/.gitignore": ""})
    assert taken(work) == {"train.py", "a.ckpt", "b.log", "c.tmp"}
    (repository / ".git").mkdir()
    assert taken(work) == {"train.py", "c.tmp"}
    write(tmp_path, {".gitignore": "*.py"})  # above the repository: none of its business
    assert taken(work) == {"train.py", "c.tmp"}


def test_the_job_s_own_exclusions_come_on_top(work: Path) -> None:
    write(work, dict.fromkeys(["train.py", "a.ckpt", "sub/a.ckpt", "keep.ckpt", "sub/x"], ""))
    write(work, {".gitignore": "!*.ckpt"})
    assert taken(work, Files(exclude=("*.ckpt", "!keep.ckpt"))) == {
        "train.py",
        "keep.ckpt",
        "sub/x",
    }
    assert taken(work, Files(exclude=("/sub",))) == {"train.py", "a.ckpt", "keep.ckpt"}


@pytest.mark.parametrize("pattern", ["[z-a]", "[a", "!", "\\", "", "# notes"])
def test_an_exclusion_that_is_no_pattern_is_refused(work: Path, pattern: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        select(work, Files(exclude=("*.ckpt", pattern)))
    assert refusal.value.field == "files.exclude[1]"


def test_git_and_the_like_are_left_out_whatever_is_asked(work: Path) -> None:
    left_out = [".git/config", ".venv/bin/python", "__pycache__/a.pyc", "sub/__pycache__/b.pyc",
                "sub/.git/config"]  # fmt: skip
    write(work, {**dict.fromkeys([*left_out, "train.py", "sub/a.py"], ""), ".gitignore": "*\n!**"})
    assert taken(work) == {"train.py", "sub/a.py"}
    write(work, {".gitignore": "!.git/\n!.venv/\n!__pycache__/"})
    assert taken(work) == {"train.py", "sub/a.py"}


def test_the_git_file_of_a_submodule_is_left_out(work: Path) -> None:
    write(work, {"sub/.git": "gitdir: ../.git/modules/sub", "sub/train.py": ""})
    assert taken(work) == {"sub/train.py"}


def test_a_file_called_like_a_directory_that_is_left_out(work: Path) -> None:
    write(work, {".venv": "a file", "train.py": ""})
    assert taken(work) == {".venv", "train.py"}


def test_jobs_that_lie_in_the_work_directory_are_left_out(work: Path) -> None:
    write(work, dict.fromkeys(["train.py", "state/beowulf/jobs/1/code/train.py", "state/x"], ""))
    assert taken(work, left_out=work / "state" / "beowulf") == {"train.py", "state/x"}


# --- Odd things that lie about ------------------------------------------------------------


def test_contents_modes_and_empty_directories_are_kept(work: Path, tmp_path: Path) -> None:
    write(work, {"train.py": "x = 1\n", "run.sh": "#!/bin/sh\n", "secret": "s", "sub/a": "é"})
    (work / "empty").mkdir()
    for name, mode in (("train.py", 0o644), ("run.sh", 0o755), ("secret", 0o400)):
        (work / name).chmod(mode)
    os.utime(work / "train.py", (1_000_000_000, 1_000_000_000))
    take_snapshot(work, tmp_path / "code", EVERYTHING)
    assert tree(tmp_path / "code") == tree(work)
    assert (tmp_path / "code" / "sub" / "a").read_text() == "é"
    assert (tmp_path / "code" / "empty").is_dir()
    for name, mode in (("train.py", 0o644), ("run.sh", 0o755), ("secret", 0o400)):
        assert stat.S_IMODE((tmp_path / "code" / name).stat().st_mode) == mode
    assert (tmp_path / "code" / "train.py").stat().st_mtime == 1_000_000_000


def test_links_lead_to_the_same_things(work: Path, tmp_path: Path) -> None:
    write(tmp_path, {"outside/data": "out", "work/sub/inside": "in", "work/train.py": ""})
    links = {
        "to_file": "sub/inside", "to_directory": "sub", "sub/up": "../train.py",
        "out_relative": "../outside/data", "out_absolute": str(tmp_path / "outside"),
        "sub/out": "../../outside/data", "dangling": "nothing", "loop": "loop",
    }  # fmt: skip
    for name, target in links.items():
        (work / name).symlink_to(target)
    code = tmp_path / "elsewhere" / "code"
    code.parent.mkdir()
    take_snapshot(work, code, EVERYTHING)
    assert all((code / name).is_symlink() for name in links)
    for name in ("to_file", "to_directory", "sub/up", "dangling", "loop"):
        assert str((code / name).readlink()) == links[name]
    assert (code / "to_file").resolve() == code / "sub" / "inside"
    assert (code / "out_relative").read_text() == "out"
    assert (code / "out_absolute" / "data").read_text() == "out"
    assert (code / "sub" / "out").read_text() == "out"


def test_a_work_directory_reached_through_a_link(work: Path, tmp_path: Path) -> None:
    write(work, {"train.py": "x", "sub/a": "y"})
    (tmp_path / "link").symlink_to("work")
    take_snapshot(tmp_path / "link", tmp_path / "code", EVERYTHING)
    assert tree(tmp_path / "code") == {"train.py", "sub/a"}


def test_pipes_and_sockets_are_left_out_unread(work: Path, tmp_path: Path) -> None:
    write(work, {"train.py": "x"})
    os.mkfifo(work / "pipe")
    os.mkfifo(work / ".gitignore")
    with socket.socket(socket.AF_UNIX) as server:
        here = os.open(work, os.O_RDONLY)  # a socket's path must be short
        try:
            server.bind(f"/proc/self/fd/{here}/socket")
        finally:
            os.close(here)
        take_snapshot(work, tmp_path / "code", EVERYTHING)
    assert tree(tmp_path / "code") == {"train.py"}


ODD_NAMES = [
    b"two\nlines", b"-rf", b"--", b" ", b"a b", b"*", b"[", b"$(id)", b"\xff\xfe", b"quote\"'",
    b"caf\xc3\xa9", b"\xf0\x9f\x90\xa2.py", b"back\\slash", b"!x", b"#x", b"x" * 255,
]  # fmt: skip


def test_odd_names_are_taken_byte_for_byte(work: Path, tmp_path: Path) -> None:
    root = os.fsencode(work)
    for name in ODD_NAMES:
        with open(root + b"/" + name, "wb") as file:  # noqa: PTH123 - a name of bytes
            file.write(name)
        os.mkdir(root + b"/d" + name[:200])  # noqa: PTH102 - likewise
        with open(root + b"/d" + name[:200] + b"/f", "wb") as file:  # noqa: PTH123 - likewise
            file.write(name)
    take_snapshot(work, tmp_path / "code", EVERYTHING)
    code = os.fsencode(tmp_path / "code")
    assert sorted(os.listdir(code)) == sorted(os.listdir(root))  # noqa: PTH208 - likewise
    for name in ODD_NAMES:
        for path in (code + b"/" + name, code + b"/d" + name[:200] + b"/f"):
            with open(path, "rb") as file:  # noqa: PTH123 - likewise
                assert file.read() == name


def test_odd_bytes_in_an_ignore_file_match_odd_names(work: Path) -> None:
    for name in (b"\xff\xfe", b"caf\xc3\xa9", b"plain"):
        (work / os.fsdecode(name)).touch()
    (work / ".gitignore").write_bytes(b"\xff*\ncaf\xc3\xa9\n")
    assert taken(work) == {"plain"}


def test_a_very_deep_directory(work: Path) -> None:
    deep = work
    for _ in range(100):
        deep /= "d"
    deep.mkdir(parents=True)
    (deep / "file").touch()
    assert taken(work) == {"d/" * 100 + "file"}


# --- Too much, or not to be read --------------------------------------------------------------


def test_over_the_limit_the_largest_files_are_named(work: Path, tmp_path: Path) -> None:
    for name, megabytes in (("small", 1), ("big.bin", 7), ("mid.bin", 5), ("sub/huge.bin", 9)):
        path = work / name
        path.parent.mkdir(exist_ok=True)
        with path.open("wb") as file:
            file.truncate(megabytes * 1_000_000)
    with pytest.raises(InvalidInput) as refusal:
        take_snapshot(work, tmp_path / "code", Files(size_limit_mb=21))
    assert "22 MB, over the limit of 21 MB" in refusal.value.problem
    named = "sub/huge.bin (9 MB), big.bin (7 MB), mid.bin (5 MB)"
    assert refusal.value.problem.endswith(f"largest: {named}")
    assert ".beowulfignore" in refusal.value.remedy
    assert not (tmp_path / "code").exists()
    assert len(taken(work, Files(size_limit_mb=22))) == 4
    assert len(taken(work, Files(size_limit_mb=13, exclude=("huge.bin",)))) == 3


def test_too_many_files(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("beowulf.runner.snapshot.MOST_FILES", 5)
    write(work, {f"f{index}": "" for index in range(5)})
    assert len(taken(work)) == 5
    write(work, {"one_more": ""})
    with pytest.raises(InvalidInput, match="more than 5 files"):
        select(work, EVERYTHING)


def test_a_file_that_is_removed_meanwhile_is_not_missed(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(work, {"train.py": "", "gone": ""})
    real = os.scandir

    def scandir(path: Path) -> object:
        found = real(path)
        (work / "gone").unlink(missing_ok=True)
        return found

    monkeypatch.setattr(os, "scandir", scandir)
    assert taken(work) == {"train.py"}
