"""What a drill says before and after, and what it does not begin without being asked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from beowulf.cli.drill import progress, report, warning
from beowulf.job.drill import Plug
from beowulf.job.events import record_event
from beowulf.job.heartbeat import Heartbeat
from beowulf.job.lock import take_lock
from beowulf.job.recovery import Recovery
from tests.conftest import Beowulf
from tests.unit.cli.conftest import assert_refused
from tests.unit.cli.test_listings import make_job

PLUG = Plug("7", 1, "kill", "node3", (3,), (103,), 3, 412, 400, 18.25)
CARRIED_ON = Recovery(3.9, 4.25, 3, 412, 4.1, steps=8, steps_per_s=13.5)


def test_before_it_says_what_it_does_and_what_to_expect() -> None:
    assert warning(PLUG) == [
        "about to kill -9 rank 3 on node3, of job 7, at step 412",
        (
            "the other 3 ranks should carry on; if not, it is started again from its checkpoint "
            "after step 400"
        ),
    ]
    frozen = warning(replace(PLUG, what="freeze", ranks=(2, 3), left=1, step=None))
    assert frozen[0] == "about to freeze ranks 2, 3 on node3, of job 7"
    assert frozen[1].startswith("the other rank should carry on")
    assert frozen[2].startswith("what is frozen is ended")
    cut = warning(replace(PLUG, what="cut"))[0]
    assert cut == "about to freeze all that the job has on node3 (rank 3), of job 7, at step 412"


def test_where_nobody_is_left_it_says_so() -> None:
    alone = replace(PLUG, left=0, checkpoint_step=None)
    assert warning(alone)[1] == (
        "no rank is left then, so it is started again from the beginning: it has no checkpoint yet"
    )


def test_after_it_says_what_was_measured() -> None:
    assert report(PLUG, CARRIED_ON) == [
        ("noticed after", "3.9 s"),
        ("carried on after", "4.2 s, with 3 ranks"),
        ("step redone", "412, lost 4.1 s"),
        ("steps per second", "18.25 before, 13.5 after"),
    ]


def test_after_a_restart_too() -> None:
    found = Recovery(0.02, restarting_s=1, restarted_s=31.04, from_step=400, attempt=2)
    assert report(PLUG, found) == [
        ("noticed after", "0.020 s"),
        ("started again", "after 31.0 s, from the checkpoint after step 400 (attempt 2)"),
    ]
    assert "from the beginning" in report(PLUG, replace(found, from_step=None))[1][1]


def test_without_a_recovery_it_says_what_became_of_the_job() -> None:
    failed = Recovery(state="FAILED", reason="rank 3 was killed")
    assert report(PLUG, failed) == [("no recovery", "the job is FAILED: rank 3 was killed")]
    assert report(PLUG, Recovery())[0][1] == "nothing was seen of it in time"


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (Recovery(), "pulled; nobody has noticed yet"),
        (Recovery(noticed_s=1), "the loss was noticed"),
        (Recovery(noticed_s=1, restarting_s=2), "it is being started again"),
        (CARRIED_ON, "it trains again; measuring how fast"),
        (Recovery(state="FAILED"), "the job is FAILED"),
    ],
)
def test_while_it_waits_it_says_for_what(found: Recovery, words: str) -> None:
    assert progress(found) == words


def test_nothing_is_pulled_unasked(beowulf: Beowulf, state_home: Path) -> None:
    job = make_job(state_home, 1)
    assert_refused(beowulf("drill", "1", "--yes"), "job 1 is FAILED", state=None)
    lock = take_lock(job)
    assert lock is not None
    record_event(job, "started", attempt=1, ranks=1)
    record_event(job, "running")
    job.heartbeats.mkdir()
    Heartbeat(0, 1, host="laptop", pid=1).write(job)
    for words in ((), ("--json",)):
        assert_refused(beowulf("drill", *words), "--yes", "nobody is there to be asked", state=None)
    assert_refused(beowulf("drill", "--cut", "--yes"), "no node but this computer", state=None)
    assert_refused(beowulf("drill", "--rank", "0", "--node", "x", "--yes"), "--node", state=None)
    # Whatever has the number that the rank had is left alone: it is not of this job.
    assert_refused(beowulf("drill", "--yes"), "rank 0 is gone already", status=1, state=None)
    assert "drill" not in job.events.read_text()
