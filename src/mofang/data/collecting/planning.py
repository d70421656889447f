"""What is to be done for each file of a source, in order: taken over from the records made before, or read in pieces."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mofang.core.canonical import digest_of
from mofang.data.collecting.earlier import Earlier
from mofang.data.collecting.pieces import Piece
from mofang.data.readers import Reading
from mofang.data.sources.cutting import PIECE_BYTES, can_be_cut, stretches
from mofang.data.sources.files import SourceFile
from mofang.data.sources.textfile import detect_encoding

FILES_MOST = 2000  # in one piece
BY_FILES = ("lines", "excel")  # what these read of a file depends on whether there are others


@dataclass(frozen=True)
class Take:
    """A file whose rows are taken over as they were."""

    file: SourceFile
    key: str


Step = Take | Piece


@dataclass(frozen=True)
class Plan:
    """Everything that decides what is read of a source; ``labels`` is each file's own label, where one is known."""

    files: list[SourceFile]
    how: Reading
    roles: dict[str, str]
    suspected: tuple[str, ...]
    digests: Mapping[Path, str]
    version: int
    folder: Path
    secret: bytes = field(repr=False)
    labels: Mapping[str, str | None] | None = None

    def steps(self, earlier: Earlier) -> Iterator[Step]:
        """The steps in the order of the records."""
        how = waiting_how = self.how
        waiting: list[tuple[SourceFile, str]] = []
        for place, file in enumerate(self.files):
            how = self._with_known(self.files[place - 1] if place else None, how)
            key = self.key_of(file, how)
            full = sum(one.size_bytes for one, _ in waiting) >= PIECE_BYTES or len(waiting) >= FILES_MOST
            together = bool(waiting) and self._together(waiting[-1][0], file)
            taken = key in earlier
            cut = not taken and self._cut(file, how)
            if waiting and (taken or cut or how != waiting_how or (full and not together)):
                yield self._piece(waiting, waiting_how)
                waiting = []
            if taken:
                yield Take(file, key)
            elif cut:
                yield from self._stretches(file, key, how)
            else:
                waiting.append((file, key))
            waiting_how = how
        if waiting:
            yield self._piece(waiting, waiting_how)

    def key_of(self, file: SourceFile, how: Reading) -> str:
        """What the rows of a file depend on: its bytes, its name, how it is read, and into which columns."""
        read = (how.format, how.encoding, how.delimiter, how.header, how.skip_lines, how.names, how.label, how.sheet,
                how.max_cell_chars, how.damaged, how.told and how.told.written().decode(), how.known,
                how.several and how.format in BY_FILES)
        label = self.labels.get(file.name) if self.labels is not None else None
        return digest_of([self.version, file.name, self.digests[file.path], read, list(self.roles.items()), label,
                          self.labels is not None])

    def _with_known(self, before: SourceFile | None, how: Reading) -> Reading:
        """After the first file with a header, its columns are known to the later ones."""
        if how.format != "csv" or how.known or before is None or not before.size_bytes:
            return how
        from mofang.data.readers.delimited import heading_of

        heading = heading_of(before, how)
        return replace(how, known=tuple(heading.names)) if heading is not None and heading.header else how

    def _together(self, last: SourceFile, file: SourceFile) -> bool:
        """True for files of an archive that can only be read from its beginning, and for those that make up records."""
        same = last.path == file.path and file.archive is not None
        return same and (self.how.format == "webdataset" or file.archive is not None and file.archive.one_way)

    def _cut(self, file: SourceFile, how: Reading) -> bool:
        if how.format not in ("csv", "jsonl", "lines") or file.size_bytes < 2 * PIECE_BYTES:
            return False
        if how.format == "jsonl" and _is_array(file):
            return False
        return can_be_cut(file, how.encoding or detect_encoding(file))

    def _stretches(self, file: SourceFile, key: str, how: Reading) -> Iterator[Piece]:
        heading: Any = None
        if how.format == "csv":
            from mofang.data.readers.delimited import heading_of

            heading = heading_of(file, how)
            if heading is None:
                yield self._piece([(file, key)], how)
                return
        encoding = heading.encoding if heading else how.encoding or detect_encoding(file)
        how = replace(how, encoding=encoding, heading=heading)
        for start, end in stretches(file, quoted=how.format == "csv"):
            yield self._piece([(file, key)], replace(how, start=start, end=end), last=end >= file.size_bytes)

    def _piece(self, files: list[tuple[SourceFile, str]], how: Reading, last: bool = True) -> Piece:
        if self.labels is not None:
            how = replace(how, labels={file.name: self.labels.get(file.name) for file, _ in files})
        chosen, keys = zip(*files, strict=True)
        return Piece(chosen, keys, how, self.roles, self.suspected, self.folder, self.secret, last)


def _is_array(file: SourceFile) -> bool:
    """True if a JSON file is one array, which cannot be cut at line ends."""
    with file.open() as opened:
        return opened.read(4096).lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"["
