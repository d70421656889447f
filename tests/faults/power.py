"""A power cut, simulated: SQLite over files that forget what was not yet synced, under the product's own statements.

``trial(seed, folder)`` runs a shop's ledger, actions and meter until the power fails at a random write, drops a random
part of the unsynced writes, starts again, and says what was acknowledged and is not there. The model is harsher than
most disks: any unsynced write may be lost, alone, and in any order.
"""

from __future__ import annotations

import os
import random
import shutil
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import apsw

from mofang.core.action import Act
from mofang.core.database import SQLite, Transactions
from mofang.core.errors import MofangError
from mofang.core.identity import Actor, now_us
from mofang.core.journal import Journals
from mofang.core.ledger import Ledger
from mofang.trade.accounts.customers import customer_new, customer_top_up
from mofang.trade.accounts.limits import Budget
from mofang.trade.billing.balance import return_expired
from mofang.trade.pricing.prices import Price, price_set
from mofang.trade.request.commit import Charge, Draw, most_for
from mofang.trade.request.meter import Meter
from mofang.trade.request.replay import stored_answers

ACTOR = Actor("tester")
WRITES_LEAST, WRITES_MOST = 20, 900  # the cut comes after so many writes and syncs of the run


class PowerFile(apsw.VFSFile):
    """A file that remembers how to undo every write since its last sync."""

    def __init__(self, power: Power, name: Any, flags: list[int]) -> None:
        super().__init__("", name, flags)
        self.name = name.filename() if hasattr(name, "filename") else name
        self.power = power
        self.undo: list[tuple[int, bytes, int]] = []
        power.files.append(self)

    def xWrite(self, data: bytes, offset: int) -> None:
        self.power.count()
        size = super().xFileSize()
        old = super().xRead(min(len(data), size - offset), offset) if offset < size else b""
        self.undo.append((offset, old, size))
        super().xWrite(data, offset)

    def xTruncate(self, size: int) -> None:
        self.power.count()
        before = super().xFileSize()
        tail = super().xRead(before - size, size) if size < before else b""
        self.undo.append((size, tail, before))
        super().xTruncate(size)

    def xSync(self, flags: int) -> None:
        self.power.count()
        super().xSync(flags)
        self.undo.clear()


class Power(apsw.VFS):
    """All files of one machine, until the power is cut at write or sync number ``cut``."""

    def __init__(self, name: str) -> None:
        self.name, self.done, self.cut, self.off = name, 0, 0, False
        self.files: list[PowerFile] = []
        self.connections: list[apsw.Connection] = []
        self.lock = threading.Lock()
        super().__init__(name, "")

    def xOpen(self, name: Any, flags: list[int]) -> PowerFile:
        return PowerFile(self, name, flags)

    def count(self) -> None:
        with self.lock:
            self.done += 1
            self.off = self.off or self.done == self.cut
            if self.off:
                raise apsw.IOError("no power")

    def clear_away(self) -> None:
        """Close what the dead machine had open; its last writes reach nothing that is looked at any more."""
        self.off, self.cut = False, -1
        for connection in self.connections:
            connection.close(True)

    def forget(self, chance: random.Random) -> None:
        """Undo some of the writes that were never synced, newest first."""
        for file in self.files:
            count = len(file.undo)
            kept = chance.randint(0, count)
            tail = chance.random() < 0.5
            drop = [at for at in range(count) if (at >= kept if tail else chance.random() < 0.5)]
            for at in reversed(drop):
                self._undo(file.name, file.undo[at], last=at == count - 1)

    def _undo(self, name: str, write: tuple[int, bytes, int], last: bool) -> None:
        if not os.path.exists(name):  # a journal that was done with
            return
        offset, old, size = write
        descriptor = os.open(name, os.O_RDWR)
        if old:
            os.pwrite(descriptor, old, offset)
        if last and offset + len(old) >= size and size < os.fstat(descriptor).st_size:
            os.ftruncate(descriptor, size)
        elif not old:
            os.pwrite(descriptor, b"\0" * 64, offset)
        os.close(descriptor)


class PowerSQLite(Transactions):
    """The product's connection protocol over apsw. ``again`` shares the connection: the VFS holds the file alone."""

    dialect = "sqlite"
    begin = "begin immediate"

    def __init__(self, path: Path, power: Power, synchronous: str = "full") -> None:
        super().__init__()
        self.raw = apsw.Connection(str(path), vfs=power.name)
        power.connections.append(self.raw)
        for pragma in ("locking_mode=exclusive", "journal_mode=wal", f"synchronous={synchronous}", "foreign_keys=on",
                       "wal_autocheckpoint=20"):
            self.raw.execute(f"pragma {pragma}").fetchall()

    def rows(self, sql: str, params: Any = ()) -> list[tuple[Any, ...]]:
        with self.lock:
            return list(self.raw.execute(sql, tuple(params)))

    def run(self, sql: str, params: Any = ()) -> int:
        with self.lock:
            self.raw.execute(sql, tuple(params)).fetchall()
            return self.raw.changes()

    def many(self, sql: str, params: Iterable[Any]) -> None:
        with self.lock:
            self.raw.executemany(sql, [tuple(each) for each in params])

    def rollback(self) -> None:
        if self.raw.in_transaction:
            self.raw.execute("rollback")

    def again(self) -> PowerSQLite:
        return self

    def close(self) -> None:
        pass


class Counter:
    """As much of a shop as actions need."""

    currency = "CNY"

    def __init__(self, db: Any) -> None:
        self.control, self.journals = db, Journals(db)

    def act(self, function: Any, **given: Any) -> Any:
        return function(Act(self, ACTOR), **given)  # type: ignore[arg-type]


