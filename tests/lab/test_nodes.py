"""A cluster's life: nodes come, go, are rebooted, upgraded and set back."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.lab.room import NODES, wait_for

if TYPE_CHECKING:
    from tests.lab.cluster import Cluster

SLEEP = """\
#!/bin/bash
#SBATCH --job-name=sleep --nodes=1 --nodelist=node1 --time=10 --output=sleep.out
echo begun >> begun; sleep {seconds}; echo whole
"""


def test_a_node_is_removed_and_keeps_no_secret(cluster: Cluster) -> None:
    room = cluster.room
    assert cluster.sum_over(4).startswith("sum 10.0")
    play = cluster.play("remove_node", "-e", "node=node3")
    assert "node3" not in cluster.node_states()
    assert "node3" not in room.on("node1", "cat /etc/hosts /etc/ssh/ssh_known_hosts")
    gone = room.on("node3", "sudo ls /etc/munge; ls /etc/ssh/authorized_keys; mount -t nfs4; true")
    assert "munge.key" not in gone
    assert not re.search(r"\bada\b|\bben\b|/opt/beowulf", gone)
    assert room.ssh("node3", "systemctl is-active slurmd").stdout.strip() == "inactive"
    # What it did is still known.
    nodes = room.on("head", "sudo sacct --allusers --noheader --parsable2 --format NodeList -X")
    assert "node[1-3]" in nodes
    assert cluster.sum_over(3) == "sum 6.0 6.0 over head node1 node2"
    assert "take node3 out of" in play.output


def test_a_node_is_set_back_and_added_again(cluster: Cluster) -> None:
    room = cluster.room
    refused = cluster.try_to_play("reset", "-e", "node=node3", "-e", "reset_confirm=node2")
    assert refused.status != 0
    assert refused.changes == []

    cluster.play("reset", "-e", "node=node3", "-e", "reset_confirm=node3")
    assert "node3" not in cluster.node_states()
    told = room.on("node3", "ss --no-header -ltn; cat /etc/passwd; sudo /usr/sbin/ufw status; true")
    assert not re.search(r":(2049|6818|9100)\b|^ada:|Status: active", told, re.MULTILINE)
    assert set(cluster.node_states()) == {"head", "node1", "node2"}
    again = cluster.play("reset", "-e", "node=node3", "-e", "reset_confirm=node3")
    assert again.changes == []

    # A job that runs meanwhile is not disturbed.
    number = cluster.submit("ada", SLEEP.format(seconds=30))
    cluster.play("add_node", "-e", "node=node3")
    assert cluster.wait_for_job(number) == "COMPLETED"
    cluster.wait_until_idle()
    assert cluster.sum_over(4) == "sum 10.0 10.0 over head node1 node2 node3"
    assert cluster.play("site", "--limit", "node3").changes == []


def test_the_cluster_is_rebooted_while_a_job_runs_and_the_job_is_not_lost(
    cluster: Cluster,
) -> None:
    room = cluster.room
    before = {node: room.on(node, "cat /proc/sys/kernel/random/boot_id") for node in NODES}
    number = cluster.submit("ada", SLEEP.format(seconds=60))
    wait_for(lambda: cluster.job(number)["JobState"] == "RUNNING", f"job {number} runs")
    cluster.play("reboot")
    after = {node: room.on(node, "cat /proc/sys/kernel/random/boot_id") for node in NODES}
    assert [node for node in NODES if before[node] == after[node]] == []
    # The queue itself forgets an ended job after some minutes; the accounts don't.
    state = f"sudo sacct --noheader --parsable2 --allocations --jobs {number} --format State"
    assert room.on("head", state) == "COMPLETED"
    assert cluster.as_user("ada", "head", "cat sleep.out begun").split() == ["whole", "begun"]
    cluster.wait_until_idle()
    assert cluster.sum_over(4) == "sum 10.0 10.0 over head node1 node2 node3"


def test_an_upgrade_installs_what_is_new_and_then_nothing(cluster: Cluster) -> None:
    room = cluster.room
    for node in ("head", "node1"):
        room.on(node, PACKAGE_WITH_AN_UPGRADE)
    play = cluster.play("upgrade")
    assert play.changed >= {"head", "node1"}
    for node in ("head", "node1"):
        assert room.on(node, "dpkg-query --show --showformat '${Version}' closet-test") == "2"
    again = cluster.play("upgrade")
    assert again.changes == []
    cluster.wait_until_idle()
    assert cluster.sum_over(4) == "sum 10.0 10.0 over head node1 node2 node3"


# A package of this test's own in a repository on the node: version 1 installed, 2 waiting.
PACKAGE_WITH_AN_UPGRADE = """
set -eu
make() {
    mkdir -p /tmp/$1/DEBIAN
    printf '%s\\n' 'Package: closet-test' "Version: $1" 'Architecture: all' \\
        'Maintainer: test <test@localhost>' 'Description: nothing' > /tmp/$1/DEBIAN/control
    dpkg-deb --root-owner-group --build /tmp/$1 $2 > /dev/null
}
sudo mkdir -p /srv/repository
make 1 /tmp/1.deb
make 2 /tmp/2.deb
sudo dpkg --install /tmp/1.deb > /dev/null
sudo cp /tmp/2.deb /srv/repository/
size=$(stat --format %s /tmp/2.deb)
sum=$(sha256sum /tmp/2.deb | cut -d ' ' -f 1)
{ cat /tmp/2/DEBIAN/control; printf 'Filename: ./2.deb\\nSize: %s\\nSHA256: %s\\n' $size $sum; } |
    sudo tee /srv/repository/Packages > /dev/null
echo 'deb [trusted=yes] file:/srv/repository ./' |
    sudo tee /etc/apt/sources.list.d/test.list > /dev/null
"""
