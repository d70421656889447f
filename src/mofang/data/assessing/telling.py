"""Single columns that tell the label alone, personal data that is left, languages and lengths, and quality by source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from mofang.data.assessing.check import Check, falling, nothing
from mofang.data.assessing.gather import Gathered
from mofang.data.assessing.vectors import joined_texts
from mofang.data.firstlook.languages import language_of
from mofang.data.firstlook.leaks import label_in_text, leaks
from mofang.data.protecting.find import find, find_all

SLICES_MOST = 20
TEXTS_LOOKED = 20_000


def suspicious(found: Gathered) -> Check:
    """Columns that alone give the label away, and texts in which it is written."""
    title = ("Columns that give the label away", "泄露标签的列")
    names = [
        *found.with_role("number", "category"),
        *[one for one in found.with_role("other") if found.columns[one].distinct > 1],
    ]
    labels = found.sample_labels
    if not found.label or sum(one is not None for one in labels) < 50:
        return nothing("suspicious", title, ("There are too few labels to tell.", "标签太少，无法判断。"))
    leaking, strong = leaks({name: found.sample[name] for name in names}, labels, names) if names else ({}, {})
    rows: list[dict[str, Any]] = [{"column": name, "why": leak.reason, "gain": leak.gain} for name, leak in leaking.items()]
    rows += [{"column": name, "why": "tells the label nearly alone", "gain": round(gain, 3)} for name, gain in strong.items()]
    written = [name for name in found.with_role("text") if label_in_text(found.sample[name], labels)]
    rows += [{"column": name, "why": "the label is written in the text", "gain": None} for name in written]
    bad = [*leaking, *written]
    advice = ("", "")
    if bad:
        advice = (
            f"Is {', '.join(bad)} known when the model is asked? If not, leave it out.",
            f"提问时是否已知 {'、'.join(bad)}？如果不是，请去掉。",
        )
    return Check(
        "suspicious",
        title,
        0.0 if bad else 75.0 if strong else 100.0,
        1.5,
        facts={"leaking": bad, "strong": list(strong)},
        rows=rows,
        advice=advice,
    )


def personal_left(found: Gathered) -> Check:
    """Records of the sample in which personal data is found, by kind; nothing of the data itself is shown."""
    title = ("Personal data left", "残留的个人信息")
    names = [*found.with_role("text", "category", "other"), *filter(None, [found.label])]
    if not names:
        return nothing("personal", title, ("There are no texts.", "没有文本。"))
    counts: Counter[tuple[str, str]] = Counter()
    touched: set[int] = set()
    for name in names:
        texts = [value if isinstance(value, str) else "" for value in found.sample[name][:TEXTS_LOOKED]]
        for row, spans in enumerate(find_all(texts)):
            for kind in {span.kind for span in spans}:
                counts[name, kind] += 1
                touched.add(row)
    looked = min(len(found.sample_ids), TEXTS_LOOKED)
    share = len(touched) / max(looked, 1)
    rows = [
        {"column": name, "kind": kind, "records": count, "share": round(count / max(looked, 1), 5)}
        for (name, kind), count in counts.most_common(20)
    ]
    return Check(
        "personal",
        title,
        100.0 if not touched else falling(share, 0.0, 0.05) * 0.8,
        1.5,
        rows=rows,
        facts={"records_with": len(touched), "looked_at": looked, "share": round(share, 5)},
        advice=("Mask or remove it: mofang protect.", "请遮盖或移除：mofang protect。") if touched else ("", ""),
    )


def kinds_in(text: str) -> set[str]:
    """The kinds of personal data in a text."""
    return {span.kind for span in find(text)}


def mix(found: Gathered) -> Check:
    """The languages of the texts and how long they are."""
    title = ("Languages and lengths", "语言与长度")
    if not found.with_role("text"):
        return nothing("mix", title, ("There are no texts.", "没有文本。"))
    texts = joined_texts(found)
    languages = Counter(language_of(text) or "other" for text in texts)
    lengths = np.array([len(text) for text in texts] or [0])
    short = float((lengths < 5).mean())
    rows = [
        {"language": name, "records": count, "share": round(count / len(texts), 4)} for name, count in languages.most_common(10)
    ]
    quantiles = np.quantile(lengths, [0.01, 0.25, 0.5, 0.75, 0.99])
    return Check(
        "mix",
        title,
        falling(short + languages["other"] / max(len(texts), 1), 0.02, 0.6),
        0.5,
        rows=rows,
        facts={
            "languages": dict(languages.most_common(10)),
            "chars": {
                name: round(float(value)) for name, value in zip(("p1", "p25", "p50", "p75", "p99"), quantiles, strict=True)
            },
            "very_short_share": round(short, 4),
        },
    )


def by_source(found: Gathered, names: Sequence[str], suspects: set[str], personal: Any = kinds_in) -> Check:
    """The quality of each source: how much is missing, doubtful, copied and personal, for each value of a column."""
    title = ("Quality by source", "各来源的质量")
    columns = [name for name in names if name in found.sample] or found.with_role("group")[:1]
    if not columns:
        return nothing("sources", title, ("Name a column of the source with --by.", "请用 --by 指定来源列。"))
    rows: list[dict[str, Any]] = []
    texts = found.with_role("text")
    copies = _copied(found)
    for name in columns:
        values = [str(one) if one is not None else "-" for one in found.sample[name]]
        for value, count in Counter(values).most_common(SLICES_MOST):
            places = [row for row, one in enumerate(values) if one == value]
            missing = sum(found.sample[one][row] is None for one in found.inputs for row in places) / max(
                len(places) * len(found.inputs), 1
            )
            rows.append(
                {
                    "column": name,
                    "source": value[:60],
                    "records": count,
                    "missing": round(missing, 4),
                    "doubtful_labels": round(sum(found.sample_ids[row] in suspects for row in places) / count, 4),
                    "copies": round(sum(found.sample_ids[row] in copies for row in places) / count, 4),
                    "personal": round(
                        sum(any(personal(str(found.sample[one][row] or "")) for one in texts) for row in places) / count, 4
                    ),
                }
            )
    worst = max(
        (row["missing"] + row["doubtful_labels"] + row["copies"] + row["personal"] for row in rows if row["records"] >= 20),
        default=0.0,
    )
    return Check(
        "sources", title, falling(float(worst), 0.05, 1.0), 0.7, rows=rows, facts={"columns": columns, "sources": len(rows)}
    )


def _copied(found: Gathered) -> set[str]:
    """Ids of the sample that have a copy in the sample."""
    texts = [tuple(str(found.sample[name][row]) for name in found.inputs) for row in range(len(found.sample_ids))]
    counts = Counter(texts)
    return {id for id, text in zip(found.sample_ids, texts, strict=True) if counts[text] > 1}
