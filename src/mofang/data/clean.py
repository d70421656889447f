"""Clean: one spelling for text, and every record that should not teach a model dropped, counted and kept
with its reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow.parquet as pq
from pydantic import Field

from mofang.core.artifact import Artifact
from mofang.core.errors import MofangError
from mofang.core.personal import holds_personal_data
from mofang.core.run import Run
from mofang.core.stage import stage
from mofang.data.cleaning.choosing import Chosen, choose
from mofang.data.cleaning.deciding import DAMAGED, ROW_REASONS, Thresholds
from mofang.data.cleaning.quality import Anything, Quality
from mofang.data.cleaning.watching import own_rules
from mofang.data.cleaning.writing import write
from mofang.data.records import RecordReader, Records
from mofang.data.roles import MEDIA_ROLES, with_role
from mofang.data.snapshots.survivors import write_ties
from mofang.data.survey import Html, Layout, Survey, survey

Columns = tuple[str, ...]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Least = Annotated[float, Field(ge=0)]
LONG_CHARS = 1000  # texts longer than this on average are documents, and compared by their words
LOOKED_ROWS = 2_000


@holds_personal_data
class Cleaned(Artifact):
    """Records after cleaning:

    ``kept`` (records), ``rejected.parquet`` with reasons, ``statistics.parquet`` of all.
    """

    kind = "cleaned"
    inside = {"kept": "records"}  # noqa: RUF012


# fmt: off
@stage(version=4)
def clean(
    run: Run,
    records: Records,
    previous: Cleaned | None = None,
    *,
    labels: str = "", min_chars: Count = 1, max_chars: Count = 0,
    html: Html = "no", layout: Layout = "line", noise: bool = False,
    languages: Columns = (), language_score: Share = 0.0, language_chars: Count = 0,
    quality: Quality = Anything(), rules: Columns = (), flag: Columns = (),
    personal: Literal["keep", "mask", "drop"] = "keep", personal_kinds: Columns = (),
    units: Columns = (), dates: Columns = (), missing: Share = 1.0, outliers: Least = 0.0,
    duplicates: bool = True, near_duplicate: Share = 0.85, near_by: Literal["auto", "characters", "words"] = "auto",
    conflicts: Literal["auto", "reject", "keep"] = "auto",
    min_side: Annotated[int, Field(ge=1)] = 4, max_pixels: Annotated[int, Field(ge=1)] = 50_000_000,
    min_blur: Least = 0.0, min_contrast: Least = 0.0,
    min_seconds: Least = 0.0, max_seconds: Least = 0.0, max_silence: Share = 1.0, max_clipping: Share = 1.0,
    bad_share: Share = 0.05,
) -> Cleaned:
    """Bring texts and labels into one spelling; drop empty records, copies and texts with conflicting labels.

    Every dropped record is kept in rejected.parquet with its reason and the id of the record that stays in its place; of copies
    the one that ``previous`` kept stays. ``labels`` makes the classes, as in ``4,5=positive;1,2=negative``; a label it does not
    name is set aside. Near copies share ``near_duplicate`` of their shingles and the label (0 switches this off; below five
    characters only exact copies count), or are one photo saved twice; ``near_by`` compares short texts by characters and
    documents by words. ``languages`` are those that stay, as in ``zh,en``, told from the first ``language_chars`` characters
    (0: all). ``rules`` are regular expressions of one's own, as in ``advert=加微信``; a text that one matches is dropped.
    ``personal`` data are masked, or their texts dropped: ``personal_kinds``, or all but names and addresses. ``units`` and
    ``dates`` name columns to repair, as in ``weight=kg`` and ``day`` or ``day=dmy``. ``missing`` is the share of inputs that may
    be missing, ``outliers`` the distance of a number from its column's median, in standard deviations (0: any). The reasons
    named by ``flag`` are noted in statistics.parquet and drop nothing. Of pictures ``min_blur`` and ``min_contrast`` are the
    least sharpness and contrast, of sounds ``max_silence`` and ``max_clipping`` the largest shares (0 and 1: any).
    ``max_chars`` 0 means no limit. More than ``bad_share`` damaged images or sounds stop the run. Other thresholds on the same
    records take seconds: what was read of them is kept.
    """
    reader = RecordReader(records)
    _require_flags(flag, rules)
    near = _near(reader, near_duplicate, near_by, with_role(reader.roles, "text"), with_role(reader.roles, "image"))
    surveyed: Survey = run.call(
        survey, records, labels=labels, html=html, layout=layout, units=units, dates=dates, noise=noise, rules=rules, near=near,
        mask=personal == "mask", find_personal=personal == "drop", personal_kinds=personal_kinds, prefix=language_chars or 1000,
        identify=("prefix" if language_chars else "full") if languages or quality != Anything() else "",
        quality=quality != Anything(), repetition=quality.repetition, media=bool(min_blur or min_contrast), max_pixels=max_pixels,
    )
    thresholds = Thresholds(
        min_chars, max_chars, min_side, languages, language_score, quality, personal == "drop",
        tuple(name for name, _ in own_rules(rules)), missing, flag, min_blur, min_contrast, min_seconds, max_seconds,
        max_silence, max_clipping,
    )
    chosen = choose(
        run, surveyed, reader.roles, thresholds, outliers=outliers, duplicates=duplicates, near=near,
        near_duplicate=near_duplicate, reject_conflicts=_refuses(conflicts, reader), previous=previous,
        check=lambda counts: _require_whole(counts, reader.rows, bad_share),
    )
    counts = write(run, records, surveyed, chosen)
    if not counts[""]:
        raise MofangError("nothing-left", rows=reader.rows, reasons=worded(counts))
    if len(chosen.tied):
        write_ties(run, "kept/", chosen.tied, chosen.signed)
    run.measure(**_measures(counts, surveyed, chosen))
    return run.result(Cleaned)
# fmt: on


def _refuses(conflicts: str, reader: RecordReader) -> bool:
    """Whether copies with different labels go: of texts, images and sounds, where nothing else is said."""
    return conflicts == "reject" or (conflicts == "auto" and bool(with_role(reader.roles, ("text", *MEDIA_ROLES))))


def _measures(counts: Counter[str], surveyed: Survey, chosen: Chosen) -> dict[str, Any]:
    """What the ledger says of a cleaning; nothing of what did not occur."""
    notes = surveyed.read_json("about.json")["notes"]
    found = {
        "labels_merged": notes["merged"],
        "unread": notes["unread"],
        "alike": chosen.alike,
        "tied": len(np.unique(chosen.tied)),
        "flagged": chosen.flagged,
    }
    told = {name: dict(value) if isinstance(value, Counter) else value for name, value in found.items() if value}
    kept = counts.pop("")
    return {"rows": surveyed.measures["rows"], "kept": kept, "dropped": dict(counts), **told}


def _near(reader: RecordReader, threshold: float, by: str, texts: list[str], photos: list[str]) -> str:
    """How near copies are told: by characters, by words, by looks, or not at all."""
    if not threshold:
        return ""
    if not texts:
        return "photos" if len(photos) == 1 else ""
    if by != "auto":
        return by
    rows = chars = 0
    for batch in reader.batches(64, media=False, columns=texts):
        for name in texts:
            chars += sum(len(value or "") for value in batch.column(name)[: LOOKED_ROWS - rows])
        rows = min(rows + len(batch), LOOKED_ROWS)
        if rows == LOOKED_ROWS:
            break
    return "words" if chars > LONG_CHARS * rows else "characters"


def _require_flags(flag: Sequence[str], rules: Sequence[str]) -> None:
    """Refuse to flag what is no reason about one record."""
    known = [*ROW_REASONS, *(f"rule-{name}" for name, _ in own_rules(rules))]
    for name in flag:
        if name not in known and not name.startswith("quality-"):
            raise MofangError("flag-unknown", flag=name, known=", ".join(known))


def _require_whole(counts: Counter[str], rows: int, bad_share: float) -> None:
    damaged = Counter({reason: counts[reason] for reason in DAMAGED})
    total = damaged.total()
    if total > bad_share * rows:
        raise MofangError(
            "too-many-damaged",
            damaged=total,
            total=rows,
            share=f"{total / rows:.1%}",
            bad_share=f"{bad_share:.1%}",
            reasons=worded(damaged),
        )


def worded(counts: Counter[str]) -> str:
    """Reasons with their counts, the most frequent first."""
    return ", ".join(f"{reason} {count}" for reason, count in counts.most_common() if reason and count)


def rejected_rows(cleaned: Artifact, reason: str = "") -> Iterator[dict[str, Any]]:
    """The rejected records, of one reason or all, as dictionaries."""
    with cleaned.open("rejected.parquet") as opened, pq.ParquetFile(opened) as file:
        for batch in file.iter_batches():
            yield from (row for row in batch.to_pylist() if not reason or row["reason"] == reason)
