"""JSON lines: one task a line, with everything that was said about it. What is exported can be brought back equal.

``{"record": id, "data": {…}, "answers": [{"person", "answer", "at_us", "ms"}], "proposals": [{"answer", "score",
"model"}]}``; short lines such as ``{"text": "…", "label": "好", "person": "a"}`` are understood too.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from mofang.data.labelling.exchange.items import Item, Misfit, Proposed, Reject, Said, items_of, real, text_of, whole
from mofang.data.labelling.schema import Schema
from mofang.data.sources.files import SourceFile

SHORT = {
    "classes": ("label", "class"),
    "several": ("labels",),
    "ratings": ("rating",),
    "pairs": ("better",),
    "spans": ("spans",),
    "boxes": ("boxes",),
    "polygons": ("polygons",),
    "text": ("answer_text",),
}
OWN = ("record", "task", "data", "answers", "proposals", "final", "person", "annotator", "answer", "file")


def read(files: list[SourceFile], schema: Schema, reject: Reject) -> Iterator[Item]:
    """The tasks of files."""
    return items_of(files, lambda value: _item(value, schema), reject)


def _item(value: dict[str, Any], schema: Schema) -> Item:
    record = value.get("record", "")
    if not isinstance(record, str) or (record and (len(record) != 32 or record.strip("0123456789abcdef"))):
        raise Misfit("record is an id of 32 hexadecimal digits")
    short = SHORT[schema.kind]
    data = value.get("data")
    if data is None:
        data = {name: one for name, one in value.items() if name not in OWN and name not in short}
    if not isinstance(data, dict):
        raise Misfit("data is an object of columns")
    values = {str(name): text for name, one in data.items() if (text := text_of(one)) is not None and name != "id"}
    item = Item(values, record, str(value.get("file", "") or ""))
    person = value.get("person") or value.get("annotator") or ""
    given = value.get("answer")
    for name in short:
        if given is None and name in value and "data" not in value:
            given = {short[0]: value[name]} if schema.kind != "text" else {"text": value[name]}
    if given is not None:
        item.answers.append(Said(given, str(person)))
    for one in _list(value, "answers"):
        item.answers.append(
            Said(one.get("answer"), str(one.get("person", "")), whole(one.get("at_us", 0)), whole(one.get("ms", 0)))
        )
    for one in _list(value, "proposals"):
        score = one.get("score")
        item.proposals.append(
            Proposed(
                one.get("answer"), None if score is None else real(score), str(one.get("model", "")), scores_of(one.get("scores"))
            )
        )
    return item


def scores_of(value: Any) -> dict[str, float]:
    """Probabilities by class, or a misfit."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Misfit("scores is an object of numbers")
    return {str(name): real(one) for name, one in value.items()}


def _list(value: dict[str, Any], name: str) -> list[dict[str, Any]]:
    found = value.get(name, [])
    if not isinstance(found, list) or any(not isinstance(one, dict) for one in found):
        raise Misfit(f"{name} is a list of objects")
    return found


def write(path: Path, items: Iterator[Item], _schema: Schema) -> int:
    """Write tasks; how many."""
    count = 0
    with path.open("wb") as file:
        for item in items:
            line: dict[str, Any] = {"record": item.record, "task": item.task, "data": item.values}
            if item.file:
                line["file"] = item.file
            line["answers"] = [
                {"person": one.person, "answer": one.answer, "at_us": one.at_us, "ms": one.ms} for one in item.answers
            ]
            if item.proposals:
                line["proposals"] = [
                    {
                        "answer": one.answer,
                        "score": one.score,
                        "model": one.model,
                        **({"scores": one.scores} if one.scores else {}),
                    }
                    for one in item.proposals
                ]
            if item.final is not None:
                line["final"] = item.final
            file.write(orjson.dumps(line) + b"\n")
            count += 1
    return count
