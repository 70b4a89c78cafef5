"""What this computer computes and copies in a second."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from beowulf.job.measured import Port

if TYPE_CHECKING:
    from collections.abc import Callable

LEAST_REPEATS = 5
SMALLEST_MATRIX = 256
LARGEST_MATRIX = 2048
LONG_ENOUGH_S = 0.05  # for one product, so that starting threads does not count
COPIED_BYTES = 128 << 20  # more than caches hold
LEAST_COPIED_BYTES = 8 << 20
NETWORK = Path("/sys/class/net")


def threads_given() -> int:
    """Return how many threads this rank may use, as whoever started it says."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdecimal() and int(given) else len(os.sched_getaffinity(0))


def matrix_flops(for_s: float) -> float:
    """Return the operations per second of a float32 matrix product, the median of ``for_s``.

    A product of n by n matrices is 2 n^3 operations. NumPy's threads are those that the
    rank was given.
    """
    size = SMALLEST_MATRIX
    multiply = _product_of(size)
    while size < LARGEST_MATRIX and _seconds_of(multiply) < LONG_ENOUGH_S:
        size *= 2
        multiply = _product_of(size)
    return 2 * size**3 / _median_s(multiply, for_s)


def _product_of(size: int) -> Callable[[], object]:
    generator = np.random.default_rng(0)
    left, right = (generator.random((size, size), np.float32) for _ in range(2))
    product = np.empty_like(left)

    def multiply() -> object:
        return np.matmul(left, right, out=product)

    multiply()  # the first one starts the threads
    return multiply


def memory_bytes_per_s(threads: int, for_s: float) -> float:
    """Return how many bytes a copy in memory reads and writes per second, with ``threads``."""
    size = min(COPIED_BYTES, max(LEAST_COPIED_BYTES, _available_bytes() // 8))
    sources = [np.ones(size // threads, np.uint8) for _ in range(threads)]
    targets = [np.empty_like(source) for source in sources]
    with ThreadPoolExecutor(threads) as pool:

        def copy() -> object:  # NumPy lets go of the interpreter while it copies
            return list(pool.map(np.copyto, targets, sources))

        copy()  # the first one makes the pages
        return 2 * sum(source.nbytes for source in sources) / _median_s(copy, for_s)


def _available_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")


def _median_s(task: Callable[[], object], for_s: float) -> float:
    """Return the median of how long a task takes, doing it again for about ``for_s`` seconds."""
    ends_at = time.perf_counter() + for_s
    taken: list[float] = []
    while len(taken) < LEAST_REPEATS or time.perf_counter() < ends_at:
        taken.append(_seconds_of(task))
    return median(taken)


def _seconds_of(task: Callable[[], object]) -> float:
    began = time.perf_counter()
    task()
    return time.perf_counter() - began


def ports(network: Path = NETWORK) -> tuple[Port, ...]:
    """Return the ports that have a cable and a device, as the kernel tells them without root."""
    found = []
    for port in sorted(network.glob("*")):
        if (port / "device").exists() and _told(port / "operstate") in ("up", "unknown"):
            speed = _told(port / "speed") or ""
            duplex = _told(port / "duplex")
            found.append(
                Port(
                    port.name,
                    int(speed) if speed.isdecimal() and int(speed) else None,
                    duplex if duplex in ("half", "full") else None,
                )
            )
    return tuple(found)


def _told(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):  # a port that is down refuses to be read
        return None
