"""PyTorch modules: their gradients lie in buckets and travel early, whatever a script does."""

from __future__ import annotations

import functools
import tracemalloc
from typing import Any

import numpy as np
import pytest
from mpi4py import MPI

from beowulf.errors import TrainingError
from tests.mpi.launch import on_ranks

torch = pytest.importorskip("torch", reason="PyTorch, the optional extra, is not installed")

RANKS = [1, 2, 3, 4]
pytestmark = pytest.mark.torch
WIDTH, SAMPLES, BATCH, STEPS = 510, 40, 10, 6  # a layer is 1.04 MB: a bucket of its own


def check_gradients() -> None:
    """bfloat16 is the trap: Open MPI would add it up as bytes without a word."""
    for dtype in ("float32", "float64", "bfloat16", "float16"):
        check_gradients_of(dtype, "dense")
    check_gradients_of("float32", "naive")
    check_gradients_of("bfloat16", "naive")


def check_gradients_of(dtype: str, strategy: str) -> None:
    from beowulf.train.strategy import averaging_named

    comm = MPI.COMM_WORLD
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Linear(2, 1))
    module = module.to(getattr(torch, dtype))
    module[1].bias.requires_grad = False
    for number, parameter in enumerate(module.parameters()):
        if parameter.requires_grad and not (comm.rank == 1 and number == 0):
            parameter.grad = torch.full_like(parameter, 2.0**number * (comm.rank + 1))
    held = [parameter.grad for parameter in module.parameters()]
    averaging = averaging_named(strategy, comm)
    averaging.begin(4, 1)
    told = averaging.average(module, float(comm.rank), 0.0)
    ranks = range(1, comm.size + 1)
    for number, parameter in enumerate(module.parameters()):
        if not parameter.requires_grad:
            assert parameter.grad is None
            continue
        # Rank 1 had no gradient for the first parameter: an empty share counts as zeros.
        total = sum(n for n in ranks if not (n == 2 and number == 0))
        expected = torch.full_like(parameter, 2.0**number * total / 4)
        assert torch.equal(parameter.grad, expected)
        assert parameter.grad.dtype == getattr(torch, dtype)
        assert held[number] is None or held[number] is parameter.grad
    assert told.loss_sum == sum(range(comm.size))
    averaging.close(wait=True)


def check_training() -> None:
    """Four ranks, one of them idle, learn what one process learns, with Adam in step."""
    from beowulf.train import Run
    from beowulf.train.batches import Schedule

    def squares(model: Any, part: Any) -> Any:
        return ((model(x[part]) - y[part]) ** 2).sum()

    comm = MPI.COMM_WORLD
    x = torch.linspace(-1, 1, 40).unsqueeze(1)
    y = 2 * x - 1
    torch.manual_seed(0)
    alone = torch.nn.Linear(1, 1)
    adam = torch.optim.Adam(alone.parameters(), lr=0.1)
    for _, _, indices in Schedule(40, 10, 0).global_batches(0, 30):
        adam.zero_grad()
        (squares(alone, indices) / 10).backward()
        adam.step()
    torch.manual_seed(comm.rank)  # different on purpose: rank 0's start must win
    with Run(global_batch=10, shares=[3, 1, 0, 2][: comm.size]) as run:
        model = torch.nn.Linear(1, 1)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
        run.track(model=model, optimizer=optimizer)
        for batch in run.batches(len(x), steps=30):
            optimizer.zero_grad()
            loss = torch.zeros(())
            for part in batch:
                loss = loss + squares(model, part)
            if loss.requires_grad:
                loss.backward()
            run.average(model, loss)
            optimizer.step()
    learned = (model.weight.item(), model.bias.item())
    np.testing.assert_allclose(learned, (alone.weight.item(), alone.bias.item()), rtol=1e-4)
    assert len(set(comm.allgather(learned))) == 1


class Model(torch.nn.Module):  # type: ignore[misc, name-defined]  # importorskip gives no types
    """Layers of a bucket each; one used twice, one in every second step, one never, one frozen."""

    def __init__(self, dtype: Any) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.first = torch.nn.Linear(5, WIDTH)
        self.shared = torch.nn.Linear(WIDTH, WIDTH)
        self.sometimes = torch.nn.Linear(WIDTH, WIDTH)
        self.never = torch.nn.Linear(3, 3)
        self.late = torch.nn.Linear(WIDTH, WIDTH)
        self.last = torch.nn.Linear(WIDTH, 1)
        self.late.requires_grad_(False)
        self.to(dtype)

    def forward(self, x: Any, *, also: bool) -> Any:
        x = torch.tanh(self.first(x))
        x = torch.tanh(self.shared(torch.tanh(self.shared(x))))
        if also:
            x = x + self.sometimes(x)
        return self.last(torch.tanh(self.late(x))).squeeze(1)


