"""``beowulf predict``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from beowulf.cli.measured import last_measured
from beowulf.cli.output import duration, json_option, number, print_json, say
from beowulf.cli.parameters import cluster_option
from beowulf.cli.table import Table
from beowulf.errors import InvalidInput
from beowulf.hardware.pictures import HOW_TO_DRAW, can_draw, draw_predictions
from beowulf.hardware.prediction import (
    STRATEGIES,
    advice,
    cluster_of,
    count_of_nodes,
    predict,
    speeds_from_fastest,
)
from beowulf.hardware.speeds import MBIT
from beowulf.limits.quantities import Job
from beowulf.limits.wire import early_bucket_bytes
from beowulf.runner import fields
from beowulf.runner.choice import open_backend
from beowulf.runner.figures import figures_of_earlier_job
from beowulf.runner.measuring import kept_at
from beowulf.runner.spec import read_spec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from beowulf.hardware.prediction import Cluster, Prediction
    from beowulf.job.figures import TrainingFigures
    from beowulf.job.measured import Measured
    from beowulf.runner.backend import Backend

BAR_WIDTH = 24
MOST_ROWS = 16
STALE_S = 30 * 86_400
TABLE = Table(
    words=frozenset({"LIMITED BY", "CURVE"}),
    cut_first="LIMITED BY",
    first_to_go=("CURVE", "EFFICIENCY"),
)


class Positive(click.ParamType[float]):
    """A number above 0."""

    name = "number"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number, or refuse what is none."""
        try:
            found = float(value)
        except ValueError:
            found = 0.0
        if not 0 < found < 1e15:
            self.fail(f"{str(value)[:40]!r} is not a number above 0", param, ctx)
        return found


@click.command("predict")
@click.argument("job", type=click.Path(path_type=Path, readable=False))
@click.option("--nodes", default="1-64", show_default=True, help='How many, as "8" or "1-64".')
@click.option("--strategy", type=click.Choice(list(STRATEGIES)), default="dense",
              show_default=True, help="The strategy that the table is about.")  # fmt: skip
@click.option(
    "--batch", type=click.IntRange(1, 10**9), help="Samples per step, all nodes together."
)
@click.option("--gradients-mb", type=Positive(), help="What each step sums, in MB.")
@click.option("--samples-per-s", type=Positive(),
              help="How fast the fastest node is alone.")  # fmt: skip
@click.option("--wire-mbit", type=Positive(),
              help="Presume that every wire carries so many Mbit/s.")  # fmt: skip
@cluster_option
@json_option
def command(job: Path, **flags: Any) -> None:
    """Predict a job's steps on other numbers of nodes, and say what limits them.

    JOB is a job file (.toml) or a script. What nodes and wires do is what beowulf bench
    measured last; what the job does is what the newest job of its name told when it ended,
    or what the options say.
    """
    fewest, most = fields.node_range("--nodes", flags["nodes"])
    name = _name_of(job)
    backend = open_backend(flags["cluster"])
    measured = last_measured(backend.cluster)
    figures, source = _figures(backend, name, job, flags)
    cluster = _cluster(measured, figures, flags, most)
    wanted = _job(figures, flags)
    strategies = list(STRATEGIES.values())
    predictions = predict(cluster, wanted, range(fewest, most + 1), strategies)
    said = advice(cluster, [each for each in predictions if each.strategy == flags["strategy"]])
    picture = _draw(backend.cluster, name, cluster, predictions)
    if flags["as_json"]:
        print_json(
            cluster=backend.cluster,
            name=name,
            figures_from=source,
            batch=wanted.batch,
            gradient_bytes=wanted.gradient_bytes,
            nodes_per_s={node.name: node.samples_per_s for node in cluster.nodes},
            measured_at=measured.measured_at,
            predictions=[each.to_json() for each in predictions],
            advice=said,
            picture=str(picture) if picture else None,
        )
        return
    gradients = f"{wanted.gradient_bytes / 1e6:.3g} MB of gradients"
    say(f"{name}: {wanted.batch} samples and {gradients} per step ({source})")
    TABLE.show(rows(predictions, flags["strategy"]))
    for sentence in said:
        say(sentence)
    say(_age(measured))
    say(f"picture: {picture}" if picture else HOW_TO_DRAW)


def _name_of(job: Path) -> str:
    """Return the name under which the job is submitted."""
    if job.suffix == ".toml":
        return read_spec(job).name
    if not job.is_file():
        raise InvalidInput("JOB", f"cannot read {str(job)[:80]!r}", "name a job file or a script")
    return fields.name_from(job.stem)


