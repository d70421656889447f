"""Tables of a shop's databases, whichever database it is: which there are, one digest of the content of each, and copying
them from one kind of database into the other.

The digest is over the rows in the order of their primary key and says nothing about pages, so a table that went through
PostgreSQL and back has the digest that it had.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from mofang.core import history, lock
from mofang.core.database import Database, FrozenSQLite, PostgreSQL, SQLite
from mofang.core.journal import Journals
from mofang.core.ledger import ERASED_SCHEMA, FOREIGN_SCHEMA, SCHEMA, Ledger

ROWS_AT_ONCE = 1000  # part of the digest's definition
OWN_TO_POSTGRESQL = {"tx"}  # a row's transaction: means nothing in another database
FILES = ("ledger.db", "meter.db")
HEAD = "create table if not exists "

Told = dict[str, list[Any]]  # table: [rows, digest]


@dataclass(frozen=True)
class Column:
    """One column; ``key`` is its place in the primary key from 1, or 0."""

    name: str
    kind: str
    key: int


def ledger_tables() -> list[str]:
    """The tables that belong to the ledger; all others lie with the journals."""
    made = [sql.strip() for sql in (*SCHEMA, *FOREIGN_SCHEMA, *ERASED_SCHEMA, *history.SCHEMA)]
    return [sql[len(HEAD):].split("(", 1)[0].strip() for sql in made if sql.startswith(HEAD)]


def tables_of(db: Database) -> list[str]:
    """All tables of a database, sorted."""
    if db.dialect == "sqlite":
        found = [row[0] for row in db.rows("select name from sqlite_master where type='table'")]
        return sorted(name for name in found if not name.startswith("sqlite_"))
    sql = "select table_name from information_schema.tables where table_schema=current_schema() and table_type='BASE TABLE'"
    return sorted(row[0] for row in db.rows(sql))


def columns_of(db: Database, table: str) -> list[Column]:
    """A table's columns in their order."""
    if db.dialect == "sqlite":
        found = db.rows(f"select name, type, pk from pragma_table_info('{table}') order by cid")
        return [Column(name, kind.lower(), key) for name, kind, key in found]
    keys = db.rows("""select a.attname, array_position(i.indkey::int2[], a.attnum) from pg_index i join pg_attribute a
        on a.attrelid=i.indrelid and a.attnum=any(i.indkey) where i.indrelid=?::regclass and i.indisprimary""", (table,))
    places = {name: place + 1 for name, place in keys}  # PostgreSQL counts this array from 0
    found = db.rows("""select column_name, data_type from information_schema.columns
        where table_schema=current_schema() and table_name=? order by ordinal_position""", (table,))
    return [Column(name, kind.lower(), places.get(name, 0)) for name, kind in found if name not in OWN_TO_POSTGRESQL]


def content(db: Database, table: str) -> Iterator[list[tuple[Any, ...]]]:
    """All rows in the order of the primary key, columns in the order of their names."""
    columns = columns_of(db, table)
    names = ", ".join(sorted(one.name for one in columns))
    key = [one for one in sorted(columns, key=lambda one: one.key) if one.key]
    assert key, f"table {table} has no primary key"
    binary = ' collate "C"' if db.dialect == "postgresql" else ""
    order = ", ".join(one.name + (binary if one.kind == "text" else "") for one in key)
    return db.pages(f"select {names} from {table} order by {order}", size=ROWS_AT_ONCE)


class TableDigest:
    """SHA-256 over a table's pages of 1,000 rows as JSON."""

    def __init__(self) -> None:
        self.rows = 0
        self._hash = hashlib.sha256()

    def add(self, page: list[tuple[Any, ...]]) -> None:
        """The next page of ``content``."""
        self.rows += len(page)
        self._hash.update(orjson.dumps(page, default=_plain))

    def told(self) -> list[Any]:
        """[rows, digest]"""
        return [self.rows, self._hash.hexdigest()]


def _plain(value: Any) -> Any:
    return bytes(value).hex() if isinstance(value, bytes | memoryview) else str(value)


def digests(db: Database, names: list[str] | None = None) -> Told:
    """The number of rows and the content digest of each table."""
    found: Told = {}
    for table in tables_of(db) if names is None else names:
        digest = TableDigest()
        for page in content(db, table):
            digest.add(page)
        found[table] = digest.told()
    return found


def heads_of(ledger: Database, control: Database) -> dict[str, Any]:
    """The last link of the ledger and of each journal's writers."""
    journals: dict[str, dict[str, list[Any]]] = {}
    for journal, writer, seq in sorted(control.rows("select journal, writer, max(seq) from journal group by journal, writer")):
        chain = control.rows("select chain from journal where journal=? and writer=? and seq=?", (journal, writer, seq))[0][0]
        journals.setdefault(journal, {})[writer] = [seq, chain]
    return {"ledger": list(Ledger(ledger, make=False).head()), "journals": journals}


# From one kind of database into the other


def rows_to_files(source: Database, folder: Path) -> dict[str, Told]:
    """Copy a PostgreSQL shop's tables into SQLite files; the digests of what was read."""
    own = set(ledger_tables())
    told: dict[str, Told] = {}
    for file in FILES:
        target = SQLite(folder / file)
        target.run("pragma journal_mode=delete")
        make_schema(target, file)
        chosen = [name for name in tables_of(source) if (name in own) == (file == FILES[0])]
        told[file] = {name: copy_table(source, target, name) for name in chosen}
        for name in set(tables_of(target)) - set(chosen):  # of a part of Mofang that this shop has not used yet
            told[file][name] = digests(target, [name])[name]
        target.close()
    return told


def make_schema(db: Database, file: str) -> None:
    """The tables of the ledger, or of all journals, where they are missing."""
    if file == FILES[0]:
        Ledger(db)
        return
    for journal in lock.locked().get("folds", {}):
        lock.import_fold(journal)
    Journals(db)


def copy_table(source: Database, target: Database, table: str) -> list[Any]:
    """Replace a table's rows by those of another database, making the table where it is missing; [rows, digest]."""
    columns = columns_of(source, table)
    if table not in tables_of(target):
        target.run(_create(table, columns, target.dialect))
    names = sorted(one.name for one in columns)
    digest = TableDigest()

    def rows() -> Iterator[tuple[Any, ...]]:
        for page in content(source, table):
            digest.add(page)
            yield from page

    with target.transaction():
        target.run(f"delete from {table}")
        if isinstance(target, PostgreSQL):
            target.load(table, names, rows())
        else:
            target.many(f"insert into {table}({', '.join(names)}) values({','.join('?' * len(names))})", rows())
    return digest.told()


def _create(table: str, columns: list[Column], dialect: str) -> str:
    """A table that no schema of ours names, made from what the source says of it."""
    binary = "bytea" if dialect == "postgresql" else "blob"
    kinds = [f"{one.name} {binary if one.kind in ('blob', 'bytea') else one.kind}" for one in columns]
    key = ", ".join(one.name for one in sorted(columns, key=lambda one: one.key) if one.key)
    return f"create table {table}({', '.join(kinds)}, primary key({key}))"


def files_to_rows(folder: Path, target: PostgreSQL) -> None:
    """Copy a backup's files into an empty PostgreSQL database, inside the transaction that the caller has open."""
    for file in FILES:
        make_schema(target, file)
        with_file = FrozenSQLite(folder / file)
        for table in tables_of(with_file):
            copy_table(with_file, target, table)
        with_file.close()
    sequence = "pg_get_serial_sequence('journal', 'position')"
    target.rows(f"select setval({sequence}, coalesce(max(position), 0) + 1, false) from journal")
