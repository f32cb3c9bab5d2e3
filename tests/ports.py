"""Ports to hand to a program that a test starts: nobody else takes them before the program does, nor while it is down.

A port that the system chooses (``bind`` to 0) is of the ephemeral range, as are its neighbours: outgoing connections
get them too. Those here lie below that range and below the ports of pods. Each process of a test run has a block of its
own, begins in it at random, for the sake of other runs, and goes on from there.
"""

from __future__ import annotations

import os
import secrets
from itertools import count

from infra.local.ports import FOR_PODS, is_free, lasting

_FIRST = 16384


def block(worker: int, workers: int) -> range:
    """The ports of one of so many processes, counted from 0."""
    every = lasting(range(_FIRST, FOR_PODS.start))
    size = len(every) // workers
    begin = worker % workers * size  # one that replaces a process that crashed has a higher number
    return every[begin : begin + size]


_BLOCK = block(
    int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")),
    int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")),
)
_turn = count(secrets.randbelow(len(_BLOCK)))


def free_ports(number: int = 1) -> int:
    """The first of so many free ports in a row, none of which was told before."""
    for _ in _BLOCK:
        row = [_BLOCK[next(_turn) % len(_BLOCK)] for _ in range(number)]
        if row[-1] == row[0] + number - 1 and all(is_free(port) for port in row):
            return row[0]
    raise AssertionError(f"no {number} ports in a row are free in {_BLOCK}")
