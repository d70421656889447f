"""Assess: one scored report on records or a snapshot, with pictures, doubtful labels and a sheet for checking by hand."""

from __future__ import annotations

import random
from typing import Annotated, Any

import orjson
from pydantic import Field

from mofang.core.artifact import Artifact
from mofang.core.personal import holds_personal_data, rewrites
from mofang.core.run import Run
from mofang.core.stage import stage
from mofang.data.assessing import columns, copies, doubt, groups, telling
from mofang.data.assessing.change import drift
from mofang.data.assessing.check import Check, total
from mofang.data.assessing.gather import Gathered, gather
from mofang.data.assessing.report import page
from mofang.data.assessing.vectors import embedded, joined_texts, table_features, text_features
from mofang.data.exporting.files import require_records

ASSESSMENT_FORMAT = 1
CHECK_SHEET_CHARS = 2000


@holds_personal_data
class Assessment(Artifact):
    """What records are worth: ``report.json``, ``report.html``, ``suspects.jsonl`` (doubtful labels) and ``sheet.jsonl``
    (a sample to be checked by hand)."""

    kind = "assessment"


@stage(version=2)
def assess(
    run: Run,
    records: Artifact,
    earlier: Artifact | None = None,
    *,
    by: tuple[str, ...] = (),
    sheet: Annotated[int, Field(ge=0, le=100_000)] = 100,
    max_rows: Annotated[int, Field(ge=50)] = 20_000,
    seed: Annotated[int, Field(ge=0)] = 0,
) -> Assessment:
    """Score records, what cleaning kept, or a snapshot: completeness, types, ranges, balance, sparsity, diversity, duplicates,
    label errors, leakage, columns that give the label away, personal data left, languages and lengths, sources, and drift.

    Columns, copies and leakage are counted over all records; the checks that compare records with one another look at a
    sample of about ``max_rows``, which follows from the records' ids. ``earlier`` is a snapshot to compare with, ``by``
    names the columns that say where a record comes from, and ``sheet`` is how many records, drawn with ``seed``, a person
    should check by hand.
    """
    require_records("assess", records, earlier)
    with run.progress("Reading", "正在读取") as bar:
        found = gather(records, max_rows, bar.advance)
        before = gather(earlier, max_rows, bar.advance) if earlier is not None else None
    with run.progress("Checking", "正在检查", 13) as bar:
        checks, suspects, pictures = _checks(run, found, before, by, seed, bar)
    whole = total(checks)
    about = {
        "format": ASSESSMENT_FORMAT,
        "kind": records.kind,
        "score": None if whole is None else round(whole, 1),
        "rows": found.rows,
        "sampled": len(found.sample_ids),
        "parts": found.parts,
        "columns": found.roles,
        "licences": list(run.input_licences),
        "checks": [one.to_dict() for one in checks],
    }
    run.write_json("report.json", about)
    drawn = _sheet(found, sheet, seed)
    for name, rows in (("suspects.jsonl", suspects), ("sheet.jsonl", drawn)):
        with run.part(name) as path, path.open("wb") as file:
            file.writelines(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows)
    with run.part("report.html") as path:
        path.write_text(page(about, checks, pictures, drawn[:20], found.thumbnails), encoding="utf-8")
    run.measure(score=about["score"], rows=found.rows, **{one.name: one.verdict for one in checks if one.score is not None})
    return run.result(Assessment)


@rewrites("assessment", shows="report.html")
def without_examples(artifact: Artifact, _erased: Any) -> dict[str, bytes | None]:
    """A report after an erasure: scores and figures stay, the page and all examples go, for they show records.

    Suspects and the sheet lose the rows of the erased by their ids, as everywhere.
    """
    report = artifact.read_json("report.json")
    for check in report["checks"]:
        check["facts"] = {name: value for name, value in check["facts"].items() if isinstance(value, int | float)}
        check["rows"], check["advice"] = [], ["", ""]
    report["erased"] = True
    return {"report.html": None, "report.json": orjson.dumps(report, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)}


def _checks(
    run: Run, found: Gathered, before: Gathered | None, by: tuple[str, ...], seed: int, bar: Any
) -> tuple[list[Check], list[dict[str, Any]], dict[str, list[str]]]:
    """Every check in the order of the report, the doubtful labels, and the pictures by check."""
    from mofang.data.assessing import charts

    sparse = text_features(joined_texts(found)) if found.with_role("text") and found.sample_ids else None
    dense = table_features(found)
    vectors = embedded(found, sparse, dense)
    near = copies.near_pairs(found, run.scratch)
    bar.advance(1)
    errors, suspects = doubt.label_errors(found, sparse, dense, seed)
    bar.advance(1)
    diverse, _ = groups.diversity(found, vectors)
    bar.advance(1)
    checks = [
        columns.completeness(found),
        columns.types(found),
        columns.ranges(found),
        columns.sparsity(found),
        columns.balance(found),
        diverse,
        copies.duplicates(found, near),
        errors,
        copies.leakage(found, near),
        telling.suspicious(found),
        telling.personal_left(found),
        telling.mix(found),
        telling.by_source(found, by, {str(one["id"]) for one in suspects}),
        drift(found, before),
    ]
    bar.advance(9)
    pictures: dict[str, list[str]] = {}
    classes = columns.class_counts(found)
    if len(classes) > 1:
        top = dict(sorted(classes.items(), key=lambda one: -one[1])[: charts.CLASSES_DRAWN])
        pictures["balance"] = [
            charts.bars({name: float(count) for name, count in top.items()}, "Records of each class  各类别记录数")
        ]
    if found.with_role("number"):
        pictures["outliers"] = charts.of_columns(found)
    if found.with_role("text") and found.sample_ids:
        pictures["mix"] = [charts.histogram([len(one) for one in joined_texts(found)], "Characters of a text  文本字符数")]
    if diverse.score is not None:
        pictures["diversity"] = [charts.scatter(vectors, found.sample_labels)]
    missing = {name: one.missing / max(one.rows, 1) for name, one in found.columns.items() if one.missing}
    if missing:
        worst = dict(sorted(missing.items(), key=lambda one: -one[1])[: charts.CLASSES_DRAWN])
        pictures["completeness"] = [charts.bars(worst, "Share of missing values  缺失比例")]
    bar.advance(1)
    return checks, suspects, pictures


def _sheet(found: Gathered, size: int, seed: int) -> list[dict[str, Any]]:
    """Records drawn by lot for a person to check, with room for the verdict; the seed draws the same ones again."""
    places = random.Random(seed).sample(range(len(found.sample_ids)), min(size, len(found.sample_ids)))
    media = set(found.vectors)
    return [
        {
            "id": found.sample_ids[row],
            "part": found.sample_parts[row],
            **{
                name: str(found.sample[name][row])[:CHECK_SHEET_CHARS]
                if isinstance(found.sample[name][row], str)
                else found.sample[name][row]
                for name in found.roles
                if name in media or found.roles[name] != "person"
            },
            "passes": None,
            "remark": "",
        }
        for row in sorted(places)
    ]
