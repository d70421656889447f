"""Files in the shapes that people have: encodings, delimiters, stars, ids, dates, leaks, several
languages."""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Sequence
from pathlib import Path

ZH = {
    "好评": ["服务很好", "房间干净", "位置方便", "早餐丰富", "下次还来", "值得推荐"],
    "差评": ["服务很差", "房间太小", "隔音不好", "早餐难吃", "不会再来", "令人失望"],
}
EN = {
    "positive": [
        "a great stay",
        "friendly staff",
        "clean rooms",
        "would come again",
        "lovely breakfast",
        "good value",
    ],
    "negative": [
        "a terrible stay",
        "rude staff",
        "dirty rooms",
        "never again",
        "cold breakfast",
        "bad value",
    ],
}
FILLER = {
    "zh": "我们住了三天总体来说觉得这家酒店离地铁不远前台态度还可以周围吃饭也有地方停车位比较紧张",
    "en": "we stayed for three nights near the station and the desk was open all day but parking was hard",
}


def sentences(phrases: dict[str, list[str]], rows: int, seed: int = 0) -> list[tuple[str, str]]:
    """(text, label) pairs, all texts different."""
    chance = random.Random(seed)
    chinese = phrases is ZH
    found: dict[str, str] = {}
    while len(found) < rows:
        label = chance.choice(list(phrases))
        said = chance.sample(phrases[label], 2)
        if chinese:
            start = chance.randrange(20)
            middle = FILLER["zh"][start : start + chance.randrange(8, 22)]
            text = f"{said[0]}，{middle}，{said[1]}，房号{chance.randrange(9999)}。"
        else:
            words = FILLER["en"].split()
            start = chance.randrange(10)
            middle = " ".join(words[start : start + chance.randrange(4, 11)])
            text = f"{said[0]}, {middle}, {said[1]}, room {chance.randrange(9999)}."
        found[text] = label
    return list(found.items())


def write_csv(
    path: Path,
    header: Sequence[str] | None,
    rows: Sequence[Sequence[object]],
    delimiter: str = ",",
    encoding: str = "utf-8",
) -> Path:
    """A delimited file in any encoding."""
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\n")
    writer.writerows([*([header] if header else []), *rows])
    path.write_bytes(out.getvalue().encode(encoding))
    return path


def write_jsonl(path: Path, rows: Sequence[dict[str, object]]) -> Path:
    """JSON lines in UTF-8."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path
