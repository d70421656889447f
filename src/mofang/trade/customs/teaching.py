"""Teach a base release further on a customer's records, inside the customer's room: collect, clean, snapshot, train, export,
evaluate, package, by the same stages and the same gates as any model of the house.

What is learnt from is said in every result: ``both`` are the base's training rows together with the customer's, for a model of
the same labels; ``own`` are the customer's rows alone, for labels of the customer's own. The customer's test rows are set aside
first and never learnt from; the base is asked the same rows (``beside``), and a model that answers them worse is not delivered.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mofang.core.artifact import Artifact
from mofang.core.canonical import canonical
from mofang.core.errors import MofangError
from mofang.core.shop import Named, Shop
from mofang.engine.task import task_named
from mofang.trade.customs.beside import beside_base, rows_of
from mofang.trade.customs.delivery import Learn
from mofang.trade.customs.room import own_rows
from mofang.trade.customs.terms import ROLES, check_base, taught_on
from mofang.trade.customs.weights import continued

if TYPE_CHECKING:
    from mofang.fit.family import Family

OWN_LICENCE = "the customer's own"
TEST_SHARE = 0.2
ROWS_LEAST = 20
Tick = Callable[[int], None]


@dataclass(frozen=True)
class Taught:
    """What a teaching came to: the package under its name in the room, what it learnt from, how it answers beside its base,
    and the seconds that all runs of the room have taken."""

    package: Artifact
    named: Named
    learnt: str
    rows: dict[str, int]
    figures: dict[str, Any]
    used_s: float

    @property
    def worse(self) -> bool:
        """True where the customer's own test rows show that the base answers better."""
        return self.figures.get("verdict") == "worse"


def teach(shop: Shop, room: Shop, name: str, base: Artifact, learn: Learn = "auto", seed: int = 0,
          tick: Tick = lambda _: None) -> Taught:
    """Run everything in the room; done again with the same records it reuses what was made. ``tick`` is told between steps how
    far it is, in percent. Raises ``customise-too-few``,
    ``customise-labels`` and what the stages raise."""
    described = check_base(shop, base)
    folder = room.path / "scratch" / "material"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)
    try:
        material = _Material(shop, room, described, base, folder)
        learnt = material.chosen(learn)
        tick(2)
        own, data = material.snapshots(learnt)
        tick(10)
        family, start = material.family()
        made = _taught(room, material.packed_as(), own, data, family, seed, tick)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    figures = beside_base(base, made, own, described) | {"start": start}
    rows = {"own": material.own, "base": material.taken}
    return Taught(made, room.name(name, made), learnt, rows, figures, round(spent_s(room), 3))


def spent_s(room: Shop) -> float:
    """Seconds that all runs of a room have taken so far, each counted once."""
    return sum(float(entry.body["cost"]["own"]["wall_s"]) for entry in room.ledger.entries("done") if entry.body.get("cost"))


