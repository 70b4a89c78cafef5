"""What is preloaded into User-Mode Linux is a ptrace(2) that takes back what it gave."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from beowulf.errors import CommandFailed
from beowulf.lab import shim
from beowulf.lab.shim import SOURCE, ensure_shim, needed

TRACED = Path(__file__).with_name("traced.c")
WORKING = (
    "minus-one -1 fine\n"
    "forty-two 42 fine\n"
    "nowhere -1 Input/output error\n"
    "get 0 set 0 fine\n"
    "registers as written\n"
)
compiling = pytest.mark.skipif(
    shutil.which("cc") is None or os.uname().machine != "x86_64",
    reason="needs a C compiler, and a processor on which User-Mode Linux runs",
)


@pytest.fixture
def traced(tmp_path: Path) -> Path:
    program = tmp_path / "traced"
    flags = ["-O1", "-Wall", "-Wextra", "-Werror"]
    subprocess.run(["cc", *flags, "-o", program, TRACED], check=True)
    return program


def trace(program: Path, preload: Path | None) -> str:
    environment = {**os.environ, **({"LD_PRELOAD": str(preload)} if preload else {})}
    answer = subprocess.run(
        [program], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    if answer.returncode == 77:
        pytest.skip("this processor has no AVX registers to lose")
    assert (answer.returncode, answer.stderr) == (0, "")
    return answer.stdout


@compiling
def test_the_source_has_no_warnings(tmp_path: Path) -> None:
    flags = ["-O2", "-Wall", "-Wextra", "-Werror", "-std=gnu11", "-shared", "-fPIC"]
    subprocess.run(["cc", *flags, "-o", tmp_path / "xstate.so", SOURCE], check=True)


@compiling
def test_a_traced_process_keeps_its_registers(traced: Path, tmp_path: Path) -> None:
    assert trace(traced, ensure_shim(tmp_path / "cache")) == WORKING


@compiling
def test_without_it_only_processors_that_do_not_need_it_work(traced: Path) -> None:
    assert (trace(traced, None) == WORKING) == (not needed())


@compiling
def test_it_is_compiled_once(tmp_path: Path) -> None:
    library = ensure_shim(tmp_path / "cache")
    made = library.stat()
    assert ensure_shim(tmp_path / "cache") == library
    assert library.stat().st_mtime_ns == made.st_mtime_ns
    assert not list((tmp_path / "cache").glob("*.tmp"))


@compiling
def test_two_at_once_make_one_whole_library(tmp_path: Path) -> None:
    made: list[Path] = []
    threads = [
        threading.Thread(target=lambda: made.append(ensure_shim(tmp_path / "cache")))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 4
    assert len(set(made)) == 1


@compiling
def test_another_source_is_another_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = ensure_shim(tmp_path)
    changed = tmp_path / "changed.c"
    changed.write_text(f"{SOURCE.read_text()}\n/* changed */\n")
    monkeypatch.setattr(shim, "SOURCE", changed)
    assert ensure_shim(tmp_path) != library


def test_without_a_compiler_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CommandFailed, match=r"^cc: not installed on this computer$"):
        ensure_shim(tmp_path / "cache")


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("fpu vme avx512f amx_bf16 avx512_fp16 amx_tile amx_int8", True),
        ("fpu vme apx_f", True),
        ("fpu vme avx2 avx512f pku", False),
        ("", False),
    ],
)
def test_the_processors_that_need_it(flags: str, expected: bool) -> None:
    text = f"processor\t: 0\nmodel name\t: amx_tile in its name\nflags\t\t: {flags}\nbugs\t\t:\n"
    assert needed(text) == expected
