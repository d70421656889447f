"""The ledger: append-only, hash-chained entries that lead from any result back to data, licence and cost.

Each entry's content is digested outside the lock; inside it, the chain is ``sha256(previous chain, content)``. Entries
hold digests and opaque ids, never content of records.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mofang.core.canonical import canonical, digest_of, sha256
from mofang.core.database import Database
from mofang.core.errors import MofangError
from mofang.core.identity import Actor, new_id, now_us

ENTRY_FORMAT = 1
EntryKind = Literal["start", "done", "reuse", "fail", "seal", "decision", "erase"]

SCHEMA = (
    """create table if not exists entry(
        seq bigint primary key, id text not null unique, kind text not null, key text not null, owner text not null,
        at_us bigint not null, body text not null, chain text not null)""",
    "create index if not exists entry_key on entry(key, kind, seq)",
    "create index if not exists entry_kind on entry(kind, seq)",
    "create table if not exists ledger_head(id integer primary key, seq bigint not null, chain text not null)",
    "insert into ledger_head(id, seq, chain) values(1, 0, '') on conflict(id) do nothing",
    "create table if not exists edge(child text not null, parent text not null, primary key(child, parent))",
    "create index if not exists edge_parent on edge(parent)",
    """create table if not exists name(
        owner text not null, name text not null, version bigint not null, kind text not null, entry text not null,
        primary key(owner, name, version))""",
    "create table if not exists lease(key text primary key, holder text not null, until_us bigint not null)",
    """create table if not exists once(
        key text not null, name text not null, value text not null, primary key(key, name))""",
)


ERASED_SCHEMA = (  # folded from entries of erasures: what stands in an entry's place, and what may never come back
    "create table if not exists erased(entry text primary key, by_entry text not null)",
    "create table if not exists tombstone(mark text primary key, kind text not null, entry text not null)",
)


FOREIGN_SCHEMA = (  # other shops' entries, folded from imported packages (foreign.py)
    """create table if not exists foreign_shop(
        shop text primary key, name text not null, currency text not null, fingerprint text not null, document text not null)""",
    """create table if not exists foreign_entry(
        shop text not null, id text not null, seq bigint not null, at_us bigint not null, kind text not null,
        content text not null, view text not null, document text not null, primary key(shop, id))""",
    "create index if not exists foreign_entry_id on foreign_entry(id)",
)


@dataclass(frozen=True)
class Entry:
    """One line of the ledger."""

    seq: int
    id: str
    kind: EntryKind
    key: str
    owner: str
    at_us: int
    body: dict[str, Any]
    chain: str

    @property
    def references(self) -> list[str]:
        """Ids of the entries this one was made from."""
        return sorted({given["entry"] for given in self.body.get("inputs", [])})


COLUMNS = "seq, id, kind, key, owner, at_us, body, chain"


def entry_from(row: tuple[Any, ...]) -> Entry:
    """An entry from its row."""
    seq, id, kind, key, owner, at_us, body, chain = row
    return Entry(seq, id, kind, key, owner, at_us, json.loads(body), chain)


def content_digest(id: str, kind: str, key: str, owner: str, at_us: int, body: str) -> str:
    """What the chain covers of an entry."""
    return digest_of({"entry": ENTRY_FORMAT, "id": id, "kind": kind, "key": key, "owner": owner, "at_us": at_us,
                      "body": sha256(body.encode())})


class Ledger:
    """The one chain of a shop."""

    def __init__(self, db: Database, *, make: bool = True) -> None:
        self.db = db
        if make:
            with db.transaction():
                for statement in (*SCHEMA, *FOREIGN_SCHEMA, *ERASED_SCHEMA):
                    db.run(statement)

    def append(self, kind: EntryKind, key: str, actor: Actor, body: dict[str, Any], id: str = "") -> Entry:
        """Write one entry; it is durable when this returns. An id that exists already is returned as it is."""
        with self.db.transaction():
            return self.append_within(kind, key, actor, body, id)

    def append_within(self, kind: EntryKind, key: str, actor: Actor, body: dict[str, Any], id: str = "") -> Entry:
        """The same inside a transaction that the caller has open, so that state changes with its entry or not at all."""
        given, id, at_us = bool(id), id or new_id("run"), now_us()
        text = canonical({"who": actor.name, **body}).decode()
        content = content_digest(id, kind, key, actor.owner, at_us, text)
        last_seq, last_chain = self._locked_head()
        known = self.db.rows(f"select {COLUMNS} from entry where id=?", (id,)) if given else []
        if known:
            return entry_from(known[0])
        chain = sha256(f"{last_chain}:{content}".encode())
        entry = Entry(last_seq + 1, id, kind, key, actor.owner, at_us, json.loads(text), chain)
        self.db.run(f"insert into entry({COLUMNS}) values(?,?,?,?,?,?,?,?)",
                    (entry.seq, id, kind, key, actor.owner, at_us, text, chain))
        self.db.run("update ledger_head set seq=?, chain=? where id=1", (entry.seq, chain))
        for parent in entry.references:
            self.db.run("insert into edge(child, parent) values(?,?)", (id, parent))
        return entry

    def _locked_head(self) -> tuple[int, str]:
        suffix = " for update" if self.db.dialect == "postgresql" else ""
        seq, chain = self.db.rows(f"select seq, chain from ledger_head where id=1{suffix}")[0]
        return seq, chain

    def head(self) -> tuple[int, str]:
        """Number of entries and the chain's last link; printed on invoices, so that history cannot be rewritten unseen."""
        seq, chain = self.db.rows("select seq, chain from ledger_head where id=1")[0]
        return seq, chain

    def get(self, id: str) -> Entry:
        """The entry with this id."""
        found = self.db.rows(f"select {COLUMNS} from entry where id=?", (id,))
        if not found:
            raise MofangError("entry-unknown", entry=id)
        return entry_from(found[0])

    def links(self, ids: Sequence[str]) -> list[dict[str, Any]]:
        """Entries as the chain holds them, oldest first: all that their digest covers, and the link before their own."""
        found = []
        for at in range(0, len(ids), 500):
            some = ids[at:at + 500]
            sql = f"""select e.seq, e.id, e.kind, e.key, e.owner, e.at_us, e.body, e.chain, coalesce(earlier.chain, '')
                      from entry as e left join entry as earlier on earlier.seq = e.seq - 1
                      where e.id in ({','.join('?' * len(some))})"""
            for seq, id, kind, key, owner, at_us, text, chain, previous in self.db.rows(sql, some):
                found.append({"seq": seq, "id": id, "kind": kind, "key": key, "owner": owner, "at_us": at_us, "text": text,
                              "body": sha256(text.encode()), "content": content_digest(id, kind, key, owner, at_us, text),
                              "previous": previous, "chain": chain})
        return sorted(found, key=lambda row: int(row["seq"]))

    def by_prefix(self, prefix: str, limit: int = 10) -> list[Entry]:
        """Entries whose id starts with the prefix (an id's upper bound is the prefix with its last letter raised)."""
        if not prefix:
            return []
        upper = prefix[:-1] + chr(ord(prefix[-1]) + 1)
        sql = f"select {COLUMNS} from entry where id >= ? and id < ? order by seq limit ?"
        return [entry_from(row) for row in self.db.rows(sql, (prefix, upper, limit))]

    def last(self, key: str, *kinds: EntryKind) -> Entry | None:
        """The newest entry of these kinds with this key."""
        marks = ",".join("?" * len(kinds))
        sql = f"select {COLUMNS} from entry where key=? and kind in ({marks}) order by seq desc limit 1"
        found = self.db.rows(sql, (key, *kinds))
        return entry_from(found[0]) if found else None

    def entries(self, *kinds: EntryKind, after_seq: int = 0) -> Iterator[Entry]:
        """All entries of these kinds (all kinds, if none is named) in order."""
        while True:
            marks = f"and kind in ({','.join('?' * len(kinds))})" if kinds else ""
            sql = f"select {COLUMNS} from entry where seq > ? {marks} order by seq limit 1000"
            page = [entry_from(row) for row in self.db.rows(sql, (after_seq, *kinds))]
            yield from page
            if len(page) < 1000:
                return
            after_seq = page[-1].seq

    def children(self, id: str) -> list[str]:
        """Ids of the entries that were made from this one."""
        return [row[0] for row in self.db.rows("select child from edge where parent=? order by child", (id,))]

    def verify(self) -> list[str]:
        """Every broken link and every table that differs from the entries, in words; empty if all is well."""
        wrong, chain, seq, broken = [], "", 0, False
        edges: set[tuple[str, str]] = set()
        names: set[tuple[str, str, int, str, str]] = set()
        erased: set[tuple[str, str]] = set()
        tombs: dict[str, tuple[str, str, str]] = {}
        for row in self._raw():
            seq += 1
            try:
                content = content_digest(row[1], row[2], row[3], row[4], row[5], row[6])
            except (TypeError, AttributeError):  # bytes for a text: of no kind that an entry has
                content = ""
            chain = sha256(f"{chain}:{content}".encode())
            if row[0] != seq or row[7] != chain:
                wrong.append(f"ledger entry {row[0]} ({row[1]}) does not fit its chain")
                chain = row[7]
                seq = row[0]
                broken = True
                continue  # what it says is not what was written: nothing is read out of it
            entry = entry_from(row)
            edges.update((entry.id, parent) for parent in entry.references)
            named = entry.body.get("named")
            if named:
                names.add((entry.owner, named["name"], named["version"], named["kind"], named["entry"]))
            if entry.kind == "erase":
                erased.add((entry.body["erased"], entry.id))
            for kind, marks in entry.body.get("tombstones", {}).items() if entry.kind == "decision" else ():
                for mark in marks:
                    tombs.setdefault(mark, (mark, kind, entry.id))
        if (seq, chain) != self.head():
            wrong.append("the ledger's head is not its last entry")
        if broken:
            return wrong  # the other tables follow from entries that are not what they were
        if edges != set(self.db.rows("select child, parent from edge")):
            wrong.append("the table of references differs from the ledger")
        if names != set(self.db.rows("select owner, name, version, kind, entry from name")):
            wrong.append("the table of names differs from the ledger")
        if self._has_erasures() and (erased != set(self.db.rows("select entry, by_entry from erased"))
                                     or set(tombs.values()) != set(self.db.rows("select mark, kind, entry from tombstone"))):
            wrong.append("the tables of erasures differ from the ledger")
        return wrong

    def _has_erasures(self) -> bool:
        """False in a backup from before there were erasures."""
        if self.db.dialect == "postgresql":
            return self.db.rows("select to_regclass('tombstone')")[0][0] is not None
        return bool(self.db.rows("select 1 from sqlite_master where name='tombstone'"))

    def _raw(self) -> Iterator[tuple[Any, ...]]:
        after = -1
        while page := self.db.rows(f"select {COLUMNS} from entry where seq > ? order by seq limit 1000", (after,)):
            yield from page
            after = page[-1][0]
