"""CoNLL: a token and its tag a line, an empty line between texts; BIO and BIOES are read, BIO is written.

Tokens are written so that every span begins and ends at one (a Chinese character is a token of its own), with the text in
a comment line, so that blanks come back as they were. Spans that overlap cannot be said in this format and are refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mofang.core.errors import MofangError
from mofang.data.labelling.exchange.items import IMPORTED, LINE_BYTES, Item, Misfit, Reject, Said
from mofang.data.labelling.schema import Schema
from mofang.data.sources.files import SourceFile

TOKEN = re.compile(r"[⺀-鿿豈-﫿\U00020000-\U0003ffff]|[^\W⺀-鿿豈-﫿\U00020000-\U0003ffff]+|[^\w\s]")
TAG = re.compile(r"(?:([BIESLU])-(.+)|O)")
WIDE = re.compile(r"[⺀-鿿豈-﫿\U00020000-\U0003ffff]")
TOKENS_MOST = 200_000


def read(files: list[SourceFile], schema: Schema, reject: Reject) -> Iterator[Item]:
    """The texts of CoNLL files with their spans."""
    for file in files:
        number, tokens, said = 0, list[list[str]](), dict[str, str]()
        with file.open() as opened:
            while True:
                raw = opened.readline(LINE_BYTES)
                number += 1
                line = raw.decode("utf-8", "replace").lstrip("\ufeff").rstrip("\r\n")
                if line.startswith("# ") and " = " in line and not tokens:
                    key, _, value = line[2:].partition(" = ")
                    said[key.strip()] = value
                elif line.strip() and not line.startswith("-DOCSTART-"):
                    tokens.append(re.split(r"\t| +", line.strip(" ")))
                elif tokens:
                    try:
                        yield _item(tokens, said, schema, number)
                    except Misfit as error:
                        reject(file.name, number, "not-a-task", str(error), " ".join(one[0] for one in tokens)[:200])
                    tokens, said = [], {}
                if not raw:
                    break
                if len(tokens) > TOKENS_MOST:
                    raise MofangError("label-file", file=file.name, detail=f"{number}: > {TOKENS_MOST} tokens")


def _item(rows: list[list[str]], said: dict[str, str], schema: Schema, number: int) -> Item:
    if any(len(one) < 2 for one in rows):
        raise Misfit("a line is a token and a tag")
    words, tags = [one[0] for one in rows], [one[-1] for one in rows]
    text, places = _places(words, said.get("text"))
    column = schema.column or "text"
    return Item(
        {column: text},
        said.get("record", ""),
        place=number,
        answers=[Said({"spans": _spans(tags, places)}, said.get("person", IMPORTED))],
    )


def _places(words: list[str], told: str | None) -> tuple[str, list[tuple[int, int]]]:
    """The text, and where each token stands in it."""
    places, at = [], 0
    if told is not None:
        try:
            text = json.loads(told) if told.startswith('"') else told
        except json.JSONDecodeError:
            text = told
        for word in words:
            start = text.find(word, at)
            if start < 0:
                raise Misfit(f"the token {word[:40]!r} does not stand in its text")
            places.append((start, start + len(word)))
            at = start + len(word)
        return text, places
    text = ""
    for word in words:
        narrow = text and not (WIDE.match(text[-1]) and WIDE.match(word))
        text += (" " if narrow else "") + word
        places.append((len(text) - len(word), len(text)))
    return text, places


def _spans(tags: list[str], places: list[tuple[int, int]]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    open_: dict[str, Any] | None = None
    for tag, (start, end) in zip(tags, places, strict=True):
        match = TAG.fullmatch(tag)
        if match is None:
            raise Misfit(f"the tag {tag[:40]!r}")
        mark, label = match[1], match[2]
        goes_on = open_ is not None and mark in ("I", "E", "L") and open_["label"] == label
        if goes_on and open_ is not None:
            open_["end"] = end
        elif mark:
            open_ = {"start": start, "end": end, "label": label}
            found.append(open_)
        if not mark or mark in ("E", "S", "L", "U"):
            open_ = None
    return found


def write(path: Path, items: Iterator[Item], schema: Schema) -> int:
    """Write the final answer of each task; how many texts."""
    count = 0
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for item in items:
            text = item.values.get(schema.column or "text")
            if text is None or item.final is None:
                continue
            spans = sorted(item.final["spans"], key=lambda one: one["start"])
            if any(one["end"] > two["start"] for one, two in zip(spans, spans[1:], strict=False)):
                raise MofangError("label-spans-overlap", task=item.task)
            if any(re.search(r"\s", one["label"]) for one in spans):
                raise MofangError(
                    "label-class-blank", label=next(one["label"] for one in spans if re.search(r"\s", one["label"]))
                )
            file.write(f"# record = {item.record}\n# text = {json.dumps(text, ensure_ascii=True)}\n")
            for start, end in cut(text, spans):
                inside = next((one for one in spans if one["start"] <= start and end <= one["end"]), None)
                tag = "O" if inside is None else f"{'B' if inside['start'] == start else 'I'}-{inside['label']}"
                file.write(f"{text[start:end]}\t{tag}\n")
            file.write("\n")
            count += 1
    return count


def cut(text: str, spans: list[dict[str, Any]]) -> list[tuple[int, int]]:
    """Tokens as places in the text, cut also where a span begins or ends; blanks at a span's edge become tokens of none."""
    edges = sorted({edge for one in spans for edge in (one["start"], one["end"])})
    found = []
    for match in TOKEN.finditer(text):
        start = match.start()
        for edge in [one for one in edges if match.start() < one < match.end()] + [match.end()]:
            found.append((start, edge))
            start = edge
    starts, ends = {one for one, _ in found}, {one for _, one in found}
    for one in spans:
        if one["start"] not in starts or one["end"] not in ends:
            raise MofangError("label-span-blank", span=f"{one['start']}-{one['end']}")
    return found
