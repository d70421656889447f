"""Restoring a backup: into an empty folder, compared with the backup in every byte, and visible only when it is whole.

Everything is laid down in ``.restoring`` inside the place first. What makes a folder a shop is ``mofang.json``, and that
is moved last; so a restore that was cut off has left no shop, and the same command goes on with the files that are there.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from mofang.core import tables
from mofang.core.backup import LIST, MANIFEST, MARGIN_BYTES, OBJECTS, Backup, at_work, read_backup, survey, whole
from mofang.core.canonical import file_digest, sync_folder
from mofang.core.copying import full_disk_told, link_or_copy, remove_tree, require_room, sync_all
from mofang.core.database import Database, FrozenSQLite, PostgreSQL, open_database
from mofang.core.errors import MofangError
from mofang.core.keyring import write_secret
from mofang.core.language import say
from mofang.core.migrate import SETTINGS, newest
from mofang.core.nearest import nearest
from mofang.core.progress import Bar, progress
from mofang.core.store import Store
from mofang.core.tombfile import tombs_in

WORK = ".restoring"
OWN = ("objects", *tables.FILES, ".gitignore", "keys")  # in the order in which they take their places


@dataclass(frozen=True)
class Restored:
    """What was restored where. ``same`` names the tables whose content digests were found equal."""

    shop: Path
    backup: Backup
    same: tuple[str, ...]
    objects: int
    seconds: float


def find_backup(place: Path, at: str = "") -> Backup:
    """The backup that a person means: a backup's own folder, or a folder of backups and a name or a time.

    Without ``at`` the newest; a time (``2026-11-22``, ``2026-11-22T10:30``) finds the newest made until then.
    """
    if (place / MANIFEST).exists() or (place / LIST).exists():
        return read_backup(place)
    whole, torn = survey(place)
    if not whole:
        raise torn[0][1] if torn else MofangError("backup-missing", place=place)
    if at:
        named = [one for one in whole if one.name == at or one.name == f"mofang-{at}"]
        broken = [error for path, error in torn if path.name in (at, f"mofang-{at}")]
        if broken:
            raise broken[0]
        return named[0] if named else _until(whole, at)
    shops = sorted({one.about["shop"]["id"] for one in whole})
    if len(shops) > 1:
        raise MofangError("backup-of-several-shops", place=place, names=", ".join(one.name for one in whole[-3:]))
    return whole[-1]


def _until(whole: list[Backup], at: str) -> Backup:
    try:
        moment = datetime.fromisoformat(at)
    except ValueError:
        raise MofangError("backup-unknown", name=at, nearest=nearest(at, [one.name for one in whole])) from None
    last = moment.replace(hour=23, minute=59, second=59, microsecond=999_999) if len(at) == 10 else moment
    made = [one for one in whole if one.about["made_us"] <= last.timestamp() * 1e6]
    if not made:
        raise MofangError("backup-too-young", at=at, oldest=whole[0].name)
    return made[-1]


def restore_backup(backup: Backup, into: Path, *, keys: dict[str, bytes] | None = None, database: str = "") -> Restored:
    """Lay a backup down as a shop in an empty place, every digest checked; SQLite, or PostgreSQL by its ``database``.

    Raises ``restore-not-empty``, ``backup-damaged``, ``backup-incomplete``, ``restore-differs``, ``disk-too-small`` and
    ``disk-full``; then nothing is left in the place.
    """
    began = time.monotonic()
    if database and not database.startswith(("postgresql://", "postgres://")):
        raise MofangError("database-not-postgresql", address=database.rpartition("@")[2])
    if int(backup.about["shop"]["format"]) > newest():
        raise MofangError("shop-format", path=str(backup.place), format=backup.about["shop"]["format"], known=newest())
    into = into.absolute()
    if into.resolve().is_relative_to(backup.place.parent.resolve() / OBJECTS) or into.resolve().is_relative_to(
            backup.place.resolve()):
        raise MofangError("restore-inside-backup", place=into)
    _require_empty(into)
    there = into.exists()
    work = into / WORK
    with full_disk_told(into), at_work(backup.place.parent, alone=False):
        require_room(into, MARGIN_BYTES + sum(size for size, _ in backup.about["files"].values())
                     + sum(backup.listed().values()))
        try:
            _tidy(into, work)
            _lay_down(backup, work, keys or {})
            same = _compare(backup, work, database)
            _settings(backup, work, database)
            sync_all(work, [path for path in work.rglob("*") if path.is_file()])
            _show(into, work)
        except (MofangError, OSError, sqlite3.Error):
            remove_tree(work)
            if not there and into.exists() and not any(into.iterdir()):
                into.rmdir()
            raise
    return Restored(into, backup, tuple(same), len(backup.listed()) - len(backup.about["missing"]),
                    time.monotonic() - began)


def _require_empty(into: Path) -> None:
    """Only an empty or new folder, or one that an interrupted restore has begun to fill."""
    if not into.exists():
        return
    names = {path.name for path in into.iterdir()} if into.is_dir() else {into.name}
    begun = WORK in names and names <= {WORK, *OWN}
    if names and not begun:
        raise MofangError("restore-not-empty", place=into, shop=SETTINGS in names)


def _tidy(into: Path, work: Path) -> None:
    """What an interrupted restore left: its files stay to be gone on with, the rest is made anew."""
    work.mkdir(parents=True, exist_ok=True)
    if (into / "objects").exists():
        remove_tree(work / "objects")
        os.rename(into / "objects", work / "objects")
    for name in OWN[1:]:
        for place in (into / name, work / name):
            remove_tree(place) if place.is_dir() else place.unlink(missing_ok=True)


def _lay_down(backup: Backup, work: Path, keys: dict[str, bytes]) -> None:
    with progress(say("Restoring", "恢复中")) as bar:
        for name, (size, digest) in backup.about["files"].items():
            source = backup.place / name
            if not source.exists():
                raise MofangError("backup-incomplete", place=backup.place, file=name)
            if name in tables.FILES:
                shutil.copyfile(source, work / name)
                source = work / name
            if source.stat().st_size != size or file_digest(source) != digest:
                raise MofangError("backup-damaged", place=backup.place, file=name)
        _lay_objects(backup, Store(work / "objects"), bar)
        (work / ".gitignore").write_text("*\n", encoding="utf-8")
        for name, secret in keys.items():
            place = work / "keys" / name
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_secret(place, secret)


def _lay_objects(backup: Backup, store: Store, bar: Bar) -> None:
    listed, missing = backup.listed(), set(backup.about["missing"])
    source = Store(backup.objects) if backup.objects.is_dir() else None
    stored, erased = backup.stored(), tombs_in(backup.place.parent).object
    bar.total = float(len(listed))
    for digest in listed:
        bar.advance()
        if digest in missing or (digest in erased and not (source and source.has(digest))):
            continue
        place = store.path(digest)
        if place.exists() and whole(place, digest, stored):
            continue
        if source is None or not source.has(digest):
            raise MofangError("backup-incomplete", place=backup.place, file=f"{OBJECTS}/{digest[:2]}/{digest}")
        place.parent.mkdir(exist_ok=True)
        place.unlink(missing_ok=True)
        link_or_copy(source.path(digest), place, link=False)
        if not whole(place, digest, stored):
            raise MofangError("backup-damaged", place=backup.place, file=f"{OBJECTS}/{digest[:2]}/{digest}")


def _compare(backup: Backup, work: Path, database: str) -> list[str]:
    """Heads and the content digest of every table of what was laid down, against the manifest."""
    with progress(say("Comparing", "比对中")):
        if database:
            return _compare_rows(backup, work, database)
        ledger, control = (FrozenSQLite(work / name) for name in tables.FILES)
        try:
            return _same(backup, ledger, control)
        finally:
            ledger.close()
            control.close()


def _compare_rows(backup: Backup, work: Path, address: str) -> list[str]:
    """Copy the rows into PostgreSQL and compare them, in one transaction; rows of an interrupted restore are known again."""
    shared = open_database(address)
    assert isinstance(shared, PostgreSQL)
    try:
        if "entry" in tables.tables_of(shared) and shared.rows("select count(*) from entry")[0][0]:
            try:
                return _same(backup, shared, shared)
            except MofangError:
                raise MofangError("database-not-empty") from None
        with shared.transaction():
            tables.files_to_rows(work, shared)
            return _same(backup, shared, shared)
    finally:
        shared.close()
        for name in tables.FILES:
            (work / name).unlink()


def _same(backup: Backup, ledger: Database, control: Database) -> list[str]:
    same = []
    for file, db in zip(tables.FILES, (ledger, control), strict=True):
        wanted: dict[str, Any] = backup.about["tables"][file]
        found = tables.digests(db, sorted(wanted))
        for table in sorted(wanted):
            if found[table] != list(wanted[table]):
                raise MofangError("restore-differs", table=table)
            same.append(table)
    if tables.heads_of(ledger, control) != backup.about["heads"]:
        raise MofangError("restore-differs", table="ledger_head")
    return same


def _settings(backup: Backup, work: Path, database: str) -> None:
    """The settings; a shop that moves into PostgreSQL gets its address."""
    settings = json.loads((backup.place / SETTINGS).read_bytes())
    settings["database"] = database or None
    (work / SETTINGS).write_bytes(json.dumps(settings, indent=1).encode())


def _show(into: Path, work: Path) -> None:
    """Everything is durable in ``.restoring``: put it in its place, and last what makes it a shop."""
    for name in OWN:
        if (work / name).exists():
            os.rename(work / name, into / name)
    sync_folder(into)
    os.rename(work / SETTINGS, into / SETTINGS)
    sync_folder(into)
    work.rmdir()
    sync_folder(into.parent)
