"""A dictionary in the format of CC-CEDICT as exercises: pairs of meanings, and questions over entries.

``繁體 简体 [pin1 yin1] /meaning/another meaning/`` a line. What is made follows from the entries alone: the same file gives
the same exercises.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import orjson

from mofang.data.readers import CHUNK_ROWS, Chunk, Reading, Reject
from mofang.data.sources.files import SourceFile
from mofang.data.sources.textfile import detect_encoding, open_text

ENTRY = re.compile(r"^(\S+) (\S+) \[([^\]]*)\] /(.+)/\s*$")
POINTING = re.compile(r"variant of|^see |^surname |abbr\. for|^CL:|Taiwan pr\.|\[|^used in ")
PLAIN = re.compile(r"\([^)]*\)")
MEANING_CHARS = (4, 60)
TAKEN = 4        # one word in so many, chosen by its digest: enough to learn from, and soon read
ASKED = 5        # entries of a context
APART = 7919     # entries between two meanings that do not belong together


class Entry(NamedTuple):
    """A word with the meanings that stand for themselves, and the line where it stands."""

    word: str
    meanings: list[str]
    line: int


def read_pairs(files: list[SourceFile], how: Reading, reject: Reject) -> Iterator[Chunk]:
    """Two meanings a record, ``first`` and ``second``; the label says whether one word has both ("same") or not ("other")."""
    column = how.label or "label"
    for file in files:
        entries = [one for one in _entries(file, how, reject) if len(one.meanings) > 1]
        rows = []
        for number, entry in enumerate(entries):
            first, second = entry.meanings[:2]
            if number % 2:
                second = entries[(number + APART) % len(entries)].meanings[1]
            rows.append((entry.line, first, second, "other" if number % 2 else "same"))
        yield from _chunks(file, rows, ("first", "second", column))


def read_questions(files: list[SourceFile], how: Reading, reject: Reject) -> Iterator[Chunk]:
    """A ``context`` of five entries, a ``question`` about one of them in English or Chinese, and its answer with its place
    (none where the word is not there, which is every fifth time)."""
    column = how.label or "label"
    for file in files:
        entries, rows = list(_entries(file, how, reject)), []
        for number in range(len(entries) // ASKED):
            chosen = entries[number * ASKED:(number + 1) * ASKED]
            asked = chosen[zlib.crc32(chosen[0].word.encode()) % ASKED]
            missing = number % ASKED == 0
            about = entries[(number * ASKED + APART) % len(entries)] if missing else asked
            if missing and about in chosen:
                continue
            context, question, answer = _exercise(chosen, about, number)
            start = context.find(answer) if not missing else -1
            told = {"text": answer if start >= 0 else "", "start": start}
            rows.append((asked.line, context, question, orjson.dumps(told).decode()))
        yield from _chunks(file, rows, ("context", "question", column))


def _exercise(chosen: list[Entry], about: Entry, number: int) -> tuple[str, str, str]:
    """Context, question and answer: the meaning of a word, or the word of a meaning, in English or Chinese."""
    english = " ".join(f"{one.word} means {one.meanings[0]}." for one in chosen)
    chinese = "".join(f"{one.word}的意思是 {one.meanings[0]}。" for one in chosen)
    forms = (
        (english, f"What does {about.word} mean?", about.meanings[0]),
        (english, f"Which word means {about.meanings[0]}?", about.word),
        (chinese, f"{about.word}是什么意思？", about.meanings[0]),
        (chinese, f"哪个词的意思是 {about.meanings[0]}？", about.word),
    )
    return forms[number % len(forms)]


def _entries(file: SourceFile, how: Reading, reject: Reject) -> Iterator[Entry]:
    """Words with meanings that do not only point to other words; lines of another form are handed to ``reject``."""
    if file.size_bytes == 0:
        reject(file.name, 0, "file-empty")
        return
    with open_text(file, how.encoding or detect_encoding(file)) as opened:
        for number, line in enumerate(opened, 1):
            if line.startswith("#") or not line.strip():
                how.count_blank()
                continue
            found = ENTRY.match(line)
            if found is None:
                reject(file.name, number, "no-entry", "", line[:200])
                continue
            word = found[2]
            if len(word) < 2 or zlib.crc32(word.encode()) % TAKEN:
                continue
            plain = [" ".join(PLAIN.sub("", one).split()) for one in found[4].split("/") if not POINTING.search(one)]
            meanings = [one for one in dict.fromkeys(plain) if MEANING_CHARS[0] <= len(one) <= MEANING_CHARS[1]]
            if meanings:
                yield Entry(word, meanings, number)


def _chunks(file: SourceFile, rows: list[tuple[int, str, str, str]], names: tuple[str, ...]) -> Iterator[Chunk]:
    for begin in range(0, len(rows), CHUNK_ROWS):
        part = rows[begin:begin + CHUNK_ROWS]
        columns = {name: [row[place] for row in part] for place, name in enumerate(names, 1)}
        yield Chunk(file.name, [row[0] for row in part], columns)
