"""Plugs are pulled while a job trains, and it ends as if nothing had happened.

Each job runs through Slurm on the lab's machines; each must end COMPLETED, with every step done
once and the losses of a run to which nothing happened, and leave no process behind. What takes
long is done in a short form here: set BEOWULF_LONG=1 for the whole one.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

from tests.lab.cluster import Cluster
from tests.lab.conftest import Standing
from tests.lab.plugs import PAUSE_S, STEPS, Plugs, undisturbed_losses, wait_until_back
from tests.lab.room import NODES
from tests.lab.test_submit import laptop_of
from tests.lab.training import write_job

LONG = bool(os.environ.get("BEOWULF_LONG"))
CUT_S = 90 if LONG else 12
NFS_AWAY_S = 120 if LONG else 15
GONE_FOR_S = 240 if LONG else 60
KILLS = 20 if LONG else 3
RANDOM_S = 1200 if LONG else 60
BUSY_S = 3600 if LONG else 60
MOST_STEPS = 40_000 if LONG else 4_000
PER_S = round(1 / PAUSE_S)
AT_ONCE_S = 1.0
SOON_S = 15.0

takes_long = pytest.mark.skipif(not LONG, reason="takes some minutes: BEOWULF_LONG=1")


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    """The losses of a run to which nothing happens."""
    return undisturbed_losses(tmp_path_factory.mktemp("undisturbed"), MOST_STEPS)


@pytest.fixture(scope="module", autouse=True)
def remembered(standing: Standing) -> Iterator[None]:
    """What was lost here counts against the nodes, so that the next tests get them as they were."""
    yield
    standing.snapshot = None


@pytest.fixture
def lab(untouched_cluster: Cluster, undisturbed: list[float], tmp_path: Path) -> Iterator[Plugs]:
    """The lab with its cluster, on which Ada's jobs train; mended afterwards."""
    plugs = Plugs(
        laptop_of("ada", untouched_cluster, tmp_path), write_job(tmp_path / "job"), undisturbed
    )
    yield plugs
    plugs.mend()


@pytest.fixture
def first_node(lab: Plugs) -> Iterator[str]:
    """The first node of jobs on three nodes, which is not the head."""
    lab.without_the_head()
    yield "node1"
    wait_until_back(lab.room, "head")
    lab.with_the_head()


@pytest.fixture
def overloaded(lab: Plugs) -> Iterator[None]:
    """Have two others want the one processor that each node has; four share this computer's."""
    for node in NODES:
        lab.room.on(
            node,
            "sudo DEBIAN_FRONTEND=noninteractive sh -c 'apt-get -qq update && apt-get -qq -y "
            "--no-install-recommends install stress-ng' >/dev/null && sudo systemd-run --quiet "
            "--unit=overload stress-ng --cpu 1 --vm 1 --vm-bytes 64m",
            timeout_s=600,
        )
    yield
    for node in NODES:
        lab.room.on(node, "sudo systemctl stop overload")


def test_a_killed_rank_is_not_missed(lab: Plugs) -> None:
    job = lab.training()
    lab.kill_rank(3).at_step(50)
    (carried_on,) = job.carries_on_without("node3")
    assert carried_on["lost_s"] < AT_ONCE_S
    job.ends_as_if_nothing_had_happened()


def test_a_stopped_rank_is_cut_off(lab: Plugs) -> None:
    job = lab.training()
    lab.stop_rank(2).at_step(50)
    (carried_on,) = job.carries_on_without("node2")
    assert carried_on["lost_s"] < SOON_S
    job.ends_as_if_nothing_had_happened()


def test_a_node_that_is_switched_off_is_not_missed(lab: Plugs) -> None:
    job = lab.training()
    lab.power_off("node3").at_step(50)
    (carried_on,) = job.carries_on_without("node3")
    assert carried_on["lost_s"] < SOON_S
    job.ends_as_if_nothing_had_happened()
    assert "node3 stopped answering" in lab.laptop("status", job.job_id)


@takes_long
def test_a_frozen_node_that_thaws_later_has_nothing_to_say(lab: Plugs) -> None:
    job = lab.training(steps=3 * STEPS)
    lab.freeze("node3").at_step(50)
    (carried_on,) = job.carries_on_without("node3")
    assert carried_on["lost_s"] < SOON_S
    lab.thaw("node3").now()
    job.ends_its_rank_on("node3")
    job.ends_as_if_nothing_had_happened()


def test_a_cable_that_is_in_again_brings_nobody_back(lab: Plugs) -> None:
    """The writer of the metrics is cut off here: rank 0, who was it, is gone before."""
    job = lab.training(steps=(CUT_S + 15) * PER_S)
    lab.kill_rank(0).at_step(30)
    job.carries_on_without("head")
    cut = lab.cut_cable("node1").at_step(60)
    job.carries_on_without("head", "node1")
    time.sleep(max(0.0, cut + CUT_S - time.time()))
    lab.heal_cable("node1").now()
    job.ends_its_rank_on("node1")
    job.ends_as_if_nothing_had_happened()


