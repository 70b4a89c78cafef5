"""Type a page's commands, in order, into one shell, as its reader does."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sysconfig
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import processes_of_jobs_below

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from tests.docs.markdown import Block

HOME_IN_DOCS = "/home/ada"
HOST_IN_DOCS = "laptop"
OMITTED = "..."
TIME_LIMIT_S = 560  # within the tests' own; minutes, for a machine that is busy


@dataclass(frozen=True)
class Substitute:
    """What the test types in the place of a command, and why.

    ``elsewhere``: another test runs the command and looks at what the page shows for it.
    """

    command: str
    instead: str
    why: str
    elsewhere: bool = False


# Every other command in the pages is run exactly as it stands.
SUBSTITUTES = (
    Substitute("make test", "true", "it is the run that this test is a part of"),
    Substitute(
        "make demo",
        "beowulf submit jobs/digits/job.toml -- --epochs 1",
        "the environment is there, and one epoch of twenty prints the same lines; "
        "test_make_demo_submits_the_digits holds the two together",
    ),
    Substitute("make lab", "true", "it needs root; tests/lab/test_documentation.py types it"),
    Substitute(
        "ansible-playbook -i inventory/lab playbooks/site.yml",
        "true",
        "it needs a lab; tests/lab/test_site.py runs it",
        elsewhere=True,
    ),
    Substitute(
        "source .venv/bin/activate",
        "true",
        "the copy of the repository has no .venv; the running one is first in PATH",
    ),
)


@dataclass(frozen=True)
class Typed:
    """One command of a page and the output that the page shows for it."""

    command: str
    shown: list[str]


@dataclass(frozen=True)
class Answer:
    """What a command really printed, and its exit status."""

    typed: Typed
    output: str
    status: int


def commands(block: Block) -> Iterator[Typed]:
    """Yield the commands of a console block."""
    lines = block.text.splitlines()
    assert lines[0].startswith("$ "), f"a console block must begin with a prompt: {lines[0]!r}"
    starts = [number for number, line in enumerate(lines) if line.startswith("$ ")]
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        yield Typed(lines[start][2:], lines[start + 1 : end])


def script(
    page: Iterable[Block], substitutes: Sequence[Substitute] = SUBSTITUTES
) -> tuple[str, list[Typed]]:
    """Return a shell script that saves the page's files and types its commands."""
    instead = {substitute.command: substitute.instead for substitute in substitutes}
    elsewhere = {substitute.command for substitute in substitutes if substitute.elsewhere}
    lines = ["exec 2>&1"]
    typed: list[Typed] = []
    for block in page:
        if block.saved_as:
            lines += [f"cat > {block.saved_as} <<'END OF FILE'\n{block.text}END OF FILE"]
        if block.language != "console":
            continue
        for one in commands(block):
            typed.append(replace(one, shown=[]) if one.command in elsewhere else one)
            lines += [
                '(exit "${status:-0}")',  # the $? that the command may ask for
                instead.get(one.command, one.command),
                "status=$?",
                'printf "\\n<<<%s>>>\\n" "$status"',
            ]
    return "\n".join(lines) + "\n", typed


def play(
    page: Iterable[Block],
    checkout: Path,
    home: Path,
    *,
    substitutes: Sequence[Substitute] = SUBSTITUTES,
    variables: Mapping[str, str] | None = None,
) -> list[Answer]:
    """Type a page's commands in ``checkout``, with ``home`` as the reader's own directory.

    Whatever the jobs leave running fails the test.
    """
    text, typed = script(page, substitutes)
    state_home = home / ".local" / "state"
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("BEOWULF_")},
        "HOME": str(home),
        "XDG_STATE_HOME": str(state_home),
        "PATH": f"{sysconfig.get_path('scripts')}:{os.environ['PATH']}",
        "TMPDIR": str(home),
        "COLUMNS": "120",
        **(variables or {}),
    }
    try:
        shell = subprocess.run(
            ["/bin/bash", "-c", text],
            cwd=checkout,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            timeout=TIME_LIMIT_S,
            check=False,
        )
    finally:
        left = processes_of_jobs_below(state_home)
        for process in left:
            process.kill()
    assert not left, f"the page's jobs left processes running: {left}"
    parts = re.split(r"\n<<<(\d+)>>>\n", shell.stdout)
    outputs, statuses = parts[0::2], parts[1::2]
    assert len(statuses) == len(typed), f"the shell ended early: {shell.stdout[-2000:]}"
    return [
        Answer(one, output.replace(str(home), HOME_IN_DOCS), int(status))
        for one, output, status in zip(typed, outputs, statuses, strict=False)
    ]


def check(answers: list[Answer]) -> None:
    """Hold the answers against what the page shows.

    A command must succeed unless the next one shows its status. Each line shown must
    be printed, in this order, up to numbers, host names and the width of columns.
    """
    after = [answer.typed.command for answer in answers[1:]] + [""]
    for answer, following in zip(answers, after, strict=True):
        command = answer.typed.command
        told = f"$ {command}\n{answer.output}\nended with {answer.status}"
        if answer.status and following != "echo $?" and "echo $?" not in command:
            pytest.fail(f"the page does not say that this fails:\n{told}")
        printed = iter(answer.output.splitlines())
        for line in answer.typed.shown:
            if line == OMITTED:
                continue
            if not any(same(line, one) for one in printed):
                pytest.fail(f"the page shows a line that was not printed: {line!r}\n{told}")


def same(shown: str, printed: str) -> bool:
    """Say whether two lines are the same but for what differs from run to run."""
    if shown.isdigit():
        return shown == printed
    return _essence(shown) == _essence(printed)


def _essence(line: str) -> str:
    line = line.replace(platform.node(), HOST_IN_DOCS)
    line = re.sub(r"\b\d+[dhm] \d\d?[hms]\b|\b\d+s\b", "DURATION", line)
    line = re.sub(r"\b[A-Z][a-z]{2} \d\d \d\d:\d\d\b", "DATE", line)
    line = re.sub(r"\d[\d,.]*(e-?\d+)?", "NUMBER", line)
    return " ".join(line.split())
