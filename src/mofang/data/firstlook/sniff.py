"""A first look at a source nobody described: its format, its task, its label, its inputs, how to split it, and what is
odd about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt
from typing import Any

from mofang.core.errors import MofangError
from mofang.core.nearest import nearest
from mofang.data.cleaning.labelmap import plain_label
from mofang.data.columns import Profile, is_missing, profiles, rounded_numbers, text_of
from mofang.data.firstlook.aims import TASKS as AIMED
from mofang.data.firstlook.aims import Aim, aim_of, written
from mofang.data.firstlook.finding import FEW_ROWS, Finding, Given, Remark, about_content, class_remarks, missing_in
from mofang.data.firstlook.inputs import Inputs, choose_inputs
from mofang.data.firstlook.labels import choose_label, pixel_label
from mofang.data.firstlook.look import (
    Look,
    look_at,
    misfit_rows,
    name_of,
    nothing_read,
    reading_of,
    require_decoded,
    rows_in_all,
    sample_step,
    sheet_of,
    without_rows,
)
from mofang.data.firstlook.mapping import mapped, stars_map, variants_map
from mofang.data.firstlook.personal import named_personal, personal_column
from mofang.data.firstlook.pictures import look_at_pictures
from mofang.data.firstlook.places import require_a_place_for_records, require_one_kind
from mofang.data.firstlook.splitting import choose_split, grouping_ids
from mofang.data.firstlook.texts import beside_a_table, names_alone, text_columns
from mofang.data.readers.delimited import doubled
from mofang.data.sources.files import SourceFile, ending_of, source_files
from mofang.data.sources.formats import detect_format, files_of

__all__ = ["name_of", "sniff"]
TASKS = ("text_classification", "image_classification", "table_classification", *AIMED)


def sniff(
    source: str,
    *,
    name: str = "",
    task: str = "",
    label: str = "",
    inputs: Sequence[str] = (),
    encoding: str = "",
    delimiter: str = "",
    sheet: str = "",
    group: str = "",
    time: str = "",
    map: str = "",
    keep: Sequence[str] = (),
) -> Finding:
    """Look at a source and say what a model could be made of it; what is given is not guessed.

    Raises ``label-unsure`` with the candidates where the evidence does not decide, ``label-not-found``, and the codes of
    places that hold no records.
    """
    given = Given(
        name or name_of(source), task, label, tuple(inputs), encoding, delimiter, sheet, group, time, map, tuple(keep)
    )
    if task and task not in TASKS:
        raise MofangError("new-task-unknown", task=task, nearest=nearest(task, TASKS), tasks=", ".join(TASKS))
    require_a_place_for_records(source)
    files = source_files(source)
    _refuse_packed(files)
    format = detect_format(files)
    if format == "sounds":
        raise MofangError("sound-without-task", source=source, files=len(files))
    require_one_kind(source, files, format)
    if format == "images" and task not in ("", "image_classification"):
        raise MofangError("task-not-for-format", task=task, format=format)
    if format == "images":
        return look_at_pictures(source, files, given)
    chosen, _ = files_of(files, format)
    return _rows(source, chosen, format, given)


def _rows(source: str, files: list[SourceFile], format: str, given: Given) -> Finding:
    """Tables and texts: read the first rows and look at their columns."""
    sheet, sheets, header = sheet_of(files[0], given.sheet) if format == "excel" else ("", (), True)
    how = reading_of(files, format, given.encoding, given.delimiter, given.label, sheet)
    look = look_at(source, files, how)
    if not look.rows:
        raise nothing_read(source, look.rejected)
    may_be_pixels = format == "csv" and not given.inputs and given.task in ("", "image_classification")
    pixels = pixel_label(look.columns, given.label, how.header != "no") if may_be_pixels else ""
    if given.task == "image_classification" and not pixels:
        raise MofangError("task-not-for-format", task=given.task, format=format)
    found = _pixels(look, pixels, given) if pixels else _columns(look, given)
    return Finding(
        source=source,
        name=given.name,
        format="pixels" if pixels else format,
        complete=look.complete,
        whole=rows_in_all(look, files, how),
        files=len(files),
        bytes=sum(file.size_bytes for file in files),
        encoding=how.encoding if format not in ("parquet", "documents", "excel") else "",
        delimiter=how.delimiter,
        sheet=sheet,
        header=how.header != "no" and header,
        **{**found, "remarks": (*sheets, *found["remarks"])},
    )


def _refuse_packed(files: Sequence[SourceFile]) -> None:
    if len(files) == 1 and ending_of(files[0].base) in (".rar", ".7z", ".tar"):
        raise MofangError("packed", file=files[0].name)


@dataclass(frozen=True)
class _Labels:
    """The label's values, row by row ("" where missing), the classes as they stand and after the map."""

    name: str
    values: list[str]
    found: Counter[str]
    map: str
    classes: Counter[str]
    set_aside: int
    remarks: list[Remark]


