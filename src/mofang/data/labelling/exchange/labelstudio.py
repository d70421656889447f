"""Label Studio's JSON: tasks with annotations and predictions; choices, labels, rectangles, polygons, rating, text, pairs.

Its marks in pictures are per cent of width and height, ours are pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from mofang.data.labelling.exchange.items import Item, Misfit, Proposed, Reject, Said, items_of, real, text_of, whole
from mofang.data.labelling.schema import PICTURE, Schema
from mofang.data.sources.files import SourceFile

TYPES = {
    "classes": "choices",
    "several": "choices",
    "spans": "labels",
    "boxes": "rectanglelabels",
    "polygons": "polygonlabels",
    "text": "textarea",
    "ratings": "rating",
    "pairs": "pairwise",
}
SIDES = {"left": "a", "right": "b", "tie": "tie"}
PARTS = {"a": "left", "b": "right"}
RECORD, TASK = "mofang_record", "mofang_task"


def read(files: list[SourceFile], schema: Schema, reject: Reject) -> Iterator[Item]:
    """The tasks of exports of Label Studio, in full or in its shorter forms with ``completions``."""
    return items_of(files, lambda value: _item(value, schema), reject)


def _item(value: dict[str, Any], schema: Schema) -> Item:
    data = value.get("data")
    if not isinstance(data, dict):
        raise Misfit("a task of Label Studio has data")
    values = {
        str(name): text for name, one in data.items() if (text := text_of(one)) is not None and name not in (RECORD, TASK, "id")
    }
    item = Item(values, str(data.get(RECORD, "") or ""))
    if schema.kind in PICTURE:
        name = next((one for one in ("image", schema.column, *values) if one in values), "")
        item.file = values.get(name, "").replace("\\", "/").rpartition("?d=")[2].split("/upload/")[-1]
    for one in _dicts(value.get("annotations", value.get("completions", []))):
        if one.get("was_cancelled"):
            continue
        answer = _answer(_dicts(one.get("result", [])), schema, item)
        if answer is not None:
            item.answers.append(Said(answer, _who(one), _time(one), int(real(one.get("lead_time") or 0) * 1000)))
    for one in _dicts(value.get("predictions", [])):
        answer = _answer(_dicts(one.get("result", [])), schema, item)
        if answer is not None:
            score = one.get("score")
            item.proposals.append(Proposed(answer, None if score is None else real(score), str(one.get("model_version") or "")))
    return item


def _dicts(found: Any) -> list[dict[str, Any]]:
    if not isinstance(found, list) or any(not isinstance(one, dict) for one in found):
        raise Misfit("annotations, predictions and results are lists of objects")
    return found


def _who(one: dict[str, Any]) -> str:
    by = one.get("completed_by", "")
    if isinstance(by, dict):
        by = by.get("email") or by.get("username") or by.get("id") or ""
    return str(by)[:100]


def _time(one: dict[str, Any]) -> int:
    try:
        found = datetime.fromisoformat(str(one.get("created_at") or "").replace("Z", "+00:00"))
    except ValueError:
        return 0
    return round((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1e6)


def _answer(results: list[dict[str, Any]], schema: Schema, item: Item) -> dict[str, Any] | None:
    """One annotation's results as an answer; None where none is of this kind. No marks at all are an answer too."""
    wanted = TYPES[schema.kind]
    mine = [(one, one["value"]) for one in results if one.get("type") == wanted and isinstance(one.get("value"), dict)]
    if schema.kind in ("spans", *PICTURE):
        if results and not mine:
            return None
        return {schema.kind: [_mark(one, value, schema.kind, item) for one, value in mine]}
    if not mine:
        return None
    value = mine[0][1]
    if schema.kind in ("classes", "several"):
        chosen = value.get("choices")
        if not isinstance(chosen, list) or (schema.kind == "classes" and len(chosen) != 1):
            raise Misfit(f"choices of a task with {schema.kind}")
        return {"label": chosen[0]} if schema.kind == "classes" else {"labels": chosen}
    if schema.kind == "ratings":
        return {"rating": whole(value.get("rating"))}
    if schema.kind == "pairs":
        return {"better": SIDES.get(str(value.get("selected")), str(value.get("selected")))}
    text = value.get("text")
    return {"text": "\n".join(map(str, text)) if isinstance(text, list) else str(text)}


