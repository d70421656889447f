"""Journals: append-only records of what happens live or by hand, and the tables folded from them.

Each writer has its own sequence and hash chain. A folded table is current state (a balance, a key, a price): it changes
only in the transaction that appends the rows it follows from, so ``verify`` can rebuild it and compare. Sealing freezes
a stretch into an artifact that ordinary stages read.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mofang.core import lock
from mofang.core.canonical import canonical, sha256
from mofang.core.database import Database, SQLite, insert_rows
from mofang.core.identity import new_id, now_us

if TYPE_CHECKING:
    import pyarrow

ROW_FORMAT = 1
SEAL_FORMAT = 1
TABLES_LOCK = 7_302_551  # any number that nothing else locks
PAGE_ROWS = 2000
SEAL_ROWS = 100_000  # of one seal at most
SEALED_FORM: dict[str, Any] = {  # of its file: groups small enough that one account's rows are found without reading all
    "compression": "zstd",
    "row_group_size": 16_384,
    "use_dictionary": ["journal", "writer", "owner", "account", "kind"],
}


class NewRow(NamedTuple):
    """A row to append; its id is made when it is appended if the caller gives none."""

    kind: str
    body: dict[str, Any]
    id: str = ""
    account: str = ""
    owner: str = "shop"


class Row(NamedTuple):
    """A row as it stands in a journal. ``position`` orders the rows of all writers; ``seq`` those of one."""

    position: int
    journal: str
    writer: str
    seq: int
    id: str
    owner: str
    at_us: int
    account: str
    kind: str
    text: str
    chain: str

    @property
    def body(self) -> dict[str, Any]:
        """What happened, as it was written."""
        found: dict[str, Any] = json.loads(self.text)
        return found


FoldFunction = Callable[[Database, list[Row]], None]


@dataclass(frozen=True)
class Fold:
    """Tables kept up to date by one function over a journal's rows."""

    journal: str
    tables: tuple[str, ...]
    apply: FoldFunction

    def table_names(self) -> list[str]:
        """Names in the ``create table if not exists NAME(…)`` statements; indexes are left out."""
        head = "create table if not exists "
        return [sql.strip()[len(head):].split("(", 1)[0].strip() for sql in self.tables if sql.strip().startswith(head)]


FOLDS: dict[str, Fold] = {}


def fold(journal: str, *, tables: tuple[str, ...]) -> Callable[[FoldFunction], FoldFunction]:
    """Declare the tables folded from a journal. The function must depend on nothing but the rows, in their order."""

    def register(apply: FoldFunction) -> FoldFunction:
        FOLDS[journal] = Fold(journal, tables, apply)
        return apply

    return register


COLUMNS = "position, journal, writer, seq, id, owner, at_us, account, kind, body, chain"
ROW_NAMES = COLUMNS.split(", ")[1:]
INSERT = f"insert into journal({', '.join(ROW_NAMES)})"
INSERT_JSON = f"""{INSERT} select {", ".join(ROW_NAMES)}
    from json_to_recordset(?::json) as given(
    journal text, writer text, seq bigint, id text, owner text, at_us bigint, account text, kind text, body text, chain text)
    order by seq"""


def schema(dialect: str) -> tuple[str, ...]:
    """Tables under every journal. In PostgreSQL positions are given before commit, so rows carry their transaction."""
    postgres = dialect == "postgresql"
    position = "position bigserial primary key" if postgres else "position integer primary key"
    transaction = ", tx xid8 not null default pg_current_xact_id()" if postgres else ""
    return (
        f"""create table if not exists journal({position}, journal text not null, writer text not null,
            seq bigint not null, id text not null, owner text not null, at_us bigint not null, account text not null,
            kind text not null, body text not null, chain text not null{transaction})""",
        "create unique index if not exists journal_writer on journal(journal, writer, seq)",
        "create unique index if not exists journal_id on journal(id)",
        "create index if not exists journal_account on journal(journal, account, position)",
        """create table if not exists seal(journal text not null, number bigint not null, id text not null,
            up_to text not null, root text not null, digest text not null, entry text not null,
            primary key(journal, number))""",
    )


def row_chain(previous: str, row: tuple[Any, ...]) -> str:
    """The next link of a writer's chain: SHA-256 over the format, the previous link and the row's columns."""
    return sha256(canonical([ROW_FORMAT, previous, *row]))


