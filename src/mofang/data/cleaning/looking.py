"""The first pass of cleaning: a worker reads one piece of the records, brings it into one spelling, and writes down what
the decisions need; nothing is dropped here.

For each piece two files are made: ``values`` (the transformed records) and ``facts`` (a row a record: lengths, language,
quality, what the media hold, and the signatures for the comparison, whose columns begin with an underscore).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import orjson
import pyarrow as pa

from mofang.data.cleaning.duplicates import content_of, label_key
from mofang.data.cleaning.labelmap import plain_label
from mofang.data.cleaning.near import Signer
from mofang.data.cleaning.photocopies import SKETCH_BYTES
from mofang.data.cleaning.shards import Elsewhere, Piece, batches_of, let_go, write_facts, write_parquet
from mofang.data.cleaning.watching import Watch
from mofang.data.columns import is_missing
from mofang.data.operators import apply_to_columns
from mofang.data.pixels import ImageFacts, look_at
from mofang.data.records import Batch
from mofang.data.roles import ID, INPUT_ROLES, MEDIA_ROLES, with_role

IMAGE_THREADS = 4
LET_GO_EVERY = 16  # pieces
Near = Literal["", "characters", "words", "photos"]
NOTES = b"mofang notes"


@dataclass(frozen=True)
class Spelling:
    """What cleaning makes of a batch's columns: operators for the inputs, one spelling and the map for the labels."""

    specs: tuple[dict[str, Any], ...]
    labels: tuple[str, ...]
    mapped: Mapping[str, str]

    def columns(self, batch: Batch) -> tuple[dict[str, Sequence[Any]], list[bool]]:
        """The columns, and which rows carry a label that the map does not know."""
        columns = apply_to_columns(self.specs, {name: batch.column(name) for name in batch.table.schema.names})
        unknown = [False] * len(batch)
        for name in self.labels:
            plain = [plain_label(value) or None for value in columns[name]]
            if self.mapped:
                unknown = [value is not None and value not in self.mapped for value in plain]
                plain = [self.mapped.get(value, value) if value else None for value in plain]
            columns[name] = plain
        return columns, unknown


