"""Whoever changes the past is found: a byte of a file, a row of a journal, an entry of the ledger."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from tests.stories.terminal import Terminal


def change(database: Path, sql: str) -> int:
    """Change a database behind Mofang's back; the number of rows."""
    writer = sqlite3.connect(database, timeout=10)
    with writer:
        rows = writer.execute(sql).rowcount
    writer.close()
    return rows


def largest_object(terminal: Terminal) -> Path:
    """Some file that a run made."""
    objects = [path for path in (terminal.folder / "shop" / "objects").rglob("*") if path.is_file()]
    return max(objects, key=lambda path: path.stat().st_size)


def test_a_flipped_byte_is_named(terminal: Terminal) -> None:
    path = largest_object(terminal)
    digest = path.parent.name + path.name if len(path.name) < 64 else path.name
    os.chmod(path, 0o644)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    done = terminal.type("verify", status=3)
    assert digest[:12] in done.out and "✗" in done.out
    wrong = terminal.type("verify", "--json", status=3).json
    assert wrong["verified"] is False and any(digest[:12] in line for line in wrong["wrong"])


def test_a_missing_file_is_named(terminal: Terminal) -> None:
    path = largest_object(terminal)
    digest = path.parent.name + path.name if len(path.name) < 64 else path.name
    path.unlink()
    assert digest[:12] in terminal.type("verify", status=3).out


def test_a_changed_journal_row_is_named(terminal: Terminal) -> None:
    terminal.type("customer", "new", "书店", "--credit", "10")
    terminal.type("verify")
    assert change(terminal.folder / "shop" / "meter.db",
                  "update journal set body=replace(body, '10000000', '90000000') where journal='customers'") == 1
    done = terminal.type("verify", status=3)
    assert "customers" in done.out


def test_a_changed_balance_is_named(terminal: Terminal) -> None:
    """The row is untouched, but what was folded from it is not."""
    terminal.type("customer", "new", "书店", "--credit", "10")
    assert change(terminal.folder / "shop" / "meter.db", "update account set credit_micros=99000000") == 1
    assert "account" in terminal.type("verify", status=3).out


def test_a_changed_or_removed_entry_is_named(terminal: Terminal) -> None:
    ledger = terminal.folder / "shop" / "ledger.db"
    assert change(ledger, "update entry set body=replace(body, '\"own\"', '\"CC0\"') where seq=2") == 1
    assert terminal.type("verify", status=3).out.count("✗") >= 1
    assert change(ledger, "delete from entry where seq=4") == 1
    assert terminal.type("verify", status=3).out.count("✗") >= 2
