#!/usr/bin/python3
"""Look whether this machine is fit to compute, and tell Slurm.

Without options, as slurmd starts it: a machine with a fault is drained, with a reason that begins
with "beowulf: " and names the fault; one that this program drained goes back to work when nothing
is wrong any more. So does one that Slurm drained because a job there had not ended, once nothing of
any job is left. What others drained is left alone.

With --json: look, print what was found, change nothing.
With --settle: wait until slurmd has registered, then do as without options, and also let the
machine work again if Slurm had drained it for being described wrongly. Print what was done.
With --rejoin, as a timer starts it: let slurmd register again if Slurm has given this machine up.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, "/usr/local/lib/beowulf-node-health")

from machine_checks import Check, Settings, look, mount_unit, nfs_mounts, run

if TYPE_CHECKING:
    from collections.abc import Sequence

SETTINGS = Path("/etc/beowulf/node-health.json")
OURS = "beowulf: "
# What Slurm says of a machine that has less than slurm.conf says (node_mgr.c).
DESCRIBED_WRONGLY = re.compile(r"Low (RealMemory|CPUs|Cores|socket\*core)")
# What Slurm says of a machine on which it could not end a job in time (slurmd's req.c), as of one
# that was frozen meanwhile; and of one on which a job still runs that it starts there once more
# (slurmctld's agent.c), as when the head lost power just as the job began.
NOT_ENDED = re.compile(r"Kill task failed|Duplicate jobid")
# A directory for each job that has a process here (systemd's scope of slurmstepd, cgroup v2).
JOBS = ("/sys/fs/cgroup", "system.slice/*slurmstepd.scope/job_*")
# In a word as sinfo shows it, in all its parts, and why; a reason may hold the sign too.
ASKED = "StateLong:|,StateComplete:|,Reason:|"
CONFIGURATIONS = (Path("/run/slurm/conf/slurm.conf"), Path("/etc/slurm/slurm.conf"))
SETTLE_TIMEOUT_S = 90.0


@dataclasses.dataclass(frozen=True)
class Queue:
    """What Slurm thinks of this machine."""

    state: str
    reason: str
    # Since slurmctld was started: until then it knows only what it had written down. Of a machine
    # that is drained its state does not say so, and Slurm refuses to have it work again.
    has_been_heard: bool = True

    @property
    def is_drained(self) -> bool:
        """Whether no new jobs are given to it on somebody's word."""
        return self.state.startswith("drain")

    @property
    def is_registered(self) -> bool:
        """Whether slurmctld and slurmd know each other."""
        away = re.search(r"\*|^down|^unk|^inval|^fut|^boot", self.state)
        return self.state != "" and self.has_been_heard and not away

    @property
    def is_given_up(self) -> bool:
        """Whether Slurm has not heard of it for so long that it no longer asks."""
        return re.match(r"(down|drain)\w*\*", self.state) is not None


def parsed_queue(output: str) -> Queue:
    """Read the first line of what ``sinfo`` says in :data:`ASKED`."""
    state, _, rest = output.partition("\n")[0].strip().partition("|")
    whole, _, rest = rest.partition("|")
    reason = rest.removesuffix("|")
    return Queue(state, "" if reason == "none" else reason, not whole.startswith("unknown"))


def wanted_update(
    faults: Sequence[str], queue: Queue, *, settle: bool = False, has_jobs: bool = False
) -> dict[str, str]:
    """Return what of the node Slurm should be told to change; nothing if all is as it should be.

    Args:
        faults: In plain words.
        queue: What Slurm thinks of the machine.
        settle: Whether its description was just corrected.
        has_jobs: Whether anything of a job is left on the machine.
    """
    is_ours = queue.reason.startswith(OURS)
    if not faults:
        wrong = settle and DESCRIBED_WRONGLY.match(queue.reason) is not None
        ended = NOT_ENDED.match(queue.reason) is not None and not has_jobs
        return {"state": "resume"} if queue.is_drained and (is_ours or wrong or ended) else {}
    reason = OURS + "; ".join(faults)
    if queue.is_drained and (not is_ours or queue.reason == reason):
        return {}
    return {"state": "drain", "reason": reason}


def has_jobs(root: Path = Path(JOBS[0]), pattern: str = JOBS[1]) -> bool:
    """Say whether anything of a job is left here: a directory is removed with the last process."""
    return any(root.glob(pattern))


