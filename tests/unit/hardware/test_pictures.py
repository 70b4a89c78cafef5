"""Pictures are pictures, whatever is in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from beowulf.hardware.pictures import can_draw, draw_measured, draw_predictions
from beowulf.hardware.prediction import cluster_of, predict
from beowulf.job.measured import Measured
from beowulf.limits.quantities import Job
from beowulf.limits.step import DENSE, FP16
from tests.unit.hardware.closet import PC, closet

PNG = b"\x89PNG\r\n\x1a\n"
SOME = closet(PC(), PC(gflops=25, out=94, into=94), PC())


@pytest.mark.parametrize("measured", [SOME, closet(PC()), closet(*[PC()] * 20)],
                         ids=["three", "one", "twenty"])  # fmt: skip
def test_measurements_are_drawn(tmp_path: Path, measured: Measured) -> None:
    assert can_draw()
    draw_measured(measured, tmp_path / "measured.png")
    assert (tmp_path / "measured.png").read_bytes().startswith(PNG)


@pytest.mark.parametrize("counts", [range(1, 3), range(2, 65)])
def test_predictions_are_drawn(tmp_path: Path, counts: range) -> None:
    cluster = cluster_of(SOME, {"n1": 100.0})
    predictions = predict(cluster, Job(256, 1e6), counts, [DENSE, FP16])
    draw_predictions(cluster, predictions, tmp_path / "predicted.png")
    assert (tmp_path / "predicted.png").read_bytes().startswith(PNG)
