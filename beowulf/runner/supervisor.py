"""The process that stays with a local job: ``python -m beowulf.runner.supervisor``.

It outlives the terminal, starts the ranks, enforces the time limit, obeys
``cancel``, makes sure that nothing keeps running, and writes how the job ended.
It is the only writer of ``exit_code``.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from beowulf.durable import read_tail, write_file
from beowulf.errors import LaunchError
from beowulf.job.directory import JobDirectory
from beowulf.job.events import record_event
from beowulf.job.heartbeat import read_heartbeats
from beowulf.job.parent import end_with_parent
from beowulf.runner.outcome import Outcome, Stop, judge
from beowulf.runner.processes import end_processes
from beowulf.runner.spec import JobSpec, read_spec

if TYPE_CHECKING:
    from collections.abc import Mapping

POLL_S = 0.05
GRACE_S = 5.0  # between asking a process to end and killing it
DONE_GRACE_S = 10.0  # for the launcher to return once every rank has finished
LOG_TAIL_BYTES = 8192


def supervise(directory: JobDirectory, attempt: int) -> Outcome:
    """Run one attempt of a job to its end and write down how it ended."""
    spec = read_spec(directory.spec)
    ranks = spec.resources.ranks or 1
    try:
        outcome = _run(directory, spec, ranks, attempt)
    except Exception as error:
        reason = f"beowulf could not run the job: {error}"
        record_end(directory, Outcome("FAILED", reason, LaunchError.exit_status))
        raise
    record_end(directory, outcome)
    return outcome


def record_end(directory: JobDirectory, outcome: Outcome) -> None:
    """Write how the job ended: the event first, ``exit_code`` last."""
    record_event(
        directory,
        "ended",
        state=outcome.state,
        reason=outcome.reason,
        exit_code=outcome.exit_code,
    )
    write_file(directory.exit_code, f"{outcome.exit_code}\n".encode())


def _run(directory: JobDirectory, spec: JobSpec, ranks: int, attempt: int) -> Outcome:
    if directory.cancel_request.exists():
        return _judge(directory, ranks, 0, "cancel", 0)
    # Open MPI's launcher names its directory by its process number and leaves it behind
    # when it is killed; one that gets the same number later can't start there.
    with tempfile.TemporaryDirectory(prefix="beowulf-", ignore_cleanup_errors=True) as sessions:
        return _launch(directory, spec, ranks, attempt, sessions)


def _launch(
    directory: JobDirectory, spec: JobSpec, ranks: int, attempt: int, sessions: str
) -> Outcome:
    mine = os.getpid()
    with directory.log.open("ab", buffering=0) as log:
        log_start = log.seek(0, os.SEEK_END)  # what is before it is of earlier attempts
        launcher = subprocess.Popen(
            ["/bin/bash", str(directory.batch_script)],
            env={
                **launcher_environment(os.environ, spec, directory, attempt),
                "PRTE_MCA_prte_tmpdir_base": sessions,
            },
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            # Safe here: this process has one thread.
            preexec_fn=lambda: end_with_parent(mine, signal.SIGTERM),  # noqa: PLW1509
        )
    record_event(directory, "started", attempt=attempt, ranks=ranks, pid=launcher.pid)
    try:
        stop = _wait(directory, spec, ranks, launcher)
        if stop is not None:
            launcher.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                launcher.wait(GRACE_S)
    finally:
        left = end_processes(directory, GRACE_S)
        if left:
            print(f"could not end processes {left}", file=sys.stderr)
    return _judge(directory, ranks, launcher.wait(), stop, log_start)


def _wait(
    directory: JobDirectory, spec: JobSpec, ranks: int, launcher: subprocess.Popen[bytes]
) -> Stop | None:
    """Wait until the launcher returns or there is a reason to stop it, and return the reason."""
    limit_s = spec.resources.time_limit_s
    deadline = time.monotonic() + limit_s if limit_s else float("inf")
    done_at = None
    all_up = False
    while launcher.poll() is None:
        if not all_up and len(read_heartbeats(directory, ranks)) == ranks:
            all_up = True
            record_event(directory, "running")
        if directory.cancel_request.exists():
            return "cancel"
        now = time.monotonic()
        if now > deadline:
            return "time limit"
        if done_at is None and directory.done.exists():
            done_at = now
        if done_at is not None and now > done_at + DONE_GRACE_S:
            return "done"  # every rank finished: only the launcher is stuck
        time.sleep(POLL_S)
    return None


def _judge(
    directory: JobDirectory, ranks: int, launcher_status: int, stop: Stop | None, log_start: int
) -> Outcome:
    printed = directory.log.stat().st_size - log_start
    return judge(
        done=directory.done.exists(),
        launcher_status=launcher_status,
        stop=stop,
        ranks=ranks,
        heartbeats=read_heartbeats(directory, ranks),
        log_tail=read_tail(directory.log, max(0, min(LOG_TAIL_BYTES, printed))),
    )


def launcher_environment(
    outer: Mapping[str, str], spec: JobSpec, directory: JobDirectory, attempt: int
) -> dict[str, str]:
    """Return the environment of the batch script: the submitter's and the job's own."""
    ranks = spec.resources.ranks or 1
    own = {
        "BEOWULF_JOB_DIR": str(directory.path),
        "BEOWULF_ATTEMPT": str(attempt),
        "BEOWULF_ENDPOINTS": ",".join(f"127.0.0.1:{port}" for port in free_ports(ranks)),
    }
    if os.geteuid() == 0:  # Open MPI refuses root; allowed for this child alone
        own["OMPI_ALLOW_RUN_AS_ROOT"] = own["OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"] = "1"
    return {**outer, **spec.environment, **own}


def free_ports(count: int) -> list[int]:
    """Return loopback ports that nobody listens on now, for frameworks that need one per rank."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def main() -> None:
    """Supervise the job whose directory and attempt are given; the lock is inherited open."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    supervise(JobDirectory(Path(sys.argv[1])), int(sys.argv[2]))


if __name__ == "__main__":
    main()