def data(dtype: Any) -> tuple[Any, Any]:
    generator = torch.Generator().manual_seed(7)
    x = torch.randn(SAMPLES, 5, generator=generator)
    return x.to(dtype), torch.sin(3 * x.sum(dim=1)).to(dtype)


def add_gradients(model: Any, part: Any, step: int, backwards: int) -> float:
    """Call backward, perhaps for each half of the loss by itself; return the loss."""
    x, y = data(next(model.parameters()).dtype)
    total = 0.0
    for _ in range(backwards):
        error = model(x[part], also=step % 2 == 0) - y[part]
        loss = (error**2).sum() / backwards
        loss.backward()
        total += loss.item()
    return total


def one_process(dtype: Any, backwards: int, set_to_none: bool) -> tuple[Any, list[float]]:
    """Train in plain PyTorch: what every split must equal."""
    from beowulf.train.batches import Schedule

    model, losses = Model(dtype), []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    for step, _, indices in Schedule(SAMPLES, BATCH, 0).global_batches(0, STEPS):
        if step == 4:
            model.late.requires_grad_(True)
        optimizer.zero_grad(set_to_none)
        losses.append(add_gradients(model, indices, step, backwards) / len(indices))
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.grad /= len(indices)
        optimizer.step()
    return model, losses


