"""Bringing the rows of all files together in their order: ids, even batches, and a line for each file."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mofang.core.executor import Executor, Local
from mofang.data.collecting.earlier import Earlier, FileRows, FileTable
from mofang.data.collecting.pieces import Noted, Piece, Room, read_piece, rows_of
from mofang.data.collecting.planning import Plan, Step, Take
from mofang.data.erasing import erased_not
from mofang.data.records import Media, RecordIds, RecordWriter
from mofang.data.rejected import ERASED, RejectedFile
from mofang.data.roles import ID
from mofang.data.sources.files import SourceFile

BATCH_ROWS = 4096
BATCH_BYTES = 8 * 2**20
SMALL_BYTES = 24 * 2**20  # less is read here: other processes would take longer to start


class Evenly:
    """Hands rows to a writer in batches that depend on the rows alone, not on how they arrived."""

    def __init__(self, writer: RecordWriter) -> None:
        self._writer = writer
        self._tables: list[pa.RecordBatch] = []
        self._media: list[Media] = []
        self._rows = 0
        self._bytes = 0

    def add(self, table: pa.RecordBatch, media: Media) -> None:
        """Append rows with their ids."""
        ends = np.cumsum(row_bytes(table, media))
        start, before = 0, 0
        while start < table.num_rows:
            wanted = int(np.searchsorted(ends, before + BATCH_BYTES - self._bytes)) + 1 - start
            count = min(max(wanted, 1), BATCH_ROWS - self._rows, table.num_rows - start)
            self._tables.append(table.slice(start, count))
            self._media.append({name: values[start : start + count] for name, values in media.items()})
            self._rows += count
            self._bytes += int(ends[start + count - 1]) - before
            start, before = start + count, int(ends[start + count - 1])
            if self._rows >= BATCH_ROWS or self._bytes >= BATCH_BYTES:
                self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if not self._tables:
            return
        table = pa.concat_batches([one.cast(self._writer.schema) for one in self._tables])
        plain = [_without_empty_validity(one) for one in table.columns]
        media = {name: [value for one in self._media for value in one[name]] for name in self._media[0]}
        self._writer.write(pa.RecordBatch.from_arrays(plain, schema=self._writer.schema), media)
        self._tables, self._media, self._rows, self._bytes = [], [], 0, 0


def row_bytes(table: pa.RecordBatch, media: Media) -> npt.NDArray[np.int64]:
    """About how many bytes each row takes."""
    total = np.full(table.num_rows, 8 * table.num_columns, np.int64)
    for one in table.columns:
        if pa.types.is_string(one.type):
            total += pc.fill_null(pc.binary_length(one), 0).to_numpy(zero_copy_only=False)
    for values in media.values():
        total += np.fromiter(map(len, values), np.int64, len(values))
    return total


def _without_empty_validity(values: pa.Array) -> pa.Array:
    """A column without missing values has no bitmap, however it came about."""
    if values.null_count:
        return values
    return pa.Array.from_buffers(values.type, len(values), [None, *values.buffers()[1:]], 0, values.offset)


@dataclass
class Merged:
    """What came of a source. ``read`` and ``taken`` count files."""

    rows: int = 0
    blank: int = 0
    read: int = 0
    taken: int = 0
    sheets: dict[str, str] = field(default_factory=dict)
    rounded: Counter[str] = field(default_factory=Counter)
    lacking: Counter[str] = field(default_factory=Counter)

    def measures(self) -> dict[str, Any]:
        """As figures of the run; nothing for what did not occur."""
        found = {"rounded_numbers": dict(self.rounded), "files_without": dict(self.lacking)}
        return {name: counts for name, counts in found.items() if counts}


def is_small(files: Sequence[SourceFile]) -> bool:
    """Whether reading these files is over before other processes have started."""
    return sum(file.size_bytes for file in files) < SMALL_BYTES


class Merger:
    """Carries out a plan's steps and writes their rows in order."""

    def __init__(self, plan: Plan, earlier: Earlier, ids: RecordIds, writer: RecordWriter, rejected: RejectedFile,
                 table: FileTable, bar: Any) -> None:
        self._plan, self._earlier, self._ids = plan, earlier, ids
        self._even, self._rejected, self._table, self._bar = Evenly(writer), rejected, table, bar
        self._erased = rejected.erased
        self._open: FileRows | None = None  # a large file of which not all stretches have come
        self._lines = 0
        self._reread = ""
        self._room = Room(sum(file.size_bytes for file in plan.files))
        self.made = Merged()

    def run(self, executor: Executor) -> Merged:
        """Read what is to be read, wherever there is room, and bring all rows together."""
        waiting: deque[Step] = deque()

        def pieces() -> Iterator[Piece]:
            for step in self._plan.steps(self._earlier):
                waiting.append(step)
                if isinstance(step, Piece):
                    yield step

        for noted in (Local() if is_small(self._plan.files) else executor).map(read_piece, pieces()):
            self._take_waiting(waiting)
            piece = waiting.popleft()
            assert isinstance(piece, Piece), "results come in the order of the pieces"
            self._put(piece, noted)
        self._take_waiting(waiting)
        self._even.flush()
        return self.made

    def _take_waiting(self, waiting: deque[Step]) -> None:
        while waiting and isinstance(waiting[0], Take):
            step = waiting.popleft()
            assert isinstance(step, Take)
            self._take(step)

    def _take(self, step: Take) -> None:
        before = self._earlier.file(step.key)
        for row in self._earlier.rejected(before):
            self._rejected.add(**row)
        found = FileRows(step.file.name, step.key, rejected=before.rejected, noted=before.noted)
        self._write(self._earlier.rows(before), [found], [before.rows], step.file.name)
        self.made.taken += 1
        self._close(found)

    def _put(self, piece: Piece, noted: Noted) -> None:
        name = piece.files[0].name
        cut = piece.how.end > 0
        if cut and self._reread == name:  # the rest of the file was read in one go
            self._reread = "" if piece.last else name
            return
        if noted.open_end and not piece.last:  # a cut lay within a row: read on from here in one go
            self._reread = name
            piece = replace(piece, how=replace(piece.how, end=piece.files[0].size_bytes), last=True)
            noted = read_piece(piece)
        found = [FileRows(file.name, key) for file, key in zip(piece.files, piece.keys, strict=True)]
        if cut:
            found = [self._open or found[0]]
        self._set_aside(piece, noted, found)
        self._write(rows_of(piece), found, noted.rows, name)
        self._room.merged(piece)
        self._lines = self._lines + noted.lines if cut and not piece.last else 0
        for place, one in enumerate(found):
            self._note(one, noted, place)
        self._open = found[0] if cut and not piece.last else None
        for one in found if self._open is None else ():
            self.made.read += 1
            self._close(one)

    def _set_aside(self, piece: Piece, noted: Noted, found: list[FileRows]) -> None:
        at = {file.name: place for place, file in enumerate(piece.files)}
        for file, row, reason, detail, value in sorted(noted.rejected, key=lambda one: (at.get(one[0], 0), one[1])):
            self._rejected.add(file, row + self._lines if row else 0, reason, detail, value)
            found[at.get(file, 0)].rejected += 1

    def _note(self, file: FileRows, noted: Noted, place: int) -> None:
        was = file.noted
        if rounded := Counter(was.get("rounded", {})) + Counter(noted.rounded[place]):
            was["rounded"] = dict(rounded)
        if lacking := sorted({*was.get("lacking", ()), *noted.lacking[place]}):
            was["lacking"] = lacking
        if place == 0 and noted.blank:
            was["blank"] = was.get("blank", 0) + noted.blank
        if sheet := noted.sheets.get(file.name):
            was["sheet"] = sheet

    def _close(self, file: FileRows) -> None:
        self.made.rounded.update(file.noted.get("rounded", {}))
        self.made.lacking.update(file.noted.get("lacking", ()))
        self.made.blank += file.noted.get("blank", 0)
        if "sheet" in file.noted:
            self.made.sheets[file.name] = file.noted["sheet"]
        self._table.add(file)

    def _write(self, batches: Iterable[tuple[pa.RecordBatch, Media]], files: list[FileRows], rows: list[int],
               shown: str) -> None:
        """Number the rows and write them; ``rows`` says how many belong to each file. Who was erased is left out."""
        ends = np.cumsum(rows)
        written = [0] * len(files)
        at = 0
        for table, media in batches:
            base = table.column("base")
            digests = base.buffers()[1].to_pybytes()[16 * base.offset : 16 * (base.offset + len(base))]
            ids, repeats = self._ids.numbered(digests)
            names = [ID, *table.schema.names[:-1]]
            numbered = pa.RecordBatch.from_arrays([ids, *table.columns[:-1]], names=names)
            kept = erased_not(numbered, self._plan.roles, self._erased)
            owner = np.searchsorted(ends, np.arange(at, at + table.num_rows), side="right")
            for number in np.unique(owner).tolist():
                mine = np.nonzero(owner == number)[0]
                places = np.cumsum(kept[mine]) - 1 + files[number].rows + written[number]
                for place in (one for one in repeats if mine[0] <= one <= mine[-1] and kept[one]):
                    files[number].repeats.append(int(places[place - mine[0]]))
                    files[number].bases.append(digests[16 * place : 16 * place + 16])
                written[number] += int(kept[mine].sum())
                for _ in range(len(mine) - int(kept[mine].sum())):
                    self._rejected.add(files[number].name, 0, ERASED)
                    files[number].rejected += 1
            if not kept.all():
                chosen = np.nonzero(kept)[0]
                numbered = numbered.take(pa.array(chosen))
                media = {name: [values[one] for one in chosen] for name, values in media.items()}
            self._even.add(numbered, media)
            at += table.num_rows
            self.made.rows += numbered.num_rows
            self._bar.advance(table.num_rows)
            self._bar.note(shown)
        for file, count in zip(files, written, strict=True):
            file.rows += count