class Acknowledged:
    """What somebody was told is done; told before the power went off."""

    def __init__(self) -> None:
        self.entries: list[str] = []
        self.payments: dict[str, int] = {}
        self.requests: dict[str, str] = {}  # request id → retry key
        self.lock = threading.Lock()


def work(folder: Path, power: Power, chance: random.Random, told: Acknowledged, synchronous: str) -> None:
    """Use the shop until the power fails."""
    ledger = Ledger(PowerSQLite(folder / "ledger.db", power, synchronous))
    shop = Counter(PowerSQLite(folder / "meter.db", power, synchronous))
    meter = Meter(shop.control)
    account = shop.act(customer_new, name="Ming", credit="100").id
    price = shop.act(price_set, model="reviews", price="0.0337/1000")
    power.cut = power.done + chance.randint(WRITES_LEAST, WRITES_MOST)
    meter.start()
    for step in range(10_000):
        kind = chance.random()
        if kind < 0.1:
            told.entries.append(ledger.append("decision", f"k{step}", ACTOR, {"n": "x" * chance.randint(1, 900)}).id)
        elif kind < 0.2:
            shop.act(customer_top_up, customer="Ming", amount="1.50", reference=f"t{step}")
            told.payments[f"t{step}"] = 1_500_000
        else:
            sell(meter, account, price, chance, told, step)


def reserve(meter: Meter, account: str, micros: int, budgets: tuple[Budget, ...]) -> None:
    """Reserve, if need be with the help of the database."""
    if meter.reserve(account, micros, budgets):
        return
    drawn, refusals = threading.Event(), []

    def done(refusal: MofangError | None) -> None:
        refusals.append(refusal)
        drawn.set()

    meter.submit(Draw(account, micros, done, budgets))
    drawn.wait(30)
    if refusals[0] is not None:
        raise refusals[0]


def sell(meter: Meter, account: str, price: Price, chance: random.Random, told: Acknowledged, step: int) -> None:
    """Some requests at once, then wait for all."""
    waiting = []
    budgets = (Budget(f"{account}/key", 50_000_000, 100_000),) if chance.random() < 0.5 else ()
    for number in range(chance.randint(1, 12)):
        units = chance.randint(1, 30)
        come = threading.Event()
        reserve(meter, account, most_for(units, price), budgets)
        request, retry_key = f"req_{step}_{number}", f"key_{step}_{number}"

        def done(outcome: Any, request: str = request, retry_key: str = retry_key, come: Any = come) -> None:
            if not isinstance(outcome, MofangError):
                told.requests[request] = retry_key
            come.set()

        meter.submit(Charge(request, account, "key", "reviews@1", "run_x", units, price, False, most_for(units, price),
                            b"answer " + request.encode(), done, retry_key, "digest", budgets=budgets))
        waiting.append(come)
    for come in waiting:
        come.wait(30)
    if meter.state != "running":
        raise MofangError("meter-stopped")


def trial(seed: int, folder: Path, synchronous: str = "full") -> tuple[int, list[str]]:
    """One life, one cut, one new start: how much was acknowledged, and everything that is wrong afterwards."""
    chance, told = random.Random(seed), Acknowledged()
    before, after = folder / "before", folder / "after"
    for place in (before, after):
        shutil.rmtree(place, ignore_errors=True)
    before.mkdir(parents=True)
    power = Power(f"power-{os.getpid()}-{seed}")
    try:
        work(before, power, chance, told, synchronous)
    except (apsw.Error, MofangError):
        pass
    finally:
        power.off = True
    assert power.done >= power.cut > 0, "the power must fail before the work ends"
    power.forget(chance)
    shutil.copytree(before, after)
    power.clear_away()
    wrong = look(after, told)
    return len(told.entries) + len(told.payments) + len(told.requests), wrong


def look(folder: Path, told: Acknowledged) -> list[str]:
    """What is missing or damaged after the new start."""
    ledger_db, db = SQLite(folder / "ledger.db"), SQLite(folder / "meter.db")
    wrong = [f"{name}: {row[0]}" for name, each in (("ledger", ledger_db), ("meter", db))
             for row in each.rows("pragma integrity_check") if row[0] != "ok"]
    if wrong:
        return wrong
    ledger, journals = Ledger(ledger_db), Journals(db)
    wrong += ledger.verify() + journals.verify()
    wrong += [f"entry {id} lost" for id in set(told.entries) - {entry.id for entry in ledger.entries()}]
    paid = dict(db.rows("select reference, micros from topup"))
    wrong += [f"payment {name} lost" for name, micros in told.payments.items() if paid.get(name) != micros]
    used = [row.id for row in journals.rows("usage") if row.kind == "use"]
    wrong += [f"request {id} lost" for id in set(told.requests) - set(used)]
    spent = sum(row.body["micros"] for row in journals.rows("usage") if row.kind == "use" and row.body.get("budgets"))
    kept = db.rows("select coalesce(sum(micros), 0) from budget_used")[0][0]
    wrong += [f"{kept} micros of the budget used, {spent} in rows"] if kept != spent else []
    account = db.rows("select account from account")[0][0]
    answers = stored_answers(db, [f"{account}/{key}" for key in told.requests.values()], now_us())
    wrong += [f"answer to {id} lost" for id, key in told.requests.items()
              if (found := answers.get(f"{account}/{key}")) is None or found.body != b"answer " + id.encode()]
    return_expired(journals, now_us() + 10**12)
    held = db.rows("select coalesce(sum(micros), 0) from allotment")[0][0]
    return wrong + ([f"{held} micros stay set aside"] if held else []) + journals.verify()
