"""A rank is lost, and training carries on with the others as if nothing had happened."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.conftest import Beowulf, processes_of_jobs_below
from tests.failure.conftest import Job, job_file, write_script
from tests.failure.test_kill import assert_nothing_runs, kill

Submit = Callable[..., Job]

STEPS = 80
TRAIN = """
import os, signal, sys, time
import numpy as np
from beowulf import train

averaging, plan = sys.argv[1], dict(word.split(":") for word in sys.argv[2:])
inputs = np.random.default_rng(0).normal(size=(512, 20))
answers = inputs @ np.random.default_rng(1).normal(size=20)
weights, momentum, noise = np.zeros(20), np.zeros(20), np.random.default_rng(2)
counted = {"steps": 0}

with train.Run(global_batch=32, averaging=averaging, checkpoint_every_s=None) as run:
    data = run.dataset(lambda: {"inputs": inputs, "answers": answers})
    run.track(weights=weights, momentum=momentum, noise=noise, counted=counted)
    number = os.environ["BEOWULF_RANK"]
    for batch in run.batches(512, steps=STEPS):
        gradient, loss = np.zeros(20), 0.0
        counted["steps"] += 1
        noise.normal()
        for part in batch:
            error = data["inputs"][part] @ weights - data["answers"][part]
            gradient += data["inputs"][part].T @ error
            loss += 0.5 * float(error @ error)
        time.sleep(0.01)
        if plan.get(number) == f"{batch.step}":
            os.kill(os.getpid(), signal.SIGKILL)
        if plan.get(number) == f"{batch.step}frozen":
            os.kill(os.getpid(), signal.SIGSTOP)
        run.average(gradient, loss)
        momentum[:] = 0.9 * momentum + gradient
        weights -= 0.05 * momentum
        if plan.get(number) == f"{batch.step}after":
            os.kill(os.getpid(), signal.SIGKILL)
    run.report(counted=counted["steps"], drawn=noise.normal(), ranks_left=run.world_size)
""".replace("STEPS", str(STEPS))


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """A script some ranks of which kill or freeze themselves: ``1:40`` is rank 1 at step 40."""
    return write_script(tmp_path, TRAIN)


@pytest.fixture(scope="session")
def undisturbed() -> dict[str, list[float]]:
    """The losses of runs in which nobody was lost, by the way to average."""
    return {}


@pytest.fixture
def run(submit: Submit, script: Path, undisturbed: dict[str, list[float]]) -> Callable[..., Job]:
    """Return a function that runs the script and checks that nothing was lost or done twice."""

    def train(averaging: str, *plan: str, ranks: int) -> Job:
        if averaging not in undisturbed:
            alone = submit(script, "--ranks", "2", "--", averaging)
            assert alone.wait_until_over()["state"] == "COMPLETED"
            undisturbed[averaging] = losses_of(alone)
        job = submit(script, "--ranks", str(ranks), "--", averaging, *plan)
        ended = job.wait_until_over()
        assert ended["state"] == "COMPLETED", ended
        assert ended["attempt"] == 1
        tolerance = {"diloco": 1.0, "fp16": 0.01}.get(averaging, 1e-9)
        assert losses_of(job) == pytest.approx(undisturbed[averaging], rel=tolerance, abs=0.01)
        return job

    return train


def losses_of(job: Job) -> list[float]:
    """Return the losses of a job that wrote a line for every step, once, in their order."""
    lines = job.metrics()
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
    return [line["loss"] for line in lines]


def told_by(job: Job, event: str) -> list[dict[str, Any]]:
    lines = map(json.loads, job.directory.events.read_text().splitlines())
    return [line for line in lines if line["event"] == event]


def lost_in(job: Job) -> list[int]:
    return [rank for event in told_by(job, "lost") for rank in event["ranks"]]


@pytest.mark.parametrize(("ranks", "victim"), [(2, 1), (3, 0), (3, 2), (4, 1)])
def test_a_killed_rank_is_not_missed(
    run: Callable[..., Job], ranks: int, victim: int, state_home: Path
) -> None:
    job = run("auto", f"{victim}:40", ranks=ranks)
    assert lost_in(job) == [victim]
    (carried_on,) = told_by(job, "carried_on")
    assert carried_on["step"] == 40
    assert carried_on["ranks"] == [rank for rank in range(ranks) if rank != victim]
    print(f"lost {carried_on['lost_s']} s")
    result = json.loads(job.directory.result.read_text())
    assert (result["counted"], result["ranks_left"], result["world_size"]) == (
        STEPS, ranks - 1, ranks - 1,
    )  # fmt: skip
    metrics = job.metrics()
    shares = metrics[-1]["shares"]
    assert (sum(shares), shares[victim]) == (32, 0)
    assert [line["world_size"] for line in metrics] == [ranks] * 39 + [ranks - 1] * (STEPS - 39)
    assert_nothing_runs(job, state_home)


@pytest.mark.parametrize("step", [1, 41, STEPS])
def test_a_step_after_which_a_rank_is_killed_is_written_down(
    run: Callable[..., Job], step: int
) -> None:
    """After the first and the last step the others compare what they hold, and miss it then."""
    assert lost_in(run("dense", f"1:{step}after", ranks=3)) == [1]


@pytest.mark.parametrize("averaging", ["dense", "naive", "weighted", "fp16", "powersgd", "diloco"])
def test_every_way_to_average_carries_on(run: Callable[..., Job], averaging: str) -> None:
    assert lost_in(run(averaging, "1:45", ranks=3)) == [1]


def test_a_frozen_rank_is_cut_off(run: Callable[..., Job], state_home: Path) -> None:
    job = run("auto", "1:40frozen", ranks=3)
    assert lost_in(job) == [1]
    assert_nothing_runs(job, state_home)


@pytest.mark.parametrize("plan", [("1:40", "2:40"), ("0:30", "1:50", "3:60"), ("3:40", "0:41")])
def test_losses_upon_losses_are_survived(run: Callable[..., Job], plan: Sequence[str]) -> None:
    job = run("auto", *plan, ranks=4)
    assert sorted(lost_in(job)) == sorted(int(word[0]) for word in plan)


def test_a_loss_is_told_though_who_was_to_tell_it_is_lost_then(
    submit: Submit, tmp_path: Path, run: Callable[..., Job], undisturbed: dict[str, list[float]]
) -> None:
    run("auto", ranks=2)
    dying = TRAIN.replace(
        "averaging, plan =",
        """from beowulf.train.ledger import Ledger

