"""One small connection protocol under the ledger and the journals: SQLite on one machine, PostgreSQL on several.

The SQL above it is plain and common to both. SQLite runs in WAL mode with ``synchronous=FULL``: with NORMAL, simulated
power cuts lost acknowledged commits; with FULL none (tests/faults).
"""

from __future__ import annotations

import itertools
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol

from mofang.core.errors import MofangError

Params = Sequence[Any]
Dialect = Literal["sqlite", "postgresql"]
PAGES_AT_ONCE = 2048
ROWS_AT_ONCE = 64


class Database(Protocol):
    """A connection used by one thread at a time. Placeholders are ``?``."""

    dialect: Dialect

    def rows(self, sql: str, params: Params = ()) -> list[tuple[Any, ...]]:
        """All rows of a query."""

    def run(self, sql: str, params: Params = ()) -> int:
        """Execute one statement; the number of rows it touched."""

    def many(self, sql: str, params: Iterable[Params]) -> None:
        """Execute one statement for each row of parameters."""

    def pages(self, sql: str, params: Params = (), size: int = 1000) -> Iterator[list[tuple[Any, ...]]]:
        """The rows of a query, so many at a time, for tables that do not fit in memory."""

    def transaction(self) -> AbstractContextManager[None]:
        """Everything inside is written durably together, or not at all."""

    def again(self) -> Database:
        """A second connection to the same place."""

    def close(self) -> None:
        """Close the connection."""


class Transactions:
    """The transaction bracket that both databases share."""

    begin = "begin"

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.depth = 0  # 1 within a transaction

    def run(self, sql: str, params: Params = ()) -> int:
        raise AssertionError("each database brings its own run")

    def transaction(self) -> Bracket:
        """Everything inside is written durably together, or not at all. One inside another joins it."""
        return Bracket(self)

    def rollback(self) -> None:
        """Undo the open transaction, if one is still open."""
        self.run("rollback")


class Bracket:
    """One transaction around a ``with`` block. No generator: a meter opens one for each commit."""

    __slots__ = ("_around", "_joins")

    def __init__(self, around: Transactions) -> None:
        self._around = around
        self._joins = False

    def __enter__(self) -> None:
        db = self._around
        db.lock.acquire()
        self._joins = bool(db.depth)
        if self._joins:
            return
        try:
            db.run(db.begin)
        except BaseException:
            db.lock.release()
            raise
        db.depth = 1

    def __exit__(self, kind: type[BaseException] | None, _fault: BaseException | None, _trace: TracebackType | None) -> None:
        db = self._around
        try:
            if self._joins:
                return
            try:
                if kind is None:
                    db.run("commit")
                    return
            except BaseException:
                db.rollback()
                raise
            db.rollback()
        finally:
            if not self._joins:
                db.depth = 0
            db.lock.release()


class SQLite(Transactions):
    """SQLite through the standard library."""

    dialect: Dialect = "sqlite"
    begin = "begin immediate"

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        self.path = str(path)
        self.raw = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=30)
        try:
            for pragma in PRAGMAS:
                self.raw.execute(pragma)
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            if is_damage(error):
                raise MofangError("database-damaged", place=self.path, detail=type(error).__name__) from error
            raise

    def rows(self, sql: str, params: Params = ()) -> list[tuple[Any, ...]]:
        with self.lock:
            return self.raw.execute(sql, params).fetchall()

    def run(self, sql: str, params: Params = ()) -> int:
        with self.lock:
            return self.raw.execute(sql, params).rowcount

    def many(self, sql: str, params: Iterable[Params]) -> None:
        with self.lock:
            self.raw.executemany(sql, params)

    def pages(self, sql: str, params: Params = (), size: int = 1000) -> Iterator[list[tuple[Any, ...]]]:
        cursor = self.raw.execute(sql, params)
        while page := cursor.fetchmany(size):
            yield page

    def rollback(self) -> None:
        if self.raw.in_transaction:
            self.raw.execute("rollback")

    def wait_at_most(self, ms: int) -> None:
        """How long a statement waits for another connection's transaction to end before it fails."""
        with self.lock:
            self.raw.execute(f"pragma busy_timeout={int(ms)}")

    def empty_log(self, within_s: float = 10.0) -> bool:
        """Bring the log into the file and cut it to nothing; False where somebody still reads what stands there.

        Who writes meanwhile waits a twentieth of a second at a time, and never for a reader.
        """
        own, until_s = self.again(), time.monotonic() + within_s
        try:
            own.wait_at_most(50)
            while own.rows("pragma wal_checkpoint(truncate)")[0][0]:
                if time.monotonic() > until_s:
                    return False
                time.sleep(0.2)
            return True
        finally:
            own.close()

    def copy_to(self, target: str | Path, tick: Callable[[int, int], object]) -> None:
        """Copy all pages into a new file, as this connection sees them; durable when this returns.

        Synced piece by piece: one large sync at the end would keep a server on the same disk waiting for its own.
        ``tick`` gets the pages that are left, and how many there are.
        """
        sink = sqlite3.connect(target, isolation_level=None)
        sink.execute("pragma journal_mode=off")
        sink.execute("pragma synchronous=off")
        descriptor = os.open(target, os.O_RDONLY)

        def step(_status: int, left: int, total: int) -> None:
            os.fsync(descriptor)
            tick(left, total)

        try:
            with self.lock:
                self.raw.backup(sink, pages=PAGES_AT_ONCE, progress=step)
        finally:
            sink.close()
            os.fsync(descriptor)
            os.close(descriptor)

    def again(self) -> SQLite:
        return SQLite(self.path)

    def close(self) -> None:
        self.raw.close()


