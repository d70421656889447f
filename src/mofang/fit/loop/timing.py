"""Times of the operators that training consists of, in turns, with their spread."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from mofang.core.progress import Bar
from mofang.fit.loop.machine import threads
from mofang.fit.loop.probe import Choices
from mofang.fit.networks.attention import VARIANTS, attend, causal_bias, document_bias, padding_bias
from mofang.fit.networks.kernels import Masks, gelu
from mofang.fit.networks.mixing import Stretch, mixed
from mofang.fit.networks.products import fused, fuses

ROWS, WIDTH, INNER, HEADS = 1024, 384, 1536, 12  # a small encoder's step
DROPOUTS = 12  # of a pass through six layers
LENGTHS = (16, 32, 64, 128, 256, 512)
DTYPES = (torch.float32, torch.bfloat16)
ROUNDS_LEAST, ROUNDS_MOST = 1, 12
SKETCH_S, HOPELESS = 2.0, 4.0
CHOSEN = ("attention", "gelu", "dropout")
Work = Callable[[], Any]


def measure_machine(seconds: float, bar: Bar | None = None) -> dict[str, dict[str, dict[str, float]]]:
    """Least seconds, spread and rounds of every case, by group and "case/way"; products with their rate.

    One thread is timed by the processor's clock, which others do not slow; several by the wall's. All cases run in turns
    until the time is over (at least once each, after one to warm up), so that a busy moment meets all of them. A way that
    took four times the best of its case is not run again. Under two seconds only a sketch is measured.
    """
    before, state = torch.get_num_threads(), torch.get_rng_state()
    torch.set_num_threads(threads())
    try:
        torch.manual_seed(0)
        lengths, rows = (LENGTHS, ROWS) if seconds >= SKETCH_S else (LENGTHS[1:2], ROWS // 16)
        return _in_turns(dict(_works(lengths, rows)), seconds, bar)
    finally:
        torch.set_num_threads(before)
        torch.set_rng_state(state)


def _in_turns(works: dict[tuple[str, str], tuple[Work, float]], seconds: float,
              bar: Bar | None) -> dict[str, dict[str, dict[str, float]]]:
    clock = time.process_time if threads() == 1 else time.perf_counter
    began = time.perf_counter()
    taken: dict[tuple[str, str], list[float]] = {name: [] for name in works}
    first: dict[tuple[str, str], float] = {}
    for number in range(ROUNDS_MOST + 1):
        for name, (work, _) in works.items():
            if number > 1 and name[0] in CHOSEN and first[name] > HOPELESS * _best_of(first, name):
                continue
            start = clock()
            work()
            passed = clock() - start
            if number:  # the first round only warms up
                taken[name].append(passed)
                first.setdefault(name, passed)
        passed = time.perf_counter() - began
        if bar is not None:
            bar.advance(max(0.0, min(1.0, passed / seconds) - bar.done))
        if number >= ROUNDS_LEAST and passed * (number + 2) / (number + 1) > seconds:
            break
    found: dict[str, dict[str, dict[str, float]]] = {}
    for (group, case), times in taken.items():
        best = max(min(times), 1e-9)
        entry = {"best_s": best, "spread": statistics.median(times) / best - 1, "rounds": float(len(times))}
        if works[group, case][1]:
            entry["rate"] = works[group, case][1] / best
        found.setdefault(group, {})[case] = entry
    return found


def _best_of(first: dict[tuple[str, str], float], name: tuple[str, str]) -> float:
    """The least time of all ways of the same case."""
    case = name[1].rpartition("/")[0] + "/"
    return min(passed for (group, other), passed in first.items() if group == name[0] and other.startswith(case))


def _works(lengths: tuple[int, ...], rows: int) -> Iterator[tuple[tuple[str, str], tuple[Work, float]]]:
    """Every case: its group and name, the work, and its floating-point operations where they are counted."""
    for dtype in DTYPES:
        name = str(dtype).removeprefix("torch.")
        yield from _products(name, dtype, rows)
        for kind in ("exact", "tanh"):
            values = torch.randn(rows, INNER).to(dtype).requires_grad_()
            slope = torch.randn(rows, INNER).to(dtype)
            ways = ("native", "float") if dtype != torch.float32 else ("native",)
            for way in (*ways, "sigmoid") if kind == "tanh" else ways:
                yield ("gelu", f"{name}/{kind}/{way}"), (_gelu(values, slope, kind, way), 0.0)
        for length in lengths:
            yield from _attentions(name, dtype, length, rows // 2)
        states = torch.randn(rows, WIDTH).to(dtype)
        weight = torch.ones(WIDTH).to(dtype)
        yield ("norm", f"{name}/native"), (_norm(states, weight), 0.0)
    values = torch.randn(rows, WIDTH).bfloat16()
    for way in ("bytes", "native"):
        yield ("dropout", f"bfloat16/{way}"), (_dropout(values, way), 0.0)
    for way in ("native", "fused") if fuses() else ("native",):
        yield ("bias", f"bfloat16/{way}"), (_bias(values, way), 0.0)
    table, ids = torch.randn(30 * rows, WIDTH, requires_grad=True), torch.randint(0, 30 * rows, (rows,))
    for way in ("dense", "sparse"):
        yield ("table", f"float32/{way}"), (_table(table, ids, way == "sparse"), 0.0)


def _products(name: str, dtype: torch.dtype, rows: int) -> Iterator[tuple[tuple[str, str], tuple[Work, float]]]:
    """A square product and the three of a linear layer: forward, gradient of the weight, of the input."""
    square = torch.randn(rows, rows).to(dtype)
    yield ("product", f"{name}/square"), (lambda: square @ square, 2.0 * rows**3)
    states, weight = torch.randn(rows, WIDTH).to(dtype), torch.randn(INNER, WIDTH).to(dtype)
    slopes, count = torch.randn(rows, INNER).to(dtype), 2.0 * rows * WIDTH * INNER
    yield ("product", f"{name}/forward"), (lambda: torch.nn.functional.linear(states, weight), count)
    yield ("product", f"{name}/weight"), (lambda: slopes.t() @ states, count)
    yield ("product", f"{name}/input"), (lambda: slopes @ weight, count)


def _attentions(name: str, dtype: torch.dtype, length: int, tokens: int) -> Iterator[tuple[tuple[str, str], tuple[Work, float]]]:
    rows = max(1, tokens // length)
    heads, width = (6, 64) if length >= 256 else (HEADS, WIDTH // HEADS)
    apart = [torch.randn(rows, heads, length, width).to(dtype).requires_grad_() for _ in range(3)]
    slope = torch.randn(rows, heads, length, width).to(dtype)
    mask = torch.ones(rows, length, dtype=torch.int64)
    mask[:, length - max(1, length // 8):] = 0
    halves = (torch.arange(length) * 2 // length).expand(rows, length)
    documents = causal_bias(apart[0].detach(), length, document_bias(halves, dtype))
    joint = torch.randn(rows * length, 3 * heads * width).to(dtype).requires_grad_()
    for kind, bias in (("full", None), ("padded", padding_bias(mask, dtype))):
        part = Stretch(rows, length, rows * length, bias=bias)
        for way in VARIANTS[:2]:
            yield ("attention", f"{name}/{kind}/{length}/{way}"), (_mixing(joint, part, heads, way), 0.0)
    for kind, bias in (("causal", None), ("documents", documents)):
        for way in VARIANTS if kind == "causal" else VARIANTS[:2]:
            yield ("attention", f"{name}/{kind}/{length}/{way}"), (_attention(apart, slope, way, bias, kind == "causal"), 0.0)


def _attention(apart: list[Tensor], slope: Tensor, way: str, bias: Tensor | None, causal: bool) -> Work:
    def work() -> None:
        attend(*apart, variant=way, bias=bias, causal=causal).backward(slope)  # type: ignore[no-untyped-call]
        for one in apart:
            one.grad = None
    return work


def _mixing(joint: Tensor, part: Stretch, heads: int, way: str) -> Work:
    """Attention as an encoder computes it."""
    kind = "full" if part.bias is None else "padded"
    chosen = Choices(attention_by={f"{str(joint.dtype).removeprefix('torch.')}/{kind}/{part.length}": way})
    slope = torch.randn(len(joint), joint.shape[1] // 3).to(joint.dtype)

    def work() -> None:
        mixed(joint, (part,), heads, 0.0, chosen, Masks("bytes", True)).backward(slope)  # type: ignore[no-untyped-call]
        joint.grad = None
    return work


def _gelu(values: Tensor, slope: Tensor, kind: str, way: str) -> Work:
    def work() -> None:
        gelu(values, kind, way).backward(slope)  # type: ignore[no-untyped-call]
        values.grad = None
    return work


def _norm(states: Tensor, weight: Tensor) -> Work:
    return lambda: torch.nn.functional.layer_norm(states, (WIDTH,), weight, weight)


def _dropout(values: Tensor, way: str) -> Work:
    """The dropouts of one pass through some layers: a pool of masks is drawn once for all of them."""
    def work() -> None:
        masks = Masks(way, True)
        for _ in range(DROPOUTS):
            masks.drop(values, 0.1)
    return work


def _bias(values: Tensor, way: str) -> Work:
    """A product with a bias, as a layer computes it."""
    weight, bias = torch.randn(INNER, WIDTH).bfloat16(), torch.randn(INNER).bfloat16()
    if way == "native":
        return lambda: torch.nn.functional.linear(values, weight, bias)
    return lambda: fused(values, weight, bias)


def _table(table: Tensor, ids: Tensor, sparse: bool) -> Work:
    def work() -> None:
        torch.nn.functional.embedding(ids, table, sparse=sparse).sum().backward()  # type: ignore[no-untyped-call]
        table.grad = None
    return work
