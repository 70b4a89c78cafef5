"""Run the job's command as this rank: a Python script in this interpreter, or any program."""

from __future__ import annotations

import atexit
import contextlib
import os
import runpy
import sys
import threading
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from beowulf.errors import RanksLost
from beowulf.rank.early_heartbeats import bear_early_heartbeats, is_watched

if TYPE_CHECKING:
    from types import TracebackType

COMMAND_NOT_FOUND = 127
LAUNCHER_IS_GONE = "cannot go on without MPI's launcher, which is gone"


def run_command(rank: int, words: list[bytes]) -> tuple[int, str]:
    """Run the job's command and return its exit status and, in one line, what went wrong.

    A Python script runs in this process. Anything else replaces it, so that this
    only returns when the program cannot be started.
    """
    words = _with_this_python(words)
    if words[0] == os.fsencode(sys.executable) and words[1:] and not words[1].startswith(b"-"):
        return _run_script(rank, [os.fsdecode(word) for word in words[1:]])
    try:
        os.execvpe(words[0], words, os.environb)  # noqa: S606 - no shell is what we want
    except OSError as error:
        name = os.fsdecode(words[0])
        print(f"beowulf: rank {rank} cannot start {name!r}: {error.strerror}", file=sys.stderr)
        return COMMAND_NOT_FOUND, f"cannot start {name!r}: {error.strerror}"


def _with_this_python(words: list[bytes]) -> list[bytes]:
    """Let ``python`` mean the interpreter that beowulf is installed in.

    With ``-m`` and ``-c`` Python runs under mpi4py's runner: under plain Python an
    uncaught exception on one rank leaves the others waiting for ever.
    """
    if words[0] not in (b"python", b"python3"):
        return words
    runner = [b"-m", b"mpi4py"] if words[1:2] in ([b"-m"], [b"-c"]) else []
    return [os.fsencode(sys.executable), *runner, *words[1:]]


def _run_script(rank: int, words: list[str]) -> tuple[int, str]:
    """Run a Python script as ``python SCRIPT ARGUMENTS`` would, in this interpreter."""
    script = Path(words[0])
    sys.argv = list(words)
    sys.path.insert(0, str(script.parent.absolute()))
    if is_watched():
        bear_early_heartbeats()
    try:
        runpy.run_path(str(script), run_name="__main__")
    except SystemExit as end:
        return _status_of(end)
    except BaseException as error:  # noqa: BLE001 - the script's failure, whatever it is
        if _misses_ranks(error):
            said = str(error)
            if not isinstance(error, RanksLost):
                said = f"cannot go on: a rank that it talked to is gone ({error})"
            _tell(f"beowulf: rank {rank} {said}\n")
            return RanksLost.exit_status, said
        frames = _frames_of_script(error)
        if not _tell(_traceback(rank, error, frames)):  # nor could the script print
            return RanksLost.exit_status, LAUNCHER_IS_GONE
        return 1, traceback.format_exception_only(error)[-1].strip() + _place(error, frames)
    return 0, ""


def _status_of(end: SystemExit) -> tuple[int, str]:
    """Translate ``sys.exit(...)`` as the interpreter does."""
    if end.code is None or end.code == 0:
        return 0, ""
    if isinstance(end.code, int):
        return end.code & 0xFF, f"sys.exit({end.code})"
    _tell(f"{end.code}\n")
    return 1, str(end.code)


def _frames_of_script(error: BaseException) -> TracebackType | None:
    """Return the traceback from the script on, without what started it; none for a syntax error."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename != sys.argv[0]:
        frames = frames.tb_next
    return frames


def _place(error: BaseException, frames: TracebackType | None) -> str:
    """Say where in the script it failed, as the end of a line."""
    line = frames.tb_lineno if frames else getattr(error, "lineno", None)
    return f" ({sys.argv[0]} line {line})" if line else ""


def _traceback(rank: int, error: BaseException, frames: TracebackType | None) -> str:
    """Return in words where the script failed, and on which rank."""
    if frames is None and not isinstance(error, SyntaxError):
        frames = error.__traceback__
    lines = traceback.format_exception(type(error), error, frames)
    return f"beowulf: rank {rank} failed:\n{''.join(lines)}"


def _tell(words: str) -> bool:
    """Print words in one write; False if MPI's launcher, which reads them, is gone."""
    try:
        sys.stderr.write(words)
        sys.stderr.flush()
    except ValueError:  # the script has closed it
        return True
    except OSError:
        return False
    return True


def leave(exit_code: int) -> NoReturn:
    """End this process at once with a failure.

    Without MPI_Finalize, which would wait for ranks that wait for this one.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(exit_code)


def _misses_ranks(error: BaseException) -> bool:
    """Say whether a script failed for no other reason than that other ranks are gone."""
    if isinstance(error, RanksLost):
        return True
    mpi = _mpi()
    if mpi is None or not isinstance(error, mpi.Exception):
        return False
    losses = (mpi.ERR_PROC_FAILED, mpi.ERR_PROC_FAILED_PENDING, mpi.ERR_REVOKED)
    return error.Get_error_class() in losses


def _mpi() -> Any:
    """Return MPI if the script uses it now, without beginning to do so."""
    mpi = sys.modules.get("mpi4py.MPI")
    return mpi if mpi is not None and mpi.Is_initialized() and not mpi.Is_finalized() else None


def end_orderly() -> NoReturn:
    """End this process as the interpreter does: threads end, exit handlers run, MPI is left.

    Where MPI watches for lost ranks, MPI_Finalize never returns; there, ranks wait for each other
    and are gone.
    """
    mpi = _mpi()
    if mpi is None or not is_watched():
        sys.exit(0)  # the ordinary way out
    threading._shutdown()  # type: ignore[attr-defined]  # noqa: SLF001 - as multiprocessing does
    atexit._run_exitfuncs()  # noqa: SLF001 - likewise
    with contextlib.suppress(mpi.Exception):  # of those who are there
        mpi.COMM_WORLD.Barrier()
    leave(0)
