"""A plan on paper: a network, so many tokens, these machines. Nothing is run and no data is needed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from mofang.fit.planning.energy import energy
from mofang.fit.planning.hardware import PER_MACHINE, USABLE, Device, device_named, expected_mfu
from mofang.fit.planning.memory import How, report, training_memory
from mofang.fit.planning.modules import LLAMA_LIKE, Network, count
from mofang.fit.planning.money import owned, rented
from mofang.fit.planning.parallel import best_layout
from mofang.fit.planning.scaling import Law, published
from mofang.fit.planning.time import Duration, duration

LANGUAGE = (*LLAMA_LIKE, "gpt2", "t5", "mt5")
BATCH_TOKENS = ((3e8, 5e5), (3e9, 1e6), (2e10, 4e6), (float("inf"), 4e6))  # tokens a step, by parameters
TOKENS_PER_PARAMETER = 20.0


@dataclass(frozen=True)
class Wanted:
    """What is asked of a plan on paper; zeros are filled in from the network."""

    tokens: float = 0.0
    length: int = 0
    devices: int = 1
    device: str = "h100"
    batch: int = 0
    adapt: Literal["all", "lora", "head"] = "all"
    optimiser: str = "adamw"
    grid: str = "cn"
    hour: float | None = None
    price: float | None = None


def paper_plan(config: Mapping[str, Any], wanted: Wanted, law: Law | None = None, name: str = "") -> dict[str, Any]:
    """Operations, layout, memory, time, money and energy of training this network; see docs/plan.md for each figure.

    Raises ``plan-unknown-model``, ``plan-unknown-device``, ``plan-does-not-fit``, ``plan-unknown-grid``.
    """
    network = count(config, head="lm" if config.get("model_type") in (*LANGUAGE, "bert", "roberta") else "")
    device = device_named(wanted.device)
    length = wanted.length or min(network.shape.positions, 4096)
    tokens = wanted.tokens or TOKENS_PER_PARAMETER * network.parameters
    batch = wanted.batch or _batch(network, length, wanted.devices)
    source = float(length) if network.shape.kind in ("t5", "mt5") else 0.0
    flops = tokens / length * network.training_flops(length, source, wanted.adapt)
    mfu = expected_mfu(network.parameters, wanted.devices)
    if wanted.adapt == "all":
        layout = best_layout(network, device, wanted.devices, length, batch)
        placed = layout.to_dict()
        memory = report(layout.memory, USABLE * device.memory_bytes)
    else:
        memory = _adapted(network, wanted, device, length)
        placed = {"layout": f"DDP {wanted.devices}" if wanted.devices > 1 else "one device"}
    shares = {"quick": mfu.high, "slow": mfu.low}
    spans = {word: _span(network, device, wanted, flops, tokens, share) for word, share in shares.items()}
    hours = spans["slow"].total_s / 3600
    watts = f"{device.watts:g} W at full load, {device.source}"
    used = energy(wanted.devices, device.watts, hours, grid=wanted.grid, watts_source=watts)
    return {
        "kind": "paper",
        "model": _described(network, name, length, source),
        "tokens": tokens,
        "length": length,
        "batch": batch,
        "devices": wanted.devices,
        "device": _device(device),
        "flops": counted_flops(network, tokens, length, flops, source),
        "optimum": [one.to_dict() for one in [*published(flops), *([law.optimum(flops)] if law else [])]],
        "layout": placed,
        "memory": memory,
        "mfu": {"low": mfu.low, "high": mfu.high, "source": mfu.source},
        "time": {word: _seconds(one) for word, one in spans.items()},
        "money": [
            one.to_dict()
            for one in (
                rented(device, wanted.devices, hours, wanted.hour),
                owned(device, wanted.devices, hours, used.kwh, wanted.price),
            )
        ],
        "energy": used.to_dict(),
    }


def _described(network: Network, name: str, length: int, source: float) -> dict[str, Any]:
    return {"name": name, "type": network.shape.kind, "parameters": network.parameters, "multiplied": network.multiplied,
            "modules": network.to_rows(length, source)}


def _device(device: Device) -> dict[str, Any]:
    return {"name": device.name, "peak_tflops": device.peak_flops / 1e12, "memory_gb": round(device.memory_bytes / 1e9, 1),
            "source": device.source}


def _span(network: Network, device: Device, wanted: Wanted, flops: float, tokens: float, mfu: float) -> Duration:
    """The time at this share of the peak; token ids are two bytes each."""
    machines = math.ceil(wanted.devices / PER_MACHINE)
    return duration(flops, device.peak_flops, mfu, wanted.devices, parameters=network.parameters, machines=machines,
                    data_bytes=2 * tokens)


def counted_flops(network: Network, tokens: float, length: int, flops: float, source: float) -> dict[str, float]:
    """Operations as counted by module, what the causal mask spares of them, and the law of thumb beside it."""
    attention = 3 * network.attention_flops(length, source) * tokens / length
    return {
        "training": flops,
        "per_token": flops / tokens,
        "attention": attention,
        "with_causal_half": flops - attention / 2 if network.shape.causal else flops,
        "six_n_d": 6.0 * network.parameters * tokens,
        "six_n_d_off": 6.0 * network.parameters * tokens / flops,
    }


def _adapted(network: Network, wanted: Wanted, device: Device, length: int) -> dict[str, Any]:
    """Frozen bf16 weights on every device and a trained adapter, one text at a time, layers recomputed."""
    how = How(
        1, length, precision="bf16", adapt=wanted.adapt, recompute=True, fused=True, logits=True, optimiser=wanted.optimiser
    )
    return report(training_memory(network, how, base=1.5 * 2**30), USABLE * device.memory_bytes)


def _batch(network: Network, length: int, devices: int) -> int:
    """Texts of one step: about as many tokens as such models are trained with, at least one text a device."""
    tokens = next(tokens for most, tokens in BATCH_TOKENS if network.parameters <= most)
    return max(devices, round(tokens / length))


def _seconds(one: Duration) -> dict[str, float]:
    return {
        "total_s": round(one.total_s),
        "compute_s": round(one.compute_s),
        "data_s": round(one.data_s),
        "evaluation_s": round(one.evaluation_s),
        "checkpoint_s": round(one.checkpoint_s),
        "lost_s": round(one.lost_s),
        "checkpoint_every_s": round(one.interval_s),
    }