@dataclass(frozen=True)
class _Seen:
    """The columns whole and as a sample of every ``step``-th row, and what they look like."""

    look: Look
    columns: dict[str, list[Any]]
    sample: dict[str, list[Any]]
    step: int
    found: dict[str, Profile]


def _seen(look: Look, given: Given) -> _Seen:
    """The columns that hold plain values, without rows that a run will reject."""
    columns = {
        name: values
        for name, values in look.columns.items()
        if "\0" not in name and not any(isinstance(value, dict | list) for value in values[:200])
    }
    step = sample_step(look.rows, len(columns))
    sample = {name: values[::step] for name, values in columns.items()}
    require_decoded(look, sample)
    _require_named(look, columns, given)
    found = profiles(sample)
    misfits = misfit_rows(columns, found)
    if misfits:
        columns, look = without_rows(columns, look, misfits)
        sample = {name: values[::step] for name, values in columns.items()}
        found = profiles(sample)
    return _Seen(look, columns, sample, step, found)


def _columns(look: Look, given: Given) -> dict[str, Any]:
    """Task, label, inputs, split, classes and remarks from the columns' values."""
    seen = _seen(look, given)
    look, columns, sample, found = seen.look, seen.columns, seen.sample, seen.found
    if not given.map and (aim := aim_of(_with_lists(look, columns), found, text_columns(found, given.label), given)):
        return _aimed(_with_lists(look, columns), look, found, aim, given)
    if given.task in AIMED:
        raise MofangError("task-not-proven", task=given.task, columns=", ".join(look.columns))
    rounded = {name: count for name, values in sample.items() if (count := rounded_numbers(values))}
    personal = {
        name: kind
        for name, values in sample.items()
        if (kind := found[name].personal or personal_column(values) or named_personal(found[name]))
    }
    label, texts = _label_and_texts(columns, sample, found, given, {**personal, **dict.fromkeys(rounded, "rounded")})
    task = given.task or (
        "text_classification" if (set(given.inputs) & set(texts) if given.inputs else texts) else "table_classification"
    )
    labels = _labels(label, columns[label], found[label], given, task == "text_classification")
    split = choose_split(columns, found, labels.values, label, texts, given, task)
    chosen = choose_inputs(
        found, sample, labels.values[:: seen.step], label, given, texts, Inputs(task, personal, rounded, split)
    )
    if not chosen.inputs:
        raise MofangError("no-inputs", columns=", ".join(columns))
    twice = doubled(list(look.columns)) & {label, *(name for name, _ in chosen.inputs)}
    if twice:
        raise MofangError("column-doubled", column=min(twice), file=look.file)
    content = about_content(columns, [name for name, _ in chosen.inputs], task, labels.values)
    spoiled = [
        Remark("rounded", {"name": name, "count": count, "looked": len(sample[name])}) for name, count in rounded.items()
    ]
    return {
        **content,
        "rows": look.rows,
        "rejected": look.rejected.total(),
        "why_rejected": tuple(look.rejected.most_common(5)),
        "task": task,
        "label": label,
        "inputs": chosen.inputs,
        "left_out": chosen.left_out,
        "group": split.group,
        "time": split.time,
        "split": split.why,
        "missing": missing_in({name: values for name, values in columns.items() if name != label}),
        **_classes_of(labels, look.rows),
        "remarks": (
            *labels.remarks,
            *split.remarks,
            *chosen.remarks,
            *spoiled,
            *content["remarks"],
            *class_remarks(labels.classes),
        ),
    }


