"""Nodes and wires of all kinds, for properties that must hold of any."""

from __future__ import annotations

from hypothesis import strategies as st

from beowulf.limits.quantities import Node, Wire

SPEEDS = st.floats(0.1, 10_000.0)
OVERHEADS = st.just(0.0) | st.floats(0.0, 2.0)
NODES = st.lists(st.builds(Node, SPEEDS, OVERHEADS), min_size=1, max_size=8)
BOUNDED = st.lists(
    st.builds(Node, SPEEDS, OVERHEADS, st.none() | st.integers(0, 300)), min_size=1, max_size=8
)
MBIT_100, MBIT_1000 = 11.875e6, 118.75e6  # what TCP carries of them, in bytes per second
BATCHES = st.integers(0, 2000)
RATES = st.floats(1e5, 1e10)
WIRES = st.builds(Wire, st.lists(RATES, min_size=1, max_size=8).map(tuple), st.floats(0.0, 1e-3))
SIZES = st.floats(0.0, 1e9)