class _Material:
    """The rows, laid out as plain files for as long as they are read; the folder is private and goes at the end."""

    def __init__(self, shop: Shop, room: Shop, described: dict[str, Any], base: Artifact, folder: Path) -> None:
        self.shop, self.room, self.described, self.base, self.folder = shop, room, described, base, folder
        self.snapshot = taught_on(shop, base)
        about = self.snapshot.read_json("about.json") if self.snapshot else {}
        self.label = str(about.get("label") or described.get("label") or "label")
        self.own = self._write("own.jsonl", own_rows(room))
        self.taken = 0
        if self.own < ROWS_LEAST:
            raise MofangError("customise-too-few", rows=self.own, least=ROWS_LEAST)
        labelled = task_named(described["task"]).target == "class"  # other targets name their labels inside, or none
        self.labels = {str(row[self.label]) for row in own_rows(room)} if labelled else set[str]()

    def _write(self, name: str, rows: Iterator[dict[str, Any]]) -> int:
        count = 0
        with os.fdopen(os.open(self.folder / name, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
            for row in rows:
                file.write(canonical(row) + b"\n")
                count += 1
        return count

    def chosen(self, learn: Learn) -> str:
        """What is learnt from; ``both`` needs the base's rows here, and labels that the base knows."""
        new = sorted(self.labels - set(map(str, self.described.get("labels", ()))))
        able = self.snapshot is not None and not new
        if learn == "both" and not able:
            known = ", ".join(self.described.get("labels", ()))
            raise MofangError("customise-labels", new=", ".join(new[:5]) or "-", known=known)
        return "both" if able and learn != "own" else "own"

    def snapshots(self, learnt: str) -> tuple[Artifact, Artifact]:
        """The customer's own rows in three parts, and what is learnt from: the same, or with the base's training rows added,
        where every row of the customer's keeps its side."""
        own = self._split(self._collected("own.jsonl", OWN_LICENCE))
        if learnt == "own":
            return own, own
        assert self.snapshot is not None
        names = list(dict.fromkeys([self.label, *(one["name"] for one in self.described["inputs"])]))
        self.taken = self._write("base.jsonl", rows_of(self.snapshot / "train", names))
        both = self.folder / "both.jsonl"
        with os.fdopen(os.open(both, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
            for part in ("own.jsonl", "base.jsonl"):
                file.write((self.folder / part).read_bytes())
        licences = " AND ".join(sorted(self.base.licences)) or "unknown"
        return own, self._split(self._collected("both.jsonl", f"{licences} AND {OWN_LICENCE}"), own)

    def _collected(self, name: str, licence: str) -> Artifact:
        from mofang.data.clean import clean
        from mofang.data.collect import collect

        kinds = {role: tuple(one["name"] for one in self.described["inputs"] if one["role"] == role) for role in ROLES}
        label = "" if self.label in kinds["text"] else self.label  # a conversation holds its answer itself
        records: Artifact = self.room.run(collect, source=str(self.folder / name), licence=licence, origin=name, label=label,
                                          text=kinds["text"], numbers=kinds["number"], categories=kinds["category"])
        cleaned = self.shop.ancestor(self.base.entry, "cleaned")
        if cleaned is None:
            return records
        how = self.shop.ledger.get(cleaned.entry).body["settings"]
        return self.room.run(clean, records, **how) / "kept"  # type: ignore[no-any-return]

    def _split(self, records: Artifact, previous: Artifact | None = None) -> Artifact:
        from mofang.data.snapshot import snapshot

        inputs = tuple(one["name"] for one in self.described["inputs"])
        made: Artifact = self.room.run(snapshot, records, previous, task=self.described["task"], label=self.label, inputs=inputs,
                                       test=TEST_SHARE)
        return made

    def packed_as(self) -> dict[str, Any]:
        """The settings with which the base was packaged."""
        made = self.shop.ledger.get(self.base.entry).body
        return dict(made["settings"]) if made.get("stage") == "package" else {}

    def family(self) -> tuple[Family, str]:
        """The base's own family with its settings, and where it starts: from the base's ``weights``, or ``anew``."""
        import mofang.fit.families  # noqa: F401  families announce themselves
        from mofang.fit.family import Family

        family = Family.parse(self.described["family"])
        from_weights = continued(self.shop, self.base, family, self.folder / "start")
        return (family, "anew") if from_weights is None else (from_weights, "weights")


def _taught(room: Shop, packed_as: dict[str, Any], own: Artifact, data: Artifact, family: Family, seed: int,
            tick: Tick) -> Artifact:
    from mofang.fit.baseline import baseline
    from mofang.fit.export import export
    from mofang.fit.tasks import baseline_of
    from mofang.fit.train import train
    from mofang.judge.evaluate import evaluate
    from mofang.serve.package import package

    model = room.run(train, data, family=family, seed=seed)
    tick(60)
    graph = room.run(export, model, data / "validation")
    tick(70)
    task = data.read_json("about.json")["task"]
    simple = [room.run(baseline, data)] if task in baseline_of(task).tasks else []
    evidence = room.run(evaluate, graph, own / "test", *simple)
    tick(80)
    made: Artifact = room.run(package, graph, evidence, **packed_as)
    tick(95)
    return made