def _figures(
    backend: Backend, name: str, job: Path, flags: dict[str, Any]
) -> tuple[TrainingFigures | None, str]:
    """Return what an earlier job told, if that is needed, and where the figures are from.

    Raises:
        InvalidInput: There is no such job, and an option is missing.
    """
    options = ("batch", "gradients_mb", "samples_per_s")
    missing = [f"--{option.replace('_', '-')}" for option in options if flags[option] is None]
    if not missing:
        return None, "as given"
    found = figures_of_earlier_job(backend, name)
    if found is None:
        raise InvalidInput(
            ", ".join(missing),
            f"no earlier job called {name} tells of it",
            f"run it for some steps: beowulf submit {job}; or give the option",
        )
    given = len(missing) < len(options)
    return found[1], f"as job {found[0]} told{', and as given' if given else ''}"


def _cluster(
    measured: Measured, figures: TrainingFigures | None, flags: dict[str, Any], most: int
) -> Cluster:
    wire = flags["wire_mbit"]
    if not measured.wires and wire is None and most > 1:
        raise InvalidInput(
            "--wire-mbit",
            "one node was measured, so no wire was",
            "give what the wire would carry, as 940; or measure more: beowulf bench",
        )
    if flags["samples_per_s"] is not None or figures is None:
        speeds = speeds_from_fastest(measured, flags["samples_per_s"])
    else:
        speeds = figures.by_host()
    return cluster_of(measured, speeds, None if wire is None else wire * MBIT)


def _job(figures: TrainingFigures | None, flags: dict[str, Any]) -> Job:
    batch, megabytes = flags["batch"], flags["gradients_mb"]
    if figures is not None:
        batch = batch or figures.global_batch
        megabytes = figures.gradient_bytes / 1e6 if megabytes is None else megabytes
    size = megabytes * 1e6
    return Job(batch=batch, gradient_bytes=size, bucket_bytes=early_bucket_bytes(size))


def _draw(
    cluster: str | None, name: str, figures: Cluster, predictions: Sequence[Prediction]
) -> Path | None:
    if not can_draw():
        return None
    path = kept_at(cluster).with_name(f"predict-{name}.png")
    draw_predictions(figures, predictions, path)
    return path


def rows(predictions: Sequence[Prediction], strategy: str) -> list[dict[str, str]]:
    """Return the table's lines: one strategy in full, the others' speeds beside it.

    The curve's bar is as long as that strategy's speed; the dots go on to the best one's.
    """
    by_nodes = {(each.nodes, each.strategy): each for each in predictions}
    counts = shown_counts(sorted({each.nodes for each in predictions}))
    best = {
        count: max(by_nodes[count, name].samples_per_s for name in STRATEGIES) for count in counts
    }
    most = max(best.values())
    others = [name for name in STRATEGIES if name != strategy]
    lines = []
    for count in counts:
        each = by_nodes[count, strategy]
        bar = round(BAR_WIDTH * each.samples_per_s / most)
        line = {
            "NODES": str(count),
            "STEP": seconds(each.step_s),
            "SAMPLES/S": number(each.samples_per_s),
            "EFFICIENCY": f"{100 * each.efficiency:.0f} %",
            "LIMITED BY": each.limited_by,
        }
        line |= {name.upper(): number(by_nodes[count, name].samples_per_s) for name in others}
        line["CURVE"] = "█" * bar + "·" * (round(BAR_WIDTH * best[count] / most) - bar)
        lines.append(line)
    return lines


def shown_counts(counts: Sequence[int]) -> list[int]:
    """Return some of many numbers, in growing steps, the first and the last among them.

    >>> shown_counts(range(1, 65))
    [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 24, 32, 48, 64]
    """
    if len(counts) <= MOST_ROWS:
        return list(counts)
    wanted = {*range(1, 9), 10, 12, 14}
    step = 16
    while step <= counts[-1]:
        wanted |= {step, step * 3 // 2}
        step *= 2
    return [c for c in counts if c in wanted or c in (counts[0], counts[-1])]


def seconds(value: float) -> str:
    """Return a step's time as a person says it.

    >>> seconds(0.0123), seconds(2.5)
    ('12.3 ms', '2.5 s')
    """
    return f"{value * 1e3:.3g} ms" if value < 1 else f"{value:.3g} s"


def _age(measured: Measured) -> str:
    age_s = measured.age_s()
    again = "; measure again with: beowulf bench" if age_s > STALE_S else ""
    return f"{count_of_nodes(len(measured.nodes))} measured {duration(age_s)} ago{again}"
