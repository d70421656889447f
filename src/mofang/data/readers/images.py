"""Images: folders named after classes, a folder with a label file, or rows of pixel values."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterator
from typing import Any

from mofang.core.errors import MofangError
from mofang.data.columns import text_of
from mofang.data.readers import CHUNK_BYTES, CHUNK_ROWS, Chunk, Reading, Reject, reader_named
from mofang.data.readers.delimited import read_csv
from mofang.data.sources.files import SourceFile

FILE_BYTES = 64 * 2**20
PIXEL_CHUNK_ROWS = 512


def read_images(files: list[SourceFile], how: Reading, reject: Reject) -> Iterator[Chunk]:
    """Every image file as a record: ``image`` holds its name, the label comes from its folder or from the
    label file, and ``folder`` is the path of the folders above, without the label's own.

    The bytes are taken as they are; whether they decode is looked at when the records are cleaned.
    """
    label = how.label or "label"
    labels = _labels_of(files, how, reject) if how.labels is None else dict(how.labels)
    levels = 1 if how.label_file else 2
    names: list[str] = []
    columns: dict[str, list[Any]] = {"image": [], "folder": [], label: []}
    content: list[bytes] = []
    size = 0
    for file in (one for one in files if one.kind == "images"):
        data = content_of(file, reject)
        if not data:
            continue
        names.append(file.name)
        columns["image"].append(file.name)
        columns["folder"].append("/".join(file.name.split("/")[:-levels]))
        columns[label].append(label_of(file, labels) if how.labels is None else how.labels.get(file.name))
        content.append(data)
        size += len(data)
        if len(names) >= CHUNK_ROWS or size > CHUNK_BYTES:
            yield Chunk("", [0] * len(names), columns, {"image": content}, names)
            names, columns, content, size = [], {name: [] for name in columns}, [], 0
    yield Chunk("", [0] * len(names), columns, {"image": content}, names)


def content_of(file: SourceFile, reject: Reject) -> bytes:
    """The file's bytes; none if it was rejected."""
    if not 0 < file.size_bytes <= FILE_BYTES:
        reject(file.name, 0, "file-too-large" if file.size_bytes else "file-empty")
        return b""
    try:
        if file.archive is None:
            return file.path.read_bytes()
        with file.open() as opened:
            return opened.read()
    except OSError as error:
        reject(file.name, 0, "unreadable", str(error.strerror))
    except MofangError as error:
        reject(file.name, 0, "unreadable", str(error.values.get("reason", error.code)))
    return b""


def labels_by_image(files: list[SourceFile], label_file: str, label: str) -> list[str | None]:
    """The label of each image by the label file, in order, without reading any image."""
    how = Reading(format="images", label=label, label_file=label_file)
    return list(labels_by_name(files, how, lambda *_rest: None).values())


def labels_by_name(files: list[SourceFile], how: Reading, reject: Reject) -> dict[str, str | None]:
    """File name to label of each image or sound, by the label file or else by its folder."""
    labels = _labels_of(files, how, reject)
    return {file.name: label_of(file, labels) for file in files if file.kind == how.format}


def label_of(file: SourceFile, labels: dict[str, str | None] | None) -> str | None:
    """The label of one file: by the label file under any of its names, else the name of its folder."""
    if labels is None:
        return file.folder or None
    for name in names_of(file):
        if name in labels:
            return labels[name]
    return None


def names_of(file: SourceFile) -> tuple[str, str, str]:
    """What a label file may call an image: its path, its name, its name without the ending."""
    return _plain(file.name), _plain(file.base), _plain(file.stem)


def _plain(name: Any) -> str:
    """A name in one spelling: composed characters (macOS splits them), forward slashes, no blanks at the ends."""
    text = unicodedata.normalize("NFC", text_of(name) or "").strip().replace("\\", "/")
    return text.removeprefix("./")


def _by_number(images: set[str]) -> dict[str, str]:
    """Whole number to the one name that it can mean: spreadsheets make 1 of 001."""
    found: dict[str, str] = {}
    for name in images:
        if name.isascii() and name.isdigit():
            number = str(int(name))
            found[number] = "" if number in found else name
    return {number: name for number, name in found.items() if name}


def _labels_of(files: list[SourceFile], how: Reading, reject: Reject) -> dict[str, str | None] | None:
    """File name to label from the label file, or None where the folders are the classes."""
    if not how.label_file:
        return None
    found = [file for file in files if file.name == how.label_file or file.base == how.label_file]
    if not found:
        raise MofangError("label-file-missing", file=how.label_file)
    images = {name for file in files if file.kind == how.format for name in names_of(file)}
    numbered = _by_number(images)
    labels: dict[str, str | None] = {}
    kind = found[0].kind if found[0].kind in ("jsonl", "excel", "parquet") else "csv"
    for chunk in reader_named(kind)(found[:1], Reading(format=kind, sheet=how.sheet), reject):
        names = {
            column: [one if one in images else numbered.get(one, one) for one in map(_plain, values)]
            for column, values in chunk.columns.items()
        }
        key = key_column(names, images)
        others = [name for name in chunk.columns if name != key]
        chosen = how.label if how.label in others else (others[0] if len(others) == 1 else "")
        if chunk.numbers and (key is None or not chosen):
            raise MofangError("label-file-columns", file=found[0].name, columns=", ".join(chunk.columns))
        for number, name, value in zip(
            chunk.numbers, names.get(key or "", []), chunk.columns.get(chosen, []), strict=True
        ):
            if name not in images:
                reject(found[0].name, number, "image-missing", name)
            labels[name] = text_of(value) or None
    return labels


def key_column(columns: dict[str, list[Any]], images: set[str]) -> str | None:
    """The column of a label file that names image files."""
    for name, values in columns.items():
        if values and sum(str(value) in images for value in values) > 0.5 * len(values):
            return name
    return None


def read_pixels(files: list[SourceFile], how: Reading, reject: Reject) -> Iterator[Chunk]:
    """Every row as a square grey image whose pixels (0 to 255) stand in the columns beside the label's."""
    from mofang.data.pixels import png_of

    label, side = how.label, 0
    for chunk in read_csv(files, how, reject):
        names = list(chunk.columns)
        label = label or names[-1]
        pixels = [name for name in names if name != label]
        side = math.isqrt(len(pixels))
        if label not in names or side * side != len(pixels):
            raise MofangError("pixels-not-square", columns=len(pixels), label=label)
        rows = zip(*(chunk.columns[name] for name in pixels), strict=True)
        images = [png_of(row, side) for row in rows]
        good = [place for place, image in enumerate(images) if image]
        for place, image in enumerate(images):
            if not image:
                reject(chunk.file, chunk.numbers[place], "not-pixels")
        for start in range(0, len(good), PIXEL_CHUNK_ROWS):
            taken = good[start : start + PIXEL_CHUNK_ROWS]
            numbers = [chunk.numbers[place] for place in taken]
            columns = {
                "image": [f"{number}.png" for number in numbers],
                how.label or "label": [chunk.columns[label][place] for place in taken],
            }
            yield Chunk(chunk.file, numbers, columns, {"image": [images[place] for place in taken]})
