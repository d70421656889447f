"""Backups: a consistent copy of a shop while it goes on serving, several of them in one folder sharing their files.

A backup is a folder ``mofang-DATE-TIME`` with both databases of one moment, the settings, a list of the files that the
ledger mentions, and ``backup.json``, which is signed off with the digest of everything; the files themselves lie once in
``mofang-objects``. The order is: files, then databases, then the manifest, each durable before the next, and the
backup's own name last. So a backup that was cut off has no name, and one whose bytes changed later differs from its
manifest. Keys are never in it (``keyring``).
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

import mofang
from mofang.core import tables
from mofang.core.canonical import digest_of, file_digest, sync_folder, write_durably
from mofang.core.copying import NEW, full_disk_told, link_or_copy, remove_tree, require_room, sync_all
from mofang.core.database import Database, FrozenSQLite, SQLite
from mofang.core.erased import destroyed_in, replaced_in
from mofang.core.errors import MofangError
from mofang.core.identity import now_us
from mofang.core.kept import note_kept
from mofang.core.language import say
from mofang.core.migrate import SETTINGS
from mofang.core.moment import Moment, moment
from mofang.core.progress import Bar, progress
from mofang.core.store import Store
from mofang.core.tombfile import note_tombs

if TYPE_CHECKING:
    from mofang.core.shop import Shop

PLAIN_FORMAT, BACKUP_FORMAT = 1, 2  # the first is written, and so read by older versions, where nothing is encrypted
MANIFEST, LIST, OBJECTS, LOCK = "backup.json", "objects.txt", "mofang-objects", ".mofang-lock"
STORED = "stored.txt"  # of each encrypted file the digest of what lies on the disk, so that it is checked without its key
NAME = re.compile(r"mofang-\d{8}-\d{6}(-\d+)?")
DIGEST = re.compile(r"[0-9a-f]{64}")
MARGIN_BYTES = 64 * 2**20
GONE = f"{NEW}gone-"


@dataclass(frozen=True)
class Backup:
    """One whole backup and what its manifest says."""

    place: Path
    about: dict[str, Any]

    @property
    def name(self) -> str:
        """Its folder's name, which is when it was made."""
        return self.place.name

    @property
    def objects(self) -> Path:
        """Where the files lie that it shares with its neighbours."""
        return self.place.parent / OBJECTS

    @property
    def rows(self) -> int:
        """Rows in all tables."""
        return sum(int(rows) for told in self.about["tables"].values() for rows, _ in told.values())

    def listed(self) -> dict[str, int]:
        """Digest and size in bytes of every file that belongs to it."""
        lines = (self.place / LIST).read_text(encoding="ascii").splitlines()
        try:
            return {digest: int(size) for digest, size in (line.split(" ") for line in lines)}
        except ValueError:
            raise MofangError("backup-damaged", place=self.place, file=LIST) from None

    def stored(self) -> dict[str, str]:
        """Of each encrypted file its digest to the digest of what lies on the disk."""
        place = self.place / STORED
        lines = place.read_text(encoding="ascii").splitlines() if place.exists() else []
        try:
            return dict(line.split(" ") for line in lines)
        except ValueError:
            raise MofangError("backup-damaged", place=self.place, file=STORED) from None


