"""Which machines and which division of the work for a network: data, sharded (FSDP), tensor and pipeline parallel, on paper.

Every layout is priced by the same few terms (Narayanan et al. 2021, section 3): products, the all-reduces inside a layer,
gathering of shards, and the bubble of a pipeline. The estimate says which layout is best and what it loses to what; the
time of a plan is told from what others reached (``hardware.REACHED``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mofang.core.errors import MofangError
from mofang.fit.planning.hardware import NETWORK, PER_MACHINE, USABLE, Device
from mofang.fit.planning.memory import MB, How, Memory, training_memory
from mofang.fit.planning.modules import Network

KERNELS = 0.62  # of the peak that large bf16 products reach with all the small work between them
OVERLAPPED = 0.7  # of the work behind which gathering of shards can hide
TENSORS, STAGES, MICROS = (1, 2, 4, 8), (1, 2, 4, 8, 16), (16, 8, 4, 2, 1)
SIMPLER = 1.03  # a layout must be 3 % quicker than a simpler one to be worth it


@dataclass(frozen=True)
class Layout:
    """A division of the work: tensor x pipeline x data = devices; ``rows`` are texts in a micro-batch, ``micros`` how many
    of them a step has on each data rank."""

    tensor: int
    pipeline: int
    data: int
    sharded: bool
    rows: int
    micros: int
    recompute: bool
    memory: Memory
    step_s: float
    mfu: float
    bubble: float
    talk: float

    @property
    def name(self) -> str:
        """As people write it: FSDP 128 x TP 8."""
        kinds = [("FSDP" if self.sharded else "DDP", self.data), ("TP", self.tensor), ("PP", self.pipeline)]
        return " x ".join(f"{kind} {number}" for kind, number in kinds if number > 1) or "one device"

    def to_dict(self) -> dict[str, Any]:
        """As JSON; bubble and communication are shares of the step."""
        return {
            "layout": self.name,
            "tensor": self.tensor,
            "pipeline": self.pipeline,
            "data": self.data,
            "sharded": self.sharded,
            "micro_batch": self.rows,
            "accumulate": self.micros,
            "recompute": self.recompute,
            "memory_mb": self.memory.to_mb(),
            "memory_total_mb": round(self.memory.total / MB, 1),
            "bubble": round(self.bubble, 4),
            "communication": round(self.talk, 4),
            "mfu_estimate": round(self.mfu, 4),
        }


def layouts(network: Network, device: Device, devices: int, length: int, batch: int) -> list[Layout]:
    """Every layout that fits into the devices' memory, the quickest first; ``batch`` is the texts of one step in all."""
    found = []
    for tensor, pipeline, data in _divisions(network, devices):
        share = max(1, batch // data)
        for recompute in (False, True):
            for sharded in (False, True) if data > 1 else (False,):
                for rows in MICROS:
                    if rows > share:
                        continue
                    how = How(
                        rows,
                        length,
                        precision="bf16",
                        fused=True,
                        logits=True,
                        recompute=recompute,
                        shards=data if sharded else 1,
                        tensor=tensor,
                        pipeline=pipeline,
                    )
                    memory = training_memory(network, how, base=1.5 * 2**30)
                    if memory.total <= USABLE * device.memory_bytes:
                        micros = max(1, share // rows)
                        found.append(_priced(network, device, how, (tensor, pipeline, data, sharded), micros, memory))
    return sorted(found, key=lambda one: one.step_s / _tokens(one))


def best_layout(network: Network, device: Device, devices: int, length: int, batch: int) -> Layout:
    """The simplest of the quickest layouts; ``plan-does-not-fit`` where there is none, with what would."""
    found = layouts(network, device, devices, length, batch)
    if not found:
        need = devices
        while need < 65_536 and not layouts(network, device, need, length, max(batch, need)):
            need *= 2
        raise MofangError(
            "plan-does-not-fit",
            devices=devices,
            device=device.name,
            parameters=f"{network.parameters / 1e9:.3g}B",
            needed=need,
        )
    quickest = found[0].step_s / _tokens(found[0])
    near = [one for one in found if one.step_s / _tokens(one) <= quickest * SIMPLER]
    return min(near, key=lambda one: (one.pipeline, one.tensor, one.recompute, one.sharded, one.step_s / _tokens(one)))


def _tokens(layout: Layout) -> int:
    return layout.rows * layout.micros * layout.data


def _divisions(network: Network, devices: int) -> Iterator[tuple[int, int, int]]:
    """tensor <= one machine and dividing the heads, pipeline dividing the layers, the rest is data."""
    shape = network.shape
    for tensor in TENSORS:
        if tensor > min(devices, PER_MACHINE) or shape.heads % tensor:
            continue
        for pipeline in STAGES:
            if shape.layers % pipeline == 0 and devices % (tensor * pipeline) == 0:
                yield tensor, pipeline, devices // (tensor * pipeline)


def _priced(
    network: Network, device: Device, how: How, division: tuple[int, int, int, bool], micros: int, memory: Memory
) -> Layout:
    """The seconds of one step (forward and backward of ``micros`` micro-batches) and what they go into."""
    tensor, pipeline, data, sharded = division
    shape, rate = network.shape, device.peak_flops * KERNELS
    parts = tensor * pipeline
    useful = how.rows * network.training_flops(how.length) / parts
    done = how.rows * network.training_flops(how.length, recompute=how.recompute) / parts
    compute = done / rate
    reduced = 4 * (1.5 if how.recompute else 1.0) * shape.layers / pipeline * how.rows * how.length * shape.hidden * 2
    inner = reduced * 2 * (tensor - 1) / tensor / (device.link / 2)
    hops = 0.0 if pipeline == 1 else 2 * how.rows * how.length * shape.hidden * 2 / NETWORK
    one = compute + inner + hops
    weights = network.parameters / parts * 2.0
    across = device.link / 2 if data * parts <= PER_MACHINE else NETWORK
    rounds = 2 * micros + 1 if sharded else 2
    talk = rounds * weights * (data - 1) / data / across
    exposed = max(0.0, talk - OVERLAPPED * micros * compute)
    stretch = (pipeline - 1) / micros
    step = micros * one * (1 + stretch) + exposed
    return Layout(
        tensor,
        pipeline,
        data,
        sharded,
        int(how.rows),
        micros,
        how.recompute,
        memory,
        step,
        micros * useful / device.peak_flops / step,
        micros * one * stretch / step,
        (micros * (inner + hops) + exposed) / step,
    )
