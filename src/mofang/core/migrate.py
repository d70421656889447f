"""Older shops are brought up to date when they are opened: an append-only list of steps, each from one format to the next.

A step works on copies of the databases; they take the originals' place by rename, and the new number is written last, so
a kill leaves the old shop or the new one. The old databases stay beside as ``*.format-N``.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mofang.core.canonical import sync_file, sync_folder, write_durably
from mofang.core.database import Database, SQLite, open_database
from mofang.core.errors import MofangError
from mofang.core.ledger import ERASED_SCHEMA, FOREIGN_SCHEMA

Step = Callable[[Database, Database, dict[str, Any]], None]


def other_shops(ledger: Database, control: Database, settings: dict[str, Any]) -> None:
    """Format 2: the tables of other shops' entries (decision 014). Packages that an older shop imported: none."""
    for statement in FOREIGN_SCHEMA:
        ledger.run(statement)


def erasures(ledger: Database, control: Database, settings: dict[str, Any]) -> None:
    """Format 3: encrypted objects and the tables of erasures (decision 015). What an older shop holds stays plain."""
    for statement in ERASED_SCHEMA:
        ledger.run(statement)


# the n-th brings format n to n + 1: (ledger, control, settings) → changed in place
STEPS: tuple[Step, ...] = (other_shops, erasures)
OLDEST = 1
SETTINGS = "mofang.json"
FILES = ("ledger.db", "meter.db")


def newest() -> int:
    """The format that this version writes."""
    return OLDEST + len(STEPS)


def bring_up_to_date(path: Path) -> dict[str, Any]:
    """The shop's settings, after every step that its format still lacks. A format from the future is refused."""
    settings: dict[str, Any] = json.loads((path / SETTINGS).read_text(encoding="utf-8"))
    format = int(settings["format"])
    if not OLDEST <= format <= newest():
        raise MofangError("shop-format", path=str(path), format=format, known=newest())
    for number in range(format, newest()):
        _take_step(path, number, settings)
    return settings


def _take_step(path: Path, number: int, settings: dict[str, Any]) -> None:
    step = STEPS[number - OLDEST]
    settings["format"] = number + 1
    if settings.get("database"):
        shared = open_database(settings["database"])
        with shared.transaction():
            step(shared, shared, settings)
        shared.close()
    else:
        ledger, control = (SQLite(_copy(path / name, number)) for name in FILES)
        for database in (ledger, control):
            database.rows("pragma journal_mode=delete")
        step(ledger, control, settings)
        ledger.close()
        control.close()
        _replace(path, number)
    write_durably(path / SETTINGS, json.dumps(settings, indent=1).encode())


def _copy(original: Path, number: int) -> Path:
    """A whole copy of a database (its write-ahead log folded in) for the step to work on."""
    work = original.with_suffix(".migrating")
    work.unlink(missing_ok=True)
    kept = original.with_name(f"{original.name}.format-{number}")
    source = kept if kept.exists() else original  # an earlier attempt was killed between rename and number
    if source.exists():
        database = SQLite(source)
        database.rows("pragma wal_checkpoint(truncate)")
        database.close()
        shutil.copyfile(source, work)
    return work


def _replace(path: Path, number: int) -> None:
    for name in FILES:
        original, work = path / name, (path / name).with_suffix(".migrating")
        kept = original.with_name(f"{name}.format-{number}")
        sync_file(work)
        if original.exists() and not kept.exists():
            original.rename(kept)
        for leftover in (f"{name}-wal", f"{name}-shm"):
            (path / leftover).unlink(missing_ok=True)
        work.rename(original)
    sync_folder(path)
