"""Recipes: a model's whole life as a short Python script that calls stages.

A recipe has ``NAME`` and ``main(shop, budget)``, which returns the package it made, the
snapshot where it ends in data, the base where it ends in pretraining, or the generator. It imports what it needs from here;
each name is loaded only when a recipe asks for it.
"""

from __future__ import annotations

import importlib
import os
import re
import runpy
import time
import traceback
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mofang.core.artifact import Artifact
from mofang.core.errors import MofangError
from mofang.core.given import Settings, given
from mofang.core.shop import Named, Shop

if TYPE_CHECKING:
    from mofang.data.snapshots.growth import Growth

HOMES = {
    "collect": "mofang.data.collect", "clean": "mofang.data.clean", "snapshot": "mofang.data.snapshot",
    "survey": "mofang.data.survey", "features": "mofang.data.features", "diff": "mofang.data.diff",
    "assess": "mofang.data.assess", "augment": "mofang.data.augment", "train": "mofang.fit.train",
    "select": "mofang.fit.select", "baseline": "mofang.fit.baseline", "export": "mofang.fit.export",
    "evaluate": "mofang.judge.evaluate", "compare": "mofang.judge.compare", "package": "mofang.serve.package",
    "protect": "mofang.data.protect", "private": "mofang.data.private", "queue_up": "mofang.data.label",
    "bring_labels": "mofang.data.label", "bring_proposals": "mofang.data.label", "gather": "mofang.data.label",
    "plan": "mofang.fit.plan", "gauge": "mofang.fit.gauge",
    "aggregate": "mofang.data.label", "tokenizer": "mofang.fit.tokenizer", "shard": "mofang.fit.tokenizer",
    "pretrain": "mofang.fit.pretrain",
    "generate": "mofang.fit.generate", "prefer": "mofang.fit.prefer", "reinforce": "mofang.fit.reinforce",
    "index": "mofang.serve.index", "adopt": "mofang.fit.adopt",
    "probe": "mofang.fit.loop.probe",
}
__all__ = ["Budget", "Outcome", "Shop", "run_recipe"]  # and every name of HOMES, by __getattr__

ENDS = ("package", "snapshot", "base", "model")  # ready to serve, data ready for training, a base, a generator

# What Python raises for a mistake in a script; it is the recipe's own where its last line is the recipe's.
MISTAKES = (NameError, TypeError, AttributeError, LookupError, ImportError, ValueError, ArithmeticError, AssertionError,
            OSError, RuntimeError)
UNITS_S = {"s": 1, "秒": 1, "": 1, "m": 60, "min": 60, "分": 60, "分钟": 60, "h": 3600, "小时": 3600}
TIME = re.compile(r"(\d+(?:\.\d+)?)\s*(" + "|".join(sorted(filter(None, UNITS_S), key=len, reverse=True)) + ")?")


def __getattr__(name: str) -> Any:
    """A stage by name, imported when a recipe first asks for it."""
    if name not in HOMES:
        raise AttributeError(f"mofang.recipe has no {name}")
    return getattr(importlib.import_module(HOMES[name]), name)


@dataclass(frozen=True)
class Budget:
    """How long the search for the best model may take, in seconds of wall clock."""

    seconds: float = 300.0

    @classmethod
    def parse(cls, text: str, machine_hour_micros: int | None = None, currency: str = "CNY") -> Budget:
        """From a time (``5m``, ``90s``, ``1.5h``, ``5分钟``), or from money (``¥20``, ``20元``, ``$3``) where it is known
        what an hour of this machine costs.

        Raises ``rate-not-set``, ``currency-other`` for another currency than the shop's, ``budget-unreadable``.
        """
        from mofang.core.money import parse_amount

        plain = unicodedata.normalize("NFKC", text).strip().lower()
        if found := TIME.fullmatch(plain):
            seconds = float(found[1]) * UNITS_S[found[2] or ""]
        elif re.search(r"[¥$€£]|元|rmb|cny|usd|eur|gbp|hkd|jpy", plain) and any(map(str.isdigit, plain)):
            micros = parse_amount(text, currency)
            if not machine_hour_micros:
                raise MofangError("rate-not-set", budget=text)
            seconds = micros / machine_hour_micros * 3600
        else:
            raise MofangError("budget-unreadable", budget=text)
        if seconds <= 0:
            raise MofangError("budget-unreadable", budget=text)
        return cls(seconds)


