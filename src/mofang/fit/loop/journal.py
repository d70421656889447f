"""What every step was like: a line of JSON beside the run while it lasts, a short table in the model, TensorBoard files.

What follows from the seed (loss, rate, gradient norm, targets) goes into the model, so that the same seed gives the
same bytes. What follows from the machine (tokens a second, share of its peak, memory) stays beside the run and goes
into the ledger as measures.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mofang.core.canonical import canonical, write_durably

FILE = "steps.jsonl"
ROWS_MOST = 2000  # in the model
LASTING = ("epoch", "gradient_norm", "loss", "positions", "rate", "step", "targets")


class Journal:
    """Rows of steps in ``folder``; ``since`` is the step at which a resumed run goes on."""

    def __init__(self, folder: Path, since: int = 0, tensorboard: str = "", writes: bool = True) -> None:
        self.last: dict[str, Any] = {}
        self._board = _board(tensorboard, since) if tensorboard and writes else None
        self._file = None
        if writes:
            path = folder / FILE
            rows = [row for row in read_steps(folder) if row["step"] < since]
            write_durably(path, b"".join(canonical(row) + b"\n" for row in rows))
            self._file = path.open("ab")

    def step(self, row: dict[str, Any]) -> None:
        """One step: its figures by name; ``step`` counts from 0."""
        self.last = row
        if self._file is not None:
            self._file.write(canonical(row) + b"\n")
        self._tell(row, "step/")

    def verdict(self, row: dict[str, float]) -> None:
        """What validation gave; goes to TensorBoard only, for the curves of the model hold it."""
        self._tell(row, "validation/")

    def flush(self) -> None:
        """Hand everything to the system: a kill from here on loses nothing."""
        if self._file is not None:
            self._file.flush()
        if self._board is not None:
            self._board.flush()

    def close(self) -> None:
        """End the files."""
        if self._file is not None:
            self._file.close()
        if self._board is not None:
            self._board.close()

    def _tell(self, row: dict[str, float], prefix: str) -> None:
        if self._board is not None:
            for name, value in row.items():
                if name not in ("step", "epoch") and isinstance(value, int | float):
                    self._board.add_scalar(prefix + name, value, row["step"])


def lasting(rows: list[dict[str, Any]]) -> list[dict[str, float]]:
    """The figures that follow from the seed, of at most ``ROWS_MOST`` steps evenly spaced, and of the last one."""
    stride = 1
    while rows and rows[-1]["step"] // stride >= ROWS_MOST:
        stride *= 2
    kept = [row for row in rows if row["step"] % stride == 0 or row is rows[-1]]
    return [{name: row[name] for name in LASTING if name in row} for row in kept]


def speed(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Medians of what the machine reached, and the most memory: measures for the ledger."""
    found: dict[str, float] = {}
    for name in ("positions_s", "targets_s", "mfu"):
        values = sorted(row[name] for row in rows if row.get(name))
        if values:
            found[name] = round(values[len(values) // 2], 4)
    if rows:
        found["memory_mb"] = max(row.get("memory_mb", 0.0) for row in rows)
    return found


class Meter:
    """Speed and memory of each step. ``operations`` are floating-point operations a position, 0 while unknown."""

    def __init__(self, peak: Callable[[], float], warm_s: float = 10.0) -> None:
        self.peak, self.warm_s = peak, warm_s
        self.operations = 0.0
        self._began = self._last = time.perf_counter()
        self._peak = 0.0

    def read(self, positions: float, targets: float) -> dict[str, float]:
        """The figures of the step that ended now."""
        now = time.perf_counter()
        seconds, self._last = max(1e-9, now - self._last), now
        found = {"seconds": round(seconds, 6), "positions_s": round(positions / seconds, 2),
                 "targets_s": round(targets / seconds, 2), "memory_mb": memory_mb()}
        if self.operations and now - self._began > self.warm_s:  # a short run is not made longer by measuring the machine
            if not self._peak:
                self._peak = self.peak()
                self._last = time.perf_counter()
            found["mfu"] = round(self.operations * positions / seconds / self._peak, 4)
        return found

    def skip(self) -> None:
        """What happened since the last step was no training."""
        self._last = time.perf_counter()


def memory_mb() -> float:
    """Memory that this process holds now (on an accelerator: that it has allocated there)."""
    import torch

    if torch.cuda.is_available():
        return round(torch.cuda.max_memory_allocated() / 2**20, 1)
    statm = Path("/proc/self/statm")
    if not statm.exists():
        from mofang.core.run import used

        return round(used()[1], 1)
    import resource

    return round(int(statm.read_text().split()[1]) * resource.getpagesize() / 2**20, 1)


def read_steps(folder: Path) -> list[dict[str, Any]]:
    """The rows of a run's journal; none where it had no loop."""
    found, path = [], folder / FILE
    for line in path.read_bytes().splitlines() if path.exists() else []:
        try:
            found.append(json.loads(line))
        except ValueError:  # the last line of a killed run may be torn
            break
    return found


def _board(folder: str, since: int) -> Any:
    """TensorBoard's event files; points from the step at which a run goes on are told anew."""
    from mofang.core.errors import MofangError

    try:
        from tensorboardX import SummaryWriter
    except ImportError as missing:
        raise MofangError("tensorboard-missing") from missing
    return SummaryWriter(folder, purge_step=since)