def check_every_habit_gives_what_one_process_gives() -> None:
    size = MPI.COMM_WORLD.size
    one = functools.cache(one_process)
    options: list[dict[str, Any]] = [
        {"overlap": True, "shares": [3, 1, 0, 2][:size]},
        {"overlap": True, "micro_batch": 2, "set_to_none": False, "dtype": torch.float64},
        {"overlap": True, "backwards": 2},
        {"overlap": True, "dtype": torch.bfloat16},
        {"overlap": False, "shares": [1, 0, 5, 2][:size]},
        {"averaging": "naive"},
    ]
    for chosen in options:
        dtype, backwards = chosen.pop("dtype", torch.float32), chosen.pop("backwards", 1)
        set_to_none = chosen.pop("set_to_none", True)
        model, losses = train(dtype, backwards, set_to_none, chosen)
        plain, plain_losses = one(dtype, backwards, set_to_none)
        rough = 3e-2 if dtype == torch.bfloat16 else 1e-5
        np.testing.assert_allclose(losses, plain_losses, rtol=rough)
        for mine, other in zip(model.parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(mine, other, rtol=rough, atol=rough)


def train(
    dtype: Any, backwards: int, set_to_none: bool, chosen: dict[str, Any]
) -> tuple[Any, list[float]]:
    from beowulf.train import Run

    with Run(global_batch=BATCH, checkpoint_every_s=None, **chosen) as run:
        model, losses = Model(dtype), []
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
        run.track(model=model, optimizer=optimizer)
        for batch in run.batches(SAMPLES, steps=STEPS):
            if batch.step == 5:  # the set of parameters changes
                model.late.requires_grad_(True)
            optimizer.zero_grad(set_to_none=set_to_none)
            loss = 0.0
            for part in batch:
                loss += add_gradients(model, part, batch.step - 1, backwards)
            losses.append(run.average(model, loss))
            optimizer.step()
        bits = [p.detach().view(torch.uint8).numpy().tobytes() for p in model.parameters()]
        assert run.comm.bcast(bits) == bits
    return model, losses


def check_changes_before_average() -> None:
    """A script that scales its gradients before the average is noticed, and not overtaken."""
    from beowulf.train.dense import Dense
    from beowulf.train.exchange import Plain

    comm = MPI.COMM_WORLD
    for change in ("in place", "behind PyTorch's back", "another tensor"):
        said: list[str] = []
        dense = Dense(comm, Plain(), overlap=True, say=said.append)
        module = torch.nn.Sequential(torch.nn.Linear(WIDTH, WIDTH), torch.nn.Linear(WIDTH, WIDTH))
        for step in range(4):
            module.zero_grad()
            dense.begin(comm.size, 1)
            dense.step.is_last_part = True
            module(torch.ones(1, WIDTH)).sum().backward()
            for parameter in module.parameters():
                if change == "in place":
                    parameter.grad *= 3
                elif change == "another tensor":
                    parameter.grad = parameter.grad * 3
                else:
                    parameter.grad.data.mul_(3)
            dense.average(module, 0.0, 0.0)
            assert module[1].bias.grad[0].item() == 3.0, (change, step)
        assert len(said) == (comm.size > 1)
        dense.close(wait=True)


def check_late_changes_are_refused() -> None:
    """What has left must not change any more; where the habit is new, that is an error."""
    from beowulf.train.dense import Dense
    from beowulf.train.exchange import Plain

    comm = MPI.COMM_WORLD
    if comm.size == 1:
        return
    for change in ("backward was called once more", "the script changed it"):
        dense = Dense(comm, Plain(), overlap=True)
        module = torch.nn.Sequential(torch.nn.Linear(WIDTH, WIDTH), torch.nn.Linear(WIDTH, WIDTH))

        def compute(dense: Any = dense, module: Any = module) -> None:
            module.zero_grad()
            dense.begin(comm.size, 1)
            dense.step.is_last_part = True
            module(torch.ones(1, WIDTH)).sum().backward()

        for _ in range(3):
            compute()
            dense.average(module, 0.0, 0.0)
        compute()
        if change.startswith("backward"):
            loss = module(torch.ones(1, WIDTH)).sum()
            with pytest.raises(TrainingError, match=f"{change}.*overlap=False"):
                loss.backward()
        else:
            module[1].weight.grad += 1
            with pytest.raises(TrainingError, match=f"{change}.*overlap=False"):
                dense.average(module, 0.0, 0.0)
        comm.Barrier()


def check_what_cannot_be_added_is_refused() -> None:
    from beowulf.train.dense import Dense
    from beowulf.train.exchange import Plain

    comm = MPI.COMM_WORLD
    dense = Dense(comm, Plain())
    embedding = torch.nn.Embedding(5, 3, sparse=True)
    embedding(torch.tensor([1])).sum().backward()
    with pytest.raises(TrainingError, match="sparse=False"):
        dense.average(embedding, 0.0, 0.0)
    waves = torch.nn.Module()
    waves.weight = torch.nn.Parameter(torch.zeros(3, dtype=torch.complex64))
    dense.begin(1, 1)
    with pytest.raises(TrainingError, match=r"cannot add up torch\.complex64"):
        dense.average(waves, 0.0, 0.0)


def check_batch_norm() -> None:
    """Running statistics are those of all samples, weighted by them, whoever had which."""
    from beowulf.train import Run

    comm = MPI.COMM_WORLD
    x = torch.randn(SAMPLES, 4, generator=torch.Generator().manual_seed(1)) + 3
    for averaging in ("dense", "naive"):
        norm = torch.nn.BatchNorm1d(4)
        frozen = torch.nn.BatchNorm1d(4).eval()
        model = torch.nn.Sequential(frozen, norm, torch.nn.Linear(4, 1))
        with Run(
            global_batch=SAMPLES, shares=[3, 2, 0, 2][: comm.size], averaging=averaging
        ) as run:
            run.track(model=model)
            for batch in run.batches(SAMPLES, steps=2):
                for part in batch:
                    model(x[part]).sum().backward()
                run.average(model)
        expected = (0.1 + 0.9 * 0.1) * x.double().mean(dim=0).numpy()  # it begins at zero
        np.testing.assert_allclose(norm.running_mean.numpy(), expected, rtol=1e-5)
        assert norm.num_batches_tracked.item() == 2
        assert torch.equal(frozen.running_mean, torch.zeros(4))
        state = [buffer.numpy().tobytes() for buffer in model.buffers()]
        assert comm.bcast(state) == state


def check_memory() -> None:
    """Beside bare PyTorch there is at most one more copy of the gradients, and soon none."""
    from beowulf.train import Run

    model = Model(torch.float32)
    parameters = [p for p in model.parameters() if p.requires_grad]
    bare = sum(p.numel() * p.element_size() for p in parameters)
    with Run(global_batch=BATCH, overlap=True, averaging="dense") as run:
        tracemalloc.start()
        for batch in run.batches(SAMPLES, steps=4):
            model.zero_grad()
            for part in batch:
                add_gradients(model, part, batch.step, 1)
            held = bytes_held_by(parameters)
            run.average(model)
            held = max(held, bytes_held_by(parameters))
            more = bare if batch.step == 1 and run.world_size > 1 else 0
            assert held <= 1.01 * (bare + more), batch.step
            assert held >= 0.5 * bare  # one layer is not used in each step, and one never
        tracemalloc.stop()


def bytes_held_by(parameters: list[Any]) -> int:
    """Return the size of all arrays that NumPy holds and of the gradients that lie elsewhere."""
    arrays = tracemalloc.take_snapshot().filter_traces(
        [tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain)]
    )
    large = [trace for trace in arrays.traces if trace.size > 100_000]
    in_numpy = sum(trace.size for trace in large)
    apart = [
        p.grad.untyped_storage().nbytes()
        for p in parameters
        if p.grad is not None and p.grad.untyped_storage().resizable()
    ]  # a storage that is NumPy's memory cannot be resized
    return int(in_numpy + sum(apart))


def check_habits() -> None:
    if MPI.COMM_WORLD.size <= 2:  # what a rank does by itself
        check_changes_before_average()
        check_late_changes_are_refused()
        check_what_cannot_be_added_is_refused()
    check_batch_norm()
    check_memory()


def check_everything() -> None:
    check_gradients()
    check_training()
    check_every_habit_gives_what_one_process_gives()
    check_habits()


@pytest.mark.parametrize("ranks", RANKS)
def test_module_learns_the_same_on_any_number_of_ranks(ranks: int) -> None:
    on_ranks(ranks, check_everything)