def ask_queue(settings: Settings) -> tuple[Queue, Check]:
    """Ask Slurm about this machine. The head answers only whom it believes: same key, same time."""
    knows, output = run("sinfo", "-h", "-N", "-n", settings.node, "-O", ASKED)
    if knows:
        queue = parsed_queue(output)
        return queue, Check("slurm", None, queue.state)
    fault = "the queue on the head can't be reached"
    if "authentication" in output.lower():
        fault = "the head does not believe this machine: another munge key, or another time"
    return Queue("", ""), Check("slurm", fault, output.strip().partition("\n")[0])


def mount_missing(settings: Settings, checks: Sequence[Check]) -> None:
    """Mount what the machine came up without, because the head was off then; don't wait for it."""
    if any(check.name == "mounts" and check.fault for check in checks):
        mounts = nfs_mounts(Path("/proc/self/mountinfo").read_text(encoding="utf-8"))
        units = [mount_unit(path) for path in settings.mounts if path not in mounts]
        if units:
            run("systemctl", "--no-block", "start", *units)


def configuration_sha256() -> str | None:
    """Return the hash of the slurm.conf that is used here, None if there is none."""
    for path in CONFIGURATIONS:
        if path.exists():
            return hashlib.sha256(path.read_bytes()).hexdigest()
    return None


def wait_for_registration(settings: Settings) -> None:
    """Wait until slurmctld knows that slurmd is there, but not for ever."""
    deadline = time.monotonic() + SETTLE_TIMEOUT_S
    while time.monotonic() < deadline:
        if ask_queue(settings)[0].is_registered:
            return
        time.sleep(1)


def rejoin(settings: Settings) -> None:
    """Let slurmd register again if Slurm has given this machine up but believes it now.

    Slurm does not ping a machine that is down; it asks it to register every 20th time, which may
    be 7 minutes, and does not have its health looked at before. So one whose clock or key was wrong
    for a while would stay out of work for that long.
    """
    queue, _ = ask_queue(settings)
    if queue.is_given_up:
        # Running jobs don't notice. Where slurmd does not run it is left alone.
        reloaded, said = run("systemctl", "try-reload-or-restart", "slurmd.service")
        done = "slurmd registers again" if reloaded else f"slurmd can't be reloaded: {said.strip()}"
        print(f"{OURS}Slurm calls this machine {queue.state}; {done}", file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> int:
    """Look, act unless only asked, and return 1 if something is wrong and that was asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--json", action="store_true", help="only look, and print what was found")
    mode.add_argument("--settle", action="store_true", help="wait for slurmd, act, print")
    mode.add_argument("--rejoin", action="store_true", help="register again if given up")
    wanted = parser.parse_args(arguments)
    settings = Settings.from_json(SETTINGS.read_text(encoding="utf-8"))
    if wanted.rejoin:
        rejoin(settings)
        return 0
    if wanted.settle:
        wait_for_registration(settings)
    checks = look(settings)
    queue, reached = ask_queue(settings)
    update: dict[str, str] = {}
    if not wanted.json:
        mount_missing(settings, checks)
        if queue.state:
            faults = [check.fault for check in checks if check.fault]
            update = wanted_update(faults, queue, settle=wanted.settle, has_jobs=has_jobs())
        if update:
            words = [f"{name}={value}" for name, value in update.items()]
            run("scontrol", "update", f"nodename={settings.node}", *words)
            queue = ask_queue(settings)[0]
    checks.append(reached)
    faults = [check.fault for check in checks if check.fault]
    if wanted.settle and not queue.is_registered:
        faults.append(f"Slurm calls this machine {queue.state or 'unknown'}: {queue.reason}")
    if wanted.json or wanted.settle:
        print(json.dumps(report(settings, checks, faults, queue, update), indent=2))
        return 1 if faults else 0
    for fault in faults:
        print(f"{OURS}{fault}", file=sys.stderr)
    return 0


def report(
    settings: Settings,
    checks: Sequence[Check],
    faults: Sequence[str],
    queue: Queue,
    update: dict[str, str],
) -> dict[str, object]:
    """Return what programs may want to know."""
    return {
        "schema": 1,
        "node": settings.node,
        "healthy": not faults,
        "faults": list(faults),
        "checks": {c.name: {"fault": c.fault, "detail": c.detail} for c in checks},
        "slurm": {"state": queue.state, "reason": queue.reason},
        "slurm_conf_sha256": configuration_sha256(),
        "changed": bool(update),
    }


if __name__ == "__main__":
    sys.exit(main())
