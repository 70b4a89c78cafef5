"""From fresh machines to a working cluster, and again, and with everything that goes wrong."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING

from tests.conftest import REPOSITORY
from tests.docs.markdown import blocks
from tests.docs.session import Answer, check, commands
from tests.lab.cluster import OPERATIONS, Cluster
from tests.lab.room import NODES, Room

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab.conftest import Built

# How often a run is killed, and how many of these it must have come far enough for. Each takes a
# minute or two.
CUTS, REACHED = (10, 8) if os.environ.get("BEOWULF_LONG") else (3, 2)
SUM_OF_FOUR = "sum 10.0 10.0 over head node1 node2 node3"


def test_site_makes_a_cluster_and_verify_says_that_all_is_well(built: Built) -> None:
    assert built.first.is_green, built.first.output


def test_the_readme_shows_what_site_prints(built: Built) -> None:
    for block in blocks((REPOSITORY / "README.md").read_text(encoding="utf-8")):
        for typed in commands(block) if block.language == "console" else ():
            if "playbooks/site.yml" in typed.command:
                assert typed.command == "ansible-playbook -i inventory/lab playbooks/site.yml"
                check([Answer(typed, built.first.output, built.first.status)])
                return
    raise AssertionError("the README does not say how to make a cluster")


def test_a_second_run_changes_nothing(built: Built) -> None:
    assert built.second.changes == []
    assert built.second.is_green, built.second.output


def test_one_can_look_first_what_would_change_on_bare_machines(built: Built) -> None:
    assert built.check.status == 0, built.check.output
    assert built.check.changed == {"head", "node1"}
    assert "+++" in built.check.output  # what would be in the files


def test_one_can_look_what_would_change_on_the_cluster(built: Built) -> None:
    assert built.check_again.status == 0, built.check_again.output
    assert built.check_again.changes == []


def test_one_node_alone_can_be_mended(cluster: Cluster) -> None:
    cluster.room.on("node3", "sudo rm /etc/hosts")
    play = cluster.play("site", "--limit", "node3")
    assert set(play.recap) == {"node3"}
    assert [change.split(":")[0] for change in play.changes] == ["node3"], play.changes
    assert "node1" in cluster.room.on("node3", "cat /etc/hosts")


def test_a_users_job_sums_over_all_nodes(untouched_cluster: Cluster) -> None:
    told = untouched_cluster.sum_over(4)
    assert told == SUM_OF_FOUR
    assert told in OPERATIONS.read_text(encoding="utf-8")


def test_a_users_file_is_there_on_every_node(untouched_cluster: Cluster) -> None:
    untouched_cluster.as_user("ada", "node1", "echo precious > file && chmod 600 file")
    for node in NODES:
        seen = untouched_cluster.as_user("ada", node, "id -u; stat -c '%U %u' file; cat file")
        assert seen.split() == ["2001", "ada", "2001", "precious"], node
        stranger = untouched_cluster.try_as_user("ben", node, "cat ~ada/file")
        assert stranger.returncode != 0
        assert "Permission denied" in stranger.stderr
    untouched_cluster.as_user("ada", "node2", "rm file")


def test_a_user_gets_from_node_to_node_without_a_question(untouched_cluster: Cluster) -> None:
    for there in ("head", "node2", "10.77.0.12"):
        command = f"ssh -o BatchMode=yes {there} hostname"
        expected = "node2" if there[0] in "n1" else there
        assert untouched_cluster.as_user("ada", "node1", command) == expected


def test_a_machine_that_is_off_is_named_and_the_rest_goes_on(cluster: Cluster) -> None:
    room = cluster.room
    room("power", "node3", "off")
    room.on("node1", "sudo rm /etc/hosts")
    play = cluster.try_to_play("site")
    assert play.status != 0
    assert play.recap["node3"]["unreachable"] == 1
    assert [change.split(":")[0] for change in play.changes] == ["node1"], play.changes
    rows = {
        line.split()[0]: line for line in play.output.splitlines() if "✓" in line or "✗" in line
    }
    assert "✗" in rows["node3"]
    assert [name for name in ("head", "node1", "node2") if "✗" in rows[name]] == []
    # It is still known to the others, by what was measured before.
    assert "node3" in room.on("node1", "cat /etc/hosts")
    assert "node3" in cluster.node_states()
    assert cluster.sum_over(3) == "sum 6.0 6.0 over head node1 node2"

    room("up", "node3")
    play = cluster.play("site")
    assert play.changed <= {"node3"}, play.changes
    assert play.is_green, play.output


def test_a_run_that_is_killed_anywhere_converges_when_it_is_run_again(
    built: Built, lab: Room, tmp_path: Path
) -> None:
    # Two machines do it in a third of the time that four would take.
    two = ("site", "--limit", "head,node1")
    cluster = Cluster(lab)
    cluster.forget_connections()
    tasks = built.second.output.count("\nTASK [")
    seed = random.randrange(2**32)
    chosen = sorted(random.Random(seed).sample(range(2, tasks), CUTS))
    cuts = [cluster.play_until_task(number, tmp_path / f"{number}.log", *two) for number in chosen]
    assert sum(cuts) >= REACHED, f"seed {seed}: too few of {chosen} were reached"
    cluster.play(*two)
    play = cluster.play(*two)
    assert play.changes == [], f"seed {seed}, killed at tasks {chosen}"
    assert [name for name in ("head", "node1") if "✗" in play.rows[name]] == []
    hashes = {cluster.config_hash(name) for name in ("head", "node1")}
    assert len(hashes) == 1
