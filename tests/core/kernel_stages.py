"""Stages that exercise every promise of the core: two parts, nested runs, three kinds of a choice."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from mofang.core.artifact import Artifact
from mofang.core.run import Run
from mofang.core.stage import stage
from mofang.core.variant import Variant

CALLS: list[str] = []


class Numbers(Artifact):
    kind = "numbers"


class Halves(Artifact):
    kind = "halves"
    inside: ClassVar[dict[str, str]] = {"low": "numbers"}


class Order(Variant):
    """How numbers are ordered."""


@dataclass(frozen=True, kw_only=True)
class Rising(Order):
    tag: ClassVar[str] = "rising"


@dataclass(frozen=True, kw_only=True)
class Falling(Order):
    tag: ClassVar[str] = "falling"
    stride: int = 1


@dataclass(frozen=True, kw_only=True)
class Fixed(Order):
    tag: ClassVar[str] = "fixed"
    values: tuple[int, ...] = (2, 1)


@stage(version=1)
def count(run: Run, *, upto: Annotated[int, Field(ge=0, le=1000)] = 4, licence: str = "CC0-1.0") -> Numbers:
    """Count up to a number."""
    CALLS.append("count")
    run.licence(licence)
    run.write_json("values.json", list(range(upto)))
    return run.result(Numbers)


@stage(version=1)
def split(run: Run, numbers: Numbers, also: Numbers | None = None, *, at: float = 0.5, order: Order = Rising(),
          mode: Literal["plain", "loud"] = "plain", tags: tuple[str, ...] = (), pause_s: float = 0.0) -> Halves:
    """Split numbers into a low and a high half."""
    CALLS.append("split")
    values = numbers.read_json("values.json") + (also.read_json("values.json") if also else [])
    cut = run.once("cut", lambda: int(len(values) * at))
    if not run.has("low/values.json"):
        CALLS.append("low")
        run.write_json("low/values.json", values[:cut])
    extra = run.call(count, upto=2)
    if pause_s:
        time.sleep(pause_s)
    run.write_json("high/values.json", [*values[cut:], *extra.read_json("values.json"), order.to_dict(), mode, list(tags)])
    run.measure(cut=cut)
    return run.result(Halves)


@stage(version=1)
def best(run: Run, several: tuple[Numbers, ...]) -> Numbers:
    """The longest of several, as it is."""
    return max(several, key=lambda one: len(one.read_json("values.json")))


@stage(version=1, keyed_on="references")
def certify(run: Run, numbers: Numbers) -> Numbers:
    """Write the licences into the bytes."""
    CALLS.append("certify")
    run.write_json("values.json", list(numbers.licences))
    return run.result(Numbers)


@stage(version=1)
def broken(run: Run, numbers: Numbers) -> Numbers:
    """Fail half way."""
    run.write_json("values.json", [1])
    raise RuntimeError("half way")
