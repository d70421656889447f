"""What this machine can do: how many threads to train with, and how fast it multiplies."""

from __future__ import annotations

import os
import time
from functools import cache

import numpy as np

PROBE_SIZE = 512
PROBE_REPEATS, PROBE_BURSTS, PROBE_PAUSE_S = 5, 5, 0.02


def threads() -> int:
    """Threads to train with: the cores this process may use, or ``MOFANG_THREADS``.

    The number is part of what makes a run repeatable: another one may change the last bits of a sum.
    """
    wanted = os.environ.get("MOFANG_THREADS", "")
    if wanted.isdigit() and int(wanted) > 0:
        return int(wanted)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@cache
def multiply_rate() -> float:
    """Floating-point operations per second of a float32 matrix product here, measured once in about 0.2 s.

    It is the best of several bursts, so that a moment in which others compute does not make the machine seem
    slow.
    """
    left = np.ones((PROBE_SIZE, PROBE_SIZE), dtype=np.float32)
    left @ left
    best = float("inf")
    for _ in range(PROBE_BURSTS):
        for _ in range(PROBE_REPEATS):
            began = time.perf_counter()
            left @ left
            best = min(best, time.perf_counter() - began)
        time.sleep(PROBE_PAUSE_S)
    return 2 * PROBE_SIZE**3 / best