def make_backup(shop: Shop, folder: Path, *, quick: bool = False, keep: int = 0) -> Backup:
    """Copy the shop into a folder of backups and check the copy; servers and runs go on meanwhile.

    ``quick`` leaves out what takes long: the chains and balances of the copy, and reading files again that an earlier
    backup brought. ``keep`` lets only so many of this shop's newest backups stay. What does not fit in the shop itself
    (``wrong``) or is gone from it (``missing``) is written down and does not stop the backup of the rest.
    """
    folder = folder.resolve()
    if folder.is_relative_to(shop.path):
        raise MofangError("backup-inside-shop", folder=folder)
    with full_disk_told(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with at_work(folder):
            clear_unfinished(folder)
            made = _make(shop, folder, quick)
            note_tombs(shop, folder)
            if keep:
                prune(folder, str(shop.settings["id"]), keep)
    note_kept(shop.path, "backup", place=str(made.place), digest=made.about["digest"], checked=not quick,
              missing=len(made.about["missing"]), wrong=len(made.about["wrong"]))
    return made


def _make(shop: Shop, folder: Path, quick: bool) -> Backup:
    began = time.monotonic()
    name, number = _next_name(folder)
    work = folder / f"{NEW}{name}"
    work.mkdir()
    try:
        with progress(say("Copying", "复制中")) as bar:
            about: dict[str, Any] = {"format": BACKUP_FORMAT, "number": number, "made_us": now_us(),
                                     "mofang": mofang.__version__}
            about |= {"shop": {"id": shop.settings["id"], "format": shop.settings["format"]}}
            shop.journals.make_tables()
            with moment(shop) as seen:
                about |= {"held_ms": round(seen.held_ms, 3), "from": seen.ledger.dialect}
                wanted = mentioned_parts(seen.ledger, shop.store)
                stored = shop.store.keys.stored(wanted)
                _require_room(shop, folder, wanted)
                read = _copy_databases(seen, work, bar)
            about["missing"] = _copy_objects(shop.store, folder, wanted, stored, bar, look_again=not quick)
            about["format"] = BACKUP_FORMAT if stored else PLAIN_FORMAT
            _write_settings(shop, work)
            lines = (f"{digest} {size}\n" for digest, size in sorted(wanted.items()))
            (work / LIST).write_text("".join(lines), encoding="ascii")
            if stored:
                text = "".join(f"{digest} {other}\n" for digest, other in sorted(stored.items()))
                (work / STORED).write_text(text, encoding="ascii")
            (work / ".gitignore").write_text("*\n", encoding="utf-8")
            sync_all(folder, [path for path in work.iterdir() if path.is_file()])
        with progress(say("Checking the copy", "核对副本")):
            about |= _check(work, read, quick)
        about |= {"checked": "quick" if quick else "all", "seconds": round(time.monotonic() - began, 3)}
        about["digest"] = digest_of(about)
        write_durably(work / MANIFEST, orjson.dumps(about, option=orjson.OPT_INDENT_2))
        os.rename(work, folder / name)
        sync_folder(folder)
    except BaseException:
        remove_tree(work)
        raise
    return Backup(folder / name, about)


def _next_name(folder: Path) -> tuple[str, int]:
    """A name that nobody has, and a number above all others (a clock may have been turned back)."""
    number = 1 + max((one.about["number"] for one in backups(folder)), default=0)
    stem = name = f"mofang-{datetime.now():%Y%m%d-%H%M%S}"
    again = 1
    while (folder / name).exists():
        again += 1
        name = f"{stem}-{again}"
    return name, number


def mentioned_parts(ledger: Database, store: Store) -> dict[str, int]:
    """Digest and size of every file that an entry names as its output, and of whatever else it mentions that is there."""
    found: dict[str, int] = {}
    other: set[str] = set()
    replaced = replaced_in(ledger)
    for page in ledger.pages("select id, body from entry order by seq"):
        for id, text in page:
            other.update(DIGEST.findall(text))
            for part in (orjson.loads(text).get("output") or {}).get("parts", ()) if id not in replaced else ():
                found[part[2]] = part[3]
    for digest in (other & store.held()) - found.keys():
        found[digest] = store.path(digest).stat().st_size
    for digest in destroyed_in(ledger):
        found.pop(digest, None)
    return found


def _require_room(shop: Shop, folder: Path, wanted: dict[str, int]) -> None:
    needed = MARGIN_BYTES
    for name in tables.FILES:
        path = shop.path / name
        needed += path.stat().st_size if path.exists() else 0
    if os.stat(folder).st_dev != os.stat(shop.store.root).st_dev:
        there = Store(folder / OBJECTS)
        needed += sum(size for digest, size in wanted.items() if not there.has(digest))
    require_room(folder, needed)


def _copy_databases(seen: Moment, work: Path, bar: Bar) -> dict[str, tables.Told]:
    """Both databases as files; for PostgreSQL, what its tables digest to."""

    def tick(left: int, total: int) -> None:
        bar.total, bar.done = float(total), float(total - left)
        bar.advance(0)

    if not isinstance(seen.ledger, SQLite) or not isinstance(seen.control, SQLite):
        return tables.rows_to_files(seen.ledger, work)
    for database, name in zip((seen.ledger, seen.control), tables.FILES, strict=True):
        bar.note(name)
        database.copy_to(work / name, tick)
    return {}


def whole(place: Path, digest: str, stored: Mapping[str, str]) -> bool:
    """True if a file in a backup is what it should be, plain or encrypted."""
    found = file_digest(place)
    return found == digest or found == stored.get(digest)


def _copy_objects(store: Store, folder: Path, wanted: dict[str, int], stored: dict[str, str], bar: Bar, *,
                  look_again: bool) -> list[str]:
    """Bring what is not there yet, and look again at what is; the digests of what the shop itself no longer has whole."""
    home = Store(folder / OBJECTS)
    (home.root / ".gitignore").write_text("*\n", encoding="utf-8")
    missing: list[str] = []
    arrived: list[tuple[Path, Path]] = []
    bar.total, bar.done = float(len(wanted)), 0.0
    for digest in sorted(wanted):
        bar.advance()
        place = home.path(digest)
        if place.exists():
            if not look_again or whole(place, digest, stored):
                continue
            place.unlink()
        if not store.has(digest):
            missing.append(digest)
            continue
        place.parent.mkdir(exist_ok=True)
        beside = place.with_name(f"{NEW}{digest}")
        beside.unlink(missing_ok=True)
        link_or_copy(store.path(digest), beside, link=True)
        if whole(beside, digest, stored):
            arrived.append((beside, place))
        else:
            beside.unlink()
            missing.append(digest)
    if arrived:
        sync_all(home.root, [beside for beside, _ in arrived])
        for beside, place in arrived:
            os.replace(beside, place)
        sync_all(home.root, [place for _, place in arrived])
    return missing


def _write_settings(shop: Shop, work: Path) -> None:
    """The settings without the database's address, which may hold a password and is another one after a restore."""
    settings = {**shop.settings, "database": None}
    (work / SETTINGS).write_bytes(json.dumps(settings, indent=1, ensure_ascii=False).encode())


def _check(work: Path, read: dict[str, tables.Told], quick: bool) -> dict[str, Any]:
    """Read back what was written: digests of files and tables, heads, chains and balances."""
    ledger, control = (FrozenSQLite(work / name) for name in tables.FILES)
    try:
        told = {name: tables.digests(db) for name, db in zip(tables.FILES, (ledger, control), strict=True)}
        for name in read:
            for table, digest in read[name].items():
                if told[name].get(table) != digest:
                    raise MofangError("backup-differs", table=table)
        from mofang.core.verify import check_books

        wrong = [] if quick else check_books(ledger, control)
        heads = tables.heads_of(ledger, control)
    finally:
        ledger.close()
        control.close()
    files = {path.name: [path.stat().st_size, file_digest(path)] for path in sorted(work.iterdir()) if path.suffix}
    return {"heads": heads, "tables": told, "files": files, "wrong": wrong}


# The folder


@contextmanager
def at_work(folder: Path, *, alone: bool = True) -> Iterator[None]:
    """Keep two backups out of each other's way, and a restore out of the way of the backup that would tidy up."""
    try:
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT if alone else os.O_RDONLY, 0o644)
    except FileNotFoundError:
        yield  # copied from elsewhere, and nobody tidies up there
        return
    try:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            raise MofangError("backup-busy", folder=folder) from None
        except OSError:  # a network folder without locks
            pass
        yield
    finally:
        os.close(descriptor)


