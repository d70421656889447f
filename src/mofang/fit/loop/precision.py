"""In which numbers the products of training are computed; weights and their updates stay float32."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn

from mofang.fit.loop.machine import multiply_rate
from mofang.fit.loop.probe import choices

WORTH = 2_000_000  # weights in matrices from which half the bits are worth their casts on a CPU
PROBE, REPEATS = 2048, 3


def half_pays(network: nn.Module, device: torch.device) -> bool:
    """Whether bfloat16 is the faster choice here, by what the machine's probe measured; unmeasured, it is not taken."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    if sum(value.numel() for value in network.parameters() if value.ndim > 1) < WORTH:
        return False
    return choices().precision == "bf16"


def resolved(precision: str, network: nn.Module, device: torch.device) -> str:
    """ "bf16" or "fp32" for a setting that may be "auto"."""
    if precision == "auto":
        return "bf16" if half_pays(network, device) else "fp32"
    return precision


def casting(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """The block in which a batch's loss is computed."""
    if precision != "bf16":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16, cache_enabled=True)


def peak_rate(precision: str, device: torch.device) -> float:
    """Floating-point operations per second of a large matrix product in these numbers on this device."""
    measured = choices().rates.get("bfloat16" if precision == "bf16" else "float32")
    if device.type != "cuda" and (measured or precision == "fp32"):
        return measured or multiply_rate()
    import time

    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    side = PROBE * (4 if device.type == "cuda" else 1)
    left, best = torch.ones(side, side, dtype=kind, device=device), float("inf")
    for _ in range(REPEATS + 1):
        began = time.perf_counter()
        left @ left
        if device.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
    return 2 * side**3 / best
