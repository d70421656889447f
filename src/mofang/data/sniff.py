"""A first look at a source nobody described: its format, its task, its label, its inputs, and what is odd
about it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import Any

from mofang.core.errors import MofangError
from mofang.core.nearest import nearest
from mofang.data.columns import Profile, profiles, text_of
from mofang.data.finding import Finding, Remark, about_content, class_remarks
from mofang.data.formats import detect_format, files_of, find_label_file
from mofang.data.labels import choose_label, determines, pixel_label
from mofang.data.operators import normalise
from mofang.data.readers import Reading, reader_named
from mofang.data.readers.delimited import detect_delimiter, doubled, looks_like_header, sample_lines
from mofang.data.sources import PACKAGE, SourceFile, ending_of, source_files
from mofang.data.textfile import detect_encoding, is_clean
from mofang.data.texts import beside_a_table, names_alone, text_columns

LOOK_ROWS = 100_000
LOOK_CHARS = 200_000_000
LOOK_CELLS = 10_000_000
PROFILE_ROWS = 5_000
PROFILE_CELLS = 200_000
PROFILE_ROWS_LEAST = 500
TASKS = ("text_classification", "image_classification", "table_classification")
GENERIC = {
    "data",
    "dataset",
    "train",
    "training",
    "all",
    "file",
    "files",
    "images",
    "samples",
    "raw",
    "output",
    "数据",
}


SPLITS = {"train", "training", "test", "testing", "val", "valid", "validation", "dev"}


@dataclass(frozen=True)
class _Look:
    """The rows that were looked at, by column."""

    file: str
    columns: dict[str, list[Any]]
    rows: int
    complete: bool
    rejected: Counter[str]


def sniff(
    source: str,
    *,
    name: str = "",
    task: str = "",
    label: str = "",
    inputs: Sequence[str] = (),
    encoding: str = "",
    delimiter: str = "",
) -> Finding:
    """Look at a source and say what a model could be made of it; what is given is not guessed.

    Raises ``label-unsure`` with the candidates where the evidence does not decide, and ``label-not-found``.
    """
    if task and task not in TASKS:
        raise MofangError("new-task-unknown", task=task, nearest=nearest(task, TASKS), tasks=", ".join(TASKS))
    files = source_files(source)
    _refuse_packed(files)
    format = detect_format(files)
    if format == "images" and task not in ("", "image_classification"):
        raise MofangError("task-not-for-format", task=task, format=format)
    name = name or name_of(source)
    if format == "images":
        return _images(source, name, files, label)
    chosen, _ = files_of(files, format)
    how = _reading(chosen[0], format, encoding, delimiter, label)
    look = _look(chosen, how)
    if not look.rows:
        raise _nothing_read(source, look.rejected)
    may_be_pixels = format == "csv" and not inputs and task in ("", "image_classification")
    pixels = pixel_label(look.columns, label, how.header != "no") if may_be_pixels else ""
    if task == "image_classification" and not pixels:
        raise MofangError("task-not-for-format", task=task, format=format)
    found = _pixels(look, pixels) if pixels else _columns(look, task, label, list(inputs))
    return Finding(
        source=source,
        name=name,
        format="pixels" if pixels else format,
        rows=look.rows,
        complete=look.complete,
        files=len(chosen),
        encoding=how.encoding if format not in ("parquet", "documents", "excel") else "",
        delimiter=how.delimiter,
        header=how.header != "no",
        rejected=look.rejected.total(),
        why_rejected=tuple(look.rejected.most_common(5)),
        **found,
    )


def _nothing_read(source: str, rejected: Counter[str]) -> MofangError:
    if not rejected or set(rejected) == {"file-empty"}:
        return MofangError("no-records", source=source)
    reasons = ", ".join(f"{reason} {count}" for reason, count in rejected.most_common())
    return MofangError("nothing-readable", source=source, reasons=reasons)


def _refuse_packed(files: Sequence[SourceFile]) -> None:
    if len(files) == 1 and ending_of(files[0].base) in (".rar", ".7z", ".tar"):
        raise MofangError("packed", file=files[0].name)


def name_of(source: str) -> str:
    """A name for the model from the name of its source: lower case, without endings and signs."""
    path = Path(source.removeprefix(PACKAGE)).expanduser()
    parts = [
        part
        for part in (path if path.name else path.resolve()).resolve().parts
        if not re.search(r"[*?\[]", part)
    ]
    for part in reversed(parts):
        stem = re.sub(r"(\.(csv|tsv|tab|psv|jsonl?|ndjson|parquet|pq|txt|text|gz|xlsx|xlsm|xls|ods|zip))+$", "", part, flags=re.I)
        plain = re.sub(r"[^\w]+", "-", stem.lower()).strip("-_")[:40]
        if plain and plain not in GENERIC and re.search(r"[^\W\d_]", plain):
            return plain
    return "model"


def _reading(file: SourceFile, format: str, encoding: str, delimiter: str, label: str) -> Reading:
    """How to read the files, told from the first one."""
    header = "auto"
    if format not in ("parquet", "excel"):
        encoding = encoding or detect_encoding(file)
    if format == "csv" and file.size_bytes:
        import csv

        lines = sample_lines(file, encoding)
        delimiter = delimiter or detect_delimiter(lines, file)
        rows = [row for row in csv.reader(lines, delimiter=delimiter) if row]
        header = "yes" if rows and looks_like_header(rows) else "no"
    return Reading(
        format=format,
        encoding=encoding if format != "documents" else "",
        delimiter=delimiter,
        header=header,
        label=label if format in ("lines", "documents") else "",
    )


def _look(files: list[SourceFile], how: Reading) -> _Look:
    columns: dict[str, list[Any]] = {}
    rejected: Counter[str] = Counter()
    rows = chars = 0
    for chunk in reader_named(how.format)(
        files, how, lambda file, row, reason, *_: rejected.update([reason])
    ):
        if rows >= LOOK_ROWS or chars >= LOOK_CHARS or rows * len(columns) >= LOOK_CELLS:
            return _Look(files[0].name, columns, rows, False, rejected)
        if not chunk.numbers:
            continue
        for name in {**columns, **chunk.columns}:
            values = chunk.columns.get(name, [None] * len(chunk.numbers))
            columns.setdefault(name, [None] * rows).extend(values)
            chars += 16 * sum(len(value) for value in values[::16] if isinstance(value, str))
        rows += len(chunk.numbers)
    return _Look(files[0].name, columns, rows, True, rejected)


def _columns(look: _Look, task: str, label: str, inputs: list[str]) -> dict[str, Any]:
    """Task, label, inputs, classes and remarks from the columns' values."""
    columns = {
        name: values
        for name, values in look.columns.items()
        if "\0" not in name and not any(isinstance(value, dict | list) for value in values[:200])
    }
    step = sample_step(look.rows, len(columns))
    sample = {name: values[::step] for name, values in columns.items()}
    _require_decoded(look, sample)
    found = profiles(sample)
    for name in (label, *inputs):
        if name and name not in columns:
            raise MofangError(
                "column-missing",
                column=name,
                columns=", ".join(columns),
                nearest=nearest(name, columns),
                file=look.file,
            )
    texts = text_columns(found, label) if task != "table_classification" else []
    if not task and not inputs and beside_a_table(found, texts, label):
        texts = []
    if not label:
        rest = {name: one for name, one in found.items() if name not in inputs}
        label = choose_label(rest, sample, bool(texts) or task == "text_classification")
    texts = [name for name in texts if name != label]
    if not texts and not task and not inputs:
        texts = names_alone(found, label)
    task = task or (
        "text_classification" if (set(inputs) & set(texts) if inputs else texts) else "table_classification"
    )
    chosen, left_out = _inputs(found, sample, task, label, inputs, texts)
    if not chosen:
        raise MofangError("no-inputs", columns=", ".join(columns))
    twice = doubled(list(look.columns)) & {label, *(name for name, _ in chosen)}
    if twice:
        raise MofangError("column-doubled", column=min(twice), file=look.file)
    classes = Counter(text for value in columns[label] if (text := normalise(text_of(value) or "")))
    _require_classes(label, classes, found[label])
    return {
        "task": task,
        "label": label,
        "inputs": tuple(chosen),
        "left_out": tuple(left_out),
        "classes": tuple(classes.most_common()),
        "unlabelled": look.rows - classes.total(),
        **about_content(columns, [name for name, _ in chosen], task, classes, look.rows),
    }


