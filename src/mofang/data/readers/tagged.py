"""Texts whose words carry tags, ``word/tag word/tag`` a line, as the People's Daily corpus and Brown have it: texts with the
spans of names."""

from __future__ import annotations

import re
from collections.abc import Iterator

import orjson

from mofang.data.readers import Chunk, Reading, Reject
from mofang.data.readers.texts import line_chunks
from mofang.data.sources.files import SourceFile
from mofang.data.sources.textfile import detect_encoding, open_text

NAMES = {"nr": "person", "ns": "place", "nt": "organisation", "nz": "other", "NNP": "name", "NNPS": "name"}
TOKEN = re.compile(r"(\S+)/([A-Za-z]{1,5})(?=\s|\]|$)")


def read_tagged(files: list[SourceFile], how: Reading, reject: Reject) -> Iterator[Chunk]:
    """Every line as a record: ``text``, and as the label its names as ``[{"start", "end", "label"}]``.

    Names are nr (person), ns (place), nt (organisation), nz (other) of the People's Daily, NNP of Penn; words of one kind side
    by side are one name. A line without any tag is handed to ``reject``.
    """
    column = how.label or "label"
    for file in files:
        if file.size_bytes == 0:
            reject(file.name, 0, "file-empty")
            continue
        with open_text(file, how.encoding or detect_encoding(file), how.start, how.end) as opened:
            for numbers, lines in line_chunks(opened, file.name, how, reject):
                kept: list[int] = []
                texts: list[str] = []
                labels: list[str] = []
                for number, line in zip(numbers, lines, strict=True):
                    text, spans = untagged(line)
                    if not text:
                        reject(file.name, number, "no-tags", "", line[:200])
                        continue
                    kept.append(number)
                    texts.append(text)
                    labels.append(orjson.dumps(spans).decode())
                yield Chunk(file.name, kept, {"text": texts, column: labels})


def untagged(line: str) -> tuple[str, list[dict[str, int | str]]]:
    """The text of a tagged line, and the spans of its names in code points."""
    text, spans, before = "", list[dict[str, int | str]](), ""
    for word, tag in TOKEN.findall(line):
        word = word.lstrip("[")
        if text and text[-1].isascii() and word[:1].isascii() and text[-1].isalnum() and word[:1].isalnum():
            text += " "
        start, name = len(text), NAMES.get(tag, "")
        text += word
        if name and name == before and spans:
            spans[-1]["end"] = len(text)
        elif name:
            spans.append({"start": start, "end": len(text), "label": name})
        before = name
    return text, spans
