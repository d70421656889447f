"""Protect: personal data out of texts and tables, counted, by a rule that serving applies too.

What is pseudonymised is still personal data. What is not found stays: the measured recall of each kind stands in
docs/protect.md. A deleted or masked record is not removed from the weights of models that were trained before.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from mofang.core.artifact import Artifact
from mofang.core.errors import MofangError
from mofang.core.personal import holds_personal_data
from mofang.core.run import Run
from mofang.core.stage import stage
from mofang.data.protecting.anonymity import Classes, told
from mofang.data.protecting.plan import Plan, plan_of
from mofang.data.protecting.rows import Below, Found, Protect, Protector
from mofang.data.records import Batch, RecordReader, Records, RecordWriter
from mofang.data.roles import ID, with_role

FINDINGS = pa.schema([(ID, pa.string()), ("column", pa.string()), ("kind", pa.string()), ("count", pa.int32())])
REJECTED = pa.schema([(ID, pa.string()), ("reason", pa.string()), ("detail", pa.string())])


@holds_personal_data
class Protected(Artifact):
    """Records after protection:

    ``kept`` (records), ``findings.parquet`` (for each record kinds and counts, no content), ``rejected.parquet`` (ids and
    reasons), ``report.json``.
    """

    kind = "protected"
    inside = {"kept": "records"}  # noqa: RUF012


@stage(version=1)
def protect(
    run: Run,
    records: Records,
    *,
    how: tuple[str, ...] = ("mask",),
    kinds: tuple[str, ...] = (),
    columns: tuple[str, ...] = (),
    person: Literal["pseudonym", "drop", "keep"] = "pseudonym",
    pseudonyms: tuple[str, ...] = (),
    drop: tuple[str, ...] = (),
    bands: tuple[str, ...] = (),
    dates: tuple[str, ...] = (),
    rare: tuple[str, ...] = (),
    quasi: tuple[str, ...] = (),
    k: Annotated[int, Field(ge=0)] = 0,
    sensitive: str = "",
    below: Below = "suppress",
    language: Literal["auto", "zh", "en"] = "auto",
    key: str = "people",
    media: Literal["strip", "keep"] = "strip",
    engine: Literal["own", "presidio"] = "own",
) -> Protected:
    """Find personal data in texts and tables and mask, shorten, generalise, pseudonymise or remove it; check k-anonymity.

    ``how`` is one word for all kinds (mask, last4, generalise, pseudonym, remove, keep), or also words for some, as in
    ``mask,mobile=last4,name=pseudonym``. ``bands`` (age=10) puts numbers into bands, ``dates`` (joined=month or =year)
    shortens dates, ``rare`` (city=20) makes one group of categories with fewer records. Columns of the role person, and
    ``pseudonyms``, become pseudonyms that only the shop's ``key`` opens. With ``k`` and ``quasi`` records in classes of
    fewer than k are set aside with their reason, or first made ``*`` in these columns (``below`` = generalise).
    ``sensitive`` is the column for l-diversity (the label without it). Pseudonymised records are still personal data.
    """
    reader = RecordReader(records)
    plan = plan_of(run.shop, reader, how=how, kinds=kinds, columns=columns, person=person, pseudonyms=pseudonyms, drop=drop,
                   bands=bands, dates=dates, rare=rare, quasi=quasi, k=k, sensitive=sensitive, language=language, key=key,
                   media=media, engine=engine)  # fmt: skip
    plan.fit(run, reader)
    protector = Protector(plan)
    decided = _decide(run, reader, plan, below) if k and quasi else None
    report = _write(run, reader, protector, decided)
    run.write_json("report.json", report | plan.described() | ({"anonymity": decided.report} if decided else {}))
    kept = report["kept"]
    if not kept:
        raise MofangError("nothing-left", rows=reader.rows, reasons=f"class-below-k {reader.rows}")
    run.measure(rows=reader.rows, kept=kept, found=report["found"],
                **({"suppressed": reader.rows - kept, "smallest_class": decided.report["after"]["smallest"]} if decided else {}))
    return run.result(Protected)


class _Decided:
    """What the check of k-anonymity came to: which records are set aside, which are starred, and the report of both."""

    def __init__(self, gone: Any, starred: Any, report: dict[str, Any]) -> None:
        self.gone, self.starred, self.report = gone, starred, report


def _decide(run: Run, reader: RecordReader, plan: Plan, below: Below) -> _Decided:
    """Count the classes after the columns were made less exact, and decide what happens to the small ones."""
    classes = Classes(reader.rows)
    names = [*plan.quasi, *([plan.sensitive] if plan.sensitive else [])]
    with run.progress("Counting classes", "正在统计等价类", reader.rows) as bar:
        for batch in reader.batches(media=False, columns=names):
            changed = plan.coarsened({name: batch.column(name) for name in names})
            classes.add([changed[name] for name in plan.quasi], changed[plan.sensitive] if plan.sensitive else ())
            bar.advance(len(batch))
    sensitive = classes.sensitive if plan.sensitive else None
    small = classes.sizes() < plan.k
    report: dict[str, Any] = {"k": plan.k, "quasi": list(plan.quasi), "sensitive": plan.sensitive, "below": below,
                              "before": told(classes.codes, sensitive, plan.k)}
    starred = small if below == "generalise" and small.sum() >= plan.k else np.zeros(len(small), np.bool_)
    gone = small & ~starred
    left = np.where(starred, np.uint64(0), classes.codes)[~gone]
    report |= {"starred": int(starred.sum()), "suppressed": int(gone.sum()),
               "after": told(left, None if sensitive is None else sensitive[~gone], plan.k)}
    return _Decided(gone, starred, report)


def _write(run: Run, reader: RecordReader, protector: Protector, decided: _Decided | None) -> dict[str, Any]:
    """Write what stays, what was found in it, and what is set aside; the report in figures."""
    plan = protector.plan
    schema = pa.schema([one for one in reader.schema if one.name not in plan.drop])
    about = {name: value for name, value in reader.about.items() if name not in ("format", "columns", "rows")}
    about["operators"] = [*about.get("operators", []), *plan.operators()]
    found, first, tags = Found(), 0, 0
    with (
        run.part("findings.parquet") as path,
        pq.ParquetWriter(path, FINDINGS, compression="zstd") as findings,
        run.part("rejected.parquet") as aside,
        pq.ParquetWriter(aside, REJECTED, compression="zstd") as rejected,
        RecordWriter(run, "kept/", schema=schema, about=about) as kept,
        run.progress("Protecting", "正在保护个人信息", reader.rows) as bar,
    ):
        for batch, done in protector.map(run.shop.executor, reader.batches()):
            end = first + len(batch)
            arrays = [pa.array(done.columns[one.name], one.type) for one in schema]
            whole = Batch(pa.RecordBatch.from_arrays(arrays, schema=schema), done.media)
            gone = np.zeros(len(batch), np.bool_) if decided is None else decided.gone[first:end]
            if decided is not None:
                whole = protector.starred(whole, decided.starred[first:end])
            kept.write(whole.take(np.nonzero(~gone)[0]) if gone.any() else whole)
            _note(findings, rejected, whole, done, gone, found)
            tags += done.tags
            first = end
            bar.advance(len(batch))
        rows = kept.rows
    media = {"media_stripped": tags} if with_role(reader.roles, ("image", "audio")) else {}
    return {"rows": reader.rows, "kept": rows, **found.told(), **media}


def _note(findings: Any, rejected: Any, whole: Batch, done: Protect, gone: Any, found: Found) -> None:
    ids = whole.column(ID)
    rows = [(ids[row], name, kind, count) for row, name, kind, count in done.found if not gone[row]]
    found.add(done.found)
    if rows:
        findings.write_batch(pa.RecordBatch.from_arrays([pa.array(one, field.type) for one, field in
                                                         zip(zip(*rows, strict=True), FINDINGS, strict=True)], schema=FINDINGS))
    places = np.nonzero(gone)[0]
    if len(places):
        count = len(places)
        rejected.write_batch(pa.RecordBatch.from_arrays(
            [pa.array([ids[place] for place in places]), pa.array(["class-below-k"] * count), pa.array([""] * count)],
            schema=REJECTED))
