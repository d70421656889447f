"""The shop: one folder (or one database and one object store) that holds everything a company made and earned.

``ledger.db`` the ledger, ``meter.db`` the journals and their folded tables, ``objects/`` the artifacts, ``scratch/``
unfinished runs, ``keys/`` secrets that no backup contains.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mofang.core import erased, lock, run
from mofang.core.artifact import KINDS, Artifact, Part, Sealed, manifest_digest
from mofang.core.canonical import canonical, write_durably
from mofang.core.database import Database, open_database
from mofang.core.errors import MofangError
from mofang.core.executor import Executor, executor_named
from mofang.core.given import with_given
from mofang.core.identity import Actor, Permit, local_actor, new_id, now_us, permit_roles
from mofang.core.journal import SEAL_FORMAT, SEALED_FORM, Journals, Row, rows_table
from mofang.core.ledger import Entry, Ledger
from mofang.core.migrate import SETTINGS, bring_up_to_date, newest
from mofang.core.nearest import nearest
from mofang.core.secrets import secret_in
from mofang.core.stage import spec_of
from mofang.core.store import Store
from mofang.core.unlocked import remove_left_over

NAME = re.compile(r"[^\W_][\w.-]{0,63}")


@dataclass(frozen=True)
class Named:
    """One version of a name: ``reviews@3``."""

    name: str
    version: int
    kind: str
    entry: str

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"


class Shop:
    """Everything below one folder. Open it once per thread (``again``)."""

    def __init__(self, path: Path, actor: Actor | None = None, permit: Permit = permit_roles) -> None:
        path = path.resolve()  # recipes change the working folder
        self.path = path
        self.actor = actor or local_actor()
        self.permit = permit
        self.settings = bring_up_to_date(path)
        self.store = Store(path / "objects", path / "keys")
        remove_left_over(path)
        self.ledger = Ledger(open_database(self.settings.get("database") or path / "ledger.db"))
        self.repair_seals()

    @classmethod
    def make(cls, path: Path, database: str = "", currency: str = "CNY") -> None:
        """Make an empty shop. Git is told to leave it alone."""
        path.mkdir(parents=True, exist_ok=True)
        (path / ".gitignore").write_text("*\n", encoding="utf-8")
        settings = {"format": newest(), "id": new_id("shop"), "made_us": now_us(), "database": database or None,
                    "currency": currency, "rates": {}, "encrypt": "on"}
        write_durably(path / SETTINGS, json.dumps(settings, indent=1).encode())

    @classmethod
    def open(cls, path: str | Path, *, make: bool = True, actor: Actor | None = None, database: str = "") -> Shop:
        """Open the shop in this folder; make it first if it is not there (in PostgreSQL where MOFANG_DATABASE names one)."""
        path = Path(path)
        if not (path / SETTINGS).exists():
            if not make:
                raise MofangError("shop-missing", path=str(path))
            cls.make(path, database or os.environ.get("MOFANG_DATABASE", ""))
        return cls(path, actor)

    @staticmethod
    def discover(start: Path) -> Path | None:
        """The nearest ``shop`` folder here or above, as git looks for its own."""
        for folder in (start, *start.parents):
            for place in (folder, folder / "shop"):
                if (place / SETTINGS).exists():
                    return place
        return None

    def again(self) -> Shop:
        """The same shop with connections of its own, for another thread."""
        return type(self)(self.path, self.actor, self.permit)

    @cached_property
    def control(self) -> Database:
        """The database of the journals and their folded tables."""
        return open_database(self.settings.get("database") or self.path / "meter.db")

    @cached_property
    def journals(self) -> Journals:
        """The journals, on the shop's own control connection."""
        return Journals(self.control)

    @cached_property
    def executor(self) -> Executor:
        """Where pieces of work run; ``MOFANG_EXECUTOR`` or one process."""
        return executor_named(os.environ.get("MOFANG_EXECUTOR", "local"))

    @property
    def currency(self) -> str:
        """The currency in which this shop sells."""
        return str(self.settings["currency"])

    @property
    def encrypts(self) -> bool:
        """Whether what can hold personal data is encrypted when it is stored; an older shop says so in its settings."""
        return self.settings.get("encrypt") in ("on", "all")

    @property
    def encrypts_all(self) -> bool:
        """Whether everything is encrypted when it is stored, models too: in a customer's room."""
        return self.settings.get("encrypt") == "all"

    @property
    def rates(self) -> dict[str, Any]:
        """What an hour of this machine and a kWh cost; empty until someone says so."""
        found: dict[str, Any] = self.settings["rates"]
        return found

    def set_rates(self, **rates: int) -> None:
        """State what compute costs, in micros of the currency."""
        self.change_settings(rates={**self.rates, **rates})

    def change_settings(self, **changes: Any) -> None:
        """Write settings into ``mofang.json``, beside what others wrote there meanwhile; None takes one away."""
        written = json.loads((self.path / SETTINGS).read_text(encoding="utf-8")) | changes
        self.settings.update(written)
        for name in [name for name, value in changes.items() if value is None]:
            del self.settings[name], written[name]
        write_durably(self.path / SETTINGS, json.dumps(written, indent=1, ensure_ascii=False).encode())

    def secret(self, name: str) -> bytes:
        """A 32-byte secret by name, made at first use and readable by this user only."""
        return secret_in(self.path / "keys", name)

    # Running

    def run(self, function: Callable[..., Any], *artifacts: Any, **settings: Any) -> Any:
        """Run a stage, or reuse what an equal run made before."""
        return run.execute(self, function, artifacts, with_given(spec_of(function).name, settings))[0]

    def act(self, function: Callable[..., Any], **settings: Any) -> Any:
        """Take an action, if this actor may."""
        from mofang.core.action import act

        return act(self, function, **settings)

    def require(self, may: str) -> None:
        """Refuse what this actor may not see or do; for what is no action and no run."""
        if not self.permit(self.actor, may):
            raise MofangError("not-permitted", actor=self.actor.name, may=may)

    def artifact(self, entry: Entry) -> Artifact:
        """The artifact that an entry made; where somebody was erased from it, what stands in its place."""
        kind = entry.body.get("output", {}).get("kind", "")
        if kind not in KINDS:
            lock.import_kind(kind)
        return self.parts_of(entry, KINDS.get(kind, Artifact))

    def parts_of(self, entry: Entry, cls: type[Artifact] = Artifact) -> Artifact:
        """The same as no more than its parts: nothing of its kind is imported, so that a list of many is quick."""
        output = entry.body.get("output")
        if output is None:
            raise MofangError("entry-without-artifact", entry=entry.id, kind=entry.kind)
        if (now := erased.standing(self, entry.id)) != entry.id:
            entry = self.ledger.get(now)
            output = entry.body["output"]
        parts = tuple(Part(*part) for part in output["parts"])
        return cls(self, entry.id, parts, "", tuple(entry.body.get("licences", ())), entry.body.get("measures", {}))

    # Names

    def name(self, name: str, artifact: Artifact) -> Named:
        """Give an artifact a name; the same artifact keeps its version, a new one gets the next."""
        self.checked_name(name)
        owner, db = self.actor.owner, self.ledger.db
        with db.transaction():
            newest = self.newest(name)
            if newest and self._same(newest.entry, artifact.entry):
                return newest
            made = Named(name, newest.version + 1 if newest else 1, artifact.kind, artifact.entry)
            named = {"name": name, "version": made.version, "kind": made.kind, "entry": made.entry}
            body = {"decision": "name", "named": named, "inputs": [artifact.reference()]}
            self.ledger.append_within("decision", f"name:{name}", self.actor, body)
            db.run("insert into name(owner, name, version, kind, entry) values(?,?,?,?,?)",
                   (owner, name, made.version, made.kind, made.entry))
        return made

    @staticmethod
    def checked_name(name: str) -> str:
        """The name as it is, or ``name-invalid``."""
        if not NAME.fullmatch(name):
            raise MofangError("name-invalid", name=name)
        return name

    def _same(self, one: str, other: str) -> bool:
        one, other = erased.standing(self, one), erased.standing(self, other)
        return one == other or self.ledger.get(one).body["lineage"] == self.ledger.get(other).body["lineage"]

    def newest(self, name: str, version: int = 0) -> Named | None:
        """The newest version of a name, or the one asked for; None if there is none."""
        exact = " and version=?" if version else ""
        sql = f"select name, version, kind, entry from name where owner=? and name=?{exact} order by version desc limit 1"
        params = (self.actor.owner, name, version) if version else (self.actor.owner, name)
        found = self.ledger.db.rows(sql, params)
        return Named(*found[0]) if found else None

    def names(self, kind: str = "") -> list[Named]:
        """All names of this owner, newest version first within a name."""
        sql = "select name, version, kind, entry from name where owner=? order by name, version desc"
        return [Named(*row) for row in self.ledger.db.rows(sql, (self.actor.owner,)) if kind in ("", row[2])]

    def named(self, text: str, kind: str = "") -> Named:
        """``reviews`` (newest) or ``reviews@3``; a wrong name is answered with the nearest."""
        name, _, version = text.partition("@")
        found = self.newest(name, int(version)) if version.isdecimal() else self.newest(name) if not version else None
        if found is None or (kind and found.kind != kind):
            known = [str(one) for one in self.names(kind)]
            raise MofangError("name-unknown", name=text, nearest=nearest(text, {*known, *(k.split("@")[0] for k in known)}))
        return found

    def last(self, name: str, kind: str) -> Artifact | None:
        """What the newest version of a name was made from: its nearest ancestor of this kind; None for a new name.

        A recipe hands it to a stage's ``previous``, so that old records keep their side and their copy.
        """
        newest = self.newest(name)
        return self.ancestor(newest.entry, kind) if newest else None

    def ancestor(self, entry: str, kind: str) -> Artifact | None:
        """Search backwards through the ledger, breadth first, for an artifact of this kind."""
        seen, waiting = set(), [entry]
        while waiting:
            id = waiting.pop(0)
            if id in seen:
                continue
            seen.add(id)
            found = self.ledger.get(id)
            if found.body.get("output", {}).get("kind") == kind:
                return self.artifact(found)
            waiting += found.references
        return None

    def find(self, text: str, kind: str = "") -> Artifact:
        """An artifact by name, name@version, or a unique prefix of an entry's id; ``/part`` goes inside."""
        head, *inside = text.split("/")
        entries = self.ledger.by_prefix(head, limit=2) if "_" in head and "@" not in head else []
        entries = [one for one in entries if one.owner == self.actor.owner]  # another owner's ids are unknown here
        if len(entries) > 1 and entries[0].id != head:
            raise MofangError("id-ambiguous", id=head, first=entries[0].id, second=entries[1].id)
        found = self.artifact(entries[0]) if entries else self.artifact(self.ledger.get(self.named(head).entry))
        for name in inside:
            found = found / name
        if kind not in ("", Artifact.kind, found.kind):
            raise MofangError("kind-wrong", name=text, kind=found.kind, wanted=kind)
        return found

    # Sealing

    def seal(self, journal: str) -> Sealed | None:
        """Freeze what a journal gained since its last seal; None if that is nothing.

        The seal row is written first, then an idempotent ledger entry; ``repair_seals`` completes what a crash cut.
        """
        from mofang.core.merkle import root

        while True:
            last = self.journals.last_seal(journal)
            rows, ranges = self.journals.unsealed(journal)
            if not rows:
                return None
            number = (last[1] if last else 0) + 1
            up_to = {**(json.loads(last[3]) if last else {}), **{writer: to for writer, (_, to) in ranges.items()}}
            tree = root(bytes.fromhex(row.chain) for row in rows).hex()
            parts = self._seal_parts(journal, number, rows, ranges, tree)
            output = {"kind": Sealed.kind, "digest": manifest_digest(parts), "parts": [part.to_list() for part in parts]}
            id = new_id("seal")
            sql = """insert into seal(journal, number, id, up_to, root, digest, entry) values(?,?,?,?,?,?,?)
                     on conflict(journal, number) do nothing"""
            row = (journal, number, id, canonical(up_to).decode(), tree, canonical(output).decode(), "")
            with self.control.transaction():
                taken = self.control.run(sql, row)
            if not taken:
                continue  # somebody else sealed meanwhile: look again
            self.repair_seals()
            sealed = self.artifact(self.ledger.get(id))
            assert isinstance(sealed, Sealed)
            return sealed

    def _seal_parts(self, journal: str, number: int, rows: list[Row], ranges: dict[str, tuple[int, int]],
                    tree: str) -> tuple[Part, ...]:
        import pyarrow.parquet as pq

        self.store.require_space()
        folder = self.path / "scratch"
        folder.mkdir(exist_ok=True)
        parts = []
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            table = Path(scratch) / "rows.parquet"
            pq.write_table(rows_table(rows), table, **SEALED_FORM)
            parts.append(Part("rows.parquet", "parquet", *self.store.keep(table)))
            about = Path(scratch) / "seal.json"
            about.write_bytes(canonical({"seal": SEAL_FORMAT, "journal": journal, "number": number, "root": tree,
                                         "ranges": ranges, "rows": len(rows)}))
            parts.append(Part("seal.json", "json", *self.store.keep(about)))
        return tuple(sorted(parts))

    def repair_seals(self) -> int:
        """Write the ledger entries of seals that have none yet, and say how many those were; safe to repeat."""
        if "control" not in self.__dict__ and not (self.settings.get("database") or (self.path / "meter.db").exists()):
            return 0
        journals = self.journals
        sql = "select journal, number, id, root, digest from seal where entry='' order by journal, number"
        open_seals = journals.db.rows(sql)
        for journal, number, id, tree, output in open_seals:
            body = {"stage": "seal", "version": SEAL_FORMAT, "journal": journal, "number": number, "root": tree,
                    "settings": {}, "inputs": [], "licences": [], "measures": {}, "output": json.loads(output),
                    "lineage": id}
            entry = self.ledger.append("seal", f"seal:{journal}:{number}", self.actor, body, id=id)
            with self.control.transaction():
                self.control.run("update seal set entry=? where journal=? and number=?", (entry.id, journal, number))
        return len(open_seals)

    def seals(self, journal: str) -> list[Sealed]:
        """All sealed stretches of a journal, oldest first."""
        sql = "select entry from seal where journal=? and entry<>'' order by number"
        found = [self.artifact(self.ledger.get(row[0])) for row in self.control.rows(sql, (journal,))]
        return [one for one in found if isinstance(one, Sealed)]

    # Checking

    def verify(self) -> list[str]:
        """Everything that does not fit: chains, folded tables, seals, missing or changed objects. Empty if all is well."""
        from mofang.core.verify import verify_shop

        return verify_shop(self)
