"""The process that stays with a running job: ``python -m beowulf.runner.supervisor``.

On this computer it outlives the terminal. On a cluster it is the batch script that Slurm
starts on the job's first host, and ends with the job's own exit status. It starts the
ranks, enforces the time limit, obeys ``cancel``, makes sure that nothing keeps running,
and writes how the job ended. It is the only writer of ``exit_code``.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from pathlib import Path

from beowulf.durable import see_anew, write_file
from beowulf.errors import LaunchError, one_line
from beowulf.job.directory import JobDirectory
from beowulf.job.events import read_events, record_event
from beowulf.job.record import read_exit_code
from beowulf.runner.attempts import Attempts, record_restart
from beowulf.runner.claim import claim_next
from beowulf.runner.growing import growths
from beowulf.runner.launching import Termination
from beowulf.runner.outcome import Outcome
from beowulf.runner.site import SLURM_VARIABLE, given_by_slurm, this_computer
from beowulf.runner.spec import read_spec

RESTARTS_VARIABLE = "SLURM_RESTART_COUNT"  # Slurm sets it once it has started a job again


def supervise(
    directory: JobDirectory, attempt: int, termination: Termination, *, used: int = 0
) -> Outcome | None:
    """Run a job, ``attempt`` first, to its end and write down how it ended.

    ``used`` is how many attempts there were before since the job was submitted or resumed.
    None says that it has not ended: Slurm starts it again, or has done so already.
    """
    try:
        spec = read_spec(directory.spec)
        slurm = SLURM_VARIABLE in os.environ
        site = given_by_slurm(os.environ) if slurm else this_computer(spec)
        attempts = Attempts(
            directory, spec, site, termination,
            first=attempt, used=used, restarts=_restarts() if slurm else 0,
        )  # fmt: skip
        outcome = attempts.run()
        if slurm and _runs_elsewhere(directory, attempts.number):
            return None
    except Exception as error:
        reason = f"beowulf could not run the job: {one_line(str(error))}"
        print(f"beowulf: {reason}", file=sys.stderr)
        record_end(directory, Outcome("FAILED", reason, LaunchError.exit_status))
        raise
    if outcome is not None:
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


def _runs_elsewhere(directory: JobDirectory, attempt: int) -> bool:
    """Say whether a later attempt has begun: this host was cut off, and has nothing to say."""
    see_anew(directory.path)
    return directory.claim(attempt + 1).exists()


def _restarts() -> int:
    return int(os.environ.get(RESTARTS_VARIABLE) or 0)


def _supervise_for_slurm(
    directory: JobDirectory, submitted: int, termination: Termination
) -> Outcome | None:
    """Claim the attempt that this is, begin it if it may be, and supervise the job to its end."""
    mine = int(os.environ[SLURM_VARIABLE])
    see_anew(directory.path)
    attempt, owner = claim_next(directory, submitted, mine, _restarts())
    if owner != mine:
        print(
            f"beowulf: Slurm job {mine} does nothing: attempt {attempt} of this job "
            f"is Slurm job {owner} already",
            file=sys.stderr,
        )
        return None
    used = attempt - submitted
    if used and (code := read_exit_code(directory)) is not None:
        sys.exit(code)  # it had ended, and only Slurm did not know
    if used:
        return _begin_again(directory, attempt, used, termination)
    return supervise(directory, attempt, termination)


def _begin_again(
    directory: JobDirectory, attempt: int, used: int, termination: Termination
) -> Outcome | None:
    """Go on with a job that Slurm has started again, as often as its job file allows."""
    grown = growths(directory)
    used -= len(grown)
    is_growth = read_events(directory)[-1].get("event") == "growing"
    why = grown[-1] if is_growth else "the host from which it was run was lost"
    limit = read_spec(directory.spec).retry.limit
    if used > limit and not directory.done.exists():
        reason = f"{why}; it was not started again ([retry] limit is {limit})"
        outcome = Outcome("FAILED", reason, LaunchError.exit_status)
        record_end(directory, outcome)
        return outcome
    record_restart(directory, attempt, why)
    return supervise(directory, attempt, termination, used=used)


def main() -> None:
    """Supervise the job whose directory and attempt are given.

    On this computer the lock is inherited open. Under Slurm, this ends with the job's status.
    """
    directory, attempt = JobDirectory(Path(sys.argv[1])), int(sys.argv[2])
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    termination = Termination()
    if SLURM_VARIABLE not in os.environ:
        signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
        supervise(directory, attempt, termination)
        return
    signal.signal(signal.SIGTERM, termination)
    try:
        outcome = _supervise_for_slurm(directory, attempt, termination)
    except Exception as error:  # noqa: BLE001 - Slurm is told, whatever it was
        print(f"beowulf: supervisor of {directory.path}: {one_line(str(error))}", file=sys.stderr)
        traceback.print_exc()
        sys.exit(LaunchError.exit_status)
    sys.exit(LaunchError.exit_status if outcome is None else outcome.exit_code)


if __name__ == "__main__":
    main()
