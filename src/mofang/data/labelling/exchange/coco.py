"""COCO's JSON of object detection: images, categories, and annotations with a box or polygons."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import orjson

from mofang.core.errors import MofangError
from mofang.data.labelling.exchange.items import IMPORTED, Item, Misfit, Reject, Said, real, whole_json
from mofang.data.labelling.schema import Schema
from mofang.data.sources.files import SourceFile


def read(files: list[SourceFile], schema: Schema, reject: Reject) -> Iterator[Item]:
    """The pictures of COCO files with their marks, one answer each."""
    for file in files:
        whole_file = whole_json(file)
        images, marks, names = (_list(whole_file, key, file.name) for key in ("images", "annotations", "categories"))
        named = {one.get("id"): one.get("name") for one in names}
        by_image: dict[Any, list[dict[str, Any]]] = defaultdict(list)
        broken: dict[Any, str] = {}
        for mark in marks:
            where = mark.get("image_id")
            try:
                by_image[where] += _marks(mark, named, schema)
            except Misfit as error:
                broken.setdefault(where, str(error))
        for number, image in enumerate(images, 1):
            id = image.get("id")
            if id in broken or not isinstance(image.get("file_name"), str):
                reject(file.name, number, "not-a-task", broken.get(id, "file_name"), str(image.get("file_name"))[:200])
                continue
            size = (int(image.get("width") or 0), int(image.get("height") or 0))
            answer = {schema.kind: by_image.get(id, [])}
            yield Item(file=image["file_name"], size=size if all(size) else None, place=number, answers=[Said(answer, IMPORTED)])


def _list(value: Any, key: str, file: str) -> list[dict[str, Any]]:
    found = value.get(key) if isinstance(value, dict) else None
    if not isinstance(found, list) or any(not isinstance(one, dict) for one in found):
        raise MofangError("label-file", file=file, detail=f"COCO: {key}")
    return found


def _marks(mark: dict[str, Any], named: dict[Any, Any], schema: Schema) -> list[dict[str, Any]]:
    label = named.get(mark.get("category_id"))
    if schema.kind == "boxes":
        box = mark.get("bbox")
        if not isinstance(box, list) or len(box) != 4:
            raise Misfit("bbox is [x, y, width, height]")
        x, y, width, height = map(real, box)
        return [{"x": x, "y": y, "width": width, "height": height, "label": label}]
    found = mark.get("segmentation")
    if not isinstance(found, list) or mark.get("iscrowd"):
        raise Misfit("only polygons are understood, no run-length masks")
    polygons = []
    for flat in found:
        if not isinstance(flat, list) or len(flat) % 2:
            raise Misfit("a polygon is [x1, y1, x2, y2, …]")
        numbers = list(map(real, flat))
        polygons.append({"points": [list(one) for one in zip(numbers[::2], numbers[1::2], strict=True)], "label": label})
    return polygons


def write(path: Path, items: Iterator[Item], schema: Schema) -> int:
    """Write the final answer of each task; how many pictures. Marks wait in a temporary file, not in memory."""
    number = {name: place + 1 for place, name in enumerate(schema.classes)}
    count = marks = 0
    with path.open("wb") as file, TemporaryFile(dir=path.parent) as waiting:
        file.write(b'{"images": [')
        for item in items:
            wide, high = item.size or (0, 0)
            count += 1
            file.write(
                (b",\n" if count > 1 else b"\n")
                + orjson.dumps({"id": count, "file_name": item.file, "width": wide, "height": high, "mofang_record": item.record})
            )
            for mark in (item.final or {}).get(schema.kind, []):
                marks += 1
                shape = _shape(mark, schema.kind)
                waiting.write(
                    (b",\n" if marks > 1 else b"\n")
                    + orjson.dumps({"id": marks, "image_id": count, "category_id": number[mark["label"]], "iscrowd": 0, **shape})
                )
        file.write(b'\n], "annotations": [')
        waiting.seek(0)
        while piece := waiting.read(2**20):
            file.write(piece)
        categories = [{"id": place, "name": name} for name, place in number.items()]
        file.write(b'\n], "categories": ' + orjson.dumps(categories) + b"}\n")
    return count


def _shape(mark: dict[str, Any], kind: str) -> dict[str, Any]:
    if kind == "boxes":
        return {
            "bbox": [mark["x"], mark["y"], mark["width"], mark["height"]],
            "area": mark["width"] * mark["height"],
            "segmentation": [],
        }
    xs, ys = [x for x, _ in mark["points"]], [y for _, y in mark["points"]]
    area = (
        abs(
            sum(
                x1 * y2 - x2 * y1
                for (x1, y1), (x2, y2) in zip(mark["points"], [*mark["points"][1:], mark["points"][0]], strict=True)
            )
        )
        / 2
    )
    return {
        "segmentation": [[one for point in mark["points"] for one in point]],
        "area": area,
        "bbox": [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)],
    }