class FrozenSQLite(SQLite):
    """A SQLite file that nobody writes any more, such as one in a backup: read without leaving a file beside it."""

    def __init__(self, path: str | Path) -> None:
        Transactions.__init__(self)
        self.path = str(path)
        place = f"{Path(path).resolve().as_uri()}?mode=ro&immutable=1"
        self.raw = sqlite3.connect(place, uri=True, isolation_level=None, check_same_thread=False)
        self.raw.execute("pragma mmap_size=8589934592")

    def again(self) -> FrozenSQLite:
        return FrozenSQLite(self.path)


DAMAGE_SAID = ("Could not decode to UTF-8", "unsupported file format")


def is_damage(error: Exception) -> bool:
    """Whether SQLite says that the file is not what it wrote: pages that do not fit, or text that is none.

    A ``UnicodeDecodeError`` comes where its own message quotes such text.
    """
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return isinstance(error, UnicodeDecodeError) or (isinstance(error, sqlite3.DatabaseError) and (
        code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or str(error).startswith(DAMAGE_SAID)))


BUSY_MS = 30_000
PRAGMAS = (f"pragma busy_timeout={BUSY_MS}", "pragma journal_mode=wal", "pragma synchronous=full", "pragma foreign_keys=on")


class PostgreSQL(Transactions):
    """PostgreSQL through psycopg, imported only when a shop names such a database."""

    dialect: Dialect = "postgresql"

    def __init__(self, url: str) -> None:
        super().__init__()
        try:
            import psycopg
        except ModuleNotFoundError:
            raise MofangError("postgres-driver-missing") from None
        self.url = url
        try:
            self.raw = psycopg.connect(url, autocommit=True)
        except psycopg.OperationalError as error:
            raise MofangError("database-unreachable", detail=str(error).splitlines()[0]) from error

    def rows(self, sql: str, params: Params = ()) -> list[tuple[Any, ...]]:
        with self.lock:
            return self.raw.execute(_percent(sql), params or None).fetchall()

    def run(self, sql: str, params: Params = ()) -> int:
        with self.lock:
            return self.raw.execute(_percent(sql), params or None).rowcount

    def many(self, sql: str, params: Iterable[Params]) -> None:
        with self.lock, self.raw.cursor() as cursor:
            cursor.executemany(_percent(sql), list(params))

    def pages(self, sql: str, params: Params = (), size: int = 1000) -> Iterator[list[tuple[Any, ...]]]:
        """Read on the server's side; a cursor of this kind lives in a transaction."""
        with self.raw.transaction(), self.raw.cursor(name=f"pages_{next(_cursors)}") as cursor:
            cursor.execute(_percent(sql), params or None)
            while page := cursor.fetchmany(size):
                yield page

    def load(self, table: str, columns: Sequence[str], rows: Iterable[Params]) -> None:
        """Many rows into a table at once, inside the open transaction."""
        statement = f"copy {table}({', '.join(columns)}) from stdin"
        with self.lock, self.raw.cursor() as cursor, cursor.copy(statement) as sink:
            for row in rows:
                sink.write_row(row)

    def rollback(self) -> None:
        self.raw.rollback()

    def again(self) -> PostgreSQL:
        return PostgreSQL(self.url)

    def close(self) -> None:
        self.raw.close()


def delete_for_good(db: Database, sql: str, rows: Sequence[Params]) -> None:
    """Delete rows so that no page of a SQLite file or of its log holds them any more; PostgreSQL's own vacuum does so there."""
    if isinstance(db, SQLite):
        db.run("pragma secure_delete=on")
    with db.transaction():
        db.many(sql, rows)
    if isinstance(db, SQLite):
        db.empty_log()


def insert_rows(db: Database, head: str, rows: Sequence[Params], tail: str = "", after: Params = ()) -> int:
    """Several rows by one statement: each statement lets go of the interpreter's lock and has to win it back.

    ``head`` is ``insert into TABLE(COLUMNS)``; ``tail`` comes after the values, with its parameters ``after``. The number of
    rows it touched. For SQLite: PostgreSQL takes many rows quicker as one JSON value.
    """
    count = 0
    for begin in range(0, len(rows), ROWS_AT_ONCE):
        piece = rows[begin:begin + ROWS_AT_ONCE]
        values = piece[0] if len(piece) == 1 else [value for row in piece for value in row]
        count += db.run(f"{head} values{_marks(len(piece), len(piece[0]))}{tail}", (*values, *after))
    return count


@lru_cache(maxsize=1024)
def _marks(rows: int, columns: int) -> str:
    return ",".join((f"({','.join('?' * columns)})",) * rows)


_cursors = itertools.count()


def _percent(sql: str) -> str:
    """Our placeholders as psycopg writes them; our statements hold neither a literal ``?`` nor ``%``."""
    assert "%" not in sql
    return sql.replace("?", "%s")


def open_database(place: str | Path) -> Database:
    """Open a SQLite file, or PostgreSQL by its URL."""
    text = str(place)
    if text.startswith(("postgresql://", "postgres://")):
        return PostgreSQL(text)
    return SQLite(text)
