"""Raw TCP and all-reduces on the same wire, in turn, within one world of ranks."""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import time
from pathlib import Path

import numpy as np
from mpi4py import MPI

CHUNK_BYTES = 1 << 18
TCP_S = 0.5  # how long one measurement of TCP should take
FIRST_TCP_BYTES = 1 << 20
ASK_EVERY_S = 0.001
BYTES_PER_NUMBER = 4


def wait_for_all(comm: MPI.Intracomm) -> None:
    """Wait for every rank without taking the others' cores. Collective."""
    request = comm.Ibarrier()
    while not request.Test():
        time.sleep(ASK_EVERY_S)


def connect_pair(comm: MPI.Intracomm) -> socket.socket | None:
    """Return a connection from rank 0 to rank 1, on both; None elsewhere. Collective."""
    listener = socket.create_server(("", 0)) if comm.rank == 1 else None
    own = os.environ["BENCH_ADDRESSES"].split(",")[1]
    port = comm.bcast(listener.getsockname()[1] if listener else 0, root=1)
    if comm.rank == 0:
        return socket.create_connection((own, port), timeout=60)
    if listener is None:
        return None
    with listener:
        connection, _ = listener.accept()
        connection.settimeout(60)
        return connection


def tcp_bytes_per_s(comm: MPI.Intracomm, connection: socket.socket | None, total: int) -> float:
    """Return how fast ``total`` bytes pass from rank 0 to rank 1, to the last one. Collective."""
    chunk = bytearray(CHUNK_BYTES)
    speed = 0.0
    comm.Barrier()
    if connection is not None and comm.rank == 0:
        started = time.perf_counter()
        for _ in range(total // CHUNK_BYTES):
            connection.sendall(chunk)
        connection.recv(1)
        speed = total / (time.perf_counter() - started)
    elif connection is not None:
        left = total
        while left:
            left -= connection.recv_into(chunk, min(left, CHUNK_BYTES))
        connection.sendall(b"!")
    wait_for_all(comm)
    return float(comm.bcast(speed))


def seconds_of_allreduce(comm: MPI.Intracomm, numbers: np.ndarray, times: int) -> float:
    """Return how long one all-reduce takes on the slowest rank. Collective."""
    numbers[...] = comm.rank
    comm.Barrier()
    started = time.perf_counter()
    for _ in range(times):
        comm.Allreduce(MPI.IN_PLACE, numbers)
    elapsed_s = (time.perf_counter() - started) / times
    if times == 1 and not (numbers == sum(range(comm.size))).all():
        raise SystemExit("Allreduce: the sum is wrong; nothing was measured")
    return float(comm.allreduce(elapsed_s, MPI.MAX))


def times_for(size: int, bytes_per_s: float) -> int:
    """Return how often to reduce ``size`` bytes in one go, so that it can be timed."""
    return int(min(20, max(1, 0.05 * bytes_per_s / size)))


def main() -> None:
    """Measure, and let rank 0 write what was found, round by round."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("found", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", required=True, help="in bytes")
    parser.add_argument("--rounds", type=int, required=True)
    options = parser.parse_args()
    comm = MPI.COMM_WORLD
    pair = connect_pair(comm)
    total = FIRST_TCP_BYTES
    speed = tcp_bytes_per_s(comm, pair, total)
    total = max(1, int(speed * TCP_S) // CHUNK_BYTES) * CHUNK_BYTES
    arrays = {size: np.zeros(size // BYTES_PER_NUMBER, np.float32) for size in options.sizes}
    tcp: list[float] = []
    seconds: dict[int, list[float]] = {size: [] for size in options.sizes}
    for array in arrays.values():
        seconds_of_allreduce(comm, array, 1)
    for _ in range(options.rounds):
        tcp.append(tcp_bytes_per_s(comm, pair, total))
        for size, array in arrays.items():
            seconds[size].append(
                seconds_of_allreduce(comm, array, times_for(size, statistics.median(tcp)))
            )
    if comm.rank == 0:
        options.found.write_text(json.dumps({"tcp_bytes_per_s": tcp, "seconds": seconds}))


if __name__ == "__main__":
    main()
