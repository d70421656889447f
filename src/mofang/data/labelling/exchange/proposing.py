"""What a model answered, as proposals: by record id, by task, or by the row of the file that ``--format tasks`` wrote."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from mofang.core.artifact import Artifact
from mofang.core.errors import MofangError
from mofang.core.run import Run
from mofang.data.labelling.exchange.bringing import ANSWERS, GROUP_ROWS, PROPOSALS, scores_text
from mofang.data.labelling.exchange.items import Misfit, objects, real, whole
from mofang.data.labelling.exchange.jsonl import scores_of
from mofang.data.labelling.index import index_of
from mofang.data.labelling.schema import Schema
from mofang.data.rejected import RejectedFile
from mofang.data.roles import ID
from mofang.data.sources.files import source_files


def bring_model_answers(
    run: Run, tasks: Sequence[Artifact], schema: Schema, *, source: str, model: str, bad_share: float
) -> None:
    """Read JSON lines into proposals.parquet."""
    ids = [one for artifact in tasks for one in _ids(artifact)]
    known = set(ids)
    rows: list[tuple[Any, ...]] = []
    with run.part("rejected.parquet") as path, RejectedFile(path) as rejected:
        for file in source_files(source, run.shop):
            for number, value in objects(file, rejected.add):
                try:
                    rows.append(_proposal(value, ids, known, schema, model))
                except Misfit as error:
                    rejected.add(file.name, number, "not-a-proposal", str(error))
                except MofangError as error:
                    rejected.add(file.name, number, error.code, error.what)
    rejected.require_share(len(rows), bad_share)
    if not rows:
        raise MofangError("label-file-empty", source=source)
    columns = list(zip(*rows, strict=True))
    table = pa.table([pa.array(values, one.type) for values, one in zip(columns, PROPOSALS, strict=True)], schema=PROPOSALS)
    with run.part("proposals.parquet") as path:
        pq.write_table(table, path, compression="zstd", row_group_size=GROUP_ROWS)
    with run.part("answers.parquet") as path:
        pq.write_table(ANSWERS.empty_table(), path)
    from mofang.data.labelling.index import Index

    run.write_bytes("proposals.index", index_of([Index.keys(table.column(ID).to_pylist())]).data())
    run.write_bytes("answers.index", index_of([]).data())
    run.write_json("about.json", {"schema": schema.to_dict(), "format": "proposals", "proposals": len(rows), "model": model})
    run.measure(proposals=len(rows), rejected=rejected.total)


def _ids(artifact: Artifact) -> list[str]:
    with artifact.open("tasks.parquet") as opened:
        found: list[str] = pq.read_table(opened, columns=[ID], use_threads=False, pre_buffer=False).column(ID).to_pylist()
    return found


def _proposal(value: dict[str, Any], ids: list[str], known: set[str], schema: Schema, model: str) -> tuple[Any, ...]:
    record = value.get("record", "")
    if not record:
        place = whole(value["task"]) if "task" in value else whole(value.get("row")) - 1
        if not 0 <= place < len(ids):
            raise Misfit(f"there is no task {place}")
        record = ids[place]
    if record not in known:
        raise Misfit("the record is no task of the project")
    answer = value.get("answer")
    if answer is None and "label" in value:
        kind = schema.kind
        said = value["label"]
        if kind == "ratings" and isinstance(said, str) and said.lstrip("-").isdecimal():
            said = int(said)
        answer = {"several": {"labels": [said]}, "ratings": {"rating": said}, "pairs": {"better": said}}.get(
            kind, {"label": said}
        )
    scores = scores_of(value.get("scores"))
    score = value.get("score", scores.get(str(value.get("label"))))
    text = orjson.dumps(schema.checked(answer), option=orjson.OPT_SORT_KEYS).decode()
    return record, text, None if score is None else real(score), str(value.get("model") or model)[:200], scores_text(scores)
