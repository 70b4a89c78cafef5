"""A fault on one node is named, and the others keep working."""

from __future__ import annotations

import re
import time

from tests.lab.cluster import Cluster
from tests.lab.room import NODES, wait_for

MINUTE_S = 60

SLEEP = """\
#!/bin/bash
#SBATCH --job-name=sleep --nodes=1 --nodelist=node2 --time=10 --output=sleep.out
for second in $(seq 60); do sleep 1; echo $second; done
"""


def test_a_wrong_key_a_wrong_clock_and_a_full_disk_are_named_by_node(cluster: Cluster) -> None:
    room = cluster.room
    key = room.on("head", "sudo base64 --wrap=0 /etc/munge/munge.key")
    room.on(
        "node1",
        "sudo cp --preserve=all /etc/munge/munge.key /root/munge.key"
        " && sudo dd if=/dev/urandom of=/etc/munge/munge.key bs=128 count=1 status=none"
        " && sudo systemctl restart munge",
    )
    room.on("node2", "sudo systemctl stop chrony && sudo date --set '10 minutes ago'")
    room.on("node3", "sudo fallocate --length $(df --output=avail -B1 / | tail -1) /filled || true")

    play = cluster.try_to_play("verify")
    assert play.status != 0
    for node, fault in (("node1", "munge|key"), ("node2", "clock|time"), ("node3", "disk|full")):
        assert "✗" in play.rows[node], play.output
        told = [line for line in play.output.splitlines() if node in line]
        assert re.search(fault, "\n".join(told), re.IGNORECASE), (node, play.output)
    assert "✗" not in play.rows["head"], play.output
    assert key not in play.output

    # The queue keeps the sick nodes out by itself, and goes on with the others.
    def out_of_work() -> bool:
        states = cluster.node_states()
        return all(states[node].startswith(("drain", "down")) for node in NODES if node != "head")

    wait_for(out_of_work, "the three nodes are out of work")
    assert cluster.sum_over(1) == "sum 1.0 1.0 over head"
    reason = room.on("head", "sinfo --Node --noheader --nodes node3 --format %E")
    assert reason.startswith("beowulf: ")
    assert "disk" in reason

    # Those that are well again are taken in without a human.
    room.on("node1", "sudo mv /root/munge.key /etc/munge/ && sudo systemctl restart munge")
    room.on("node2", "sudo systemctl start chrony")
    room.on("node3", "sudo rm /filled")

    def at_work() -> bool:
        return set(cluster.node_states().values()) == {"idle"}

    wait_for(at_work, "all are idle again", 3 * MINUTE_S)
    assert cluster.sum_over(4) == "sum 10.0 10.0 over head node1 node2 node3"


def test_the_head_comes_back_by_itself_in_the_middle_of_a_job(cluster: Cluster) -> None:
    room = cluster.room
    number = cluster.submit("ada", SLEEP)
    wait_for(lambda: cluster.job(number)["JobState"] == "RUNNING", f"job {number} runs")
    room("power", "head", "off")
    # Slurm has not written down yet that the job runs, and starts it once more; the node is slow
    # to end the first.
    step = room.on("node2", rf"pgrep --full 'slurmstepd: \[{number}.batch\]'")
    room.on("node2", f"sudo kill -STOP {step}")
    room("power", "head", "on")
    back = time.monotonic()

    def answers(command: str) -> bool:
        return room.ssh("head", command).returncode == 0

    left = 3 * MINUTE_S
    wait_for(lambda: answers("squeue"), "the queue is back", left)
    in_time = time.monotonic() + 20  # Slurm may have written it down after all
    wait_for(
        lambda: cluster.job(number)["Restarts"] == "1" or time.monotonic() > in_time,
        "the job is put back",
    )
    room.on("node2", f"sudo kill -CONT {step}")
    wait_for(lambda: answers("sacctmgr --noheader show cluster"), "accounting is back", left)
    wait_for(
        lambda: cluster.try_as_user("ada", "node1", "echo 1 > back").returncode == 0,
        "ada's files are back", left,
    )  # fmt: skip

    def all_well() -> bool:
        states = set(cluster.node_states().values())
        return states <= {"idle", "allocated", "mixed"}

    wait_for(all_well, "the nodes are idle or at work", left)
    took_s = time.monotonic() - back
    assert took_s < 3 * MINUTE_S
    assert cluster.wait_for_job(number) == "COMPLETED"
    lines = cluster.as_user("ada", "head", "cat sleep.out").split()
    assert lines == [str(second) for second in range(1, 61)]
