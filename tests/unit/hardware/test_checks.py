"""What is wrong with a head and its nodes, from what a real one told, and from that made wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beowulf import __version__
from beowulf.errors import CommandFailed
from beowulf.hardware.checks import ask_facts, free_nodes, judge, parse_facts
from beowulf.hardware.findings import Finding
from beowulf.transport.fake import Answer, FakeConnection
from tests.unit.hardware.recorded import DRAINING, FACTS

CLOCK_S = float(FACTS.partition("|")[2].partition("\n")[0])
WELL = FACTS.replace("beowulf|0.1.0", f"beowulf|{__version__}")


def judged(told: str, early_s: float = 0.1, late_s: float = 0.1) -> list[Finding]:
    return judge(parse_facts(told, CLOCK_S - early_s, CLOCK_S + late_s))


def faults(told: str) -> list[Finding]:
    return [finding for finding in judged(told) if finding.is_good is False]


def test_a_cluster_that_is_well_has_no_faults() -> None:
    assert faults(WELL) == []
    words = [finding.words for finding in judged(WELL)]
    assert "its queue all is open, with 4 nodes" in words
    assert "node3 is free" in words


@pytest.mark.parametrize(
    ("right", "wrong", "subject", "words", "remedy"),
    [
        (f"beowulf|{__version__}", "beowulf|9.9", "version", "9.9 on the cluster", "pip install"),
        (f"beowulf|{__version__}", "beowulf|*", "version", "not installed", "site.yml"),
        ("home_writable|yes", "home_writable|Disk quota exceeded", "home", "quota", "delete"),
        ("home_shared|/opt/beowulf /home", "home_shared|/opt/beowulf", "share", "not shared",
         "site.yml"),
        ("home_room_mb|6176", "home_room_mb|12", "room", "12 MB only", "delete"),
        ("partition|all*|up", "partition|all*|drain", "queue", "queue all is closed", "state=up"),
        ("partition|all*|up|4\n", "", "queue", "no queue", "site.yml"),
    ],
)  # fmt: skip
def test_a_fault_is_named_with_a_remedy(
    right: str, wrong: str, subject: str, words: str, remedy: str
) -> None:
    assert right in WELL
    (fault,) = faults(WELL.replace(right, wrong))
    assert fault.subject == subject
    assert words in fault.words
    assert remedy in fault.remedy


def test_a_home_that_is_mounted_over_nfs_is_shared() -> None:
    told = WELL.replace("home_type|ext2/ext3", "home_type|nfs").replace("/opt/beowulf /home", "")
    assert faults(told) == []


def test_a_clock_may_differ_by_as_much_as_the_answer_took() -> None:
    assert not any(f.subject == "clock" and not f.is_good for f in judged(WELL, 40, 0.1))
    (fault,) = [f for f in judged(WELL, 40, -30) if f.is_good is False]
    assert fault.words == "the clocks here and on the head are 30 s apart"


def test_a_drained_node_is_a_fault_with_its_reason() -> None:
    told = WELL.partition("@@nodes\n")[0] + "@@nodes\n" + DRAINING
    (fault,) = faults(told)
    assert fault.subject == "node3"
    assert "(disk is dying)" in fault.words
    assert "name=node3 state=resume" in fault.remedy


def test_a_node_in_a_state_never_seen_is_a_fault_in_slurm_s_word() -> None:
    (fault,) = faults(WELL.replace("State=IDLE", "State=SINGING", 1))
    assert fault.words.startswith("head has been singing")


def test_a_controller_that_is_away_is_one_fault_and_the_rest_is_told() -> None:
    told = WELL.partition("partition|")[0]
    said = "slurm_load_partitions: Unable to contact slurm controller (connect failure)"
    (fault,) = faults(f"{told}slurm|1 {said}\n")
    assert fault.subject == "slurm"
    assert "systemctl status slurmctld" in fault.remedy


def test_an_account_without_a_shell_is_one_line() -> None:
    answer = Answer(b"This account is currently not available.\n", status=1)
    with pytest.raises(CommandFailed, match="ada@head: no shell answers there: This account"):
        ask_facts(FakeConnection([answer]))


def test_what_a_person_s_shell_prints_before_is_passed_over() -> None:
    facts = ask_facts(FakeConnection([Answer(f"Welcome!\n{WELL}".encode())]))
    assert len(facts.nodes) == 4
    assert facts.values["home"] == "/home/ada"


def test_facts_are_asked_for_in_one_round_trip() -> None:
    connection = FakeConnection([Answer(WELL.encode())])
    facts = ask_facts(connection)
    assert len(connection.calls) == 1
    assert facts.asked_s <= facts.told_s
    assert free_nodes(facts.nodes) == ["head", "node1", "node2", "node3"]


@given(st.text())
def test_garbage_is_survived(text: str) -> None:
    assert all(finding.words for finding in judged(text))
    assert all(finding.words for finding in judged(f"{WELL}{text}"))


@given(st.sampled_from(["clock", "beowulf", "home_room_mb", "partition", "slurm"]), st.text())
def test_garbage_in_a_fact_is_survived(key: str, text: str) -> None:
    assert all(finding.words.isprintable() for finding in judged(f"{key}|{text}\n"))
