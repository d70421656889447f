"""One small connection protocol under the ledger and the journals: SQLite on one machine, PostgreSQL on several.

The SQL above it is plain and common to both. SQLite runs in WAL mode with ``synchronous=FULL``: with NORMAL, simulated
power cuts lost acknowledged commits; with FULL none (tests/faults).
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol

from mofang.core.errors import MofangError

Params = Sequence[Any]
Dialect = Literal["sqlite", "postgresql"]


class Database(Protocol):
    """A connection used by one thread at a time. Placeholders are ``?``."""

    dialect: Dialect

    def rows(self, sql: str, params: Params = ()) -> list[tuple[Any, ...]]:
        """All rows of a query."""

    def run(self, sql: str, params: Params = ()) -> int:
        """Execute one statement; the number of rows it touched."""

    def many(self, sql: str, params: Iterable[Params]) -> None:
        """Execute one statement for each row of parameters."""

    @contextmanager
    def transaction(self) -> Iterator[None]:
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
        self._depth = 0

    def run(self, sql: str, params: Params = ()) -> int:
        raise AssertionError("each database brings its own run")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything inside is written durably together, or not at all. One inside another joins it."""
        with self.lock:
            if self._depth:
                yield
                return
            self.run(self.begin)
            self._depth = 1
            try:
                yield
                self.run("commit")
            except BaseException:
                self.rollback()
                raise
            finally:
                self._depth = 0

    def rollback(self) -> None:
        """Undo the open transaction, if one is still open."""
        self.run("rollback")


class SQLite(Transactions):
    """SQLite through the standard library."""

    dialect: Dialect = "sqlite"
    begin = "begin immediate"

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        self.path = str(path)
        self.raw = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=30)
        for pragma in PRAGMAS:
            self.raw.execute(pragma)

    def rows(self, sql: str, params: Params = ()) -> list[tuple[Any, ...]]:
        with self.lock:
            return self.raw.execute(sql, params).fetchall()

    def run(self, sql: str, params: Params = ()) -> int:
        with self.lock:
            return self.raw.execute(sql, params).rowcount

    def many(self, sql: str, params: Iterable[Params]) -> None:
        with self.lock:
            self.raw.executemany(sql, params)

    def rollback(self) -> None:
        if self.raw.in_transaction:
            self.raw.execute("rollback")

    def again(self) -> SQLite:
        return SQLite(self.path)

    def close(self) -> None:
        self.raw.close()


PRAGMAS = ("pragma busy_timeout=30000", "pragma journal_mode=wal", "pragma synchronous=full", "pragma foreign_keys=on")


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

    def rollback(self) -> None:
        self.raw.rollback()

    def again(self) -> PostgreSQL:
        return PostgreSQL(self.url)

    def close(self) -> None:
        self.raw.close()


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