@dataclass(frozen=True)
class Outcome:
    """What a recipe came to (``made``: a package, a snapshot or a base), and what it was before: ``previous``
    is the version that had the name until now (the same
    one if nothing changed), ``growth`` what came into the records since, ``comparison`` old and new on the same test
    rows, and ``incomparable`` why there is none.
    """

    named: Named
    made: Artifact
    seconds: float
    previous: Named | None = None
    growth: Growth | None = None
    comparison: Artifact | None = None
    incomparable: str = ""

    @property
    def unchanged(self) -> bool:
        """True if the recipe ended in the version that was there before."""
        return self.previous == self.named

    def made_by(self, kind: str) -> Artifact | None:
        """The nearest ancestor of what was made of this kind (its evaluation, model, snapshot …)."""
        return self.made.shop.ancestor(self.made.entry, kind)


def run_recipe(shop: Shop, path: Path, budget: Budget, settings: Settings | None = None) -> Outcome:
    """Run a recipe to its named model (or snapshot); run again, it redoes only what changed.

    ``settings`` are given from outside, by stage (``{"export": {"miss_cost": 10.0}}``); they stand in for the recipe's
    own and are written into the ledger like those.
    """
    began = time.monotonic()
    name, made = make(shop, path, budget, settings)
    return finish(shop, name, made, began)


def make(shop: Any, path: Path, budget: Budget, settings: Settings | None = None) -> tuple[str, Artifact]:
    """Run a recipe's own code; the recipe's name, and what it ends in."""
    if not path.is_file():
        raise MofangError("recipe-missing", path=str(path))
    path = path.resolve()  # before the folder changes
    with working_in(path.parent), given(settings or {}):
        script = _load(path)
        name, main = script.get("NAME"), script.get("main")
        if not isinstance(name, str) or not callable(main):
            raise MofangError("recipe-shape", path=str(path))
        try:
            made = main(shop, budget)
        except MISTAKES as error:
            line = _line_in(path, error)
            if line is None:
                raise
            raise MofangError("recipe-broken", path=str(path), line=line, reason=f"{type(error).__name__}: {error}") from error
    if not isinstance(made, Artifact) or made.kind not in ENDS:
        raise MofangError("recipe-shape", path=str(path))
    return name, made


def finish(shop: Shop, name: str, made: Artifact, began: float) -> Outcome:
    """Name what a recipe came to. Where the name had a version with another graph, both are compared on
    the test rows of the new one."""
    previous = shop.newest(name)
    named = shop.name(name, made)
    changes = what_changed(shop, made, previous) if previous and previous != named else {}
    return Outcome(named, made, time.monotonic() - began, previous, **changes)


def what_changed(shop: Shop, made: Artifact, previous: Named) -> dict[str, Any]:
    """Growth of the records and the comparison of both models, or why there is none."""
    from mofang.data.snapshots.growth import grown
    from mofang.judge.compare import compare, trained_on, why_not

    found: dict[str, Any] = {}
    before = {kind: shop.ancestor(previous.entry, kind) for kind in ("records", "graph")}
    now = {kind: shop.ancestor(made.entry, kind) for kind in ("records", "graph", "evaluation")}
    if before["records"] and now["records"]:
        found["growth"] = grown(before["records"], now["records"])
    if not (now["graph"] and now["evaluation"]) or (before["graph"] and before["graph"].digest == now["graph"].digest):
        return found
    if before["graph"] is None:
        return found | {"incomparable": "elsewhere"}
    test = tested(shop, now["evaluation"])
    reason = why_not(*(one.read_json("about.json") for one in (now["graph"], before["graph"])))
    if not reason and trained_on(shop, test, before["graph"]):
        reason = "trained-on"
    if reason:
        return found | {"incomparable": reason}
    return found | {"comparison": shop.run(compare, now["graph"], before["graph"], test)}


def tested(shop: Shop, evaluation: Artifact) -> Any:
    """The records on which an evaluation was made."""
    given = shop.ledger.get(evaluation.entry).body["inputs"]
    reference = next(one for one in given if one["kind"] == "records")
    found = shop.artifact(shop.ledger.get(reference["entry"]))
    for name in filter(None, reference["within"].split("/")):
        found = found / name
    return found


def _load(path: Path) -> dict[str, Any]:
    try:
        return runpy.run_path(str(path))
    except (SyntaxError, *MISTAKES) as error:
        line = error.lineno if isinstance(error, SyntaxError) else _line_in(path, error)
        raise MofangError("recipe-broken", path=str(path), line=line or "?", reason=f"{type(error).__name__}: {error}") from error


def _line_in(path: Path, error: BaseException) -> int | None:
    """The recipe's own line, if the error was raised there and not deeper inside."""
    frames = traceback.extract_tb(error.__traceback__)
    last = frames[-1] if frames else None
    return last.lineno if last and last.filename == str(path) else None


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """Sources in a recipe are relative to the recipe's own folder, wherever it is run from."""
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