def _mark(result: dict[str, Any], value: dict[str, Any], kind: str, item: Item) -> dict[str, Any]:
    names = value.get(TYPES[kind])
    if not isinstance(names, list) or len(names) != 1:
        raise Misfit("a mark has one class")
    if kind == "spans":
        return {"start": whole(value.get("start")), "end": whole(value.get("end")), "label": names[0]}
    wide, high = whole(result.get("original_width")), whole(result.get("original_height"))
    if not 0 < wide <= 10**6 or not 0 < high <= 10**6:
        raise Misfit("original_width and original_height")
    item.size = (wide, high)
    if kind == "boxes":
        if real(value.get("rotation") or 0):
            raise Misfit("a turned box")
        x, y, width, height = (real(value.get(name)) for name in ("x", "y", "width", "height"))
        return {
            "x": round(x * wide / 100, 3),
            "y": round(y * high / 100, 3),
            "width": round(width * wide / 100, 3),
            "height": round(height * high / 100, 3),
            "label": names[0],
        }
    points = value.get("points")
    if not isinstance(points, list) or any(not isinstance(one, list) or len(one) != 2 for one in points):
        raise Misfit("points")
    return {"points": [[round(real(x) * wide / 100, 3), round(real(y) * high / 100, 3)] for x, y in points], "label": names[0]}


def write(path: Path, items: Iterator[Item], schema: Schema) -> int:
    """Write tasks as Label Studio imports them; how many."""
    count = 0
    with path.open("wb") as file:
        file.write(b"[")
        for item in items:
            data: dict[str, Any] = {**item.values, RECORD: item.record, TASK: item.task}
            if item.file:
                data["image"] = item.file
            task: dict[str, Any] = {
                "id": count + 1,
                "data": data,
                "annotations": [
                    {
                        "completed_by": {"email": one.person},
                        "lead_time": one.ms / 1000,
                        "result": _results(one.answer, schema, item),
                        **({"created_at": datetime.fromtimestamp(one.at_us / 1e6, UTC).isoformat()} if one.at_us else {}),
                    }
                    for one in item.answers
                ],
            }
            task["predictions"] = [
                {
                    "model_version": one.model,
                    **({} if one.score is None else {"score": one.score}),
                    "result": _results(one.answer, schema, item),
                }
                for one in item.proposals
            ]
            file.write((b",\n" if count else b"\n") + orjson.dumps(task))
            count += 1
        file.write(b"\n]\n")
    return count


def _results(answer: dict[str, Any], schema: Schema, item: Item) -> list[dict[str, Any]]:
    kind, name = schema.kind, TYPES[schema.kind]
    to = "image" if kind in PICTURE else schema.column or "text"
    base = {"from_name": "label", "to_name": to, "type": name}
    if kind in ("spans", *PICTURE):
        return [{**base, "id": f"m{place}", **_value(mark, kind, item)} for place, mark in enumerate(answer[kind])]
    said = next(iter(answer.values()))
    value: dict[str, Any] = {
        "classes": {"choices": [said]},
        "several": {"choices": said},
        "ratings": {"rating": said},
        "text": {"text": [said]},
        "pairs": {"selected": PARTS.get(str(said), "tie")},
    }[kind]
    return [{**base, "value": value}]


def _value(mark: dict[str, Any], kind: str, item: Item) -> dict[str, Any]:
    if kind == "spans":
        text = item.values.get("text", "")
        return {
            "value": {
                "start": mark["start"],
                "end": mark["end"],
                "text": text[mark["start"] : mark["end"]],
                "labels": [mark["label"]],
            }
        }
    wide, high = item.size or (100, 100)
    told = {"original_width": wide, "original_height": high, "image_rotation": 0}
    if kind == "boxes":
        return {
            **told,
            "value": {
                "x": mark["x"] * 100 / wide,
                "y": mark["y"] * 100 / high,
                "width": mark["width"] * 100 / wide,
                "height": mark["height"] * 100 / high,
                "rotation": 0,
                "rectanglelabels": [mark["label"]],
            },
        }
    return {
        **told,
        "value": {"points": [[x * 100 / wide, y * 100 / high] for x, y in mark["points"]], "polygonlabels": [mark["label"]]},
    }
