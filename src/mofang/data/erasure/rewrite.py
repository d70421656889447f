"""Parts without the rows of the erased: Parquet row group by row group, JSON lines line by line, lists inside JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from mofang.core.artifact import Artifact, Part
from mofang.core.personal import REWRITERS, is_private
from mofang.core.shop import Shop
from mofang.data.collecting.earlier import FILES
from mofang.data.columns import text_of
from mofang.data.erasure.match import Match
from mofang.data.records import GROUP_ROWS
from mofang.data.snapshots.targets import labels_of

JSON_MOST = 256 * 2**20
SHEETS = ("sheet.png", "sheet.html")  # of augment


def ids_of_people(artifact: Artifact, match: Match) -> set[str]:
    """The ids of all records that an artifact shows to be these people's."""
    found: set[str] = set()
    for part in artifact.parts:
        if part.kind != "parquet":
            continue
        with opened(artifact, part) as file:
            people, ids, _ = match.columns_of(file.schema_arrow)
            if people and ids:
                for batch in file.iter_batches(1 << 16, columns=[*people, ids[0]]):
                    rows = match.rows(batch, (people, [], []))
                    if rows.any():
                        found.update(one for one in batch.column(ids[0]).filter(pa.array(rows)).to_pylist() if one)
    return found


@contextmanager
def opened(artifact: Artifact, part: Part) -> Iterator[pq.ParquetFile]:
    """A Parquet part, read through whatever locks it."""
    with artifact.open(part.name) as file, pq.ParquetFile(file) as table:
        yield table


def touched(artifact: Artifact, match: Match) -> dict[str, int]:
    """How many rows of each part belong to the erased; parts without any are left out."""
    found = {part.name: _count(artifact, part, match) for part in artifact.parts}
    return {name: count for name, count in found.items() if count}


def _count(artifact: Artifact, part: Part, match: Match) -> int:
    if part.kind == "parquet":
        with opened(artifact, part) as file:
            columns = match.columns_of(file.schema_arrow)
            names = [name for some in columns for name in some]
            if not names:
                return 0
            return sum(int(match.rows(batch, columns).sum()) for batch in file.iter_batches(1 << 16, columns=names))
    if part.kind == "jsonl":
        with artifact.open(part.name) as lines:
            return sum(match.in_object(_json(line)) for line in lines)
    if part.kind == "json" and part.size_bytes <= JSON_MOST:
        return _without(artifact.read_json(part.name), match)[1]
    return 0


def rewrite(shop: Shop, artifact: Artifact, match: Match, gone: dict[str, int], scratch: Path) -> tuple[Part, ...]:
    """Store the touched parts anew without the erased; the rest stays as it is. Done twice, it gives the same bytes."""
    parts = {part.name: part for part in artifact.parts}
    place = scratch / "part"

    def keep(name: str) -> None:
        private = shop.encrypts_all or (shop.encrypts and is_private(artifact.kind, name))
        digest, size_bytes = shop.store.keep(place, private=private)
        parts[name] = Part(name, parts[name].kind, digest, size_bytes)

    own = REWRITERS[artifact.kind](artifact, match.record) if artifact.kind in REWRITERS else {}
    for name, data in own.items():
        if data is None:
            parts.pop(name, None)
        else:
            place.write_bytes(data)
            keep(name)
    for name in (one for one in gone if one not in own):
        part = parts[name]
        if part.kind == "parquet":
            _parquet(artifact, part, match, place)
        elif part.kind == "jsonl":
            with artifact.open(name) as lines, place.open("wb") as file:
                file.writelines(line for line in lines if not match.in_object(_json(line)))
        else:
            place.write_bytes(_dumped(_without(artifact.read_json(name), match)[0]))
        keep(name)
    parts.pop(FILES, None)  # which rows came from which file: no longer true, and only there to save time
    for sheet in SHEETS:
        parts.pop(sheet, None)  # pictures of records: whose, cannot be told from them
    made = Artifact(shop, "", tuple(sorted(parts.values())))
    for name in [name for name in parts if name.rpartition("/")[2] == "about.json"]:
        about = made.read_json(name)
        if _corrected(made, name.removesuffix("about.json"), about, gone):
            place.write_bytes(_dumped(about))
            keep(name)
    return tuple(sorted(parts.values()))


def _parquet(artifact: Artifact, part: Part, match: Match, place: Path) -> None:
    with opened(artifact, part) as file:
        schema = _plain(file.schema_arrow)
        columns = match.columns_of(schema)
        with pq.ParquetWriter(place, schema, compression="zstd", version="2.6") as writer:
            for group in range(file.num_row_groups):
                table = file.read_row_group(group).cast(schema)
                kept = [batch.filter(pa.array(~match.rows(batch, columns))) for batch in table.to_batches()]
                if any(one.num_rows for one in kept):
                    writer.write_table(pa.Table.from_batches(kept, schema), row_group_size=GROUP_ROWS)


def _plain(schema: pa.Schema) -> pa.Schema:
    """The schema as it was first written: Parquet adds numbers of its own to the fields."""
    fields = [one.with_metadata({k: v for k, v in (one.metadata or {}).items() if not k.startswith(b"PARQUET:")} or None)
              for one in schema]
    return pa.schema(fields, schema.metadata)


def _json(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return None


def _without(value: Any, match: Match) -> tuple[Any, int]:
    """A JSON value without the objects in its lists that are an erased record, and how many those were."""
    if isinstance(value, list):
        kept, gone = [], 0
        for one in value:
            if match.in_object(one):
                gone += 1
                continue
            inner, more = _without(one, match)
            kept.append(inner)
            gone += more
        return kept, gone
    if isinstance(value, dict):
        found = {name: _without(one, match) for name, one in value.items()}
        return {name: inner for name, (inner, _) in found.items()}, sum(more for _, more in found.values())
    return value, 0


def _dumped(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)


def _corrected(made: Artifact, prefix: str, about: Any, gone: dict[str, int]) -> bool:
    """Numbers of rows and classes that an about.json tells, counted again where rows went."""
    if not isinstance(about, dict):
        return False
    changed = False
    if f"{prefix}values.parquet" in gone and "rows" in about:
        with opened(made, made.part(f"{prefix}values.parquet")) as file:
            about["rows"] = file.metadata.num_rows
        changed = True
    for part, told in about.get("counts", {}).items() if isinstance(about.get("counts"), dict) else ():
        name = f"{prefix}{part}/values.parquet"
        if name in gone and isinstance(told, dict) and "classes" in told:
            told["rows"], told["classes"] = _classes(made, name, about["label"], about.get("target", "class"))
            changed = True
    return changed


def _classes(made: Artifact, name: str, label: str, target: str) -> tuple[int, dict[str, int]]:
    """The rows that are left, and how many of them name each label."""
    with opened(made, made.part(name)) as file:
        labels = np.array([text_of(one) or "" for batch in file.iter_batches(1 << 16, columns=[label])
                           for one in batch.column(label).to_pylist()], dtype=object)
    if target != "class":
        found = Counter(label for cell in labels.tolist() for label in labels_of(target, cell))
        return len(labels), dict(sorted(found.items()))
    names, counts = np.unique(labels.astype(str), return_counts=True)
    return len(labels), {str(name): int(count) for name, count in zip(names, counts, strict=True)}
