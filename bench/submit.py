"""What submitting to a cluster costs over bare ssh and sbatch, on a lab of virtual machines.

Needs root: ``beowulf lab``. It makes a cluster of four machines first; about 20 minutes in all.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from bench.harness import Report, Table, alternate, ratios, run_alone, summarize, verdict
from bench.playbooks import cluster, play
from beowulf.lab.directory import cache_directory
from beowulf.lab.image.build import ensure_image

ROUNDS = 9
SIZE = 4
SUBMIT_TARGET, LISTING_TARGET_S, BEHIND_TARGET_S, CORE_TARGET = 1.5, 1.0, 1.0, 0.01
IN_A_ROW = 200
QUEUED = 1000
IN_A_SWEEP = 4
LINES_PER_S, FOLLOWED_S = 4, 80
SETTLED_S = 20  # from then on, following costs what it will go on to cost
TICKS_PER_S = os.sysconf("SC_CLK_TCK")  # of every Linux, the lab's as well
# Nobody but the head's program speaks of itself so; what follows is its latest run.
HEAD_STAT = (
    "found=$(grep -ls 'from beowulf[.]head' /proc/[0-9]*/cmdline | tail -n 1); "
    'cat "${found%cmdline}stat"'
)
BLOCKER = "sbatch --parsable --nodes={nodes} --exclusive --time=60 --wrap='sleep 3600'"
BEOWULF = Path(sys.executable).with_name("beowulf")
HOLD = "#!/bin/sh\nsleep 1\n"
PRINTER = """\
import time
for number in range({lines}):
    print(repr(time.time()), flush=True)
    time.sleep({pause_s})
"""
# Jobs that were submitted, as the head's program leaves them, without a client each time.
FILL = """
import pathlib, subprocess, sys
jobs = pathlib.Path.home() / "beowulf" / "jobs"
for number in range(5000, 5000 + int(sys.argv[1])):
    job = jobs / str(number)
    (job / "checkpoints").mkdir(parents=True)
    (job / "heartbeat").mkdir()
    event = '{"time": "2026-01-01T00:00:00.000+00:00", "event": "submitted", "name": "many", '
    (job / "events.jsonl").write_text(event + '"ranks": 1, "attempt": 1}\\n')
    comment = f"--comment=beowulf:{number}:{'0' * 32}"
    words = ["sbatch", "--parsable", "--hold", "--output=/dev/null", comment, "--wrap=true"]
    slurm = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    (job / "slurm_job_id").write_text(slurm)
