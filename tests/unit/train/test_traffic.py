"""What a step sent is counted from its beginning."""

from __future__ import annotations

from beowulf.train.traffic import Traffic


def test_a_step_is_counted_anew() -> None:
    traffic = Traffic()
    traffic.begin(overlaps=True)
    traffic.is_ready()
    first_s = traffic.first_ready_s
    traffic.is_ready()
    traffic.carries(100)
    traffic.carries(20)
    assert (traffic.sent_bytes, traffic.buckets) == (120, 2)
    assert first_s is not None
    assert traffic.first_ready_s == first_s  # the first one counts
    traffic.begin(overlaps=False)
    assert (traffic.sent_bytes, traffic.buckets) == (0, 0)
    traffic.is_ready()
    assert traffic.first_ready_s != first_s
