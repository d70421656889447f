"""Which format a source has, told from its files' endings and first bytes."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from mofang.core.errors import MofangError
from mofang.data.readers.delimited import delimiter_scores, sample_lines
from mofang.data.readers.logs import kind_of
from mofang.data.readers.webdataset import key_of
from mofang.data.sources.files import SourceFile
from mofang.data.sources.tars import TarArchive
from mofang.data.sources.textfile import detect_encoding

MARKS = {
    b"PAR1": "parquet", b"ARROW1": "arrow", b"%PDF-": "pdf", b"\x89HDF\r\n": "hdf5", b"fLaC": "sounds", b"OggS": "sounds",
}  # fmt: skip
LOOKED = 5
LABEL_FILE_KINDS = ("csv", "jsonl", "excel", "lines")


def detect_format(files: list[SourceFile]) -> str:
    """The format of a source, one of ``readers.READERS``.

    In a folder the commonest kind of file decides. Raises ``format-unknown``.
    """
    if _is_webdataset(files):
        return "webdataset"
    kinds = Counter(file.kind for file in files)
    if kinds["images"] and kinds["images"] >= sum(kinds.values()) - kinds["images"] - kinds[""]:
        return "images"
    if kinds["sounds"] and kinds["sounds"] >= sum(kinds.values()) - kinds["sounds"] - kinds[""]:
        return "sounds"
    del kinds["images"]
    known = Counter({kind: count for kind, count in kinds.items() if kind})
    if not known:
        return _from_content(files[0]) if len(files) == 1 else _unknown(files)
    kind = known.most_common(1)[0][0]
    chosen = [file for file in files if file.kind == kind]
    if kind == "logs":
        return kind if any(_log_kind(file) for file in chosen[:LOOKED]) else "lines"
    if kind != "lines":
        return kind
    if len({file.folder for file in chosen}) > 1 and len(chosen) > 4 and any(file.folder for file in chosen):
        return "documents"
    return _from_content(chosen[0]) if len(chosen) == 1 else "lines"


def _is_webdataset(files: list[SourceFile]) -> bool:
    """True for tar archives in which most neighbours share their name up to the first point."""
    if len(files) < 2 or any(file.archive is None or not isinstance(file.archive, TarArchive) for file in files):
        return False
    if any(file.base.endswith(".cls") for file in files):
        return True
    keys = Counter(key_of(file) for file in files)
    return len(keys) <= len(files) / 1.9 and any(key_of(a) == key_of(b) for a, b in pairwise(files))


def _log_kind(file: SourceFile) -> str:
    """Which kind of log a file is, by its first lines."""
    return kind_of(sample_lines(file, detect_encoding(file))) if file.size_bytes else ""


def _unknown(files: list[SourceFile]) -> str:
    raise MofangError("format-unknown", file=files[0].name)


def _from_content(file: SourceFile) -> str:
    """The format of one file whose ending says nothing, or says text."""
    with file.open() as opened:
        head = opened.read(4096)
    for mark, format in MARKS.items():
        if head.startswith(mark):
            return format
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        return "sounds"
    if head.lstrip(b"\xef\xbb\xbf \t\r\n")[:14].lower().startswith((b"<!doctype html", b"<html")):
        return "html"
    if head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"["):
        return "jsonl"
    encoding = detect_encoding(file)
    if b"\0" in head and not encoding.startswith("utf-16"):
        return _unknown([file])
    if _log_kind(file) in ("access", "syslog"):
        return "logs"
    scores = delimiter_scores(sample_lines(file, encoding))
    tabbed = scores["\t"] > 0.9 or max(scores.values()) > 0.95 and file.kind != "lines"
    return "csv" if tabbed else "lines"


def files_of(
    files: list[SourceFile], format: str, label_file: str = ""
) -> tuple[list[SourceFile], list[SourceFile]]:
    """The files that hold records of this format, and those that are left out."""
    if len(files) == 1:
        return files, []
    kinds = {"documents": ("lines", "html"), "pixels": ("csv",), "lines": ("lines", "logs"), "tagged": ("lines",),
             "dictionary-pairs": ("lines",), "dictionary-questions": ("lines",)}.get(format, (format,))
    chosen = [file for file in files if file.kind in kinds or format == "webdataset" or label_file in (file.name, file.base)]
    if not chosen:
        raise MofangError("format-not-there", format=format, count=len(files))
    return chosen, [file for file in files if file not in set(chosen)]


def find_label_file(files: list[SourceFile], kind: str = "images") -> str:
    """The one file beside a folder of images (or sounds) that can name their labels, or nothing where folders are the
    classes."""
    images = [file for file in files if file.kind == kind]
    if len({file.folder for file in images if file.folder}) > 1:
        return ""
    beside = [file for file in files if file.kind in LABEL_FILE_KINDS]
    return beside[0].name if len(beside) == 1 else ""
