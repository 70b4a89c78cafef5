"""Numbers that no machine can have are refused, with the name of the field."""

from __future__ import annotations

import math

import pytest

from beowulf.errors import InvalidInput
from beowulf.limits.quantities import Job, Node, Wire


@pytest.mark.parametrize("speed", [0.0, -1.0, math.inf, math.nan])
def test_a_node_has_a_speed(speed: float) -> None:
    with pytest.raises(InvalidInput, match=r"^samples_per_s: "):
        Node(speed)


@pytest.mark.parametrize("overhead_s", [-0.1, math.inf, math.nan])
def test_an_overhead_is_a_time(overhead_s: float) -> None:
    with pytest.raises(InvalidInput, match=r"^overhead_s: "):
        Node(1.0, overhead_s)


def test_memory_is_not_negative() -> None:
    with pytest.raises(InvalidInput, match=r"^most_samples: "):
        Node(1.0, most_samples=-1)


@pytest.mark.parametrize("rates", [(), (0.0,), (1e6, -1.0), (math.nan,)])
def test_every_link_carries_something(rates: tuple[float, ...]) -> None:
    with pytest.raises(InvalidInput, match=r"^bytes_per_s: "):
        Wire(rates)


def test_latency_is_not_negative() -> None:
    with pytest.raises(InvalidInput, match=r"^latency_s: "):
        Wire((1e6,), -1e-6)


@pytest.mark.parametrize(
    ("field", "job"),
    [
        ("batch", {"batch": 0, "gradient_bytes": 1}),
        ("gradient_bytes", {"batch": 1, "gradient_bytes": -1}),
        ("forward_share", {"batch": 1, "gradient_bytes": 1, "forward_share": 1.5}),
        ("bucket_bytes", {"batch": 1, "gradient_bytes": 1, "bucket_bytes": 0}),
    ],
)
def test_a_job_s_numbers_make_sense(field: str, job: dict[str, float]) -> None:
    with pytest.raises(InvalidInput, match=rf"^{field}: "):
        Job(**job)  # type: ignore[arg-type]  # batch comes as a float here


def test_an_empty_share_takes_no_time() -> None:
    assert Node(10.0, overhead_s=3.0).compute_s(0) == 0
    assert Node(10.0, overhead_s=3.0).compute_s(20) == 5
