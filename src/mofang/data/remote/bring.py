"""Bringing a remote source: what collect asks for its digest, and then for its files.

The source is asked again at every collect. What it has not said before is fetched into the spool; the digest is over all
pieces, those that earlier records hold and the new ones, so an unchanged source gives the digest it had and the memo knows
it. Rows of pieces that did not change are taken over from the records before.
"""

from __future__ import annotations

import importlib
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from mofang.core.canonical import digest_of
from mofang.core.errors import MofangError
from mofang.core.language import say
from mofang.core.lock import version_of
from mofang.core.progress import Bar, progress
from mofang.core.run import leased
from mofang.core.stage import STAGES
from mofang.data.readers import Chunk
from mofang.data.records import RecordReader, Records
from mofang.data.remote.address import Allowed
from mofang.data.remote.definition import Definition
from mofang.data.remote.fetch import Caps
from mofang.data.remote.registry import definition_of
from mofang.data.remote.scheme import is_remote, shown
from mofang.data.remote.secret import secret_value
from mofang.data.remote.spool import FOLDER, Spool
from mofang.data.roles import ID
from mofang.data.sources.files import ENDINGS, SourceFile, ending_of, inside_archives, is_archive

if TYPE_CHECKING:
    from mofang.core.run import Run
    from mofang.core.shop import Shop

SAID = ("licence", "origin", "consent", "terms", "obtained", "retain", "retain_until")  # of the records, not of the source


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
        return self.spool.state

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
        if [name, reason] not in self.spool.refused:
            self.spool.refused.append([name, reason])

    def note(self, words: str) -> None:
        """One step more on the bar."""
        self.bar.advance(1)
        self.bar.note(words)


Looked = tuple[list[Chunk], dict[str, str]]  # first rows, and the roles of their columns
ALONE = ("jsonl", "parquet", "arrow", "images", "sounds", "html", "pdf")
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
        if spool.held and _records(shop, spool.run) is None:
            spool.start_over()
        _fetch(shop, definition, spool)
        if spool.fresh and (needed := _needed(spool, settings)):
            spool.drop(needed)
            _fetch(shop, definition, spool)
        earlier = spool.known.get(spool.digest, "")
        if spool.fresh and earlier and _records(shop, earlier) is not None:
            spool.used_by(earlier)  # the source is again as it once was: the memo gives those records, and nothing is read
    if not spool.pieces:
        raise MofangError("source-empty", source=shown(definition.url))
    return digest_of({"source": definition.changed(), "content": spool.digest})


def _fetch(shop: Shop, definition: Definition, spool: Spool) -> None:
    spool.refused = []
    words = say("Fetching from {source}", "正在从 {source} 获取", source=shown(definition.url))
    with progress(words) as bar:
        job = Job(definition, secret_value(shop, definition.secret), spool, bar)
        importlib.import_module(KINDS[definition.nature]).bring(job)
    spool.complete = True
    spool.save()


def _needed(spool: Spool, settings: dict[str, Any]) -> list[str]:
    """The held pieces whose files must be here beside new ones: the first table's heading names the columns of the others,
    and what an archive, a workbook or a file of labels holds can only be told with the file."""
    kinds = {name: "" if is_archive(name) else ENDINGS.get(ending_of(name), "") for name in spool.held}
    tables = {"csv", "jsonl", "excel", "lines"} & set(kinds.values())
    labelled = settings.get("label_file") or ("images" in kinds.values() and tables)
    if labelled or not set(kinds.values()) <= {*ALONE, "csv"}:
        return list(kinds)
    return sorted(name for name, kind in kinds.items() if kind == "csv")[:1]


def _place(shop: Shop, settings: dict[str, Any], definition: Definition) -> Path:
    """The spool for one source read in one way by one owner: other columns cannot be taken over into these."""
    chosen = {name: value for name, value in STAGES["collect"].changed(settings).items() if name not in SAID}
    key = digest_of([shop.actor.owner, definition.changed(), chosen, version_of("collect")])
    return shop.path / "cache" / FOLDER / key[:32]


def _records(shop: Shop, run: str) -> Records | None:
    """The records that a run made, if they are whole."""
    entry = shop.ledger.last(run, "done", "reuse")
    if entry is None or not all(shop.store.has(part[2]) for part in entry.body["output"]["parts"]):
        return None
    found = shop.artifact(entry)
    return found if isinstance(found, Records) and found.has("files.parquet") else None


@dataclass(frozen=True)
class Held(SourceFile):
    """A file that is no longer here, because the records of an earlier run hold its rows."""

    @property
    def size_bytes(self) -> int:
        """How large it was."""
        return self.unpacked_bytes

    def open(self) -> BinaryIO:
        """It was to be taken over and could not be: the next run fetches everything again."""
        shutil.rmtree(self.path.parent.parent, ignore_errors=True)
        raise MofangError("piece-gone", file=self.name)


class Brought:
    """What a remote source comes to for one run: the files in the spool, and the records that hold the others."""

    def __init__(self, run: Run) -> None:
        self.definition = definition_of(run.shop, run.settings["source"])
        self.spool = Spool(_place(run.shop, run.settings, self.definition))
        self.refused = [(name, reason) for name, reason in self.spool.refused]
        self.before = _records(run.shop, self.spool.run) if self.spool.held else None
        self._run = run

    @property
    def files(self) -> list[SourceFile]:
        """All files of the source by name; archives are opened."""
        pieces = self.spool.pieces
        return inside_archives([
            SourceFile(self.spool.path(one), one.name) if one.name in self.spool.fresh
            else Held(self.spool.path(one), one.name, unpacked_bytes=one.size_bytes) for one in pieces
        ])

    @property
    def digests(self) -> dict[str, str]:
        """Name to SHA-256 of each file as it was fetched."""
        return {one.name: one.sha256 for one in self.spool.pieces}

    def sample(self) -> Looked | None:
        """The first rows of the records before and the roles of their columns, which stay; None where there are none."""
        if self.before is None:
            return None
        reader = RecordReader(self.before)
        first = next(reader.batches(1000, media=False), None)
        names = [name for name in reader.schema.names if name != ID]
        columns = {name: first.column(name) if first is not None else [] for name in names}
        return [Chunk("", list(range(len(first or ()))), columns)], {name: reader.roles[name] for name in names}

    def about(self) -> dict[str, Any]:
        """What the records say of their source beside its files: no secret, and no time of this machine."""
        hidden = ("headers", "options", "secret")
        told = {name: value for name, value in self.definition.changed().items() if name not in hidden}
        return {"kind": self.definition.nature, "asked": told, **({"found": self.spool.found} if self.spool.found else {})}

    def done(self) -> None:
        """The records are written: the spool's files are removed."""
        self.spool.used_by(self._run.key)


def brought(run: Run) -> Brought | None:
    """What was brought for this run's source, or None where the source lies on this machine."""
    return Brought(run) if is_remote(run.settings["source"]) else None
