"""Several models in one process: opened at the start or when they are first asked for, within a bound on memory.

A model is opened on the thread of whoever needs it first; the others wait for that one. Where a new one would not fit
beside those that are open, the one that nobody has asked for longest is put away first: it takes nothing new, finishes
what it has begun, and is opened again when it is asked for. One that cannot fit at all is refused before a byte of it is
read. A new release takes over when it is open, and not before: one that is damaged leaves the old one serving.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import threading
import time
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mofang.core.errors import MofangError
from mofang.serve.boundary import attempt

MB = 1 << 20
WEIGHT = 3       # bytes held for each byte of a package: the file, the engine's own copy, and room to work
ALONE = 16 * MB  # held by the smallest model
SHARE = 0.8      # of the memory that is free at the start may be used by models

log = logging.getLogger("mofang.models")


@dataclass(frozen=True, slots=True)
class Offer:
    """A release that can be opened: its name, the bytes of its package, and how to open it (takes a while)."""

    name: str
    size_bytes: int
    open: Callable[[], Any]

    @property
    def needs_bytes(self) -> int:
        """Memory that it is expected to take."""
        return self.size_bytes * WEIGHT + ALONE


class Models(MutableMapping[str, Any]):
    """Open models by release, and by plain name the newest release; those on offer can be opened with ``wake``.

    A model is whatever has a ``name`` and a ``batcher`` that can be closed (``trade.desk.Served``). May be used from several
    threads. ``memory_bytes`` bounds what open models may take together, by estimate; 0 takes a
    share of what this machine, or its control group, has free now.
    """

    def __init__(self, opened: Sequence[Any] = (), offers: Sequence[Offer] = (), *, memory_bytes: int = 0) -> None:
        self.memory_bytes = memory_bytes or int(free_bytes() * SHARE)
        self.offers: dict[str, Offer] = {one.name: one for one in offers}
        self.unloads = 0
        self._open: dict[str, Any] = {}
        self._newest: dict[str, str] = {}
        self._used_s: dict[str, float] = {}
        self._lock = threading.RLock()   # one opens at a time
        self._ending: list[threading.Thread] = []
        self._name_newest()
        for one in opened:
            self[one.name] = one

    # What is open

    def __getitem__(self, name: str) -> Any:
        found = self.get(name)
        if found is None:
            raise KeyError(name)
        return found

    def get(self, name: str, default: Any = None) -> Any:
        """The open model of a release or a plain name; ``default`` where none is open."""
        found = self._open.get(name)
        if found is None:
            name = self._newest.get(name, "")
            found = self._open.get(name)
            if found is None:
                return default
        self._used_s[name] = time.monotonic()
        return found

    def __setitem__(self, name: str, one: Any) -> None:
        with self._lock:
            self._open[name] = one
            self._used_s[name] = time.monotonic()
            self._name_newest()

    def __delitem__(self, name: str) -> None:
        with self._lock:
            del self._open[name]
            self._name_newest()

    def __iter__(self) -> Iterator[str]:
        return iter([*self.names(), *self._newest])

    def __len__(self) -> int:
        return len(self.names()) + len(self._newest)

    def __contains__(self, name: object) -> bool:
        return name in self._open or name in self.offers or name in self._newest

    def values(self) -> Any:
        """Every model that is open now, each once."""
        return list(self._open.values())

    def names(self) -> list[str]:
        """Every release that is open or can be opened."""
        return sorted({*self._open, *self.offers})

    def release(self, name: str) -> str:
        """The release that a name stands for; the name itself where it stands for none."""
        return name if name in self._open or name in self.offers else self._newest.get(name, name)

    @property
    def used_bytes(self) -> int:
        """What the open models are expected to take."""
        return sum(self.offers[name].needs_bytes for name in list(self._open) if name in self.offers)

    # Opening and putting away

    def wake(self, name: str) -> Any:
        """The model of a name, opened if it is not; None where nothing of that name is on offer.

        Raises what opening raises, and ``model-too-large`` before anything is read.
        """
        found = self.get(name)
        if found is not None:
            return found
        with self._lock:
            found = self.get(name)
            offer = self.offers.get(self.release(name))
            if found is not None or offer is None:
                return found
            self._make_room(offer)
            began_s = time.monotonic()
            self[offer.name] = opened = offer.open()
            log.info("%s opened in %.2f s", offer.name, time.monotonic() - began_s)
            return opened

    def wake_all(self) -> None:
        """Open what fits, newest releases first; the rest opens when it is asked for. One too large by itself is refused."""
        for name in sorted(self.offers, key=version_of, reverse=True):
            offer = self.offers[name]
            if not self._open or self.used_bytes + offer.needs_bytes <= self.memory_bytes:
                self.wake(name)
            else:
                self._check_alone(offer)

    def add(self, offer: Offer) -> None:
        """Put one release more on offer; it opens when it is asked for."""
        with self._lock:
            self.offers[offer.name] = offer
            self._name_newest()

    def replace(self, offers: Sequence[Offer]) -> dict[str, MofangError]:
        """Serve these releases from now on; each is open before the one that it follows is put away.

        Those that could not be opened are returned with the reason: what was served in their place goes on.
        """
        refused: dict[str, MofangError] = {}
        wanted = {one.name: one for one in offers}
        for name, offer in wanted.items():
            if name in self._open:
                continue
            before = self.offers.get(name)
            self.offers[name] = offer
            fault = attempt(partial(self.wake, name))
            if fault is not None:
                refused[name] = fault if isinstance(fault, MofangError) else MofangError(
                    "model-unopened", model=name, reason=f"{type(fault).__name__}: {fault}")
                if before is None:
                    del self.offers[name]
        kept = {base_of(name) for name in refused}
        with self._lock:
            for name in [*self.offers]:
                if name not in wanted and base_of(name) not in kept:
                    del self.offers[name]
            gone = [name for name in self._open if name not in self.offers]
            self._name_newest()
            for name in gone:
                self._put_away(name)
        return refused

    def close(self) -> None:
        """Finish what has begun in every model, and end."""
        with self._lock:
            for one in self.values():
                one.batcher.close()
            for thread in self._ending:
                thread.join()

    def _make_room(self, offer: Offer) -> None:
        self._check_alone(offer)
        while self._open and self.used_bytes + offer.needs_bytes > self.memory_bytes:
            held = [name for name in self._open if name in self.offers]
            if not held:
                return
            self.unloads += 1
            self._put_away(min(held, key=lambda name: self._used_s.get(name, 0.0)), wait=True)

    def _check_alone(self, offer: Offer) -> None:
        free = free_bytes() + self.used_bytes
        most = min(self.memory_bytes, free) if free else self.memory_bytes
        if offer.needs_bytes > most:
            raise MofangError("model-too-large", model=offer.name, needs_mb=-(-offer.needs_bytes // MB), most_mb=most // MB)

    def _put_away(self, name: str, *, wait: bool = False) -> None:
        """Nobody finds it any more; what it has begun is finished on a thread of its own."""
        one = self._open.pop(name)
        self._name_newest()
        thread = threading.Thread(target=_end, args=(one,), name=f"end-{name}", daemon=True)
        thread.start()
        self._ending = [*(each for each in self._ending if each.is_alive()), thread]
        del one
        if wait:
            thread.join()

    def _name_newest(self) -> None:
        newest: dict[str, str] = {}
        for name in sorted({*self._open, *self.offers}, key=version_of):
            newest[base_of(name)] = name
        self._newest = newest


def _end(one: Any) -> None:
    one.batcher.close()
    del one
    gc.collect()
    give_back_memory()


def base_of(name: str) -> str:
    """The name without its version."""
    return name.partition("@")[0]


def version_of(name: str) -> int:
    """The version in a name; 0 where it has none."""
    version = name.partition("@")[2]
    return int(version) if version.isdigit() else 0


def give_back_memory() -> None:
    """Have the C library give pages that are free back to the system, where it can."""
    attempt(lambda: ctypes.CDLL(None).malloc_trim(0))


def free_bytes(proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> int:
    """Memory that this process may still take: of the machine, or of its control group where that gives less; 0 unknown."""
    found = [int(line.split()[1]) * 1024 for line in _lines(proc / "meminfo") if line.startswith("MemAvailable:")]
    limit, used = ("".join(_lines(groups / name)[:1]) for name in ("memory.max", "memory.current"))
    if limit.isdigit() and used.isdigit():
        cached = [int(line.split()[1]) for line in _lines(groups / "memory.stat") if line.startswith("inactive_file ")]
        found.append(max(0, int(limit) - int(used) + sum(cached)))
    return min(found, default=0)


def _lines(place: Path) -> list[str]:
    try:
        return place.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