tell = Ledger.tell

def tell_of_no_loss(ledger, event, **said):
    if event == "lost" and os.environ["BEOWULF_RANK"] == "0":
        os.kill(os.getpid(), signal.SIGKILL)
    tell(ledger, event, **said)

Ledger.tell = tell_of_no_loss
averaging, plan =""",
    )
    job = submit(write_script(tmp_path, dying), "--ranks", "4", "--", "auto", "2:40")
    assert job.wait_until_over()["state"] == "COMPLETED"
    assert losses_of(job) == pytest.approx(undisturbed["auto"], rel=1e-9)
    assert sorted(lost_in(job)) == [0, 2]


def test_ranks_killed_at_any_moment_leave_the_same_losses(
    submit: Submit, tmp_path: Path, run: Callable[..., Job], undisturbed: dict[str, list[float]]
) -> None:
    run("auto", ranks=2)
    chance = random.Random(7)
    for number in range(3):
        struck = tmp_path / f"struck{number}"  # so that no job is over before, however slow we are
        held = TRAIN.replace(
            "time.sleep(0.01)",
            "time.sleep(0.02)\n"
            f"        while batch.step == 70 and not os.path.exists({str(struck)!r}):\n"
            "            time.sleep(0.01)",
        )
        job = submit(write_script(tmp_path, held), "--ranks", "4", "--", "auto")
        pids = {beat.rank: beat.pid for beat in job.wait_for_training(10)}
        victims = chance.sample(range(4), 2)
        for rank in victims:
            time.sleep(chance.uniform(0.0, 0.3))
            kill(pids[rank])
        struck.touch()
        ended = job.wait_until_over()
        assert ended["state"] == "COMPLETED", ended
        assert losses_of(job) == pytest.approx(undisturbed["auto"], rel=1e-9)
        assert sorted(lost_in(job)) == sorted(victims)


LISTEN = """
import os, signal, time
import numpy as np
from mpi4py import MPI

comm, heard = MPI.COMM_WORLD.Dup(), np.zeros(3, dtype=np.int32)
if comm.rank == {victim}:
    time.sleep(0.5)  # the others are listening by then
    os.kill(os.getpid(), signal.SIGKILL)
try:
    comm.Allgatherv(np.array([comm.rank + 1], dtype=np.int32), heard)
    told = str(heard.tolist())
except MPI.Exception:
    comm.Revoke()
    told = "of a loss"
