"""Writing the files of an export: each whole under its name, with its digest noted for ``SHA256SUMS``."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mofang.core.canonical import file_digest, write_durably
from mofang.core.copying import NEW, sync_all
from mofang.core.errors import MofangError
from mofang.core.progress import Bar
from mofang.core.store import Store

SUMS = "SHA256SUMS"
FORMULA = ("=", "+", "-", "@", "\t", "\r")


class Folder:
    """A folder being filled. ``missing`` collects what the shop could not give."""

    def __init__(self, place: Path, bar: Bar) -> None:
        self.place = place
        self.digests: dict[str, str] = {}
        self.missing: list[str] = []
        self.size_bytes = 0
        self._bar = bar
        place.mkdir(parents=True, exist_ok=True)
        for path in place.rglob(f"{NEW}*"):  # torn by an earlier attempt
            path.unlink()

    def write(self, name: str, pieces: Iterable[bytes]) -> None:
        """A file from its pieces; it takes its name when it is whole."""
        self._bar.note(name)
        path = self._path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f"{NEW}{path.name}")
        digest = hashlib.sha256()
        with beside.open("wb") as file:
            for piece in pieces:
                file.write(piece)
                digest.update(piece)
            size_bytes = file.tell()
        os.replace(beside, path)
        if name not in self.digests:
            self.size_bytes += size_bytes
        self.digests[name] = digest.hexdigest()

    def _path(self, name: str) -> Path:
        """Where a file of this name goes; a name from elsewhere must not lead out of the folder."""
        assert ".." not in Path(name).parts and not Path(name).is_absolute(), name
        return self.place / name

    def table(self, name: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """A CSV file that spreadsheets open as it is: UTF-8 with a mark, and no cell that they would compute."""
        self.write(name, _csv(columns, rows))

    def take(self, name: str, digest: str, store: Store) -> None:
        """A file of the shop, copied unless it is there already with the right bytes."""
        path = self._path(name)
        if not store.has(digest):
            self.missing.append(name)
            return
        self._bar.advance()
        if not (path.exists() and file_digest(path) == digest):
            path.parent.mkdir(parents=True, exist_ok=True)
            beside = path.with_name(f"{NEW}{path.name}")
            beside.unlink(missing_ok=True)
            if not _copied(store, digest, beside):
                beside.unlink(missing_ok=True)
                self.missing.append(name)
                return
            beside.chmod(0o644)
            os.replace(beside, path)
        self.size_bytes += path.stat().st_size
        self.digests[name] = digest

    def finish(self) -> None:
        """Everything durable, then the list of digests."""
        sync_all(self.place, [self.place / name for name in self.digests])
        lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(self.digests.items()))
        write_durably(self.place / SUMS, lines.encode())


def _copied(store: Store, digest: str, place: Path) -> bool:
    """Write the plain bytes of an object; False where they cannot be read or are others."""
    try:
        with store.open(digest) as source, place.open("wb") as file:
            shutil.copyfileobj(source, file, 2**20)
    except MofangError:
        return False
    return file_digest(place) == digest


def _csv(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[bytes]:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    yield b"\xef\xbb\xbf"
    for number, row in enumerate(rows):
        writer.writerow([_cell(value) for value in row])
        if number % 1000 == 999:
            yield _emptied(buffer)
    yield _emptied(buffer)


def _emptied(buffer: io.StringIO) -> bytes:
    text = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return text.encode("utf-8", "replace")


def _cell(value: Any) -> Any:
    """A text that a spreadsheet would take for a formula gets a stroke in front; numbers stay numbers."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def moment_of(at_us: int) -> str:
    """A time as people and programs read it: UTC, to the microsecond."""
    return datetime.fromtimestamp(at_us / 1e6, UTC).isoformat(timespec="microseconds") if at_us else ""
