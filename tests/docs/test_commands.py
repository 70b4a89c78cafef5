"""The commands and scripts in the documentation do what it says."""

from __future__ import annotations

import shutil
import subprocess
import textwrap
from pathlib import Path

import pytest

from beowulf.runner.spec import parse_spec
from tests.conftest import REPOSITORY
from tests.docs.markdown import Block, blocks, pages
from tests.docs.session import SUBSTITUTES, Answer, Typed, check, commands, play, same

README = REPOSITORY / "README.md"
TUTORIAL = REPOSITORY / "docs" / "tutorial.md"
TORCH_SECTIONS = ("The same with PyTorch", "Other programs")

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A fresh copy of what a clone holds: the files that git tracks or would track."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        names = subprocess.run(listing, cwd=REPOSITORY, capture_output=True, check=True).stdout
        files = [Path(name) for name in names.decode().split("\0") if name]
    except (OSError, subprocess.CalledProcessError):  # no git here: an unpacked archive
        files = [path.relative_to(REPOSITORY) for path in (REPOSITORY / "jobs").rglob("*.*")]
    copy = tmp_path / "beowulf"
    for file in files:
        if (REPOSITORY / file).is_file():  # one that git tracks may have been removed
            (copy / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / file, copy / file)
    return copy


@pytest.fixture
def home(tmp_path: Path) -> Path:
    path = tmp_path / "home"
    path.mkdir()
    return path


def blocks_of(page: Path) -> list[Block]:
    return list(blocks(page.read_text(encoding="utf-8")))


def losses(answers: list[Answer]) -> dict[str, str]:
    """Return the losses that ``beowulf jobs`` showed, by job ID."""
    (listing,) = [answer.output for answer in answers if answer.typed.command == "beowulf jobs"]
    return {line.split()[0]: line.split()[5] for line in listing.splitlines()[1:] if line}


def test_readme_commands_do_what_it_shows(checkout: Path, home: Path) -> None:
    answers = play(blocks_of(README), checkout, home)
    check(answers)
    assert losses(answers)["2"] == losses(answers)["3"], "one rank and three: the same loss"


def test_tutorial_commands_do_what_it_shows(checkout: Path, home: Path) -> None:
    page = [block for block in blocks_of(TUTORIAL) if block.section not in TORCH_SECTIONS]
    answers = play(page, checkout, home)
    check(answers)
    assert losses(answers)["1"] == losses(answers)["3"], "equal and unequal shares: the same loss"


@pytest.mark.torch
def test_tutorial_commands_with_pytorch_do_what_it_shows(checkout: Path, home: Path) -> None:
    pytest.importorskip("torch", reason="PyTorch, the optional extra, is not installed")
    page = [block for block in blocks_of(TUTORIAL) if block.section in TORCH_SECTIONS]
    assert page, f"no section of the tutorial is called any of {TORCH_SECTIONS}"
    check(play(page, checkout, home))


def test_make_demo_submits_the_digits() -> None:
    make = subprocess.run(
        ["make", "--no-print-directory", "--dry-run", "--always-make", "demo"],
        cwd=REPOSITORY,
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    instead = {s.command: s.instead for s in SUBSTITUTES}["make demo"]
    last = make.stdout.splitlines()[-1]
    assert instead.startswith(last.removeprefix(".venv/bin/"))


def test_substitutes_stand_for_commands_in_the_pages() -> None:
    typed = {
        one.command
        for page in (README, TUTORIAL)
        for block in blocks_of(page)
        if block.language == "console"
        for one in commands(block)
    }
    unused = [s.command for s in SUBSTITUTES if s.command not in typed]
    assert not unused


@pytest.mark.parametrize("page", [README, TUTORIAL], ids=lambda page: page.stem)
def test_complete_scripts_are_submitted(page: Path) -> None:
    """A script that the reader saves is also one that the reader, and so this test, runs."""
    typed = [
        one.command
        for block in blocks_of(page)
        if block.language == "console"
        for one in commands(block)
    ]
    saved = [block.saved_as for block in blocks_of(page) if block.saved_as]
    assert saved
    idle = [name for name in saved if not any(name in command.split() for command in typed)]
    assert not idle


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_python_and_job_files_in_pages_are_valid(page: Path) -> None:
    for block in blocks_of(page):
        if block.language == "python":
            compile(textwrap.dedent(block.text), str(page), "exec")
        elif block.language == "toml":
            assert parse_spec(block.text.encode()).command


@pytest.mark.parametrize(
    ("answers", "complaint"),
    [
        ([Answer(Typed("true", ["done"]), "nothing\n", 0)], "not printed: 'done'"),
        ([Answer(Typed("true", ["b", "a"]), "a\nb\n", 0)], "not printed: 'a'"),
        ([Answer(Typed("false", []), "", 1)], "does not say that this fails"),
    ],
)
def test_pages_that_show_something_else_are_found(answers: list[Answer], complaint: str) -> None:
    with pytest.raises(pytest.fail.Exception, match=complaint):
        check(answers)


def test_a_failure_that_the_page_shows_is_no_mistake() -> None:
    failing = Answer(Typed("false", ["...", "why"]), "because\nwhy\n", 1)
    check([failing, Answer(Typed("echo $?", ["1"]), "1\n", 0)])


@pytest.mark.parametrize(
    ("shown", "printed", "expected"),
    [
        ("COMPLETED job 3 (line) after 0s", "COMPLETED job 12 (line) after 1m 05s", True),
        ("  final_loss: 0.1227", "  final_loss: 0.12", True),
        ("  slope:     3", "  slope:   2.998", True),
        ("COMPLETED job 3 (line) after 0s", "FAILED job 3 (line) after 0s", False),
        ("143", "143", True),
        ("143", "1", False),
        ("  slope:     3", "  intercept: 3", False),
    ],
)
def test_only_what_differs_from_run_to_run_is_overlooked(
    shown: str, printed: str, *, expected: bool
) -> None:
    assert same(shown, printed) is expected