def _require_decoded(look: _Look, sample: dict[str, list[Any]]) -> None:
    """A wrong encoding leaves bytes that are no characters in many rows; a few such rows are rejected later."""
    rows = list(zip(*sample.values(), strict=True))
    bad = sum(not is_clean("".join(value for value in row if isinstance(value, str))) for row in rows)
    if bad > 0.05 * len(rows):
        raise MofangError("encoding-wrong", file=look.file, bad=bad, rows=len(rows))


def sample_step(rows: int, columns: int) -> int:
    """Every how-manieth row is looked at closely: thousands of rows, fewer where there are many columns."""
    wanted = min(PROFILE_ROWS, max(PROFILE_CELLS // max(columns, 1), PROFILE_ROWS_LEAST))
    return max(rows // wanted, 1)


def _pixels(look: _Look, label: str) -> dict[str, Any]:
    """Rows that are images: the label and its classes."""
    classes = Counter(text for value in look.columns[label] if (text := normalise(text_of(value) or "")))
    _require_classes(label, classes, profiles({label: look.columns[label]})[label])
    return {
        "task": "image_classification",
        "label": label,
        "inputs": (("image", "image"),),
        "classes": tuple(classes.most_common()),
        "unlabelled": look.rows - classes.total(),
        "remarks": (Remark("pixels", {"side": isqrt(len(look.columns) - 1)}), *class_remarks(classes)),
    }


def _inputs(
    found: dict[str, Profile],
    columns: dict[str, list[Any]],
    task: str,
    label: str,
    inputs: list[str],
    texts: list[str],
) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """(column, role) of the inputs, and (column, reason) of what is left out."""
    text_task = task == "text_classification"
    if inputs:
        roles = [
            (name, "text" if text_task else "number" if found[name].numeric else "category")
            for name in inputs
        ]
        return roles, [(name, "not-asked-for") for name in columns if name not in (*inputs, label)]
    chosen, left_out = [], []
    for name, one in found.items():
        if name == label:
            continue
        if text_task:
            reason = (
                ""
                if name in texts
                else one.personal and "personal" or (one.identifying and "id") or "not-text"
            )
        else:
            reason = _why_not(one, columns[name], columns[label])
        if reason:
            left_out.append((name, reason))
        else:
            chosen.append((name, "text" if text_task else "number" if one.numeric else "category"))
    return chosen, left_out


def _why_not(one: Profile, values: list[Any], labels: list[Any]) -> str:
    """Why a table's column is left out, or nothing."""
    if one.distinct < 2:
        return "constant"
    if one.personal:
        return "personal"
    if one.identifying:
        return "id"
    if one.pattern:
        return "time" if one.pattern == "date" else "not-a-value"
    if one.texty:
        return "free-text"
    if {value.strip().lower() for value, _ in one.top} <= SPLITS:
        return "a-split"
    if determines(values, labels):
        return "says-the-label"
    return "" if one.role in ("number", "category") else "too-many-values"


def _require_classes(label: str, classes: Counter[str], one: Profile) -> None:
    if len(classes) < 2:
        raise MofangError("one-class", label=label, name=next(iter(classes), "-"))
    if one.numeric and len(classes) > 100 and classes.total() < 20 * len(classes):
        raise MofangError("label-is-a-quantity", label=label, values=len(classes))
    if len(classes) > max(0.5 * classes.total(), 20):
        raise MofangError("label-of-many-values", label=label, values=len(classes), rows=classes.total())


def _images(source: str, name: str, files: list[SourceFile], label: str) -> Finding:
    """Pictures: classes from the folders' names, or from the one label file beside them."""
    label_file = find_label_file(files)
    images = [file for file in files if file.kind == "images"]
    if label_file:
        from mofang.data.readers.images import labels_by_image

        labels = labels_by_image(files, label_file, label)
    else:
        labels = [file.folder for file in images]
    classes = Counter(one for one in labels if one)
    if not classes:
        raise MofangError("label-not-found", columns=", ".join(sorted({file.name for file in images})[:5]))
    _require_classes(label or "label", classes, profiles({"label": list(classes)})["label"])
    return Finding(
        source=source,
        name=name,
        task="image_classification",
        format="images",
        label=label or "label",
        inputs=(("image", "image"),),
        rows=len(images),
        complete=True,
        classes=tuple(classes.most_common()),
        files=len(images),
        label_file=label_file,
        unlabelled=len(images) - classes.total(),
        remarks=(*own_split(images), *class_remarks(classes)),
    )


def own_split(images: Sequence[SourceFile]) -> list[Remark]:
    """A remark if the pictures lie in folders such as train and test: all are read, and split anew."""
    tops = sorted({file.name.split("/")[0] for file in images if file.name.count("/") > 1})
    found = [top for top in tops if top.lower() in SPLITS]
    return [Remark("own-split", {"folders": ", ".join(found)})] if len(found) > 1 else []
