"""YOLO: a folder with a text file for each picture, a line for each mark, all numbers as shares of width and height."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from mofang.core.errors import MofangError
from mofang.data.labelling.exchange.items import IMPORTED, Item, Misfit, Reject, Said
from mofang.data.labelling.schema import Schema
from mofang.data.sources.files import SourceFile

FILE_BYTES = 16 * 2**20
CLASSES = "classes.txt"
SAFE = re.compile(r"[^\w.\-\u4e00-\u9fff]")


def read(files: list[SourceFile], schema: Schema, reject: Reject) -> Iterator[Item]:
    """The pictures that have a file of marks; their marks become pixels when the picture is found."""
    texts = [one for one in files if one.base.lower().endswith(".txt")]
    listed = next((one for one in texts if one.base.lower() in (CLASSES, "obj.names")), None)
    names = _read(listed).splitlines() if listed is not None else list(schema.classes)
    names = [one.strip() for one in names if one.strip()]
    for number, file in enumerate((one for one in texts if one is not listed), 1):
        try:
            marks = [_mark(line.split(), names) for line in _read(file).splitlines() if line.strip()]
        except (Misfit, ValueError, IndexError) as error:
            reject(file.name, number, "not-a-task", str(error)[:200], "")
            continue
        name = file.name.removeprefix("labels/")
        yield Item(file=name[: -len(".txt")], place=number, answers=[Said({"shares": marks}, IMPORTED)])


def _read(file: SourceFile) -> str:
    with file.open() as opened:
        data = opened.read(FILE_BYTES + 1)
    if len(data) > FILE_BYTES:
        raise MofangError("label-file-large", file=file.name, size=len(data), most=FILE_BYTES)
    return data.decode("utf-8", "replace")


def _mark(words: list[str], names: list[str]) -> tuple[str, list[float]]:
    place, numbers = int(words[0]), [float(one) for one in words[1:]]
    if not 0 <= place < len(names) or any(not -0.01 <= one <= 1.01 for one in numbers):
        raise Misfit(f"a line is a class of {len(names)} and shares from 0 to 1")
    if len(numbers) != 4 and (len(numbers) < 6 or len(numbers) % 2):
        raise Misfit("a line has 4 numbers, or pairs of at least 3 points")
    return names[place], numbers


def in_pixels(marks: list[tuple[str, list[float]]], kind: str, size: tuple[int, int]) -> dict[str, Any]:
    """Shares as an answer in pixels."""
    wide, high = size
    found: list[dict[str, Any]] = []
    for label, numbers in marks:
        if kind == "boxes" and len(numbers) == 4:
            x, y, width, height = numbers
            found.append({"x": round((x - width / 2) * wide, 3), "y": round((y - height / 2) * high, 3),
                          "width": round(width * wide, 3), "height": round(height * high, 3), "label": label})
        elif kind == "polygons" and len(numbers) >= 6:
            points = [[round(x * wide, 3), round(y * high, 3)] for x, y in zip(numbers[::2], numbers[1::2], strict=True)]
            found.append({"points": points, "label": label})
        else:
            raise Misfit(f"marks that are no {kind}")
    return {kind: found}


def write(folder: Path, items: Iterator[Item], schema: Schema) -> int:
    """Write the final answer of each task into a folder; how many pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CLASSES).write_text("".join(f"{name}\n" for name in schema.classes), encoding="utf-8")
    count = 0
    for item in items:
        if item.final is None or item.size is None:
            continue
        place = folder / "labels" / f"{stem(item)}.txt"
        place.parent.mkdir(parents=True, exist_ok=True)
        lines = [_line(mark, schema, item.size) for mark in item.final[schema.kind]]
        place.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        count += 1
    return count


def stem(item: Item) -> str:
    """Where a picture's marks stand: its own name without the ending, never outside the folder."""
    pieces = [SAFE.sub("_", one) for one in PurePosixPath(item.file or item.record).parts if one not in ("/", "..", ".")]
    name = "/".join(pieces) or item.record
    return name.rpartition(".")[0] or name


def _line(mark: dict[str, Any], schema: Schema, size: tuple[int, int]) -> str:
    wide, high = size
    if "points" in mark:
        numbers = [value / side for point in mark["points"] for value, side in zip(point, size, strict=True)]
    else:
        numbers = [(mark["x"] + mark["width"] / 2) / wide, (mark["y"] + mark["height"] / 2) / high,
                   mark["width"] / wide, mark["height"] / high]
    return " ".join([str(schema.classes.index(mark["label"])), *(f"{one:.9f}" for one in numbers)])
