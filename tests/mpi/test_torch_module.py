"""PyTorch modules: gradients are averaged where they lie, whatever their type."""

from __future__ import annotations

import pytest
from mpi4py import MPI

from tests.mpi.launch import on_ranks

torch = pytest.importorskip("torch", reason="PyTorch, the optional extra, is not installed")

RANKS = [1, 2, 3, 4]
pytestmark = pytest.mark.torch


def check_gradients() -> None:
    """bfloat16 is the trap: Open MPI would add it up as bytes without a word."""
    for dtype in ("float32", "float64", "bfloat16", "float16"):
        check_gradients_of(dtype, "dense")
    check_gradients_of("float32", "naive")


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


def check_training() -> None:
    """Four ranks, one of them idle, learn what one rank learns, with the optimizer in step."""
    from beowulf.train import Run

    torch.manual_seed(MPI.COMM_WORLD.rank)  # different on purpose: rank 0's start must win
    x = torch.linspace(-1, 1, 40).unsqueeze(1)
    y = 2 * x - 1
    with Run(global_batch=10, shares=[3, 1, 0, 2][: MPI.COMM_WORLD.size]) as run:
        model = torch.nn.Linear(1, 1)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
        run.track(model=model, optimizer=optimizer)
        for batch in run.batches(len(x), steps=200):
            optimizer.zero_grad()
            loss = torch.zeros(())
            for part in batch:
                loss = loss + ((model(x[part]) - y[part]) ** 2).sum()
            if loss.requires_grad:
                loss.backward()
            run.average(model, loss)
            optimizer.step()
        assert abs(model.weight.item() - 2) < 1e-2
        assert abs(model.bias.item() + 1) < 1e-2
        assert len(set(run.comm.allgather((model.weight.item(), model.bias.item())))) == 1


@pytest.mark.parametrize("ranks", RANKS)
def test_gradients_are_averaged_in_place(ranks: int) -> None:
    on_ranks(ranks, check_gradients)


@pytest.mark.parametrize("ranks", RANKS)
def test_module_learns_the_same_on_any_number_of_ranks(ranks: int) -> None:
    on_ranks(ranks, check_training)
