"""What a model or a snapshot is, as facts: everything that ``mofang run`` and ``mofang show`` print, read from the shop and
never computed anew, so that a look changes nothing."""

from __future__ import annotations

from typing import Any

from mofang.core.artifact import Artifact
from mofang.core.errors import MofangError
from mofang.core.money import format_micros
from mofang.core.shop import Named, Shop
from mofang.recipe import Outcome

NARROW = 0.01  # an interval of a difference below this width is narrow: both are simply about as good
WIDE = 0.1     # an interval of the headline above this width leaves too much open


def outcome_facts(outcome: Outcome) -> dict[str, Any]:
    """What a run of a recipe came to, as JSON: the facts of the model or the snapshot, and what is new about it."""
    growth, comparison = outcome.growth, outcome.comparison
    return {
        **facts_of(outcome.made.shop, outcome.named),
        "seconds": round(outcome.seconds, 2),
        "unchanged": outcome.unchanged,
        "previous": str(outcome.previous) if outcome.previous else None,
        "growth": growth.to_dict() if growth is not None else None,
        "comparison": comparison.read_json("comparison.json") if comparison else None,
        "incomparable": outcome.incomparable or None,
    }


def facts_of(shop: Shop, named: Named) -> dict[str, Any]:
    """The facts of a named model, snapshot, base or generator as JSON."""
    if named.kind == "model":
        return generator_facts(named.name, str(named), shop.artifact(shop.ledger.get(named.entry)))
    if named.kind == "base":
        return base_facts(named.name, str(named), shop.artifact(shop.ledger.get(named.entry)))
    return snapshot_facts(shop, named) if named.kind == "snapshot" else model_facts(shop, named)


def generator_facts(name: str, called: str, model: Artifact) -> dict[str, Any]:
    """A model that is not packaged (a generator) as JSON: figures of its validation part, the way there, what it was taught."""
    about = model.read_json("about.json")
    notes, curves = about["notes"], model.read_json("curves.json")
    return {"generator": called, "name": name, "entry": model.entry, "task": about["task"], "licences": list(model.licences),
            "parameters": notes["parameters"], "stopped": notes["stopped"], "taught": about.get("taught", []),
            "figures": {"loss": -about["validation"]["value"] if about["validation"]["metric"] == "log_likelihood" else None,
                        **{one: notes.get(one) for one in ("perplexity", "bits_per_byte", "margin", "reward")}},
            "curve": [row["validation_loss"] for row in curves]}


def base_facts(name: str, called: str, base: Artifact) -> dict[str, Any]:
    """A base as JSON: what it is, the figures of its validation texts, the way there, and lines that it wrote."""
    about = base.read_json("about.json")
    told = {one: about[one] for one in ("kind", "objectives", "parameters", "context", "figures", "steps", "stopped", "texts")}
    return {"base": called, "name": name, "entry": base.entry, "licences": list(base.licences), **told,
            "curve": [[row["step"], row["validation_loss"]] for row in base.read_json("curves.json")],
            "lines": (_read(base, "sample.json") or {}).get("lines", [])}


def snapshot_facts(shop: Shop, named: Named) -> dict[str, Any]:
    """A named snapshot as JSON: what was collected, kept and left out with reasons, its parts with their classes, its
    sources, its variants, and the score of the nearest report on it."""
    snapshot = shop.artifact(shop.ledger.get(named.entry))
    about = snapshot.read_json("about.json")
    made = {kind: shop.ancestor(snapshot.entry, kind) for kind in ("records", "cleaned")}
    records, cleaned = made["records"], made["cleaned"]
    assessed = assessment_of(shop, snapshot)
    report = (_read(assessed, "report.json") if assessed else None) or {}
    return {
        "snapshot": str(named), "name": named.name, "entry": snapshot.entry, "task": about["task"], "label": about["label"],
        "labels": about["labels"], "licences": list(snapshot.licences), "sources": about.get("sources", []),
        "collected": records.measures.get("rows") if records else None,
        "kept": cleaned.measures.get("kept") if cleaned else None,
        "parts": about["counts"], "augmented": about.get("augmented"),
        "dropped": {**_counted(records, "rejected"), **_counted(cleaned, "dropped"), **_left_out(shop, snapshot)},
        "report": {"entry": assessed.entry, "score": report.get("score"), "checks": [
            {name: one.get(name) for name in ("name", "title", "score", "verdict")} for one in report.get("checks", [])]}
        if assessed else None,
    }


def assessment_of(shop: Shop, snapshot: Artifact) -> Artifact | None:
    """The newest report on a snapshot, or else on the one that it was made of (before its variants, its features)."""
    waiting, seen = [snapshot.entry], set[str]()
    while waiting:
        id = waiting.pop(0)
        if id in seen:
            continue
        seen.add(id)
        for child in reversed(shop.ledger.children(id)):
            entry = shop.ledger.get(child)
            if entry.kind == "done" and entry.body.get("output", {}).get("kind") == "assessment":
                return shop.artifact(entry)
        waiting += [one for one in shop.ledger.get(id).references if _is_snapshot(shop, one)]
    return None


def _is_snapshot(shop: Shop, entry: str) -> bool:
    return bool(shop.ledger.get(entry).body.get("output", {}).get("kind") == "snapshot")


