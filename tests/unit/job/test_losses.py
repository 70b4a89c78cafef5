"""Which nodes were lost and how long they served, from stories and from Slurm's accounts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from beowulf.job.losses import QUESTION, lost_in, outages, served_in

BEGIN = datetime(2026, 11, 25, 12, 0, tzinfo=UTC).timestamp()
NODES = ["head", "node1", "node2"]


def event(name: str, second: float, **details: Any) -> dict[str, Any]:
    time = datetime.fromtimestamp(BEGIN + second, UTC).isoformat(timespec="milliseconds")
    return {"time": time, "event": name, **details}


def lost(*events: dict[str, Any]) -> list[tuple[str, float]]:
    return [(host, moment - BEGIN) for host, moment in lost_in(events)]


def served(*events: dict[str, Any], seen: float = 0) -> list[tuple[str, float, float]]:
    found = served_in(events, BEGIN + seen)
    return sorted((host, begin - BEGIN, end - BEGIN) for host, begin, end in found)


STARTED = event("started", 10, ranks=3, hosts=NODES)


def test_a_job_s_losses_are_those_of_its_nodes() -> None:
    assert lost(STARTED, event("lost", 50, hosts=["node2", "node2"], ranks=[2, 3])) == [
        ("node2", 50)
    ]


def test_who_is_left_out_of_a_restart_was_lost_once_however_often_it_is_named() -> None:
    assert lost(
        event("restarting", 60, left_out=["node1"]),
        event("restarting", 90, left_out=["node1", "node2"]),
    ) == [("node1", 60), ("node2", 90)]


def test_a_drill_is_no_loss() -> None:
    drill = event("drill", 40, what="kill", rank=2, host="node2")
    assert lost(STARTED, drill, event("lost", 41, hosts=["node2"])) == []
    assert lost(STARTED, drill, event("lost", 41, hosts=["node1"])) == [("node1", 41)]
    assert lost(STARTED, drill, event("lost", 900, hosts=["node2"])) == [("node2", 900)]


def test_nodes_serve_from_the_start_until_they_are_lost_or_the_job_ends() -> None:
    story = [STARTED, event("lost", 50, hosts=["node2"]), event("ended", 100)]
    assert served(*story) == [("head", 10, 100), ("node1", 10, 100), ("node2", 10, 50)]


def test_of_a_job_that_runs_or_was_cut_off_the_last_sign_of_life_counts() -> None:
    assert served(STARTED, seen=70)[0] == ("head", 10, 70)
    assert served(STARTED, event("running", 12))[0] == ("head", 10, 12)


def test_each_attempt_is_served_for_itself() -> None:
    again = event("started", 200, hosts=["head"])
    story = [STARTED, event("restarting", 100), again, event("ended", 300)]
    assert served(*story)[:2] == [("head", 10, 100), ("head", 200, 300)]


def test_what_is_no_node_or_no_time_is_passed_over() -> None:
    assert lost(
        {"event": "lost", "hosts": ["node1"]},
        {"event": "lost", "time": "soon", "hosts": ["node1"]},
        {"event": 7, "time": STARTED["time"], "hosts": ["node1"]},
        event("lost", 1, hosts="node1"),
        event("lost", 1, hosts=["", "-x", "a b", "node1,node2", "a" * 300, None, {}]),
    ) == [("None", 1)]


TOLD = """\
node1|2026-11-25T11:00:00|2026-11-25T11:20:00|DOWN*|Not responding
node1|2026-11-25T09:00:00|2026-11-25T11:59:00|DOWN*|Not responding
node2|2026-11-25T11:30:00|Unknown|DOWN|Node unexpectedly rebooted
node2|2026-11-25T08:30:00|Unknown|DOWN*|Not responding
node3|2026-11-25T11:00:00|2026-11-25T11:20:00|DRAIN|Not responding
node3|2026-11-25T11:00:00|2026-11-25T11:20:00|DOWN|beowulf maintenance: reboot
|2026-11-25T11:00:00|Unknown||Cluster registered TRES
node4|soon|Unknown|DOWN*|Not responding
node5|2026-11-25T11:00:00|2026-11-25T11:20:00|DOWN*|Not responding|and more
no line at all
"""


def test_slurm_tells_who_went_away_by_itself_and_came_back() -> None:
    found = [(node, moment - BEGIN) for node, moment in outages(TOLD, BEGIN, UTC)]
    assert found == [("node1", -3600), ("node2", -1800), ("node5", -3600)]


def test_slurm_is_asked_for_what_counts_and_changes_nothing() -> None:
    assert "--readonly" in QUESTION
    assert "start=now-28days" in QUESTION
