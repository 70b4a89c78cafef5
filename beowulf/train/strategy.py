"""Ways to average, by name or by their options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from beowulf.errors import TrainingError
from beowulf.train.auto import Automatic
from beowulf.train.averaging import Naive
from beowulf.train.dense import Dense
from beowulf.train.diloco import LocalSteps
from beowulf.train.exchange import Plain
from beowulf.train.options import Auto, DiLoCo, Fp16, Options, PowerSGD, Weighted

if TYPE_CHECKING:
    from collections.abc import Callable

    from mpi4py import MPI

    from beowulf.train.averaging import Averaging

WITH_OPTIONS: dict[str, Callable[[], Options]] = {
    "auto": Auto,
    "fp16": Fp16,
    "weighted": Weighted,
    "powersgd": PowerSGD,
    "diloco": DiLoCo,
}
STRATEGIES = ("naive", "dense", *WITH_OPTIONS)


def averaging_named(
    choice: str | Options,
    comm: MPI.Intracomm,
    *,
    overlap: bool | None = None,
    say: Callable[[str], None] = print,
) -> Averaging:
    """Return a fresh averaging for one run. Collective: a missing rank leaves the others waiting.

    Raises:
        TrainingError: There is none of this name.
    """
    if choice == "naive":
        return Naive(comm)
    if choice == "dense":
        return Dense(comm, Plain(), overlap=overlap, say=say)
    options = with_options(choice)
    if isinstance(options, DiLoCo):
        return LocalSteps(comm, options, say)
    if isinstance(options, Auto):
        return Automatic(comm, options, overlap=overlap, say=say)
    return Dense(
        comm, options.exchange(comm), overlap=overlap, say=say, exchange_among=options.exchange
    )


def with_options(choice: Any) -> Options:
    """Return options as they are, and a name's defaults.

    Raises:
        TrainingError: It is neither.
    """
    if isinstance(choice, get_args(Options)):
        options: Options = choice
        return options
    if choice not in WITH_OPTIONS:
        raise TrainingError(
            f"averaging: no strategy {choice!r}; choose from {', '.join(STRATEGIES)}"
        )
    return WITH_OPTIONS[choice]()
