"""A model that was taught further: what stays, what is new, and which rows rate it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from mofang.core.artifact import Artifact
from mofang.core.errors import MofangError
from mofang.core.run import Run
from mofang.data.records import RecordReader
from mofang.data.snapshots.sides import VALIDATION as HELD_OUT
from mofang.data.snapshots.sides import side_of
from mofang.engine.arrays import Arrays
from mofang.engine.encode import Record
from mofang.fit.family import Fitted
from mofang.fit.loop.machine import threads
from mofang.fit.train import SAMPLE, VALIDATION


def sides_of(texts: Sequence[str], share: float, seed: int) -> tuple[list[int], list[int]]:
    """Which rows train and which are held out: by what they ask, so that equal prompts stay together.

    Raises ``rows-too-few`` where one side would be empty.
    """
    sides = [side_of(text.encode(), share, 0.0, seed) for text in texts]
    held = [row for row, side in enumerate(sides) if side == HELD_OUT]
    train = [row for row, side in enumerate(sides) if side != HELD_OUT]
    if not held or not train:
        raise MofangError("rows-too-few", rows=len(texts), share=share)
    return train, held


def read_rows(records: Artifact, columns: Sequence[str]) -> list[Record]:
    """All rows with these columns; a value that is missing or empty is refused with the number of its row."""
    reader = RecordReader(records)
    missing = [name for name in columns if name not in reader.roles]
    if missing:
        raise MofangError("test-columns", columns=", ".join(missing))
    found: list[Record] = []
    for batch in reader.batches(media=False, columns=list(columns)):
        found += batch.rows(columns)
    for row, name in _empty(found, columns):
        raise MofangError("row-empty", row=row + 1, column=name)
    if not found:
        raise MofangError("test-empty")
    return found


def stored_sample(model: Artifact) -> Arrays:
    """The encoded rows on which the model's graph must answer alike."""
    from safetensors.numpy import load

    with model.open(SAMPLE) as file:
        stored = load(file.read())
    return {name.removeprefix("input/"): array for name, array in stored.items() if name.startswith("input/")}


def write_renewed(run: Run, model: Artifact, fitted: Fitted, taught: dict[str, Any], metric: str, seed: int) -> None:
    """Write the model: new weights, curves and figures; encoder, columns and validation rows as they were."""
    from safetensors.numpy import save

    about = model.read_json("about.json")
    for name, data in fitted.weights.items():
        run.write_bytes(name, data)
    for part in model.parts:
        if part.name.startswith("encoder/") or part.name == VALIDATION:
            run.copy(part.name, part)
    sample = {f"input/{name}": array for name, array in fitted.sample.items()}
    run.write_bytes(SAMPLE, save({**sample, **{name: np.ascontiguousarray(one) for name, one in fitted.outputs.items()}}))
    run.write_json("curves.json", fitted.curves)
    assert fitted.score is not None
    run.write_json(
        "about.json",
        {
            **about,
            "seed": seed,
            "threads": threads(),
            "notes": fitted.notes,
            "licences": sorted({*about["licences"], *run.input_licences}),
            "validation": {"metric": metric, "value": fitted.score},
            "taught": [*about.get("taught", []), {"stage": run.spec.name, "model": model.digest, **taught}],
        },
    )
    run.measure(metric=metric, validation=round(fitted.score, 6), threads=threads(), **fitted.notes)


def _empty(rows: Sequence[Record], columns: Sequence[str]) -> Iterator[tuple[int, str]]:
    for number, row in enumerate(rows):
        for name in columns:
            if not str(row.get(name) or "").strip():
                yield number, name