def _left_out(shop: Shop, snapshot: Artifact) -> dict[str, int]:
    """What the split itself left out; variants and features are made of a snapshot and say nothing of it."""
    while "rejected" not in snapshot.measures:
        of = [one for one in shop.ledger.get(snapshot.entry).references if _is_snapshot(shop, one)]
        if not of:
            return {}
        snapshot = shop.artifact(shop.ledger.get(of[0]))
    return _counted(snapshot, "rejected")


def model_facts(shop: Shop, named: Named) -> dict[str, Any]:
    """A named model as JSON: candidates, test figures, mistakes, engines, what was left out, and how it compares with the
    version before it, if that was looked at."""
    package = shop.artifact(shop.ledger.get(named.entry))
    described = package.read_json("package.json")
    made = {kind: shop.ancestor(package.entry, kind)
            for kind in ("evaluation", "model", "records", "cleaned", "snapshot", "graph")}
    evaluation, model, snapshot = made["evaluation"], made["model"], made["snapshot"]
    figures = _read(evaluation, "evaluation.json") or described["evaluation"]
    labelled = sum(snapshot.measures.get("counts", {}).values()) if snapshot else 0
    before = shop.newest(named.name, named.version - 1) if named.version > 1 else None
    comparison = comparison_of(shop, made["graph"], before) if before else None
    return {
        "model": str(named), "name": named.name, "entry": package.entry, "task": described["task"],
        "labels": described["labels"], "licences": list(package.licences), "sources": described.get("sources", []),
        "headline": figures.get("headline"), "metrics": figures.get("metrics"),
        "baseline": figures.get("baseline", {}).get("metrics"), "baseline_family": figures.get("baseline", {}).get("family"),
        "baseline_decide": figures.get("baseline", {}).get("decide"),
        "difference": figures.get("difference"), "test_rows": figures.get("rows"),
        "majority_accuracy": figures.get("majority_accuracy"), "labelled": labelled,
        "decide": described.get("decide"), "detection": figures.get("detection"), "alone": figures.get("alone"),
        "undecided": undecided(figures), "examples_to_halve": examples_to_halve(figures, labelled),
        "candidates": [_priced(shop, row) for row in model.measures.get("candidates", [])] if model else [],
        "engine": described["engine"], "engines": described["engines"],
        "mistakes": _read(evaluation, "mistakes.json") or [],
        "dropped": {**_counted(made["records"], "rejected"), **_counted(made["cleaned"], "dropped"),
                    **_counted(snapshot, "rejected")},
        "previous": str(before) if before else None,
        "comparison": comparison.read_json("comparison.json") if comparison else None,
    }


def _priced(shop: Shop, row: dict[str, Any]) -> dict[str, Any]:
    """A candidate with what the machine costs for a thousand answers, one after the other, where an hour of it has a rate."""
    hour = shop.rates.get("machine_hour_micros")
    if "answer_ms" not in row or hour is None:
        return row
    return row | {"per_1000": format_micros(max(1, round(row["answer_ms"] * hour / 3600)), shop.currency)}


def comparison_of(shop: Shop, graph: Artifact | None, before: Named) -> Artifact | None:
    """The comparison of a graph with that of an earlier version, if one was made."""
    earlier = shop.ancestor(before.entry, "graph")
    if graph is None or earlier is None:
        return None
    for child in reversed(shop.ledger.children(graph.entry)):
        entry = shop.ledger.get(child)
        given = [one["digest"] for one in entry.body.get("inputs", []) if one["kind"] == "graph"]
        if entry.body.get("output", {}).get("kind") == "comparison" and given == [graph.digest, earlier.digest]:
            return shop.artifact(entry)
    return None


def examples_to_halve(figures: dict[str, Any], labelled: int) -> int | None:
    """About how many more labelled examples would halve the intervals of the test part.

    An estimate: their width falls with the square root of the test rows, so four times as many of them, and with them
    of all examples, are needed. None where nothing is left undecided: the model beats the baseline (or does not) for
    certain and its own figure is known to a few hundredths.
    """
    own = (figures.get("metrics") or {}).get(figures.get("headline"))
    if not own or own["low"] is None or not labelled:
        return None
    if not undecided(figures) and own["high"] - own["low"] < WIDE:
        return None
    more = 3 * labelled
    return round(more, 2 - len(str(more)))


def undecided(figures: dict[str, Any]) -> bool:
    """True if the test part is too small to say whether the model is better than the baseline. A model that is the
    baseline, or as good to within a hundredth, is no such case."""
    difference = (figures.get("difference") or {}).get(figures.get("headline"))
    if not difference or difference["low"] is None:
        return False
    low, high = float(difference["low"]), float(difference["high"])
    return low <= 0 <= high and high - low >= NARROW


def _read(artifact: Artifact | None, part: str) -> Any:
    """A part, or None where this shop does not have it: the model came from another one, or old files were swept away.
    The package itself holds its figures."""
    if artifact is None:
        return None
    try:
        return artifact.read_json(part)
    except MofangError as error:
        if error.code not in ("object-missing", "part-missing"):
            raise
        return None


def _counted(artifact: Artifact | None, measure: str) -> dict[str, int]:
    """How many records a stage left out, by reason."""
    return dict(artifact.measures.get(measure, {})) if artifact else {}
