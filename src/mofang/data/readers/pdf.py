"""PDF files: one record a page, read in a child process under limits, so that no file can take the run along."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import IO, Any

import orjson

from mofang.core.errors import MofangError
from mofang.data.readers import CHUNK_BYTES, CHUNK_ROWS, Chunk, Reading, Reject, pdfchild
from mofang.data.sources.files import SourceFile

FILE_BYTES = 512 * 2**20
PAGES_MOST = 20_000
WALL_S = 180.0
FRAME_BYTES = 64 * 2**20


def read_pdf(files: list[SourceFile], how: Reading, reject: Reject) -> Iterator[Chunk]:
    """Every page as a record: ``text``, ``document`` (the file's name), ``page`` (from 1), ``title``, and the folder's name
    as the label. A page without text, as a scanned one is, and a file that is locked or broken are set aside by name."""
    if importlib.util.find_spec("pypdfium2") is None:
        raise MofangError("extra-missing", extra="data", package="pypdfium2")
    rows: list[tuple[str, int, str, str | None, str]] = []
    size = 0
    for file in files:
        title = ""
        for frame in _frames(file, how, reject):
            if isinstance(frame, dict):
                title = frame["title"]
                if frame["pages"] > PAGES_MOST:
                    reject(file.name, PAGES_MOST + 1, "too-many-pages", f"{frame['pages']} > {PAGES_MOST}")
                continue
            number, text, reason, detail = frame
            if reason:
                reject(file.name, number, reason, detail)
                continue
            rows.append((_tidy(text), number, title, file.folder or None, file.name))
            size += len(text)
            if len(rows) >= CHUNK_ROWS or size > CHUNK_BYTES:
                yield _chunk(rows, how.label or "label")
                rows, size = [], 0
    yield _chunk(rows, how.label or "label")


def _chunk(rows: list[tuple[str, int, str, str | None, str]], label: str) -> Chunk:
    texts, pages, titles, labels, names = map(list, zip(*rows, strict=True)) if rows else ([], [], [], [], [])
    columns: dict[str, list[Any]] = {"text": texts, "document": names, "page": pages, "title": titles, label: labels}
    return Chunk("", list(map(int, pages)), columns, names=list(map(str, names)))


def _tidy(text: str) -> str:
    """Line ends as elsewhere; the signs that PDF puts at the break of a word or a page are no text."""
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\ufffe", "").replace("\x00", "").strip()


def _frames(file: SourceFile, how: Reading, reject: Reject) -> Iterator[Any]:
    """What the child says of a file; where it ends before its time, the file is rejected from there on."""
    if not 0 < file.size_bytes <= FILE_BYTES:
        reject(file.name, 0, "file-too-large" if file.size_bytes else "file-empty")
        return
    packed = file.archive is not None or file.base.lower().endswith(".gz")
    path = "-" if packed else str(file.path)
    command = [sys.executable, "-P", pdfchild.__file__, path, str(PAGES_MOST), str(how.max_cell_chars)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
        assert child.stdin is not None and child.stdout is not None
        late = threading.Timer(WALL_S, child.kill)
        late.start()
        try:
            with suppress(BrokenPipeError):
                if packed:
                    with file.open() as opened:
                        while piece := opened.read(1 << 20):
                            child.stdin.write(piece)
                child.stdin.close()
            at = 0
            for frame in _received(child.stdout):
                if isinstance(frame, dict) and "error" in frame:
                    reject(file.name, 0, frame["error"], frame["detail"])
                    return
                if frame == {}:
                    return
                at = frame[0] if isinstance(frame, list) else at
                yield frame
            reject(file.name, at + 1 if at else 0, "pdf-broken", "stopped at its limits, or stumbled")
        finally:
            late.cancel()
            child.kill()
            with suppress(BrokenPipeError):
                child.stdin.close()


def _received(stream: IO[bytes]) -> Iterator[Any]:
    while len(size := stream.read(4)) == 4:
        wanted = int.from_bytes(size, "big")
        if wanted > FRAME_BYTES or len(data := stream.read(wanted)) < wanted:
            return
        yield orjson.loads(data)
