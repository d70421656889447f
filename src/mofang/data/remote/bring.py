"""Bringing a remote source: what collect asks for its digest, and then for its files.

The source is asked again at every collect. What it has not said before is fetched into the spool; the digest is over all
pieces, those that earlier records hold and the new ones, so an unchanged source gives the digest it had and the memo knows
it. New records are appended to those of the run before.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mofang.core.artifact import Artifact
from mofang.core.canonical import digest_of
from mofang.core.errors import MofangError
from mofang.core.language import say
from mofang.core.lock import version_of
from mofang.core.progress import Bar, progress
from mofang.core.run import leased
from mofang.core.stage import STAGES
from mofang.data.readers import Chunk
from mofang.data.records import RecordReader
from mofang.data.remote.address import Allowed
from mofang.data.remote.definition import Definition, is_remote
from mofang.data.remote.fetch import Caps, shown
from mofang.data.remote.registry import definition_of
from mofang.data.remote.secret import secret_value
from mofang.data.remote.spool import FOLDER, Piece, Spool
from mofang.data.roles import ID, MEDIA_ROLES
from mofang.data.sources.files import SourceFile

if TYPE_CHECKING:
    from mofang.core.run import Run
    from mofang.core.shop import Shop

PIECES_LISTED = 1000
SAID = ("licence", "origin", "consent", "terms")  # said of the records, not asked of the source
INPUTS = ("text", "number", "category", *MEDIA_ROLES)


@dataclass
class Job:
    """One fetch: what is asked, the secret for it, and the spool that takes the answers."""

    definition: Definition
    secret: str = field(repr=False)
    spool: Spool
    bar: Bar

    @property
    def allowed(self) -> Allowed:
        """Which addresses may be reached."""
        return Allowed.of(self.definition.allow_private)

    @property
    def caps(self) -> Caps:
        """How large one answer may be."""
        return Caps(size_bytes=self.definition.most_mb * 2**20)

    @property
    def state(self) -> dict[str, Any]:
        """Where asking goes on; saved with the next piece."""
        return self.spool.fresh.state

    def headers(self) -> dict[str, str]:
        """The headers with the secret in its place; a secret that no header names is a bearer token (RFC 6750)."""
        found = {}
        for line in self.definition.headers:
            name, _, value = line.partition(":")
            found[name.strip()] = value.strip().replace("{secret}", self.secret)
        if self.secret and not any("{secret}" in line for line in self.definition.headers):
            found["Authorization"] = f"Bearer {self.secret}"
        return found

    def options(self) -> dict[str, str]:
        """The options NAME=VALUE with the secret in its place."""
        pairs = (text.partition("=") for text in self.definition.options)
        return {name.strip(): value.replace("{secret}", self.secret) for name, _, value in pairs}

    def refuse(self, name: str, reason: str) -> None:
        """Something the source holds that is not taken: named, with its reason, beside the records."""
        if [name, reason] not in self.spool.fresh.refused:
            self.spool.fresh.refused.append([name, reason])

    def note(self, words: str) -> None:
        """One step more on the bar."""
        self.bar.advance(1)
        self.bar.note(words)

    def same_as_used(self) -> bool:
        """After everything was fetched once more: True, and the new pieces are dropped, if they are those of the records."""
        used = [one for stretch in self.spool.used for one in stretch.pieces]
        same = [(one.name, one.sha256) for one in used] == [(one.name, one.sha256) for one in self.spool.fresh.pieces]
        if same:
            self.spool.keep([])
        else:
            self.spool.used = []
        return same


KINDS = {name: f"mofang.data.remote.{name}" for name in ("file", "api", "web", "sql", "cassandra", "hub", "store")}


def remote_digest(shop: Shop, settings: dict[str, Any]) -> str:
    """Ask a remote source for what is new, and the digest of everything that it holds now: what stands in the memo key.

    Raises what the source's kind raises; whatever was fetched before is kept and the next call goes on behind it.
    """
    shop.require("train")
    definition = definition_of(shop, settings["source"])
    place = _place(shop, settings, definition)
    with leased(shop, f"spool:{place.name}"):
        spool = Spool(place)
        _forget_lost(shop, spool)
        spool.fresh.refused = []
        words = say("Fetching from {source}", "正在从 {source} 获取", source=shown(definition.url))
        with progress(words) as bar:
            job = Job(definition, secret_value(shop, definition.secret), spool, bar)
            importlib.import_module(KINDS[definition.nature]).bring(job)
        spool.fresh.complete = True
        spool.save()
    if not spool.pieces:
        raise MofangError("source-empty", source=shown(definition.url))
    return digest_of({"source": definition.changed(), "content": spool.digest})


def _place(shop: Shop, settings: dict[str, Any], definition: Definition) -> Any:
    """The spool for one source read in one way by one owner: other columns cannot be appended to these."""
    chosen = {name: value for name, value in STAGES["collect"].changed(settings).items() if name not in SAID}
    key = digest_of([shop.actor.owner, definition.changed(), chosen, version_of("collect")])
    return shop.path / "cache" / FOLDER / key[:32]


def _forget_lost(shop: Shop, spool: Spool) -> None:
    """What was fetched for records that never came to be, or are no longer there, must be fetched again."""
    while spool.used and _records(shop, spool.used[-1].run) is None:
        spool.used.pop()
        last = spool.used[-1] if spool.used else None
        spool.keep([])
        spool.fresh.state = dict(last.state) if last else {}
        spool.fresh.complete = last is not None


def _records(shop: Shop, run: str) -> Artifact | None:
    """The records that a run made, if they are whole."""
    entry = shop.ledger.last(run, "done", "reuse")
    if entry is None or not all(shop.store.has(part[2]) for part in entry.body["output"]["parts"]):
        return None
    return shop.artifact(entry)


class Brought:
    """What a remote source comes to for one run: new files in the spool, and the records of the run before."""

    def __init__(self, run: Run) -> None:
        self.definition = definition_of(run.shop, run.settings["source"])
        self.spool = Spool(_place(run.shop, run.settings, self.definition))
        self.files = [SourceFile(self.spool.path(one), one.name) for one in self.spool.fresh.pieces]
        self.refused = [(name, reason) for name, reason in self.spool.fresh.refused]
        self._run = run
        before = _records(run.shop, self.spool.used[-1].run) if self.spool.used else None
        self._before = RecordReader(before) if before is not None else None

    @property
    def format(self) -> str:
        """The format of the records before, or nothing."""
        return str(self._before.about["source"]["format"]) if self._before else ""

    def roles(self, wanted: dict[str, str], beside: dict[str, str]) -> tuple[dict[str, str], dict[str, str]]:
        """The columns asked for; where records are appended to, exactly the columns that those have."""
        if self._before is None:
            return wanted, beside
        known = self._before.roles
        return ({name: role for name, role in known.items() if role in INPUTS},
                {name: role for name, role in known.items() if role not in INPUTS and name != ID})

    def earlier(self) -> Iterator[Chunk]:
        """The records of the run before as rows to be written again, before the new ones."""
        if self._before is None:
            return
        names = [name for name in self._before.schema.names if name != ID]
        number = 1
        for batch in self._before.batches():
            columns = {name: batch.column(name) for name in names}
            yield Chunk("", list(range(number, number + len(batch))), columns, dict(batch.media))
            number += len(batch)

    def about(self, format: str) -> dict[str, Any]:
        """What the records say of their source; nothing of it is a secret, and nothing a time of this machine."""
        pieces: list[Piece] = self.spool.pieces
        listed = [{"name": one.name, "size_bytes": one.size_bytes, "sha256": one.sha256} for one in pieces[:PIECES_LISTED]]
        given = {name: value for name, value in self.definition.changed().items() if name not in ("headers", "options")}
        return {"given": self._run.settings["source"], "kind": self.definition.nature, "definition": given, "format": format,
                "count": len(pieces), "digest": self.spool.digest, "files": listed, "left_out": [],
                **({"found": self.spool.fresh.found} if self.spool.fresh.found else {})}

    def done(self) -> None:
        """The records are written: the spool's pieces are removed."""
        self.spool.used_by(self._run.key)


def brought(run: Run) -> Brought | None:
    """What was brought for this run's source, or None where the source lies on this machine."""
    return Brought(run) if is_remote(run.settings["source"]) else None
