"""Machines that a plan can name: peak rates, memory, power and rent, each figure with its source and its day.

Peaks are dense bf16 (fp16 where a card has no bf16), as the makers' data sheets state them, without sparsity. Rents are
list prices and change monthly: a shop that knows its own gives it (``mofang rates``, ``--hour``).
"""

from __future__ import annotations

from dataclasses import dataclass

from mofang.core.errors import MofangError
from mofang.core.nearest import nearest

RENTS = "RunPod on-demand, as listed by deploybase.ai, 2026-03-10"
SHEETS = "maker's data sheet, dense bf16"


@dataclass(frozen=True)
class Device:
    """One accelerator: operations a second at its peak, memory and its bandwidth, link to its neighbours in one machine
    (bytes a second, both ways), watts at full load, and what an hour of rent and buying it cost in dollars.

    ``rent`` None: no price was found that could be named.
    """

    name: str
    peak_flops: float
    memory_bytes: float
    bandwidth: float
    link: float
    watts: float
    rent: float | None
    price: float | None
    source: str = SHEETS
    rent_source: str = RENTS


GIB, GB, T = 2.0**30, 1e9, 1e12

DEVICES = {
    one.name: one
    for one in (
        Device("t4", 65 * T, 15 * GIB, 320 * GB, 32 * GB, 70, None, None, "NVIDIA T4 data sheet, dense fp16"),
        Device("v100", 125 * T, 32 * GIB, 900 * GB, 300 * GB, 300, None, None, "NVIDIA V100 data sheet, dense fp16"),
        Device(
            "rtx4090",
            165 * T,
            24 * GIB,
            1008 * GB,
            32 * GB,
            450,
            0.60,
            1599,
            "NVIDIA Ada white paper, dense fp16 with fp32 sums; price: list at launch, 2022-10",
        ),
        Device("l40s", 362 * T, 48 * GIB, 864 * GB, 64 * GB, 350, 1.40, None),
        Device("a100-40", 312 * T, 40 * GIB, 1555 * GB, 600 * GB, 400, None, None),
        Device("a100", 312 * T, 80 * GIB, 2039 * GB, 600 * GB, 400, 2.45, None),
        Device("h100", 989 * T, 80 * GIB, 3350 * GB, 900 * GB, 700, 4.76, None),
        Device("h200", 989 * T, 141 * GB, 4800 * GB, 900 * GB, 700, 6.35, None),
        Device("b200", 2250 * T, 180 * GB, 8000 * GB, 1800 * GB, 1000, 10.57, None),
    )
}
USABLE = 0.92  # of a device's memory: the rest is the driver's, the communication library's and lost between blocks
PER_MACHINE = 8
NETWORK = 50 * GB  # bytes a second and device between machines: one 400 Gbit/s card for each, as in DGX H100 data sheets


def device_named(name: str) -> Device:
    """A device by its name, or ``plan-unknown-device`` with the nearest."""
    if name not in DEVICES:
        raise MofangError("plan-unknown-device", name=name, nearest=nearest(name, DEVICES), known=", ".join(DEVICES))
    return DEVICES[name]


@dataclass(frozen=True)
class Utilisation:
    """Share of the peak that was reached, as published."""

    low: float
    high: float
    source: str


# Model FLOPs utilisation (MFU): useful operations only, recomputed ones not counted.
REACHED = (
    (3e9, 64, Utilisation(0.40, 0.50, "nanochat, 1.6B on 8 H100: about 50 % (dev/LEADERBOARD.md, own arithmetic)")),
    (2e10, 256, Utilisation(0.33, 0.39, "torchtitan, Llama-3.1-8B on 8 to 128 H100 (benchmarks, 2024-12)")),
    (
        2e11,
        4096,
        Utilisation(
            0.38, 0.50, "Narayanan et al. 2021, 39B to 175B on 512 to 1,024 A100: 44 to 47 % of the peak with recomputation"
        ),
    ),
    (float("inf"), 10**9, Utilisation(0.38, 0.43, "Llama 3 technical report 2024, 405B on 8,192 to 16,384 H100")),
)


def expected_mfu(parameters: float, devices: int) -> Utilisation:
    """What others reached with models and machines of about this size."""
    for most, machines, found in REACHED:
        if parameters <= most and devices <= machines:
            return found
    return REACHED[-1][2]