"""


@dataclass(frozen=True)
class Laptop:
    """Ada's computer, outside the cluster."""

    home: Path
    lab: str

    @property
    def ssh_config(self) -> str:
        """How ssh finds its way into the lab."""
        return f"/var/lib/beowulf/labs/{self.lab}/ssh_config"

    def beowulf(self, *words: str) -> str:
        """Run a verb; it must end well. Returns what it printed."""
        return self._run([str(BEOWULF), *words])

    def ssh(self, command: str, stdin: str = "", *, kept: bool = False) -> str:
        """Run a command on the head as a person would by hand.

        Over a connection of its own; or over one that is ``kept`` from the first time on.
        """
        keeping = ["-o", f"ControlPath={self.home}/kept", "-o", "ControlMaster=auto",
                   "-o", "ControlPersist=yes"] if kept else []  # fmt: skip
        words = ["ssh", "-F", self.ssh_config, *keeping, "-l", "ada", "head", command]
        return self._run(words, stdin)

    def hang_up(self) -> None:
        """End the connection that is kept."""
        words = ["ssh", "-F", self.ssh_config, "-o", f"ControlPath={self.home}/kept", "-O", "exit"]
        subprocess.run([*words, "head"], capture_output=True, timeout=60, check=False)

    @property
    def environment(self) -> dict[str, str]:
        """This computer's own, with Ada's configuration."""
        return {
            **os.environ,
            "XDG_CONFIG_HOME": str(self.home / "config"),
            "BEOWULF_SSH_CONFIG": self.ssh_config,
        }

    def _run(self, words: list[str], stdin: str = "") -> str:
        done = subprocess.run(
            words, env=self.environment, input=stdin, capture_output=True, encoding="utf-8",
            timeout=600, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise SystemExit(f"{shlex.join(words)}: {done.stdout}{done.stderr}")
        return done.stdout


def seconds(laptop: Laptop, *words: str) -> float:
    """Return how long a verb takes."""
    began = time.monotonic()
    laptop.beowulf(*words)
    return time.monotonic() - began


def seconds_by_hand(laptop: Laptop, command: str, stdin: str = "", *, kept: bool = False) -> float:
    """Return how long a command over ssh takes."""
    began = time.monotonic()
    laptop.ssh(command, stdin, kept=kept)
    return time.monotonic() - began


def used_s(stat: str) -> float:
    """Return the processor time of a process and its children in its ``/proc/PID/stat``."""
    return sum(map(int, stat.rpartition(")")[2].split()[11:15])) / TICKS_PER_S


@dataclass(frozen=True)
class Followed:
    """How far behind a followed log was, line by line, and what following it used."""

    behind_s: list[float]
    head_core: float
    client_core: float


def follow(laptop: Laptop, script: Path) -> Followed:
    """Follow a job that tells the time. The machines of a lab have this computer's clock."""
    lines = FOLLOWED_S * LINES_PER_S
    script.write_text(PRINTER.format(lines=lines, pause_s=1 / LINES_PER_S))
    job_id = laptop.beowulf("submit", "--detach", "--ranks", "1", str(script)).strip()
    behind: list[float] = []
    used: list[tuple[float, float, float]] = []
    with subprocess.Popen(
        [BEOWULF, "logs", "-f", job_id], env=laptop.environment, stdout=subprocess.PIPE
    ) as process:
        if process.stdout is None:
            raise SystemExit("no output to read")
        for line in process.stdout:
            behind.append(time.time() - float(line))
            if len(behind) in (SETTLED_S * LINES_PER_S, lines - LINES_PER_S):
                there = laptop.ssh(HEAD_STAT)
                here = Path(f"/proc/{process.pid}/stat").read_text()
                used.append((time.monotonic(), used_s(there), used_s(here)))
    (began, head_s, client_s), (ended, head_end_s, client_end_s) = used
    return Followed(
        # What was printed before the client came is not late, nor what came while we looked.
        behind[LINES_PER_S : SETTLED_S * LINES_PER_S],
        (head_end_s - head_s) / (ended - began),
        (client_end_s - client_s) / (ended - began),
    )


def block(laptop: Laptop) -> None:
    """Have a job on every node, so that those that are given now wait and disturb nobody."""
    number = laptop.ssh(BLOCKER.format(nodes=SIZE)).strip()
    for _ in range(120):
        if laptop.ssh(f"squeue --noheader --jobs={number} --format=%T").strip() == "RUNNING":
            return
        time.sleep(1)
    raise SystemExit(f"job {number}, which should keep the nodes busy, does not run")


def in_a_row(laptop: Laptop, script: Path) -> str:
    """Submit many jobs one after the other, and say whether each is there once."""
    given = [
        laptop.beowulf("submit", "--detach", "--ranks", "1", str(script)).strip()
        for _ in range(IN_A_ROW)
    ]
    jobs = json.loads(laptop.beowulf("jobs", "--json"))["jobs"]
    found = {job["id"]: job["slurm_job_id"] for job in jobs if job["id"] in given}
    queue = laptop.ssh("squeue --me --noheader --format=%k").split()
    known = sum(comment.split(":")[1] in given for comment in queue if comment.count(":") == 2)
    once = len(set(given)) == len(found) == len(set(found.values())) == known == IN_A_ROW
    return f"{IN_A_ROW} submissions in a row: {'each is there once' if once else 'NOT each once'}."


def listing_s(laptop: Laptop) -> float:
    """Return how long the head takes to list many queued jobs, as its program does."""
    programs = "$(ls -td ~/.cache/beowulf/head/*/ | head -1)"
    load = "import sys; sys.path.insert(0, sys.argv[1])"
    run = f"{load}; from beowulf.head.__main__ import main; main()"
    command = f"time (/usr/bin/python3 -I -S -c '{run}' \"{programs}\" > /tmp/listed)"
    told = laptop.ssh(f"bash -c {shlex.quote(command)} 2>&1", '{"request": "records"}\n')
    jobs = json.loads(laptop.ssh("cat /tmp/listed"))["jobs"]
    if sum(job["state"] == "QUEUED" for job in jobs) < QUEUED:
        raise SystemExit(f"fewer than {QUEUED} jobs are queued")
    minutes, rest = re.findall(r"real\s+(\d+)m([\d.]+)s", told)[0]
    return 60 * int(minutes) + float(rest)


def measure(rounds: int = ROUNDS) -> Report:
    """Make a cluster, submit, follow and list."""
    ensure_image("prepared", cache=cache_directory(), report=print)
    with (
        cluster(SIZE, "prepared") as (inventory, environment),
        tempfile.TemporaryDirectory() as home,
    ):
        play(inventory, environment)
        laptop = Laptop(Path(home), environment["BEOWULF_LAB"])
        key = laptop.ssh("ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub").split()[1]
        laptop.beowulf("cluster", "add", "closet", "ada@head", "--fingerprint", key)
        try:
            return report(laptop, rounds)
        finally:
            laptop.hang_up()


def report(laptop: Laptop, rounds: int) -> Report:
    """Measure on a cluster that is there."""
    work = laptop.home / "work"
    work.mkdir()
    script = work / "train.py"
    followed = follow(laptop, script)
    script.write_text("print(1)\n")
    block(laptop)
    found = submitting(laptop, script, rounds)
    by_hand = found["ssh head sbatch"]
    kept = "ssh head sbatch, connection kept"
    sweep = "beowulf submit, each of a sweep"
    figures = {
        "submit over ssh sbatch": ratios(found["beowulf submit"], by_hand),
        "the same, both over a kept connection": ratios(found[sweep], found[kept]),
        "ssh sbatch: kept connection over one of its own": ratios(found[kept], by_hand),
        "submit: in a sweep over by itself": ratios(found[sweep], found["beowulf submit"]),
        "status over ssh squeue": ratios(found["beowulf status"], found["ssh head squeue"]),
        **{f"{name}, s": summarize(values) for name, values in found.items()},
        "logs -f behind the writer, s": summarize(followed.behind_s),
    }
    row = in_a_row(laptop, script)
    laptop.ssh(f"python3 - {QUEUED - IN_A_ROW}", FILL)
    listing = f"{QUEUED} queued jobs listed at the head, s"
    figures[listing] = summarize([listing_s(laptop) for _ in range(rounds)])
    return Report(
        name="submit",
        title="Submitting to a cluster",
        table=Table(
            ["", "median", "quartiles", "range"],
            [[name, *figure.cells(2)] for name, figure in figures.items()],
        ),
        verdict="\n\n".join(
            (
                verdict("submit", figures["submit over ssh sbatch"].median, SUBMIT_TARGET,
                        " times over ssh sbatch"),
                verdict("listing", figures[listing].median, LISTING_TARGET_S, " s"),
                verdict("behind", figures["logs -f behind the writer, s"].maximum,
                        BEHIND_TARGET_S, " s"),
                verdict("of a core here while followed", followed.client_core, CORE_TARGET, ""),
                verdict("of a core at the head", followed.head_core, CORE_TARGET, ""),
                row,
            )
        ),
        figures=figures,
    )  # fmt: skip


def submitting(laptop: Laptop, script: Path, rounds: int) -> dict[str, list[float]]:
    """Measure, in turn, one command each over a connection of its own, and over one that is kept.

    A sweep keeps its connection: what is told of it is the time of each job after the first.
    """
    submit = ("submit", "--detach", "--ranks", "1", str(script))
    values = ",".join(map(str, range(IN_A_SWEEP)))
    return alternate(
        {
            "ssh head sbatch": lambda: seconds_by_hand(laptop, "sbatch --parsable", HOLD),
            "beowulf submit": lambda: seconds(laptop, *submit),
            "ssh head sbatch, connection kept": lambda: seconds_by_hand(
                laptop, "sbatch --parsable", HOLD, kept=True
            ),
            "beowulf submit, each of a sweep": lambda: (
                (seconds(laptop, *submit, "--array", f"x=0,{values}") - seconds(laptop, *submit))
                / IN_A_SWEEP
            ),
            "ssh head squeue": lambda: seconds_by_hand(laptop, "squeue --me"),
            "beowulf status": lambda: seconds(laptop, "status"),
        },
        rounds,
    )


if __name__ == "__main__":
    run_alone(__doc__, ROUNDS, measure)
