"""What this machine does fastest, measured: precision, attention by length and mask, GELU, dropout.

Which way of computing the same thing is faster differs from machine to machine by factors, so nothing here is taken
for granted: ``probe`` measures in some seconds, the ledger keeps it, and networks and loop ask ``choices()``. Where nothing
has been measured, ``choices()`` gives what is safe everywhere: float32 and torch's plain operators.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from mofang.core import memo
from mofang.core.artifact import Artifact
from mofang.core.canonical import digest_of
from mofang.core.run import Run
from mofang.core.stage import spec_of, stage
from mofang.fit.loop.machine import threads

if TYPE_CHECKING:
    from mofang.core.shop import Shop

PROBE_FORMAT = 1
KINDS = ("full", "padded", "causal", "documents")  # what a query may look at
SHORT = 128  # unmeasured: up to here plain attention, beyond it the fused one, which saves memory
WORTH = 1.05  # another way must be faster by this factor, or noise would choose


@dataclass(frozen=True)
class Choices:
    """The fastest measured ways on one machine.

    ``attention_by`` and ``gelu_by`` map "bfloat16/causal/256" and "bfloat16/tanh" to the name of a way, ``rates`` precisions
    to floating-point operations per second of a matrix product. ``precision`` is "fp32" or "bf16", ``bias`` "native" or "fused"
    (added by oneDNN within a bfloat16 product).
    """

    precision: str = "fp32"
    attention_by: Mapping[str, str] = field(default_factory=dict)
    gelu_by: Mapping[str, str] = field(default_factory=dict)
    dropout: str = "bytes"
    bias: str = "native"
    rates: Mapping[str, float] = field(default_factory=dict)

    @property
    def peak_flops(self) -> float:
        """Operations per second of a matrix product in the chosen precision; 0 where nothing was measured."""
        return float(self.rates.get({"bf16": "bfloat16"}.get(self.precision, "float32"), 0.0))

    def attention(self, kind: str, length: int, causal: bool, dtype: Any) -> str:
        """The way ("plain", "sdpa", "halves") for rows of this length: that of the nearest length measured, by ratio."""
        kind = "causal" if causal and kind == "full" else kind
        head = f"{_plain(dtype)}/{kind}/"
        known = [name for name in self.attention_by if name.startswith(head)]
        if not known:
            return "plain" if length <= SHORT else "sdpa"
        lengths = {int(name.removeprefix(head)): self.attention_by[name] for name in known}
        return lengths[min(lengths, key=lambda one: max(one, length) / max(1, min(one, length)))]

    def gelu_of(self, kind: str, dtype: Any) -> str:
        """The way ("native", "float", "sigmoid") for GELU of this kind."""
        return self.gelu_by.get(f"{_plain(dtype)}/{kind}", "native")

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "precision": self.precision,
            "attention": dict(self.attention_by),
            "gelu": dict(self.gelu_by),
            "dropout": self.dropout,
            "bias": self.bias,
            "rates": dict(self.rates),
        }

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Choices:
        """What ``to_dict`` wrote."""
        return cls(given["precision"], given["attention"], given["gelu"], given["dropout"], given.get("bias", "native"),
                   given["rates"])


class Probe(Artifact):
    """A machine's measurements: probe.json with every time and its spread, and what was chosen by them."""

    kind = "probe"


SAFE = Choices()
_CHOSEN: ContextVar[Choices | None] = ContextVar("choices", default=None)


def choices() -> Choices:
    """What networks and loop go by: what ``choosing`` set, else the safe default."""
    return _CHOSEN.get() or SAFE


@contextmanager
def choosing(chosen: Choices | None) -> Iterator[Choices]:
    """Within the block ``choices()`` gives this (None: the safe default)."""
    token = _CHOSEN.set(chosen)
    try:
        yield choices()
    finally:
        _CHOSEN.reset(token)


def software(shop: Shop, settings: dict[str, Any]) -> str:
    """What besides the machine a measurement depends on: torch, its threads."""
    return digest_of({"torch": version("torch"), "threads": threads(), "environment": os.environ.get("ONEDNN_MAX_CPU_ISA", "")})


@stage(version=2, depends="machine", source_digest=software)
def probe(run: Run, *, seconds: Annotated[float, Field(gt=0, le=60)] = 15.0) -> Probe:
    """Measure what this machine trains fastest with: precision, attention, GELU, dropout; once for a machine.

    Training asks the newest probe of the shop. A matrix product, every way of attention by length and mask, GELU and
    dropout are timed in turns, so that a busy moment meets all of them; the least time counts, and its spread is kept beside it.
    ``seconds`` limits the whole.
    """
    from mofang.fit.loop.timing import measure_machine

    with run.progress("Measuring this machine", "测量本机", total=1.0) as bar:
        found = measure_machine(seconds, bar)
    chosen = choose(found)
    facts = {**memo.machine(), "threads": threads(), "torch": version("torch")}
    run.write_json("probe.json", {"format": PROBE_FORMAT, "machine": facts, "measured": found, "choices": chosen.to_dict()})
    run.measure(precision=chosen.precision, noise=noise_of(found), **{f"gflops_{name}": round(rate / 1e9, 1)
                                                                      for name, rate in chosen.rates.items()})
    return run.result(Probe)


def choose(found: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Choices:
    """The fastest ways; the first of a case stands where no other is faster by 5 %."""
    rates = {name: max(case["rate"] for place, case in found["product"].items() if place.startswith(name + "/"))
             for name in ("float32", "bfloat16")}
    training = {name: sum(case["best_s"] for place, case in found["product"].items() if place.startswith(name + "/"))
                for name in rates}
    return Choices(
        "bf16" if training["float32"] > WORTH * training["bfloat16"] else "fp32",
        {case: _fastest(ways) for case, ways in _cases(found["attention"]).items()},
        {case: _fastest(ways) for case, ways in _cases(found["gelu"]).items()},
        _fastest(next(iter(_cases(found["dropout"]).values()))),
        _fastest(next(iter(_cases(found["bias"]).values())), 1.0) if found.get("bias") else "native",
        rates,
    )


def noise_of(found: Mapping[str, Mapping[str, Mapping[str, float]]]) -> float:
    """The median spread of all cases: (median - least) / least."""
    spreads = sorted(case["spread"] for cases in found.values() for case in cases.values())
    return round(spreads[len(spreads) // 2], 4)


def known_choices(shop: Shop) -> Choices | None:
    """What the shop's probe of this machine chose; None where it has none."""
    spec = spec_of(probe)
    key = memo.key_of(memo.identity(shop, spec, spec.check({}), []))
    known = memo.hit(shop, spec, key)
    return None if known is None else Choices.from_dict(shop.artifact(known).read_json("probe.json")["choices"])


def with_choices(shop: Shop, digest: str) -> str:
    """A digest of what a training starts from, with what the probe chose: another way of computing gives other last bits."""
    chosen = known_choices(shop)
    return digest if chosen is None else digest_of([digest, chosen.to_dict()])


def _cases(found: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Least seconds by case and way, from "case/way"."""
    cases: dict[str, dict[str, float]] = {}
    for name, case in found.items():
        place, _, way = name.rpartition("/")
        cases.setdefault(place, {})[way] = case["best_s"]
    return cases


def _fastest(ways: Mapping[str, float], worth: float = WORTH) -> str:
    first, best = next(iter(ways)), min(ways, key=ways.__getitem__)
    return best if ways[first] > worth * ways[best] else first


def _plain(dtype: Any) -> str:
    return str(dtype).removeprefix("torch.")