def clear_unfinished(folder: Path) -> None:
    """Remove what an interrupted backup left; only while ``at_work``."""
    for path in folder.glob(f"{NEW}*"):
        if path.is_dir():
            remove_tree(path)
        else:
            path.unlink()
    for path in folder.glob(f"{OBJECTS}/*/{NEW}*"):
        path.unlink()


def read_backup(place: Path) -> Backup:
    """Open a backup by its manifest, which must be whole and of a format that this version knows."""
    try:
        about = json.loads((place / MANIFEST).read_bytes())
        format, digest = about["format"], about["digest"]
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        raise MofangError("backup-torn", place=place) from None
    if format not in (PLAIN_FORMAT, BACKUP_FORMAT):
        raise MofangError("backup-format", place=place, format=format, known=BACKUP_FORMAT)
    if digest != digest_of({name: value for name, value in about.items() if name != "digest"}):
        raise MofangError("backup-damaged", place=place, file=MANIFEST)
    return Backup(place, about)


def survey(folder: Path) -> tuple[list[Backup], list[tuple[Path, MofangError]]]:
    """The backups of a folder, oldest first, and those that cannot be used, each with the reason."""
    whole: list[Backup] = []
    torn: list[tuple[Path, MofangError]] = []
    for place in sorted(folder.iterdir()) if folder.is_dir() else ():
        if not NAME.fullmatch(place.name):
            continue
        try:
            whole.append(read_backup(place))
        except MofangError as error:
            torn.append((place, error))
    return sorted(whole, key=lambda one: (one.about["number"], one.name)), torn


def backups(folder: Path) -> list[Backup]:
    """The whole backups of a folder, oldest first."""
    return survey(folder)[0]


def prune(folder: Path, shop: str, keep: int) -> int:
    """Let only a shop's newest backups stay, and then only files that some backup still lists; how many went."""
    going = [one for one in backups(folder) if one.about["shop"]["id"] == shop][:-keep]
    for one in going:
        os.rename(one.place, folder / f"{GONE}{one.name}")
    sync_folder(folder)
    needed: set[str] = set()
    for path in folder.iterdir():
        if NAME.fullmatch(path.name):
            if not (path / LIST).exists():
                break  # a torn backup may be mended yet: keep every file
            needed.update(Backup(path, {}).listed())
    else:
        for path in (folder / OBJECTS).glob("*/*"):
            if DIGEST.fullmatch(path.name) and path.name not in needed:
                path.unlink()
    for one in going:
        remove_tree(folder / f"{GONE}{one.name}")
    return len(going)
