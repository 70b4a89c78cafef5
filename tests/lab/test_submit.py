"""A laptop outside the cluster submits, follows and fetches through SSH, as ordinary users."""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import subprocess
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from beowulf.head import accounting
from tests.conftest import BEOWULF, REPOSITORY
from tests.docs.markdown import blocks
from tests.docs.session import check, play

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.cluster import Cluster

DIGITS = REPOSITORY / "jobs" / "digits" / "job.toml"
PAGE = REPOSITORY / "docs" / "cluster.md"
PATIENCE_S = 600
TOLERANCE = 1e-6


@dataclass(frozen=True)
class Laptop:
    """One person's computer: its own configuration, and ssh's way into the lab."""

    home: Path
    cluster: Cluster

    @property
    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("BEOWULF_")}
        lab = self.cluster.room.name
        return {
            **kept,
            "XDG_CONFIG_HOME": str(self.home / "config"),
            "XDG_STATE_HOME": str(self.home / "state"),
            "BEOWULF_SSH_CONFIG": f"/var/lib/beowulf/labs/{lab}/ssh_config",
        }

    def start(
        self, *words: str | Path, cwd: Path = REPOSITORY, **variables: str
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [BEOWULF, *map(str, words)],
            cwd=cwd,
            env=self.environment | variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def try_to(self, *words: str | Path) -> subprocess.CompletedProcess[bytes]:
        with self.start(*words) as process:
            out, errors = process.communicate(timeout=PATIENCE_S)
        return subprocess.CompletedProcess(words, process.returncode, out, errors)

    def __call__(self, *words: str | Path) -> str:
        done = self.try_to(*words)
        assert done.returncode == 0, f"{words}: {done.stdout!r} {done.stderr.decode()}"
        return done.stdout.decode()

    def record(self, job_id: str) -> dict[str, Any]:
        record: dict[str, Any] = json.loads(self("status", job_id, "--json"))["job"]
        return record

    def submit(self, *words: str | Path) -> str:
        """Submit a job and let it run. Returns its ID."""
        return self("submit", "--detach", *words).strip()

    def wait_until(self, job_id: str, *states: str) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE_S
        while (record := self.record(job_id))["state"] not in states:
            assert time.monotonic() < deadline, record
            time.sleep(1)
        return record


def fingerprint(cluster: Cluster) -> str:
    """Return the fingerprint of the head's key, as its console would show it."""
    told = cluster.room.on("head", "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub")
    return told.split()[1]


def laptop_of(user: str, cluster: Cluster, home: Path) -> Laptop:
    laptop = Laptop(home, cluster)
    laptop("cluster", "add", "closet", f"{user}@head", "--fingerprint", fingerprint(cluster))
    return laptop


@pytest.fixture
def ada(untouched_cluster: Cluster, tmp_path: Path) -> Iterator[Laptop]:
    """Ada's laptop, whose default cluster is the lab's. Her jobs are ended afterwards."""
    laptop = laptop_of("ada", untouched_cluster, tmp_path)
    yield laptop
    jobs = json.loads(laptop("jobs", "--json"))["jobs"]
    alive = [job["id"] for job in jobs if job["exit_code"] is None]
    if alive:
        laptop("cancel", *alive)


def script(directory: Path, text: str) -> Path:
    """Write a job's script into a directory of its own."""
    directory.mkdir(exist_ok=True)
    path = directory / "train.py"
    path.write_text(text)
    return path


def losses(directory: Path) -> list[float]:
    lines = (directory / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


def test_the_head_must_be_the_one_that_it_says(untouched_cluster: Cluster, tmp_path: Path) -> None:
    laptop = Laptop(tmp_path, untouched_cluster)
    unasked = laptop.try_to("cluster", "add", "closet", "ada@head")
    assert unasked.returncode == 2
    assert "no terminal on which to agree" in unasked.stderr.decode()
    wrong = laptop.try_to(
        "cluster", "add", "closet", "ada@head", "--fingerprint", f"SHA256:{'A' * 43}"
    )
    assert wrong.returncode == 5
    stranger = laptop.try_to(
        "cluster", "add", "closet", "nobody@head", "--fingerprint", fingerprint(untouched_cluster)
    )
    assert stranger.returncode == 5
    assert json.loads(laptop("cluster", "list", "--json"))["clusters"] == []


def test_the_digits_learn_on_the_cluster_what_they_learn_here(ada: Laptop, tmp_path: Path) -> None:
    words = ("submit", DIGITS, "--ranks", "4", "--")
    short = (*words, "--steps", "30")
    here = tmp_path / "here"
    ada(*short[:4], "--cluster", "local", *short[4:])
    ada("fetch", "--cluster", "local", "--to", here)
    done = ada.try_to(*short)
    assert done.returncode == 0, done.stderr.decode()
    there = tmp_path / "there"
    ada("fetch", "--to", there)
    job_id = json.loads(ada("status", "--json"))["job"]["id"]
    expected = losses(here)
    assert losses(there) == pytest.approx(expected, rel=TOLERANCE, abs=TOLERANCE)
    assert len(expected) == 30
    assert json.loads((there / "result.json").read_text())["world_size"] == 4
    assert list(there.glob("*.png"))
    hosts = ada.cluster.as_user("ada", "head", f"cat beowulf/jobs/{job_id}/heartbeat/*")
    assert {json.loads(line)["host"] for line in hosts.splitlines()} == {
        "head", "node1", "node2", "node3",
    }  # fmt: skip


def test_arguments_and_exit_status_are_handed_through(ada: Laptop, tmp_path: Path) -> None:
    odd = ["", "a b", "it's", '"', "$HOME", "`id`", "*", "\\", "é\n\t", "--", "@JOB_ID@"]
    path = script(tmp_path / "job", "import sys\nprint(ascii(sys.argv[1:]))\nsys.exit(7)\n")
    done = ada.try_to("submit", path, "--ranks", "1", "--", *odd)
    assert done.returncode == 7, done.stderr.decode()
    assert ascii(odd) in done.stdout.decode()


def test_a_job_that_failed_is_resumed_and_stays_what_it_was_if_it_can_not(
    ada: Laptop, untouched_cluster: Cluster, tmp_path: Path
) -> None:
    text = "import os\nprint('attempt', attempt := os.environ['BEOWULF_ATTEMPT'])\n"
    path = script(tmp_path / "job", f"{text}raise SystemExit(7 if attempt == '1' else 0)\n")
    job_id = ada.submit(path, "--ranks", "1")
    assert ada.try_to("wait", job_id).returncode == 7
    failed = ada.record(job_id)
    refused = ada.try_to("submit", "--resume", job_id, "--ranks", "4000")
    assert refused.returncode == 2, refused.stderr.decode()
    assert ada.record(job_id) == failed
    resumed = ada.try_to("submit", "--resume", job_id)
    assert resumed.returncode == 0, resumed.stderr.decode()
    assert "attempt 2" in resumed.stdout.decode()
    assert "attempt 1" not in resumed.stdout.decode()
    record = ada.record(job_id)
    assert (record["state"], record["attempt"]) == ("COMPLETED", 2)
    # What would be asked of accounting if Slurm had forgotten the first attempt.
    asked = shlex.join(accounting.question([failed["slurm_job_id"]]))
    deadline = time.monotonic() + PATIENCE_S
    while not (told := accounting.parse(untouched_cluster.as_user("ada", "head", asked))):
        assert time.monotonic() < deadline, "the database hears of an end a little later"
        time.sleep(1)
    (past,) = told
    assert (past.number, past.state) == (failed["slurm_job_id"], "FAILED")
    assert past.work_directory == failed["directory"]


def test_a_job_whose_number_was_never_written_down_is_found_and_cancelled(
    ada: Laptop, untouched_cluster: Cluster, tmp_path: Path
) -> None:
    path = script(tmp_path / "job", "import time\ntime.sleep(600)\n")
    job_id = ada.submit(path, "--ranks", "1")
    record = ada.wait_until(job_id, "RUNNING")
    files = " ".join(f"{record['directory']}/{name}" for name in ("slurm_job_id", "claim-1"))
    untouched_cluster.as_user("ada", "head", f"rm {files}")
    found = ada.record(job_id)
    assert (found["state"], found["slurm_job_id"]) == ("RUNNING", record["slurm_job_id"])
    assert ada("cancel", job_id).splitlines() == [f"{job_id} CANCELLED"]


def test_two_people_do_not_see_each_other_s_jobs(
    ada: Laptop, untouched_cluster: Cluster, tmp_path: Path
) -> None:
    path = script(tmp_path / "job", "print('a secret of ada')\n")
    job_id = ada.submit(path, "--ranks", "1")
    ada("wait", job_id)
    ben = laptop_of("ben", untouched_cluster, tmp_path / "ben")
    refused = ben.try_to("logs", job_id)
    assert refused.returncode == 4
    for spy in ("cat ~ada/beowulf/jobs/*/output.log", "ls ~ada/beowulf/jobs", "ls ~ada/beowulf"):
        seen = untouched_cluster.try_as_user("ben", "head", spy)
        assert seen.returncode != 0, spy
        assert "secret" not in seen.stdout


def test_a_job_that_waits_says_why_and_is_cancelled(ada: Laptop, tmp_path: Path) -> None:
    path = script(tmp_path / "job", "import time\nprint('begun', flush=True)\ntime.sleep(600)\n")
    first = ada.submit(path, "--nodes", "4")
    second = ada.submit(path, "--nodes", "4")
    ada.wait_until(first, "RUNNING")
    waiting = ada.record(second)
    assert waiting["state"] == "QUEUED"
    assert "needs 4 nodes" in waiting["reason"] or "before it" in waiting["reason"], waiting
    cancelled = ada("cancel", first, second)
    assert cancelled.splitlines() == [f"{first} CANCELLED", f"{second} CANCELLED"]
    assert ada.try_to("wait", first).returncode == 143


def test_what_cannot_run_here_is_refused_and_leaves_nothing(ada: Laptop, tmp_path: Path) -> None:
    path = script(tmp_path / "job", "print(1)\n")
    before = ada("jobs", "--json")
    refused = ada.try_to("submit", path, "--nodes", "40")
    assert refused.returncode == 2
    (line,) = refused.stderr.decode().splitlines()
    assert line.startswith("beowulf: resources")
    assert ada("jobs", "--json") == before


def test_a_quota_that_is_full_during_the_upload_is_said_and_leaves_nothing(
    ada: Laptop, untouched_cluster: Cluster, tmp_path: Path
) -> None:
    path = script(tmp_path / "job", "print(1)\n")
    before = ada("jobs", "--json")
    (path.parent / "data.bin").write_bytes(os.urandom(16 << 20))
    on_head = untouched_cluster.room.on
    # What she may use there is as large as this file system of her own.
    options = "size=4m,mode=0700,uid=$(id -u ada),gid=$(id -g ada)"
    place = "/home/ada/beowulf/store"
    on_head("head", f"sudo install -d -m 0700 -o ada -g ada /home/ada/beowulf {place}")
    on_head("head", f"sudo mount -t tmpfs -o {options} tmpfs {place}")
    try:
        refused = ada.try_to("submit", path, "--ranks", "1")
        kept = untouched_cluster.as_user("ada", "head", f"find {place} -type f -size +1")
    finally:
        on_head("head", f"sudo umount {place}")
    (line,) = refused.stderr.decode().splitlines()
    assert refused.returncode == 2, line
    assert line.startswith("beowulf: job directory: cannot write below /home/ada/beowulf/jobs")
    assert "No space left on device" in line
    assert "free some space" in line
    assert kept == ""
    assert ada("jobs", "--json") == before
    job_id = ada.submit(path, "--ranks", "1")  # with room, the same command does what it should
    assert ada.try_to("wait", job_id).returncode == 0


def test_a_key_that_is_refused_is_named_with_what_to_do(ada: Laptop, tmp_path: Path) -> None:
    stranger = tmp_path / "id_of_nobody"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", stranger], check=True)
    lab_s = Path(ada.environment["BEOWULF_SSH_CONFIG"]).read_text()
    config = tmp_path / "ssh_config"
    config.write_text(re.sub(r"IdentityFile .*", f"IdentityFile {stranger}", lab_s))
    path = script(tmp_path / "job", "print(1)\n")
    for words in (("submit", path, "--ranks", "1"), ("jobs",), ("logs",)):
        with ada.start(*words, BEOWULF_SSH_CONFIG=str(config)) as process:
            out, errors = process.communicate(timeout=PATIENCE_S)
        (line,) = errors.decode().splitlines()
        assert (process.returncode, out) == (5, b""), line
        assert line.startswith("beowulf: ada@head: user ada was not let in (keys tried: ")
        assert str(stranger) in line
        assert "hand in your key: ssh-copy-id" in line


def test_a_log_is_followed_while_the_cable_is_out(
    ada: Laptop, untouched_cluster: Cluster, tmp_path: Path
) -> None:
    text = (
        "import time\n"
        "for number in range(120):\n"
        "    print('line', number, flush=True)\n"
        "    time.sleep(0.5)\n"
    )
    job_id = ada.submit(script(tmp_path / "job", text), "--ranks", "1")
    ada.wait_until(job_id, "RUNNING")
    following = ada.start("logs", "-f", job_id)
    time.sleep(5)
    untouched_cluster.room("cable", "head", "cut")
    try:
        time.sleep(10)
    finally:
        untouched_cluster.room("cable", "head", "heal")
    out, errors = following.communicate(timeout=PATIENCE_S)
    assert following.returncode == 0, errors.decode()
    assert out.decode().splitlines() == [f"line {number}" for number in range(120)]
    untouched_cluster.wait_until_idle()


def test_nothing_is_lost_while_slurm_is_away(
    ada: Laptop, untouched_cluster: Cluster, tmp_path: Path
) -> None:
    path = script(tmp_path / "job", "import time\ntime.sleep(20)\n")
    job_id = ada.submit(path, "--ranks", "1")
    untouched_cluster.room.on("head", "sudo systemctl stop slurmctld")
    try:
        refused = ada.try_to("submit", path, "--ranks", "1")
        told = ada.record(job_id)
    finally:
        untouched_cluster.room.on("head", "sudo systemctl start slurmctld")
    assert refused.returncode != 0
    assert "does not answer" in refused.stderr.decode()
    assert told["state"] in {"UNKNOWN", "RUNNING", "STARTING", "COMPLETED"}
    assert ada.try_to("wait", job_id).returncode == 0
    assert [job["id"] for job in json.loads(ada("jobs", "--json"))["jobs"]][-1] == job_id


def test_a_port_of_the_job_s_node_is_reached(ada: Laptop, tmp_path: Path) -> None:
    text = (
        "import http.server, sys\n"
        "page = type('Page', (http.server.BaseHTTPRequestHandler,), {'do_GET': lambda self: ("
        "self.send_response(200), self.end_headers(), self.wfile.write(b'board of node'))})\n"
        "http.server.HTTPServer(('127.0.0.1', 6006), page).serve_forever()\n"
    )
    job_id = ada.submit(script(tmp_path / "job", text), "--ranks", "1")
    ada.wait_until(job_id, "RUNNING")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    tunnel = ada.start("tunnel", job_id, "6006", "--local-port", port)
    try:
        assert tunnel.stdout is not None
        assert tunnel.stdout.readline().decode() == f"http://127.0.0.1:{port}/\n"
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60) as page:
            assert page.read() == b"board of node"
    finally:
        tunnel.terminate()
        tunnel.communicate(timeout=60)
    ada("cancel", job_id)


def test_a_sweep_ends_in_a_table(ada: Laptop, tmp_path: Path) -> None:
    text = (
        "import json, os, sys\n"
        "value = float(sys.argv[2])\n"
        "open(os.path.join(os.environ['BEOWULF_JOB_DIR'], 'result.json'), 'w').write("
        "json.dumps({'score': value * 2}))\n"
    )
    path = script(tmp_path / "job", text)
    told = json.loads(ada("submit", path, "--ranks", "1", "--array", "lr=0.5,0.25", "--json"))
    assert [(job["settings"], job["result"]["score"]) for job in told["jobs"]] == [
        ({"lr": "0.5"}, 1.0), ({"lr": "0.25"}, 0.5),
    ]  # fmt: skip


def test_the_page_s_commands_do_what_it_shows(cluster: Cluster, tmp_path: Path) -> None:
    cluster.as_user("ada", "head", "rm -rf beowulf")  # the page's first job has the number 1
    name = cluster.room.name
    text = PAGE.read_text(encoding="utf-8").replace("labs/lab/", f"labs/{name}/")
    answers = play(blocks(text), REPOSITORY, tmp_path, variables={"BEOWULF_LAB": name})
    check(answers)
