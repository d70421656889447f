"""Whose turn it is to keep a shop: one process over all processes and machines, by a row of the ledger's table of leases.

A holder renews its row every few seconds. Whoever waits looks whether the row changes, by a clock of its own that only goes
forward: a row that stands still is a dead holder's, whatever the clocks on the wall of two machines say and however far they
are set back. A holder that was stopped for a while finds its row in another's name and begins nothing more.
"""

from __future__ import annotations

import os
import socket
import time
from functools import cache
from pathlib import Path

from mofang.core.database import Database
from mofang.core.identity import new_id, now_us

KEY = "keeper"
PATIENCE_S = 45.0  # a row that stands still for so long is taken over
RENEW_S = 10.0


@cache
def here() -> str:
    """This machine, as far as process numbers mean anything: its name, and on Linux the namespace of its numbers."""
    try:
        space = Path("/proc/self/ns/pid").readlink().name
    except OSError:
        space = ""
    return (socket.gethostname() + space).replace(" ", "")


class Turn:
    """One process's claim to keep the shop. ``db`` is the ledger's database, on a connection of this claim's own."""

    def __init__(self, db: Database, patience_s: float = PATIENCE_S) -> None:
        self.db, self.patience_s = db, patience_s
        self.me = f"{new_id('holder')} {here()} {os.getpid()}"
        self.mine = False
        self._seen: tuple[str, int] = ("", 0)
        self._seen_s = self._renewed_s = 0.0

    def take(self) -> bool:
        """Take, keep or find the turn; True while it is this process's. To be called every second or so; never waits."""
        if self.mine and time.monotonic() < self._renewed_s + RENEW_S:
            return True
        began_s = time.monotonic()
        with self.db.transaction():
            found = self.db.rows("select holder, until_us from lease where key=?", (KEY,))
            self.mine = self._taken(str(found[0][0]), int(found[0][1])) if found else self._first()
        self._renewed_s = began_s
        return self.mine

    def _first(self) -> bool:
        sql = "insert into lease(key, holder, until_us) values(?,?,?) on conflict(key) do nothing"
        return self.db.run(sql, (KEY, self.me, self._until())) == 1

    def _taken(self, holder: str, until_us: int) -> bool:
        """Renew one's own row, or take over one that its holder does not renew any more."""
        if holder != self.me and not is_dead(holder):
            if (holder, until_us) != self._seen:
                self._seen, self._seen_s = (holder, until_us), time.monotonic()
            if time.monotonic() < self._seen_s + self.patience_s:
                return False
        sql = "update lease set holder=?, until_us=? where key=? and holder=? and until_us=?"
        return self.db.run(sql, (self.me, max(self._until(), until_us + 1), KEY, holder, until_us)) == 1

    def _until(self) -> int:
        return now_us() + int(self.patience_s * 1_000_000)

    def let_go(self) -> None:
        """End the turn, so that the next one need not wait."""
        self.mine = False
        with self.db.transaction():
            self.db.run("delete from lease where key=? and holder=?", (KEY, self.me))


def holder_of(db: Database) -> str:
    """Who keeps the shop now, as ``machine process``; empty if nobody does, as far as this machine can tell."""
    found = db.rows("select holder from lease where key=? and until_us>=?", (KEY, now_us()))
    if not found or is_dead(str(found[0][0])):
        return ""
    _, machine, process = str(found[0][0]).split(" ")
    return f"{machine.partition('pid:')[0]} {process}"


def is_dead(holder: str) -> bool:
    """True if the holder was a process of this machine that is gone; of another machine nobody here can tell."""
    _, machine, process = holder.split(" ")
    if machine != here() or os.name == "nt":  # on Windows a signal of 0 would end it
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