with open(f"told-{comm.rank}", "w") as file:
    file.write(told)
"""


@pytest.mark.parametrize("victim", range(3))
def test_open_mpi_tells_of_a_rank_that_is_lost_before_it_has_spoken(
    submit: Submit, tmp_path: Path, victim: int
) -> None:
    """By itself it told nothing if it was the first, and left memory as it was for its word."""
    script = write_script(tmp_path, LISTEN.replace("{victim}", f"{victim}"))
    job = submit(job_file(script, ranks=3, retries=0))
    assert job.wait_until_over()["state"] == "FAILED"
    told = [job.directory.code / f"told-{rank}" for rank in range(3) if rank != victim]
    assert [path.read_text() for path in told] == ["of a loss"] * 2


def test_a_rank_that_wakes_up_later_writes_nothing(
    submit: Submit, tmp_path: Path, beowulf: Beowulf, state_home: Path
) -> None:
    script = write_script(tmp_path, TRAIN.replace(f"steps={STEPS}", "steps=4000"))
    job = submit(script, "--ranks", "3", "--", "auto")
    frozen = psutil.Process(job.wait_for_training(10)[0].pid)
    watcher = psutil.Process(frozen.ppid())
    watcher.suspend()  # as on a machine that is frozen as a whole
    frozen.suspend()
    try:
        job.wait_until(lambda: told_by(job, "carried_on"))
    finally:
        frozen.resume()
        watcher.resume()
    job.wait_until(lambda: not watcher.is_running() or watcher.status() == psutil.STATUS_ZOMBIE)
    before = len(job.metrics())
    job.wait_until(lambda: len(job.metrics()) > before + 50)
    assert beowulf("cancel", job.id).returncode == 0
    steps = [line["step"] for line in job.metrics()]
    assert steps == list(range(1, len(steps) + 1))
    assert lost_in(job) == [0]
    assert_nothing_runs(job, state_home)


def test_a_script_that_fails_on_one_rank_is_not_carried_on_without_it(
    submit: Submit, tmp_path: Path, state_home: Path
) -> None:
    broken = TRAIN.replace("time.sleep(0.01)", "assert batch.step < 30 or run.rank != 1")
    job = submit(write_script(tmp_path, broken), "--ranks", "3", "--", "auto")
    ended = job.wait_until_over()
    assert ended["state"] == "FAILED"
    assert "rank 1" in ended["reason"]
    assert "AssertionError" in ended["reason"]
    assert len(job.metrics()) < STEPS
    assert not processes_of_jobs_below(state_home)


TORCH = """
import os, signal, sys, time
import torch
from beowulf import train

torch.manual_seed(0)
inputs, answers = torch.randn(256, 8), torch.randint(0, 3, (256,))
model = torch.nn.Sequential(
    torch.nn.Linear(8, 16), torch.nn.LayerNorm(16), torch.nn.ReLU(), torch.nn.Linear(16, 3)
)
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
schedule = torch.optim.lr_scheduler.StepLR(optimizer, 10)
with train.Run(global_batch=32, checkpoint_every_s=None) as run:
    run.track(model=model, optimizer=optimizer, schedule=schedule)
    for batch in run.batches(256, steps=STEPS):
        optimizer.zero_grad()
        loss = torch.zeros(())
        for part in batch:
            part = torch.from_numpy(part)
            said = model(inputs[part])
            mine = torch.nn.functional.cross_entropy(said, answers[part], reduction="sum")
            mine.backward()
            loss += mine.detach()
        time.sleep(0.01)
        if sys.argv[1:] == [f"{batch.step}"] and os.environ["BEOWULF_RANK"] == "1":
            os.kill(os.getpid(), signal.SIGKILL)
        run.average(model, loss)
        optimizer.step()
        schedule.step()
    run.report(rate=schedule.get_last_lr()[0])
""".replace("STEPS", str(STEPS))


def test_modules_optimizers_and_schedules_carry_on(submit: Submit, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    script = write_script(tmp_path, TORCH)
    whole, torn = (submit(script, "--ranks", "3", "--", *plan) for plan in ([], ["33"]))
    for job in (whole, torn):
        assert job.wait_until_over()["state"] == "COMPLETED"
    assert lost_in(torn) == [1]
    assert losses_of(torn) == pytest.approx(losses_of(whole), rel=1e-4)
    rates = [json.loads(job.directory.result.read_text())["rate"] for job in (whole, torn)]
    assert rates[0] == rates[1]
