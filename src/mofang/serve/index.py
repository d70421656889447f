"""Index records by the vectors of their texts, so that a few words find what they mean."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from mofang.core.artifact import Artifact
from mofang.core.errors import MofangError
from mofang.core.personal import holds_personal_data, rewrites
from mofang.core.run import Run
from mofang.core.stage import stage
from mofang.data.records import Batch, RecordReader, Records
from mofang.engine.arrays import Array
from mofang.engine.decode.positives import OUTPUT, normalised
from mofang.engine.predictor import Package, Predictor
from mofang.fit.export import Graph

INDEX_FORMAT = 1
TASK = "text_embedding"
VECTORS, TEXTS, ABOUT = "vectors.npy", "texts.parquet", "about.json"
BATCH_ROWS = 256
MODELS = ("package", "graph")


@holds_personal_data
class Index(Artifact):
    """Vectors of records: vectors.npy (float32 or float16 [N, D], length 1), texts.parquet (id, text) and about.json."""

    kind = "index"


@rewrites(Index.kind)
def without_rows(index: Artifact, erased: Callable[[object], bool]) -> dict[str, bytes | None]:
    """An index after an erasure: the vectors of erased records go with their texts."""
    with index.open(TEXTS) as file:
        ids = pq.read_table(file, columns=["id"], use_threads=False, pre_buffer=False).column(0).to_pylist()
    kept = [row for row, id in enumerate(ids) if not erased(id)]
    stream = io.BytesIO()
    np.save(stream, np.load(index.path(VECTORS), mmap_mode="r")[kept])
    return {VECTORS: stream.getvalue()}


@stage(version=1)
def index(
    run: Run,
    records: Records,
    package: Package | None = None,
    graph: Graph | None = None,
    *,
    text: str = "",
    dims: Annotated[int, Field(ge=0)] = 0,
    precision: Literal["float32", "float16"] = "float32",
) -> Index:
    """Make records searchable: the vector of each text, by a model that embeds texts (a package, or the graph of one).

    ``text`` names the column (left out: the one that the model reads, or the only column of texts). ``dims`` keeps the first
    numbers of each vector only, for a model that was trained with ``nested``. A text without any word is left out, and
    counted.
    """
    model = package or graph
    if model is None:
        raise MofangError("index-without-model")
    predictor = Predictor(model)
    if predictor.task.name != TASK:
        raise MofangError("not-an-embedder", task=predictor.task.name)
    reader = RecordReader(records)
    column = _column(reader, text, predictor.signature["inputs"][0]["name"])
    found: list[Array] = []
    with run.progress("Embedding", "计算向量", total=reader.rows) as bar, run.part(TEXTS) as place:
        schema = pa.schema([("id", pa.string()), ("text", pa.string())])
        with pq.ParquetWriter(place, schema, compression="zstd") as writer:
            for ids, texts, rows in _worded(reader.batches(BATCH_ROWS, media=False, columns=[column]), column):
                found.append(vectors_of(predictor, texts, dims).astype(precision))
                writer.write_table(pa.table({"id": ids, "text": texts}, schema))
                bar.advance(rows)
    if not found:
        raise MofangError("test-empty")
    made = np.concatenate(found)
    with run.part(VECTORS) as path, path.open("wb") as file:
        np.save(file, made)
    about: dict[str, Any] = {
        "format": INDEX_FORMAT, "rows": len(made), "dims": made.shape[1], "precision": precision, "text": column,
        "empty": reader.rows - len(made), "model": {"kind": model.kind, "digest": model.digest, "entry": model.entry},
    }
    run.write_json(ABOUT, about)
    run.measure(rows=len(made), dims=made.shape[1], empty=about["empty"], size_bytes=made.nbytes)
    return run.result(Index)


def vectors_of(predictor: Predictor, texts: list[str], dims: int = 0) -> Array:
    """Vectors float32 [N, D] of texts, of length 1, cut to ``dims`` (0: all)."""
    column = predictor.signature["inputs"][0]["name"]
    vectors = predictor.outputs([{column: one} for one in texts])[OUTPUT]
    if dims > vectors.shape[1]:
        raise MofangError("dims-too-many", dims=dims, most=vectors.shape[1])
    return normalised(vectors, dims)


def mapped(index: Artifact) -> Array:
    """The vectors as a memory-mapped array; of an encrypted part a copy that goes with this process."""
    place: Path = index.path(VECTORS)
    found: Array = np.load(place, mmap_mode="r")
    return found


def _worded(batches: Iterator[Batch], column: str) -> Iterator[tuple[list[str], list[str], int]]:
    """Ids and texts of the rows that say anything, and how many rows were looked at."""
    for batch in batches:
        pairs = [(id, str(text)) for id, text in zip(batch.column("id"), batch.column(column), strict=True)
                 if text is not None and str(text).strip()]
        if pairs:
            yield [id for id, _ in pairs], [text for _, text in pairs], len(batch)


def _column(reader: RecordReader, wanted: str, usual: str) -> str:
    """The column of texts: as named, as the model reads it, or the only one."""
    texts = [name for name, role in reader.roles.items() if role == "text"]
    found = wanted or (usual if usual in reader.roles else texts[0] if len(texts) == 1 else "")
    if found not in reader.roles:
        raise MofangError("index-column", column=found or "-", columns=", ".join(reader.roles))
    return found