def test_two_nodes_that_are_switched_off_at_once_are_not_missed(lab: Plugs) -> None:
    job = lab.training()
    lab.power_off("node2", "node3").at_step(50)
    carried_on = job.carries_on_without("node2", "node3")
    assert sum(event["lost_s"] for event in carried_on) < 2 * SOON_S
    job.ends_as_if_nothing_had_happened()


@takes_long
def test_a_loss_while_another_one_is_recovered_from_is_survived(lab: Plugs) -> None:
    job = lab.training(steps=6 * STEPS)
    kill, freeze = lab.kill_rank(1), lab.freeze("node2")
    lab.freeze("node3").at_step(50)
    time.sleep(2)  # the others are about to notice
    kill.now()
    freeze.now()
    job.carries_on_without("node1", "node2", "node3")
    job.ends_as_if_nothing_had_happened()


def test_the_first_node_is_switched_off_while_it_saves(lab: Plugs, first_node: str) -> None:
    """The others go on, until Slurm has noticed that nobody looks after the job any more."""
    job = lab.training(nodes="2-3", steps=GONE_FOR_S * PER_S, ballast_mb=8, every_steps=40)
    job.wait_for_step(60)
    saving = "for _ in $(seq 3000); do ls -d checkpoints/.step-* && exit; sleep 0.01; done"
    assert job.on_head(f"({saving}) 2>/dev/null")
    lab.power_off(first_node).now()
    job.carries_on_without(first_node)
    if not LONG:  # what Slurm finds after a minute or two
        lab.on("head", f"sudo scontrol update nodename={first_node} state=down reason=off").now()
    restarting = job.wait_for("restarting")
    assert restarting["step"] > 60
    job.ends_as_if_nothing_had_happened(attempts=2)


@takes_long
def test_a_damaged_checkpoint_is_passed_over(lab: Plugs) -> None:
    job = lab.training(steps=4 * STEPS, every_steps=20)
    job.wait_for_step(70)
    newest = lab.kill_launcher_and_damage_newest_checkpoint()
    job.ends_as_if_nothing_had_happened(attempts=2)
    (rejected,) = job.events("checkpoint_rejected")
    assert rejected["checkpoint"] == newest
    (resumed,) = job.events("resumed")
    assert resumed["step"] < int(newest.rpartition("-")[2])


def test_a_server_of_files_that_is_away_does_not_even_stop_the_job(lab: Plugs) -> None:
    job = lab.training(steps=(NFS_AWAY_S + 15) * PER_S, every_steps=50)
    job.wait_for_step(50)
    lab.on("head", "sudo systemctl stop nfs-server").now()
    away = time.monotonic()
    took_s = []
    try:
        while time.monotonic() - away < NFS_AWAY_S:
            asked = time.monotonic()
            lab.laptop("status", job.job_id)
            took_s.append(time.monotonic() - asked)
            time.sleep(5)
        job.wait_for_step(job.witness.newest + PER_S)
    finally:
        lab.on("head", "sudo systemctl start nfs-server").now()
    job.ends_as_if_nothing_had_happened()
    assert not job.events("lost")
    print(
        f"status answered in {min(took_s):.2f} to {max(took_s):.2f} s, median {median(took_s):.2f}"
    )
    assert max(took_s) < 2 or not LONG


@takes_long
def test_a_disk_that_is_full_costs_checkpoints_and_nothing_else(lab: Plugs) -> None:
    job = lab.training(steps=4 * STEPS, every_steps=25)
    job.wait_for_step(40)
    filled = "/home/ada/filled"
    fill = f"fallocate -l $(df --output=avail -B1 /home | tail -1) {filled} || true"
    try:
        lab.on("head", f"sudo -u ada sh -c '{fill}'").now()
        job.wait_for("checkpoint_failed")
    finally:
        lab.on("head", f"sudo rm -f {filled}").now()
    job.ends_as_if_nothing_had_happened()


@takes_long
def test_the_daemons_of_slurm_are_killed_again_and_again(lab: Plugs) -> None:
    job = lab.training(steps=(KILLS * 8 + 10) * PER_S)
    job.wait_for_step(20)
    for number in range(KILLS):
        node = ("head", "node1", "node2", "node3")[number % 4]
        lab.on("head", "sudo systemctl kill --signal=KILL slurmctld").now()
        lab.on(node, "sudo systemctl kill --kill-whom=main --signal=KILL slurmd").now()
        time.sleep(1)
    assert job.witness.newest < job.steps, "the job was over before that"
    job.ends_as_if_nothing_had_happened()


