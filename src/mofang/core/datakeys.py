"""The keys of encrypted objects and of people's entries in journals: one small database among the shop's secrets.

A key is on the disk before what it locks can be seen, so a crash leaves at most a key without a lock. Destroying a key
makes every copy of what it locks unreadable, wherever the copy lies; what was destroyed is remembered by its digest.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path

from mofang.core.database import SQLite
from mofang.core.encrypted import KEY_BYTES
from mofang.core.errors import MofangError
from mofang.core.identity import now_us

FILE = "data.db"
AT_ONCE = 500
SCHEMA = (
    """create table if not exists object_key(digest text primary key, key blob not null, stored text not null,
        at_us integer not null) without rowid""",
    "create table if not exists subject_key(mark text primary key, key blob not null, at_us integer not null) without rowid",
    "create table if not exists gone(digest text primary key, at_us integer not null) without rowid",
)


class DataKeys:
    """The keys below a shop's ``keys/``. The database is opened at first use, and anew in a forked process."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        self._opened: tuple[int, SQLite] | None = None

    def _db(self) -> SQLite:
        if self._opened is None or self._opened[0] != os.getpid():
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
            db = SQLite(self.path)
            db.run("pragma secure_delete=on")  # a destroyed key is overwritten, not only unlinked
            if not db.rows("select 1 from sqlite_master where name='gone'"):
                for statement in SCHEMA:
                    db.run(statement)
            self._opened = (os.getpid(), db)
        return self._opened[1]

    # Objects

    def of_object(self, digest: str) -> bytes | None:
        """The key of an object, or None."""
        found = self._db().rows("select key from object_key where digest=?", (digest,)) if self.path.exists() else []
        return bytes(found[0][0]) if found else None

    def offer(self, digest: str) -> bytes:
        """The key under which an object is about to be stored: its own, or a new one; ``object-erased`` for what was erased."""
        if self._db().rows("select 1 from gone where digest=?", (digest,)):
            raise MofangError("object-erased", digest=digest[:12])
        return self.of_object(digest) or os.urandom(KEY_BYTES)

    def settle(self, digest: str, key: bytes, stored: str) -> bool:
        """Write down the key that was offered, with the digest of the encrypted file, durably.

        False if another process stored the object under a key of its own meanwhile, which then holds.
        """
        db = self._db()
        with db.transaction():
            if db.rows("select 1 from gone where digest=?", (digest,)):
                raise MofangError("object-erased", digest=digest[:12])
            db.run("insert into object_key(digest, key, stored, at_us) values(?,?,?,?) on conflict(digest) do nothing",
                   (digest, key, stored, now_us()))
            return bytes(db.rows("select key from object_key where digest=?", (digest,))[0][0]) == key

    def stored(self, digests: Iterable[str]) -> dict[str, str]:
        """For each object that has a key here, the SHA-256 of its encrypted file."""
        found: dict[str, str] = {}
        wanted = list(digests) if self.path.exists() else []
        for at in range(0, len(wanted), AT_ONCE):
            some = wanted[at:at + AT_ONCE]
            marks = ",".join("?" * len(some))
            found.update(self._db().rows(f"select digest, stored from object_key where digest in ({marks})", some))
        return found

    def held(self) -> list[tuple[str, int]]:
        """Every object that has a key, and when that was made."""
        found: list[tuple[str, int]] = self._db().rows("select digest, at_us from object_key") if self.path.exists() else []
        return found

    def drop(self, digests: Iterable[str]) -> None:
        """Forget keys of objects that nobody needs; such an object may come again."""
        db = self._db()
        with db.transaction():
            db.many("delete from object_key where digest=?", [(one,) for one in digests])
        self._clear_log()

    def destroy(self, digests: Iterable[str]) -> None:
        """Destroy keys for good: what they lock is unreadable from now on, and is never stored again."""
        db, gone = self._db(), sorted(set(digests))
        with db.transaction():
            db.many("delete from object_key where digest=?", [(one,) for one in gone])
            db.many("insert into gone(digest, at_us) values(?,?) on conflict(digest) do nothing",
                    [(one, now_us()) for one in gone])
        self._clear_log()

    def gone(self) -> set[str]:
        """The digests of all erased objects."""
        return {row[0] for row in self._db().rows("select digest from gone")} if self.path.exists() else set()

    # Subjects

    def of_subjects(self, marks: Sequence[str], *, make: bool) -> dict[str, bytes]:
        """The keys of these subjects, made where they are missing if ``make``; empty for one that was forgotten."""
        db = self._db()
        if not make:
            return self._subjects(db, marks)
        with db.transaction():
            db.many("insert into subject_key(mark, key, at_us) values(?,?,?) on conflict(mark) do nothing",
                    [(mark, os.urandom(KEY_BYTES), now_us()) for mark in dict.fromkeys(marks)])
            return self._subjects(db, marks)

    def _subjects(self, db: SQLite, marks: Sequence[str]) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        wanted = list(dict.fromkeys(marks))
        for at in range(0, len(wanted), AT_ONCE):
            some = wanted[at:at + AT_ONCE]
            rows = db.rows(f"select mark, key from subject_key where mark in ({','.join('?' * len(some))})", some)
            found.update((mark, bytes(key)) for mark, key in rows)
        return found

    def forget(self, marks: Iterable[str]) -> int:
        """Destroy the keys of subjects for good; how many had one."""
        db, had = self._db(), 0
        with db.transaction():
            for mark in marks:
                had += db.run("update subject_key set key=x'', at_us=? where mark=? and length(key)>0", (now_us(), mark))
                db.run("insert into subject_key(mark, key, at_us) values(?,x'',?) on conflict(mark) do nothing",
                       (mark, now_us()))
        self._clear_log()
        return had

    # The whole

    def _clear_log(self) -> None:
        """Bring what was deleted out of the write-ahead log too; readers at work put that off to the next time."""
        self._db().rows("pragma wal_checkpoint(truncate)")

    def dump(self) -> bytes:
        """The whole database as the bytes of a file, for the key ring's backup."""
        return self._db().raw.serialize()

    def merge(self, dumped: bytes) -> None:
        """Add the keys of a dump; what was destroyed on either side stays destroyed."""
        db = self._db()
        other = sqlite3.connect(":memory:")
        # a file image that was written ahead is read as a plain one
        other.deserialize(dumped[:18] + b"\x01\x01" + dumped[20:])
        try:
            with db.transaction():
                for table, columns in (("object_key", "digest, key, stored, at_us"), ("subject_key", "mark, key, at_us"),
                                       ("gone", "digest, at_us")):
                    rows = other.execute(f"select {columns} from {table}").fetchall()
                    marks = ",".join("?" * len(columns.split(",")))
                    db.many(f"insert into {table}({columns}) values({marks}) on conflict do nothing", rows)
                forgotten = other.execute("select mark from subject_key where length(key)=0").fetchall()
                db.many("update subject_key set key=x'' where mark=?", forgotten)
                db.run("delete from object_key where digest in (select digest from gone)")
        finally:
            other.close()
        self._clear_log()

    def close(self) -> None:
        """Close the connection of this process."""
        if self._opened is not None and self._opened[0] == os.getpid():
            self._opened[1].close()
        self._opened = None