class Journals:
    """All journals of a shop in one database. One instance per thread; its writer name is its own."""

    def __init__(self, db: Database, writer: str = "", *, make: bool = True) -> None:
        self.db = db
        self.writer = writer or new_id("w")
        self._heads: dict[tuple[str, str], tuple[int, str]] = {}
        self._folded: set[str] = set()
        if make:
            with db.transaction():
                self._alone()
                for statement in schema(db.dialect):
                    db.run(statement)
                self.make_tables()

    def make_tables(self) -> None:
        """Make the tables of folds that were declared since; nothing where they stand already.

        In PostgreSQL one process at a time: two that make one table at the same moment would both begin and one fail.
        """
        missing = [(name, known) for name, known in list(FOLDS.items()) if name not in self._folded]
        if not missing:
            return
        with self.db.transaction():
            self._alone()
            for _, known in missing:
                for statement in known.tables:
                    self.db.run(statement)
        self._folded.update(name for name, _ in missing)

    def _alone(self) -> None:
        """Until this transaction ends no other process makes tables."""
        if self.db.dialect == "postgresql":
            self.db.rows("select pg_advisory_xact_lock(?)", (TABLES_LOCK,))

    def append(self, journal: str, rows: list[NewRow], writer: str = "") -> list[Row]:
        """Append rows and fold them, inside the transaction that the caller has open.

        A writer named by the caller may be shared by processes: its head is then read anew each time.
        """
        if journal not in self._folded:
            lock.import_fold(journal)
            self.make_tables()
            self._folded.add(journal)
        own = not writer
        name = writer or self.writer
        seq, chain = self._head(journal, name, trust_memory=own)
        at_us = now_us()
        written = []
        for new in rows:
            seq += 1
            text = canonical(new.body).decode()
            columns = (journal, name, seq, new.id or new_id("row"), new.owner, at_us, new.account, new.kind, text)
            chain = row_chain(chain, columns)
            written.append((*columns, chain))
        self._insert(written)
        made = [Row(0, *columns) for columns in written]
        if journal in FOLDS:
            FOLDS[journal].apply(self.db, made)
        if own:
            self._heads[journal, name] = (seq, chain)
        return made

    def _insert(self, written: list[tuple[Any, ...]]) -> None:
        """PostgreSQL is sent all rows as one JSON value: a driver takes longer over a thousand parameters than the database
        over the rows."""
        if self.db.dialect == "postgresql":
            if written:
                self.db.run(INSERT_JSON, (canonical([dict(zip(ROW_NAMES, row, strict=True)) for row in written]).decode(),))
            return
        insert_rows(self.db, INSERT, written)

    def record(self, journal: str, rows: list[NewRow], writer: str = "hand") -> list[Row]:
        """Append in a transaction of its own; for the shared writer ``hand`` that actions use."""
        with self.db.transaction():
            return self.append(journal, rows, writer)

    def forget_heads(self) -> None:
        """Read every head anew; to be called after a rolled-back transaction."""
        self._heads.clear()

    def _head(self, journal: str, writer: str, *, trust_memory: bool) -> tuple[int, str]:
        if trust_memory and (journal, writer) in self._heads:
            return self._heads[journal, writer]
        if self.db.dialect == "postgresql":  # writers of one name queue up; SQLite's transaction has done so already
            self.db.rows("select pg_advisory_xact_lock(hashtext(?))", (f"{journal}/{writer}",))
        sql = "select seq, chain from journal where journal=? and writer=? order by seq desc limit 1"
        found = self.db.rows(sql, (journal, writer))
        return (found[0][0], found[0][1]) if found else (0, "")

    def rows(self, journal: str, *, after_position: int = 0, account: str | None = None, limit: int = 0) -> list[Row]:
        """Rows in order of position; of one account, if named."""
        condition, params = "", [journal, after_position]
        if account is not None:
            condition = " and account=?"
            params.append(account)
        bound = f" limit {int(limit)}" if limit else ""
        sql = f"select {COLUMNS} from journal where journal=? and position>?{condition} order by position{bound}"
        return [Row(*found) for found in self.db.rows(sql, params)]

    def position(self, journal: str) -> int:
        """The newest position of a journal; a cheap way to see that something changed."""
        found = self.db.rows("select max(position) from journal where journal=?", (journal,))
        return int(found[0][0] or 0)

    def names(self) -> list[str]:
        """Journals that hold rows."""
        return [row[0] for row in self.db.rows("select distinct journal from journal order by journal")]

    # Sealing

    def unsealed(self, journal: str, most: int = SEAL_ROWS) -> tuple[list[Row], dict[str, tuple[int, int]]]:
        """Rows that no seal holds yet and that no open transaction can still precede, with (from, to) per writer.

        No more than ``most``, so that a month of millions becomes many seals and never stands in memory.
        """
        last = self.last_seal(journal)
        done: dict[str, int] = json.loads(last[3]) if last else {}
        closed = " and tx < pg_snapshot_xmin(pg_current_snapshot())" if self.db.dialect == "postgresql" else ""
        sql = "select writer, max(seq) from journal where journal=? group by writer"
        rows: list[Row] = []
        ranges: dict[str, tuple[int, int]] = {}
        for writer, newest in sorted(self.db.rows(sql, (journal,))):
            start = done.get(writer, 0)
            if newest <= start or len(rows) >= most:
                continue
            sql_rows = f"select {COLUMNS} from journal where journal=? and writer=? and seq>?{closed} order by seq limit ?"
            found = [Row(*row) for row in self.db.rows(sql_rows, (journal, writer, start, most - len(rows)))]
            if found:
                ranges[writer] = (start + 1, found[-1].seq)
                rows.extend(found)
        return rows, ranges

    def last_seal(self, journal: str) -> tuple[Any, ...] | None:
        """The newest seal: journal, number, id, up_to (JSON), root, digest, entry."""
        sql = "select journal, number, id, up_to, root, digest, entry from seal where journal=? order by number desc limit 1"
        found = self.db.rows(sql, (journal,))
        return found[0] if found else None

    # Checking

    def verify(self) -> list[str]:
        """Every broken chain and every folded table that differs from its journal, in words.

        Behind a broken link nothing is folded: what stands there is not what was written, and may be no JSON at all. One pass
        over all rows in their order, so that the time grows with their number and not with its square.
        """
        wrong: list[str] = []
        heads: dict[tuple[Any, ...], tuple[int, str]] = {}
        broken: set[str] = set()
        with tempfile.TemporaryDirectory() as folder:
            refolded: dict[str, SQLite] = {}
            for page in self.db.pages(f"select {COLUMNS} from journal order by position", size=PAGE_ROWS):
                by_journal: dict[str, list[Row]] = {}
                for row in map(Row._make, page):
                    seq, chain = heads.get(row[1:3], (0, ""))
                    if row[3] != seq + 1 or not _fits(row, chain):
                        wrong.append(f"journal {row.journal}: row {row.seq} of writer {row.writer} does not fit its chain")
                        broken.add(row.journal)
                    heads[row[1:3]] = (row[3], row[10])
                    if row[1] in FOLDS and row[1] not in broken:
                        by_journal.setdefault(row[1], []).append(row)
                for journal, rows in by_journal.items():
                    if journal not in refolded:
                        refolded[journal] = _scratch(Path(folder) / f"{len(refolded)}.db", FOLDS[journal])
                    if journal not in broken:
                        FOLDS[journal].apply(refolded[journal], rows)
            for journal, scratch in sorted(refolded.items()):
                wrong += self._differences(journal, scratch) if journal not in broken else []
                scratch.close()
        return wrong

    def _differences(self, journal: str, scratch: SQLite) -> list[str]:
        """Folded tables that are not what their journal gives."""
        wrong = []
        for table in FOLDS[journal].table_names():
            sql = f"select * from {table}"
            if sorted(map(repr, self.db.rows(sql))) != sorted(map(repr, scratch.rows(sql))):
                wrong.append(f"table {table} differs from journal {journal}")
        return wrong


def _fits(row: Row, previous: str) -> bool:
    """Whether a row is the next link; what is of no kind that a row has (bytes for a text) fits nowhere."""
    try:
        return row[10] == row_chain(previous, row[1:10])
    except TypeError:
        return False


def _scratch(path: Path, known: Fold) -> SQLite:
    """An empty database with a fold's tables, which nobody needs after a power cut."""
    scratch = SQLite(path)
    scratch.run("pragma synchronous=off")
    for statement in known.tables:
        scratch.run(statement)
    scratch.run(scratch.begin)
    return scratch


def rows_table(rows: list[Row]) -> pyarrow.Table:
    """Rows as an Arrow table, in the columns that a sealed artifact holds."""
    import pyarrow as pa

    names = ("journal", "writer", "seq", "id", "owner", "at_us", "account", "kind", "text", "chain")
    columns = {name: [getattr(row, name) for row in rows] for name in names}
    return pa.table({"body" if name == "text" else name: values for name, values in columns.items()})


