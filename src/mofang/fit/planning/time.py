"""Wall-clock seconds of a run on paper: operations at a stated share of the peak, and what stands beside them."""

from __future__ import annotations

import math
from dataclasses import dataclass

# Llama 3 technical report (2024), section 3.3.4: 419 unexpected interruptions in 54 days on 16,384 GPUs.
DEVICE_MTBF_S = 16_384 * 54 * 86_400 / 419
RESTART_S = 600.0  # to find out, replace the machine and start the processes again: an assumption
STORE_BYTES_S = 2e9  # of one machine to its checkpoint store: an assumption; ``--store`` is its measure
STATE_BYTES = 12  # fp32 weights and Adam's two moments, a weight


@dataclass(frozen=True)
class Duration:
    """Seconds of a run by what they go into."""

    compute_s: float
    data_s: float = 0.0
    evaluation_s: float = 0.0
    checkpoint_s: float = 0.0
    lost_s: float = 0.0
    interval_s: float = 0.0

    @property
    def total_s(self) -> float:
        """From start to end."""
        return self.compute_s + self.data_s + self.evaluation_s + self.checkpoint_s + self.lost_s


def duration(
    flops: float,
    peak: float,
    mfu: float,
    devices: int,
    *,
    parameters: float = 0.0,
    machines: int = 1,
    data_bytes: float = 0.0,
    read_bytes_s: float = 1e9,
    evaluated: float = 0.01,
    mtbf_s: float = DEVICE_MTBF_S,
) -> Duration:
    """``flops`` at ``mfu`` of ``devices`` x ``peak``; reading is hidden behind work where it is quicker.

    Evaluation is ``evaluated`` of the work. Checkpoints stand at Young's interval, and what failures cost follows from it:
    the work since the last checkpoint (half an interval) and the restart, for each failure.
    """
    compute = flops / (devices * peak * mfu)
    data = max(0.0, data_bytes / (read_bytes_s * machines) - compute)
    work = compute * (1 + evaluated) + data
    if not parameters:
        return Duration(compute, data, compute * evaluated)
    save = parameters * STATE_BYTES / (STORE_BYTES_S * machines)
    mtbf = mtbf_s / devices
    interval = min(checkpoint_interval(save, mtbf), work) if work else 0.0
    saved = work / interval * save if interval else 0.0
    failures = (work + saved) / mtbf
    lost = failures * (interval / 2 + RESTART_S + save)
    return Duration(compute, data, compute * evaluated, saved, lost, interval)


def checkpoint_interval(save_s: float, mtbf_s: float) -> float:
    """Seconds between checkpoints that lose least: sqrt(2 · save · mean time between failures) (Young 1974, Daly 2006)."""
    return math.sqrt(2 * save_s * mtbf_s)


def words(seconds: float) -> str:
    """A duration as people say it: 42 s, 7.5 min, 3.1 h, 34 d."""
    for size, unit in ((86_400 * 2, 86_400), (3600 * 1.5, 3600), (90, 60)):
        if seconds >= size:
            return f"{seconds / unit:.3g} {'d' if unit == 86_400 else 'h' if unit == 3600 else 'min'}"
    return f"{seconds:.3g} s"
