"""What was made from artifacts that somebody is erased from: models, packages, what left the house, and bills.

A row that is deleted is not removed from weights that were trained on it. Nothing here pretends so: it lists what has
to be trained again, and who else holds a copy.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mofang.core import lock
from mofang.core.errors import MofangError
from mofang.core.kept import read_kept
from mofang.core.ledger import Entry
from mofang.core.personal import FOLLOWERS
from mofang.core.shop import Shop

TRAINED = ("model", "graph")


@dataclass
class Descent:
    """Everything that descends from some artifacts; each is entry, kind, stage, names and time.

    ``fitted`` of a model or package names its parts that were fitted on the rows and may hold a value of one of them:
    words of a vocabulary, levels of a category, shares of a class.
    """

    models: list[dict[str, Any]] = field(default_factory=list)
    packages: list[dict[str, Any]] = field(default_factory=list)
    exports: list[dict[str, Any]] = field(default_factory=list)
    invoices: list[dict[str, Any]] = field(default_factory=list)
    people: dict[str, list[str]] = field(default_factory=dict)
    again: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {"leases": [], **self.people, "models": self.models, "packages": self.packages, "exports": self.exports,
                "invoices": self.invoices, "again": self.again}


def descendants(shop: Shop, entries: set[str]) -> list[str]:
    """Ids of all entries made from these, the closest first."""
    seen, waiting, found = set(entries), sorted(entries), []
    while waiting:
        for child in shop.ledger.children(waiting.pop(0)):
            if child not in seen:
                seen.add(child)
                found.append(child)
                waiting.append(child)
    return found


def descent_of(shop: Shop, entries: set[str]) -> Descent:
    """What descends from these entries, with the names that people know it by."""
    names: dict[str, list[str]] = {}
    for one in shop.names():
        names.setdefault(one.entry, []).append(str(one))
    told = Descent()
    found = [*sorted(entries), *descendants(shop, entries)]  # a model is among the touched, where it keeps validation rows
    for id in found:
        entry = shop.ledger.get(id)
        kind = entry.body.get("output", {}).get("kind", "")
        line = {"entry": id, "kind": kind, "stage": entry.body.get("stage", ""), "names": names.get(id, []), "at_us": entry.at_us}
        if kind in TRAINED:
            told.models.append(line | {"fitted": _fitted(shop, entry)})
        elif kind == "package":
            told.packages.append(line | {"digest": entry.body["output"]["digest"], "fitted": _fitted(shop, entry)})
        elif entry.body.get("decision") == "export":
            told.exports.append({"entry": id, "file": entry.body["file"], "sha256": entry.body["sha256"], "at_us": entry.at_us})
    if found and (taken := read_kept(shop.path).get("takeout")):  # a copy of everything
        told.exports.append({"entry": "", "file": Path(taken["place"]).name, "sha256": "", "at_us": taken["at_us"]})
    told.invoices = _invoices(shop, {one["digest"] for one in told.packages} | {one["entry"] for one in told.packages})
    lock.import_holders()
    told.people = {name: FOLLOWERS[name](shop, set(found)) for name in sorted(FOLLOWERS)}
    known = sorted({name.partition("@")[0] for one in (*told.packages, *told.models) for name in one["names"]})
    told.again = [f"mofang run {name}.py" for name in known]
    return told


def _fitted(shop: Shop, entry: Entry) -> list[str]:
    """Parts of a model that were fitted on rows: its encoder, and operators with a state in what it says of itself."""
    artifact = shop.parts_of(entry)
    names = [part.name for part in artifact.parts if part.name.startswith("encoder/")]
    for name in (one for one in ("about.json", "package.json") if artifact.has(one)):
        try:
            names += [name] if any(one.get("state") for one in artifact.read_json(name).get("operators", ())) else []
        except MofangError:  # erased or swept: it holds nothing any more
            continue
    return names


def _invoices(shop: Shop, packages: set[str]) -> list[dict[str, Any]]:
    """Bills with a line for one of these packages."""
    found: list[dict[str, Any]] = []
    for entry in shop.ledger.entries("done") if packages else ():
        if entry.body.get("output", {}).get("kind") != "invoice":
            continue
        document = shop.parts_of(entry).read_json("invoice.json")
        if any(line.get("package") in packages for line in document.get("lines", ())):
            found.append({"entry": entry.id, "number": document.get("number", ""), "at_us": entry.at_us})
    return found