@takes_long
def test_a_job_that_reaches_its_time_limit_goes_on_where_it_was(lab: Plugs) -> None:
    job = lab.training("--time-limit", "20s", steps=30 * PER_S)
    assert lab.laptop.try_to("wait", job.job_id).returncode == 124
    assert lab.laptop.record(job.job_id)["state"] == "TIMEOUT"
    job.leaves_nothing_running()
    done = job.witness.newest
    assert done > 100
    lab.laptop("submit", "--resume", job.job_id, "--time-limit", "10m", "--detach")
    assert lab.laptop.try_to("wait", job.job_id).returncode == 0
    (resumed,) = job.events("resumed")
    assert done / 3 < resumed["step"] <= done
    job.trained_undisturbed()


@takes_long
def test_a_head_that_is_switched_off_and_on_has_its_job_started_again(lab: Plugs) -> None:
    job = lab.training(nodes="2-4", every_steps=20)
    lab.power_off("head").at_step(50)
    time.sleep(10)
    lab.room("up", "head")
    job.ends_as_if_nothing_had_happened(attempts=2)


@takes_long
def test_faults_at_random_change_nothing(lab: Plugs) -> None:
    """The fewer ranks are left, the longer a step takes: it pays to take machines back."""
    seed = int(os.environ.get("BEOWULF_SEED") or 7)
    print(f"BEOWULF_SEED={seed}")
    chance = random.Random(seed)
    job = lab.training(nodes="1-4", steps=RANDOM_S * 7, every_steps=100, sample_s=0.004)
    ends = time.monotonic() + RANDOM_S
    while time.monotonic() < ends and not job.events("ended"):
        time.sleep(chance.uniform(5, 40))
        node = chance.choice(("node1", "node2", "node3"))
        what = chance.choice(("kill", "stop", "freeze", "cut", "off", "launcher"))
        print(f"{time.strftime('%T')} step {job.witness.newest}: {what} {node}", flush=True)
        if what in ("kill", "stop"):  # nothing happens where the node still boots
            signal = {"kill": "KILL", "stop": "STOP"}[what]
            lab.room.ssh(node, f"sudo pkill -{signal} --uid ada --full beowulf[.]rank")
        elif what == "launcher":
            lab.room.ssh("head", "sudo pkill -KILL --uid ada prterun")
        elif what == "off":
            lab.power_off(node).now()
            lab.room("power", node, "on")
        else:
            begin, end = {"freeze": (lab.freeze, lab.thaw), "cut": (lab.cut_cable, lab.heal_cable)}[
                what
            ]
            begin(node).now()
            time.sleep(chance.uniform(1, 12))
            end(node).now()
    job.ends_as_if_nothing_had_happened(attempts=None)  # it may grow back after the last fault


@takes_long
def test_machines_that_are_back_are_used_again_where_that_pays(lab: Plugs) -> None:
    job = lab.training(nodes="2-4", steps=1_800, every_steps=100, sample_s=0.01)
    lab.power_off("node2", "node3").at_step(50)
    job.carries_on_without("node2", "node3")
    lab.room("up")
    grown = job.wait_for("growing")
    assert sorted(grown["hosts"]) == ["node2", "node3"]
    job.ends_as_if_nothing_had_happened(attempts=2)
    assert job.events("started")[-1]["ranks"] == len(NODES)


@takes_long
@pytest.mark.usefixtures("first_node")
def test_a_job_that_slurm_has_started_again_grows_back_as_far_as_it_can(lab: Plugs) -> None:
    job = lab.training(nodes="1-3", steps=900, every_steps=50, sample_s=0.01)
    lab.power_off("node1", "node2").at_step(50)
    job.wait_for("restarting")
    lab.room("power", "node1", "on")
    job.wait_for("resumed")
    grown = job.wait_for("growing")
    assert (grown["hosts"], grown["missing"]) == (["node1"], ["node2"])
    job.ends_as_if_nothing_had_happened(attempts=3)
    assert sorted(job.events("started")[-1]["hosts"]) == ["node1", "node3"]


@takes_long
@pytest.mark.timeout(BUSY_S + 1800)
@pytest.mark.usefixtures("overloaded")
def test_ranks_that_are_only_slow_are_never_given_up(lab: Plugs) -> None:
    job = lab.training(steps=MOST_STEPS, busy_s=PAUSE_S)
    ends = time.monotonic() + BUSY_S
    while time.monotonic() < ends:
        assert lab.laptop.record(job.job_id)["state"] == "RUNNING"
        time.sleep(10)
    lab.laptop("cancel", job.job_id)
    story = [event for name in ("lost", "restarting", "carried_on") for event in job.events(name)]
    assert not story
    print(f"{job.trained_undisturbed_so_far()} steps in {BUSY_S} s")