@dataclass(frozen=True)
class Look:
    """Looks at one piece; picklable, so that it runs in this process, in several, or on a cluster."""

    records: Elsewhere
    folder: str
    schema: pa.Schema
    roles: Mapping[str, str]
    spelling: Spelling
    watch: Watch = field(default_factory=Watch)
    near: Near = ""
    max_pixels: int = 50_000_000
    repaired: tuple[str, ...] = ()

    @cached_property
    def _texts(self) -> list[str]:
        return with_role(self.roles, "text")

    @cached_property
    def _inputs(self) -> list[str]:
        return with_role(self.roles, [role for role in INPUT_ROLES if role not in MEDIA_ROLES])

    def __call__(self, piece: Piece) -> int:
        values: list[pa.RecordBatch] = []
        facts: list[pa.RecordBatch] = []
        spellings: dict[str, str] = {}
        unread: Counter[str] = Counter()
        for batch in batches_of(self.records.open(), piece):
            columns, unknown = self.spelling.columns(batch)
            arrays = [pa.array(columns[one.name], one.type) for one in self.schema]
            values.append(pa.RecordBatch.from_arrays(arrays, schema=self.schema))
            facts.append(self._facts(batch, columns, unknown))
            for name in self.repaired:
                both = zip(batch.column(name), columns[name], strict=True)
                unread[name] += sum(new is None and not is_missing(old) for old, new in both)
            if self.spelling.labels:
                raw = {value for value in batch.column(self.spelling.labels[0]) if value}
                spellings |= {value: plain_label(value) for value in raw}
        folder = Path(self.folder)
        notes = orjson.dumps({"spellings": spellings, "unread": unread}, option=orjson.OPT_SORT_KEYS)
        whole = pa.Table.from_batches(facts)
        write_facts(folder / f"facts-{piece.number}", whole.replace_schema_metadata({NOTES: notes}))
        write_parquet(folder / f"values-{piece.number}", pa.Table.from_batches(values), [ID, *self._texts])
        if piece.number % LET_GO_EVERY == LET_GO_EVERY - 1:  # what is let go has to be asked for again
            let_go()
        return piece.number

    def _facts(self, batch: Batch, columns: dict[str, Sequence[Any]], unknown: list[bool]) -> pa.RecordBatch:
        rows = range(len(batch))
        seen = self._images(batch.media)
        texts = self._joined(columns, len(batch))
        found: dict[str, Any] = {ID: batch.table.column(ID)}
        for name in self._texts:
            found[f"{name}.chars"] = pa.array([len(value or "") for value in columns[name]], pa.int32())
        for name, looked in seen.items():
            found[f"{name}.width"] = pa.array([one.width for one in looked], pa.int32())
            found[f"{name}.height"] = pa.array([one.height for one in looked], pa.int32())
        read = self.watch.read(texts)
        found |= self.watch.columns(texts, read, batch.media)
        found["_missing"] = pa.array(self._missing(columns, batch), pa.int16())
        found["_wrong"] = pa.array(["label-not-mapped" if unknown[row] else self._wrong(columns, row, seen) for row in rows])
        media = list(batch.media.values())
        contents = [content_of([columns[name][row] for name in self._inputs], [one[row] for one in media]) for row in rows]
        digests = [hashlib.blake2b(content, digest_size=16).digest() for content in contents]
        found["_content"] = pa.array(digests, pa.binary(16))
        label = self.spelling.labels[0] if self.spelling.labels else ""
        keys = [label_key(value) for value in columns[label]] if label else [0] * len(batch)
        found["_label"] = pa.array(keys, pa.uint64())
        found |= self._signed(texts, read, seen)
        return pa.RecordBatch.from_pydict(found)

    def _signed(self, texts: list[str], read: Any, seen: dict[str, list[ImageFacts]]) -> dict[str, pa.Array]:
        if self.near == "photos":
            sketches = [one.sketch or bytes(SKETCH_BYTES) for one in next(iter(seen.values()))]
            return {"_sketch": pa.array(sketches, pa.binary(SKETCH_BYTES))}
        if not self.near:
            return {}
        words = (read.shingle_hashes, read.shingle_offsets) if self.near == "words" else None
        sizes, minima = Signer(self.near == "words").signed(texts, words)
        flat = pa.py_buffer(np.ascontiguousarray(minima, "<u2").tobytes())
        signed = pa.FixedSizeBinaryArray.from_buffers(pa.binary(minima.shape[1] * 2), len(minima), [None, flat])
        return {"_shingles": pa.array(sizes, pa.int32()), "_minhash": signed}

    def _images(self, media: Mapping[str, Sequence[bytes]]) -> dict[str, list[ImageFacts]]:
        images = [name for name in media if self.roles[name] == "image"]
        see = partial(look_at, min_side=1, max_pixels=self.max_pixels)
        with ThreadPoolExecutor(IMAGE_THREADS) as threads:
            return {name: list(threads.map(see, media[name])) for name in images}

    def _joined(self, columns: dict[str, Sequence[Any]], rows: int) -> list[str]:
        if len(self._texts) == 1:
            return [value or "" for value in columns[self._texts[0]]]
        return ["\n".join(columns[name][row] or "" for name in self._texts) for row in range(rows)] if self._texts else []

    def _missing(self, columns: dict[str, Sequence[Any]], batch: Batch) -> list[int]:
        """How many of a record's inputs hold nothing."""
        lacking = np.zeros(len(batch), np.int16)
        for name in self._inputs:
            lacking += np.array([is_missing(value) for value in columns[name]], np.int16)
        for values in batch.media.values():
            lacking += np.array([not value for value in values], np.int16)
        return lacking.tolist()

    def _wrong(self, columns: dict[str, Sequence[Any]], row: int, seen: dict[str, list[ImageFacts]]) -> str:
        """What is wrong with one record whatever the thresholds are, or nothing."""
        for looked in seen.values():
            if looked[row].reason:
                return looked[row].reason
        has_media = any(role in MEDIA_ROLES for role in self.roles.values())
        if not has_media and all(columns[name][row] in (None, "") for name in self._inputs):
            return "empty"
        if self._texts and not has_media and not any(columns[name][row] for name in self._texts):
            return "empty"
        return ""
