"""Recipes: a model's whole life as a short Python script that calls stages.

A recipe has ``NAME`` and ``main(shop, budget)``, which returns the package it made. It imports what it needs from here;
each name is loaded only when a recipe asks for it.
"""

from __future__ import annotations

import importlib
import os
import re
import runpy
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mofang.core.artifact import Artifact
from mofang.core.errors import MofangError
from mofang.core.shop import Named, Shop

HOMES = {
    "collect": "mofang.data.collect", "clean": "mofang.data.clean", "snapshot": "mofang.data.snapshot",
    "train": "mofang.fit.train", "select": "mofang.fit.select", "baseline": "mofang.fit.baseline",
    "export": "mofang.fit.export", "evaluate": "mofang.judge.evaluate", "package": "mofang.serve.package",
}
__all__ = ["Budget", "Outcome", "Shop", "run_recipe"]  # and every name of HOMES, by __getattr__

# What Python raises for a mistake in a script; it is the recipe's own where its last line is the recipe's.
MISTAKES = (NameError, TypeError, AttributeError, LookupError, ImportError, ValueError, ArithmeticError, AssertionError,
            OSError, RuntimeError)
UNITS_S = {"s": 1, "m": 60, "h": 3600, "": 1}


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
    def parse(cls, text: str, machine_hour_micros: int | None = None) -> Budget:
        """From ``5m``, ``90s``, ``1.5h``, or money (``¥20``) where the machine's hourly rate is set."""
        from mofang.core.money import parse_amount

        time_like = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", text.strip())
        if time_like:
            return cls(float(time_like[1]) * UNITS_S[time_like[2]])
        if text.strip()[:1] in "¥￥":
            if not machine_hour_micros:
                raise MofangError("rate-not-set", budget=text)
            return cls(parse_amount(text) / machine_hour_micros * 3600)
        raise MofangError("budget-unreadable", budget=text)


@dataclass(frozen=True)
class Outcome:
    """What a recipe came to."""

    named: Named
    package: Artifact
    seconds: float

    def made_by(self, kind: str) -> Artifact | None:
        """The nearest ancestor of the package of this kind (its evaluation, model, snapshot …)."""
        return nearest_ancestor(self.package, kind)


def nearest_ancestor(artifact: Artifact, kind: str) -> Artifact | None:
    """Search backwards through the ledger, breadth first, for an artifact of this kind."""
    shop, seen, waiting = artifact.shop, set(), [artifact.entry]
    while waiting:
        id = waiting.pop(0)
        if id in seen:
            continue
        seen.add(id)
        entry = shop.ledger.get(id)
        if entry.body.get("output", {}).get("kind") == kind:
            return shop.artifact(entry)
        waiting += entry.references
    return None


def run_recipe(shop: Shop, path: Path, budget: Budget) -> Outcome:
    """Run a recipe to its named model; run again, it redoes only what changed."""
    began = time.monotonic()
    name, package = make_package(shop, path, budget)
    return finish(shop, name, package, time.monotonic() - began)


def finish(shop: Shop, name: str, package: Artifact, seconds: float) -> Outcome:
    """Name the package that a recipe came to."""
    return Outcome(shop.name(name, package), package, seconds)


def make_package(shop: Any, path: Path, budget: Budget) -> tuple[str, Artifact]:
    """Run a recipe's own code up to its package, in this shop or a remote one; the recipe's name, and the package."""
    if not path.is_file():
        raise MofangError("recipe-missing", path=str(path))
    path = path.resolve()  # before the folder changes
    with working_in(path.parent):
        script = _load(path)
        name, main = script.get("NAME"), script.get("main")
        if not isinstance(name, str) or not callable(main):
            raise MofangError("recipe-shape", path=str(path))
        try:
            package = main(shop, budget)
        except MISTAKES as error:
            line = _line_in(path, error)
            if line is None:
                raise
            raise MofangError("recipe-broken", path=str(path), line=line, reason=f"{type(error).__name__}: {error}") from error
    if not isinstance(package, Artifact) or package.kind != "package":
        raise MofangError("recipe-shape", path=str(path))
    return name, package


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
