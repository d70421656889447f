"""The figures of several serving processes as one page: each writes its own beside the shop, and whoever is asked adds them up.

Counters and histograms of a process that has ended stay in the sums, so that they never go back; gauges are those of the
living. What a killed process counted in its last second is lost.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

SILENT_S = 10.0  # a page older than this is of a process that has ended, or hangs
GREATEST = frozenset(("mofang_info", "mofang_queue_wait_seconds"))  # of these the largest is told; of other gauges the sum
GONE = "gone"


@dataclass
class Family:
    """One metric: its kind, what it is in words, and its values by line."""

    kind: str = ""
    words: str = ""
    rows: dict[str, float] = field(default_factory=dict)


def added(pages: Iterable[tuple[str, bool]]) -> str:
    """Several pages as one. With each page stands whether its process is alive."""
    families: dict[str, Family] = {}
    living = 0
    for text, alive in pages:
        living += alive
        one = Family()
        for line in text.splitlines():
            if line.startswith("# HELP "):
                name, _, words = line[7:].partition(" ")
                one = families.setdefault(name, Family(words=words))
            elif line.startswith("# TYPE "):
                one.kind = line.rpartition(" ")[2]
            elif alive or one.kind != "gauge":
                key, _, value = line.rpartition(" ")
                found = int(value) if value.lstrip("-").isdigit() else float(value)
                before = one.rows.get(key, 0)
                one.rows[key] = max(before, found) if key.partition("{")[0] in GREATEST else before + found
    families["mofang_processes"] = Family("gauge", "Processes that answer.", {"mofang_processes": living})
    return "".join(f"# HELP {name} {one.words}\n# TYPE {name} {one.kind}\n" + "".join(
        f"{key} {value!r}\n" for key, value in one.rows.items()) for name, one in families.items())


class Figures:
    """The pages of one group of processes, in a folder that all of them see."""

    def __init__(self, folder: Path, group: str) -> None:
        self.folder, self.group = folder, group

    def path(self, who: str) -> Path:
        """The page of one process."""
        return self.folder / f"figures-{self.group}-{who}.prom"

    def write(self, text: str, who: str = "") -> None:
        """Put one's own page there; whoever reads sees the old one or the new one."""
        path = self.path(who or str(os.getpid()))
        path.parent.mkdir(exist_ok=True)
        beside = path.with_suffix(".new")
        beside.write_text(text, encoding="utf-8")
        os.replace(beside, path)

    def page(self) -> str:
        """All processes together."""
        with self._alone():
            found = []
            for path in sorted(self.folder.glob(f"figures-{self.group}-*.prom")):
                written_s = path.stat().st_mtime
                gone = path == self.path(GONE)
                found.append((path.read_text(encoding="utf-8"), not gone and time.time() < written_s + SILENT_S))
        return added(found)

    def bury(self, who: str) -> None:
        """A process has ended: its counts go over to those that have ended before."""
        with self._alone():
            paths = [path for path in (self.path(GONE), self.path(who)) if path.exists()]
            if self.path(who) in paths:
                self.write(added([(path.read_text(encoding="utf-8"), False) for path in paths]), GONE)
                self.path(who).unlink()

    def clear(self) -> None:
        """Take all pages away."""
        for path in self.folder.glob(f"figures-{self.group}-*"):
            path.unlink(missing_ok=True)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One process at a time adds up or buries."""
        import fcntl

        self.folder.mkdir(exist_ok=True)
        with self.path("lock").with_suffix(".lock").open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            yield


def told_in(folder: Path, pid: int) -> Path:
    """The file in which a process of this machine tells of itself (web/statistics.py)."""
    return folder / f"serving-{socket.gethostname()}-{pid}.json"


def clear_old(folder: Path) -> None:
    """Take away what groups left that were killed: a group's name begins with the number of its first process."""
    for path in folder.glob("figures-*"):
        first = path.name.split("-")[1]
        if first.isdigit() and not Path(f"/proc/{first}").exists() and Path("/proc").is_dir():
            path.unlink(missing_ok=True)


def group_name() -> str:
    """A name for the group that this process begins."""
    return f"{os.getpid()}-{time.time_ns():x}"
