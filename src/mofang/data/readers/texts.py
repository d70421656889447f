"""Plain texts: one record a line (the file's name is the class), or one record a file (the folder's name
is the class)."""

from __future__ import annotations

from collections.abc import Iterator
from io import TextIOWrapper

from mofang.data.readers import CHUNK_BYTES, CHUNK_ROWS, Chunk, Reading, Reject
from mofang.data.sources.files import SourceFile
from mofang.data.sources.textfile import detect_encoding, is_clean, open_text

LINE_CHARS = 16 * 2**20


def read_lines(files: list[SourceFile], how: Reading, reject: Reject) -> Iterator[Chunk]:
    """Every line that is not blank as a record: columns ``text`` and, with several files, the file's stem
    as the label."""
    label = how.label or "label"
    for file in files:
        if file.size_bytes == 0:
            reject(file.name, 0, "file-empty")
            continue
        with open_text(file, how.encoding or detect_encoding(file), how.start, how.end) as text:
            for numbers, lines in line_chunks(text, file.name, how, reject):
                columns = {"text": lines}
                if how.several or len(files) > 1:
                    columns[label] = [file.stem] * len(lines)
                yield Chunk(file.name, numbers, columns)


def line_chunks(
    text: TextIOWrapper, file: str, how: Reading, reject: Reject
) -> Iterator[tuple[list[int], list[str]]]:
    """The lines of a text with their numbers from 1, some at a time; blank ones are counted, too long ones rejected."""
    numbers: list[int] = []
    lines: list[str] = []
    size, number = 0, 0
    while line := text.readline(LINE_CHARS):
        number += 1
        if len(line) > how.max_cell_chars:
            reject(file, number, "cell-too-large", f"> {how.max_cell_chars}", line)
            while len(line) >= LINE_CHARS and line[-1] not in "\r\n":
                line = text.readline(LINE_CHARS)
            continue
        line = line.strip("\r\n\ufeff")
        if not line or line.isspace():
            how.count_blank()
            continue
        numbers.append(number)
        lines.append(line)
        size += len(line)
        if len(lines) >= CHUNK_ROWS or size > CHUNK_BYTES:
            yield numbers, lines
            numbers, lines, size = [], [], 0
    yield numbers, lines
    how.lines[0] = number


def read_documents(files: list[SourceFile], how: Reading, reject: Reject) -> Iterator[Chunk]:
    """Every file as a record: columns ``text`` and the name of the folder it lies in as the label."""
    label = how.label or "label"
    names: list[str] = []
    texts: list[str] = []
    labels: list[str | None] = []
    size = 0
    for file in files:
        if file.size_bytes > 4 * how.max_cell_chars:
            reject(file.name, 0, "cell-too-large", f"> {how.max_cell_chars}")
            continue
        with open_text(file, how.encoding or detect_encoding(file)) as text:
            content = text.read(how.max_cell_chars + 1)  # a packed file may be far larger than it looks
        if not is_clean(content):
            reject(file.name, 0, "undecodable")
        elif not content.strip():
            reject(file.name, 0, "file-empty")
        elif len(content) > how.max_cell_chars:
            reject(file.name, 0, "cell-too-large", f"> {how.max_cell_chars}")
        else:
            names.append(file.name)
            texts.append(content)
            labels.append(file.folder or None)
            size += len(content)
        if len(texts) >= CHUNK_ROWS or size > CHUNK_BYTES:
            yield Chunk("", [0] * len(names), {"text": texts, label: labels}, names=names)
            names, texts, labels, size = [], [], [], 0
    yield Chunk("", [0] * len(names), {"text": texts, label: labels}, names=names)
