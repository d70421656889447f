"""How much memory this process may use: the control group's limit and what is free, whichever is less."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

from mofang.fit.planning.memory import MB

GROUPS, PROC = Path("/sys/fs/cgroup"), Path("/proc")
ANY = "any"
PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


def resident_mb(proc: Path = PROC) -> float:
    """Megabytes that this process holds now; its peak where the system does not say."""
    try:
        return int((proc / "self" / "statm").read_text().split()[1]) * PAGE / MB
    except (OSError, ValueError, IndexError):
        return peak_mb()


def peak_mb() -> float:
    """The most this process has held so far, as the ledger counts it."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def usable_mb(groups: Path = GROUPS, proc: Path = PROC) -> float | None:
    """Megabytes that this process may come to hold, what it holds already included; None where nobody says.

    ``MOFANG_MEMORY`` stands above all: a number of megabytes, or ``any`` for no limit at all.
    """
    wanted = os.environ.get("MOFANG_MEMORY", "")
    if wanted == ANY:
        return None
    if wanted.isdigit() and int(wanted) > 0:
        return float(wanted)
    own = resident_mb(proc)
    left = [found for found in (_available(proc), _group_left(groups, proc)) if found is not None]
    return min(left) + own if left else None


def _available(proc: Path) -> float | None:
    for line in _lines(proc / "meminfo"):
        name, _, rest = line.partition(":")
        if name == "MemAvailable":
            return int(rest.split()[0]) / 1024
    return None


def _group_left(groups: Path, proc: Path) -> float | None:
    """What the control group (version 2, or 1) still gives; files it only caches count as free."""
    for line in _lines(proc / "self" / "cgroup"):
        _, kinds, place = line.split(":", 2)
        if kinds == "" or "memory" in kinds.split(","):
            base = groups / "memory" if kinds else groups
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes") if kinds else ("memory.max", "memory.current")
            for folder in (base / place.strip("/"), base):  # inside a container the group is its own root
                limit, used = (_number(folder / name) for name in names)
                if limit is not None and used is not None and limit < 2**60:
                    return (limit - used + _cached(folder)) / MB
    return None


def _cached(folder: Path) -> int:
    for line in _lines(folder / "memory.stat"):
        name, _, value = line.partition(" ")
        if name in ("inactive_file", "total_inactive_file"):
            return int(value)
    return 0


def _number(place: Path) -> int | None:
    text = "".join(_lines(place)[:1])
    return int(text) if text.isdigit() else None


def _lines(place: Path) -> list[str]:
    try:
        return place.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