def _with_lists(look: Look, columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """The columns, and those of lists and objects where no row was left out."""
    rows = len(next(iter(columns.values()), []))
    listed = {name: values for name, values in look.columns.items() if name not in columns and "\0" not in name}
    return columns | {name: values for name, values in listed.items() if len(values) == rows or not columns}


def _aimed(columns: dict[str, list[Any]], look: Look, found: dict[str, Profile], aim: Aim, given: Given) -> dict[str, Any]:
    """What is told of rows that proved what they are for."""
    for name in (aim.label, *aim.inputs):
        if name not in columns:
            raise MofangError(
                "column-missing", column=name, columns=", ".join(columns), nearest=nearest(name, columns), file=look.file
            )
    plain = [name for name in aim.inputs if name in found]
    texts = {name: [written(value) for value in columns[name]] for name in aim.inputs}
    content = about_content(texts, aim.inputs, "text_classification", [""] * len(columns[aim.label]))
    kept = {aim.label, *aim.inputs, given.group, given.time}
    left = [(name, "personal" if found[name].personal else "id" if found[name].identifying else "not-asked-for")
            for name in found if name not in kept]
    unlabelled = 0 if aim.task == "question_answering" else sum(map(is_missing, columns[aim.label]))
    rows, few = len(columns[aim.label]), []
    if rows - unlabelled < FEW_ROWS:
        few = [Remark("few", {"rows": rows - unlabelled, "test": max(round((rows - unlabelled) / 10), 1)})]
    said = [one for one in content["remarks"] if one.code == "personal-in-text"]
    return {
        **content, "rows": rows, "rejected": look.rejected.total(), "why_rejected": tuple(look.rejected.most_common(5)),
        "task": aim.task, "label": aim.label, "inputs": tuple((name, "text") for name in aim.inputs), "left_out": tuple(left),
        "group": given.group, "time": "" if given.group else given.time, "split": "asked" if given.group or given.time else "",
        "missing": missing_in({name: columns[name] for name in plain}), "map": "", "set_aside": 0,
        "classes": tuple(aim.named.most_common()), "found": tuple(aim.named.most_common()), "unlabelled": unlabelled,
        "remarks": (*said, *few),
    }


def _classes_of(labels: _Labels, rows: int) -> dict[str, Any]:
    return {
        "map": labels.map,
        "set_aside": labels.set_aside,
        "classes": tuple(labels.classes.most_common()),
        "found": tuple(labels.found.most_common()),
        "unlabelled": rows - labels.found.total(),
    }


def _require_named(look: Look, columns: dict[str, list[Any]], given: Given) -> None:
    for name in (given.label, given.group, given.time, *given.inputs, *given.keep):
        if name and name not in columns:
            raise MofangError(
                "column-missing", column=name, columns=", ".join(columns), nearest=nearest(name, columns), file=look.file
            )


def _label_and_texts(
    columns: dict[str, list[Any]], sample: dict[str, list[Any]], found: dict[str, Profile], given: Given, never: dict[str, str]
) -> tuple[str, list[str]]:
    """The label's column and the columns of text; ``never`` are the columns that can be neither."""
    label = given.label
    texts = [name for name in text_columns(found, label) if name not in never] if given.task != "table_classification" else []
    if not given.task and not given.inputs and beside_a_table(found, texts, label):
        texts = []
    if not label:
        ids = grouping_ids(columns, found)
        rest = {name: one for name, one in found.items() if name not in given.inputs and name not in never and name not in ids}
        label = choose_label(rest, sample, bool(texts) or given.task == "text_classification", tuple(found))
    texts = [name for name in texts if name != label]
    if not texts and not given.task and not given.inputs:
        texts = names_alone(found, label)
    return label, texts


def _labels(label: str, values: Sequence[Any], one: Profile, given: Given, has_text: bool) -> _Labels:
    """The classes, with the map that was given, or that the labels propose."""
    texts = [plain_label(value) for value in values]
    found = Counter(text for text in texts if text)
    _require_classes(label, found, one)
    remarks: list[Remark] = []
    map = given.map
    if not map and (map := stars_map(label, found, has_text)):
        remarks.append(Remark("stars", {"map": map}))
    elif not map:
        map, merged = variants_map(found)
        if merged:
            shown = "; ".join(" = ".join(names) for names in merged[:3])
            remarks.append(Remark("variants" if map else "variants-alone", {"names": shown, "count": len(merged)}))
    raw = Counter(str(text_of(value)).strip("\r\n") for value in values if text_of(value))
    if len(raw) > len(found):
        remarks.append(Remark("spelling", {"before": len(raw), "after": len(found)}))
    classes, aside = mapped(found, map)
    if len(classes) < 2:
        raise MofangError("label-map-no-class", map=map, label=label, classes=", ".join(list(found)[:10]))
    return _Labels(label, texts, found, map, classes, aside, remarks)


def _pixels(look: Look, label: str, given: Given) -> dict[str, Any]:
    """Rows that are images: the label and its classes."""
    labels = _labels(label, look.columns[label], profiles({label: look.columns[label]})[label], given, False)
    side = isqrt(len(look.columns) - 1)
    return {
        "rows": look.rows,
        "rejected": look.rejected.total(),
        "why_rejected": tuple(look.rejected.most_common(5)),
        "task": "image_classification",
        "label": label,
        "inputs": (("image", "image"),),
        "length": float(side * side),
        "pixels": float(side * side),
        **_classes_of(labels, look.rows),
        "remarks": (Remark("pixels", {"side": side}), *labels.remarks, *class_remarks(labels.classes)),
    }


def _require_classes(label: str, classes: Counter[str], one: Profile) -> None:
    if len(classes) < 2:
        raise MofangError("one-class", label=label, name=next(iter(classes), "-"))
    if one.numeric and (
        len(classes) > 100 and classes.total() < 20 * len(classes) or one.whole_share < 0.9 and len(classes) > 10
    ):
        raise MofangError("label-is-a-quantity", label=label, values=len(classes))
    if len(classes) > max(0.5 * classes.total(), 20):
        raise MofangError("label-of-many-values", label=label, values=len(classes), rows=classes.total())
