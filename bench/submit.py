"""What submitting to a cluster costs over bare ssh and sbatch, on a lab of virtual machines.

Needs root: ``beowulf lab``. It makes a cluster of four machines first, some minutes.
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

from bench.harness import (
    Report,
    Table,
    alternate,
    parse_options,
    publish,
    ratios,
    summarize,
    verdict,
)
from bench.playbooks import cluster, play
from beowulf.lab.directory import cache_directory
from beowulf.lab.image.build import ensure_image

ROUNDS = 9
SIZE = 4
SUBMIT_TARGET, LISTING_TARGET_S, BEHIND_TARGET_S, CORE_TARGET = 1.5, 1.0, 1.0, 0.01
IN_A_ROW = 200
QUEUED = 1000
FOLLOWED_S = 60
BEOWULF = Path(sys.executable).with_name("beowulf")
HOLD = "#!/bin/sh\nsleep 1\n"
PRINTER = """\
import time
for number in range(int({seconds} / 0.25)):
    print(repr(time.time()), flush=True)
    time.sleep(0.25)
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
    words = ["sbatch", "--parsable", "--hold", "--output=/dev/null", "--wrap=true"]
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

    def ssh(self, command: str, stdin: str = "") -> str:
        """Run a command on the head over a connection of its own, as a person would by hand."""
        return self._run(["ssh", "-F", self.ssh_config, "-l", "ada", "head", command], stdin)

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


def seconds_by_hand(laptop: Laptop, command: str, stdin: str = "") -> float:
    """Return how long a command over ssh takes."""
    began = time.monotonic()
    laptop.ssh(command, stdin)
    return time.monotonic() - began


def follow(laptop: Laptop, script: Path) -> tuple[list[float], float]:
    """Follow a job that tells the time: how far behind its words come, and the head's share.

    The machines of a lab have this computer's clock.
    """
    script.write_text(PRINTER.format(seconds=FOLLOWED_S))
    job_id = laptop.beowulf("submit", "--detach", "--ranks", "1", str(script)).strip()
    behind = []
    began = time.monotonic()
    with subprocess.Popen(
        [BEOWULF, "logs", "-f", job_id], env=laptop.environment, stdout=subprocess.PIPE
    ) as process:
        if process.stdout is None:
            raise SystemExit("no output to read")
        for line in process.stdout:
            behind.append(time.time() - float(line))
            if len(behind) == int(FOLLOWED_S / 0.25) // 2:
                used = laptop.ssh("ps -u ada -o cputimes=,args= | grep 'beowulf[.]head'")
                lasted = time.monotonic() - began
    core = max(float(line.split()[0]) for line in used.splitlines()) / lasted
    return behind[4:], core  # what was printed before the client came is not late


def in_a_row(laptop: Laptop, script: Path) -> str:
    """Submit many jobs one after the other, and say whether each is there once."""
    script.write_text("print(1)\n")
    given = [
        laptop.beowulf("submit", "--detach", "--ranks", "1", str(script)).strip()
        for _ in range(IN_A_ROW)
    ]
    jobs = json.loads(laptop.beowulf("jobs", "--json"))["jobs"]
    found = {job["id"]: job["slurm_job_id"] for job in jobs if job["id"] in given}
    once = len(set(given)) == len(found) == len(set(found.values())) == IN_A_ROW
    laptop.beowulf("wait", *given)
    return f"{IN_A_ROW} submissions in a row: {'each is there once' if once else 'NOT each once'}."


def listing_s(laptop: Laptop) -> float:
    """Return how long the head takes to list many queued jobs, as its program does."""
    programs = "$(ls -td ~/.cache/beowulf/head/*/ | head -1)"
    load = "import sys; sys.path.insert(0, sys.argv[1])"
    run = f"{load}; from beowulf.head.__main__ import main; main()"
    command = f"time (/usr/bin/python3 -I -S -c '{run}' \"{programs}\" > /dev/null)"
    told = laptop.ssh(f"bash -c {shlex.quote(command)} 2>&1", '{"request": "records"}\n')
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
        return report(laptop, rounds)


def report(laptop: Laptop, rounds: int) -> Report:
    """Measure on a cluster that is there."""
    work = laptop.home / "work"
    work.mkdir()
    script = work / "train.py"
    script.write_text("print(1)\n")
    submit = ("submit", "--detach", "--ranks", "1", str(script))
    found = alternate(
        {
            "ssh head sbatch": lambda: seconds_by_hand(laptop, "sbatch --parsable", HOLD),
            "beowulf submit": lambda: seconds(laptop, *submit),
            "ssh head squeue": lambda: seconds_by_hand(laptop, "squeue --me"),
            "beowulf status": lambda: seconds(laptop, "status"),
        },
        rounds,
    )
    figures = {
        "submit over ssh sbatch": ratios(found["beowulf submit"], found["ssh head sbatch"]),
        "status over ssh squeue": ratios(found["beowulf status"], found["ssh head squeue"]),
        **{f"{name}, s": summarize(values) for name, values in found.items()},
    }
    behind, core = follow(laptop, script)
    figures["logs -f behind the writer, s"] = summarize(behind)
    row = in_a_row(laptop, script)
    laptop.ssh(f"python3 - {QUEUED}", FILL)
    figures[f"{QUEUED} queued jobs listed at the head, s"] = summarize(
        [listing_s(laptop) for _ in range(rounds)]
    )
    over_sbatch = figures["submit over ssh sbatch"].median
    return Report(
        name="submit",
        title="Submitting to a cluster",
        table=Table(
            ["", "median", "quartiles", "range"],
            [[name, *figure.cells(2)] for name, figure in figures.items()],
        ),
        verdict="\n\n".join(
            (
                verdict("submit", over_sbatch, SUBMIT_TARGET, " times over ssh sbatch"),
                verdict("listing", figures[f"{QUEUED} queued jobs listed at the head, s"].median,
                        LISTING_TARGET_S, " s"),
                verdict("behind", figures["logs -f behind the writer, s"].median,
                        BEHIND_TARGET_S, " s"),
                verdict("of a core at the head while followed", core, CORE_TARGET, ""),
                row,
            )
        ),
        figures=figures,
    )  # fmt: skip


def main() -> None:
    """Measure and print."""
    options = parse_options(__doc__ or "", ROUNDS)
    publish(measure(options.rounds), options.json)


if __name__ == "__main__":
    main()
