"""Memory that a step gave back stays with the process, so that the next step need not ask the system for it again."""

from __future__ import annotations

import ctypes
import sys
from functools import cache

TRIM_THRESHOLD, MMAP_THRESHOLD, TOP_PAD = -1, -3, -2  # names of glibc's mallopt(3)
LARGEST = 32 * 2**20  # the most that glibc takes for a block of its own heap


@cache
def keep_pages() -> bool:
    """Tell the allocator to keep freed pages (glibc only; elsewhere False, and nothing changes).

    By default each large activation is mapped afresh and unmapped after use, so every step faults all its pages in again.
    The process stays as large as its largest step.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    done = [mallopt(MMAP_THRESHOLD, LARGEST), mallopt(TRIM_THRESHOLD, 2**31 - 1), mallopt(TOP_PAD, 2 * LARGEST)]
    return all(done)
