"""A shop that has been busy for months: a million usage rows and ten thousand runs, made in about a minute.

Everything is written through the product's own formats (chains, edges, names, folded tables, seals, invoices), only in
bulk, so that ``mofang verify`` finds nothing. ``python -m tests.many FOLDER [--usage N] [--runs N]`` makes one by hand.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from mofang.core.artifact import Part, manifest_digest
from mofang.core.canonical import canonical, digest_of, sha256
from mofang.core.identity import PAIRS, now_us
from mofang.core.journal import COLUMNS as ROW_COLUMNS
from mofang.core.journal import FOLDS, Row, row_chain
from mofang.core.ledger import COLUMNS as ENTRY_COLUMNS
from mofang.core.ledger import content_digest
from mofang.core.money import charge
from mofang.core.shop import Shop
from mofang.trade.accounts.customers import customer_new
from mofang.trade.accounts.keys import key_new
from mofang.trade.billing import balance  # noqa: F401 - the tables that the meter folds from the usage rows
from mofang.trade.billing.invoices import bounds, period_at
from mofang.trade.billing.issuing import invoice_issue
from mofang.trade.pricing.prices import price_set

DAYS = 75  # how long ago it began: two whole months lie in between
DAY_US = 86_400_000_000
AT_ONCE = 20_000
SEALS = 12
WRITERS = 3
MODELS = ("reviews", "digits", "cancer", "titles", "评论")
CUSTOMERS = ("Book Shop", "甲公司", "Hotel 乙", "Tester")
SHARES = (0.9, 0.06, 0.03, 0.01)  # of all requests
RATE = 5_000_000_000  # ¥5.00/1000 in micros for a million units
CHAIN = ("collect", "clean", "snapshot", "train", "evaluate", "package")  # the runs behind one model
KINDS = dict(zip(CHAIN, ("records", "cleaned", "snapshot", "model", "evaluation", "package"), strict=True))
COST = {"wall_s": 12.5, "cpu_s": 20.25, "gpu_s": 0.0, "peak_mb": 310.0, "energy_wh": 0.0563, "micros": None}


@dataclass
class Many:
    """What was made. ``tokens`` are one live key for each customer (a test key for the test customer)."""

    path: Path
    usage: int
    runs: int
    accounts: dict[str, str] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)
    models: list[str] = field(default_factory=list)
    invoices: list[str] = field(default_factory=list)


def make_many(path: Path, usage: int = 1_000_000, runs: int = 10_000, *, database: str = "", seed: int = 0,
              invoices: bool = True) -> Many:
    """A shop in an empty folder with so many answered requests and runs, spread over 75 days up to now."""
    shop, chance = Shop.open(path, database=database), random.Random(seed)
    made = Many(shop.path, usage, runs)
    began_us = now_us() - DAYS * DAY_US
    made.models = write_runs(shop, runs, began_us, chance)
    _trade(shop, made)
    write_usage(shop, made, usage, began_us, chance)
    if invoices and usage:
        _bill(shop, made, began_us)
    return made


def id_at(prefix: str, at_us: int, number: int) -> str:
    """An id as ``new_id`` makes it, for a moment in the past."""
    bits = (at_us // 1000) << 80 | number
    return f"{prefix}_{''.join([PAIRS[bits >> shift & 1023] for shift in range(120, -10, -10)])}"


# Runs


def write_runs(shop: Shop, runs: int, began_us: int, chance: random.Random) -> list[str]:
    """Start and end of so many runs, six to a model; some failed, three never ended. Returns the names given."""
    step_us = DAYS * DAY_US // (2 * runs + min(100, runs // 6) + 5)
    entries: list[tuple[Any, ...]] = []
    edges: list[tuple[str, str]] = []
    names: list[tuple[Any, ...]] = []
    seq, chain = shop.ledger.head()
    before: dict[str, str] = {}

    def write(kind: str, key: str, body: dict[str, Any], id: str) -> str:
        nonlocal seq, chain
        seq += 1
        at_us = began_us + (seq + 1) * step_us
        id = id or id_at("run", at_us, seq)
        text = canonical({"who": shop.actor.name, **body}).decode()
        chain = sha256(f"{chain}:{content_digest(id, kind, key, 'shop', at_us, text)}".encode())
        entries.append((seq, id, kind, key, "shop", at_us, text, chain))
        edges.extend((id, parent) for parent in sorted({given["entry"] for given in body.get("inputs", [])}))
        return id

    for number in range(runs):
        stage = CHAIN[number % len(CHAIN)]
        key = digest_of(["many", number])
        said = {"stage": stage, "version": 1, "settings": {"number": number}, "inputs": [before] if stage != CHAIN[0] else []}
        start = write("start", key, said, "")
        if number in (runs - 1, runs - 2, runs - 3) and runs > 10 * len(CHAIN):
            continue
        if stage == "train" and chance.random() < 0.05:
            write("fail", key, {**said, "error": "budget-too-small", "start": start}, "")
            continue
        parts = _parts(shop, stage, number)
        digest = manifest_digest(parts)
        id = write("done", key, _done(said, start, stage, parts, digest), "")
        before = {"entry": id, "digest": digest, "within": "", "kind": KINDS[stage]}
        if stage == "package":
            name, version = MODELS[len(names) % len(MODELS)], len(names) // len(MODELS) + 1
            if version <= 20:
                named = {"name": name, "version": version, "kind": "package", "entry": id}
                write("decision", f"name:{name}", {"decision": "name", "named": named, "inputs": [before]}, "")
                names.append(("shop", name, version, "package", id))
    _insert_runs(shop, entries, edges, names, (seq, chain))
    return [f"{name}@{version}" for _, name, version, *_ in names]


def _done(said: dict[str, Any], start: str, stage: str, parts: tuple[Part, ...], digest: str) -> dict[str, Any]:
    output = {"kind": KINDS[stage], "digest": digest, "parts": [part.to_list() for part in parts]}
    return {**said, "start": start, "output": output, "returned": "", "licences": ["own"], "added_licences": ["own"],
            "measures": {"samples_per_s": 2000.0} if stage == "package" else {"rows": 35_124, "candidates": []}, "nested": [], "choices": {},
            "code": {"stage": stage, "version": "1"}, "lineage": digest_of([stage, start]),
            "cost": {"own": COST, "total": COST}}


def _parts(shop: Shop, stage: str, number: int) -> tuple[Part, ...]:
    """One small file of its own for each run; a package says of itself what a list of models shows."""
    value = 0.8 + number % 100 / 1000
    about = {"format": 1, "stage": stage, "number": number, "task": "text_classification", "licences": ["own"],
             "headline": "accuracy", "evaluation": {"headline": "accuracy", "rows": 3_512, "interval": 0.95, "metrics": {
                 "accuracy": {"value": value, "low": value - 0.01, "high": value + 0.01}}}}
    data = canonical(about)
    digest = sha256(data)
    place = shop.store.path(digest)
    place.parent.mkdir(exist_ok=True)
    if not place.exists():
        place.write_bytes(data)
        place.chmod(0o444)
    return (Part("package.json" if stage == "package" else "about.json", "json", digest, len(data)),)


def _insert_runs(shop: Shop, entries: list[tuple[Any, ...]], edges: list[tuple[str, str]], names: list[tuple[Any, ...]],
                 head: tuple[int, str]) -> None:
    db = shop.ledger.db
    with db.transaction():
        db.many(f"insert into entry({ENTRY_COLUMNS}) values(?,?,?,?,?,?,?,?)", entries)
        db.many("insert into edge(child, parent) values(?,?)", edges)
        db.many("insert into name(owner, name, version, kind, entry) values(?,?,?,?,?)", names)
        db.run("update ledger_head set seq=?, chain=? where id=1", head)


# Trade


def _trade(shop: Shop, made: Many) -> None:
    """Customers, keys, prices, by their actions."""
    for name in CUSTOMERS:
        test = name == "Tester"
        made.accounts[name] = shop.act(customer_new, name=name, credit="100000", test=test).id
        made.tokens[name] = shop.act(key_new, customer=name, test=test, label="first").token
    for model in sorted({name.partition("@")[0] for name in made.models} or {"reviews"}):
        shop.act(price_set, model=model, price="5.00/1000")


def write_usage(shop: Shop, made: Many, usage: int, began_us: int, chance: random.Random) -> None:
    """So many answered requests, of several servers, as the meter writes them; most of them sealed, the last not."""
    shop.journals.make_tables()
    rows = _usage_rows(shop, made, usage, began_us, chance)
    heads = dict.fromkeys((f"w_{number}" for number in range(WRITERS)), (0, ""))
    marks = ",".join("?" * 10)
    insert = f"insert into journal({ROW_COLUMNS.removeprefix('position, ')}) values({marks})"
    total, sealed_at = 0, max(1, usage // SEALS)
    while page := list(islice(rows, min(AT_ONCE, sealed_at))):
        written = []
        for writer, id, at_us, account, kind, body in page:
            seq, chain = heads[writer]
            columns = ("usage", writer, seq + 1, id, "shop", at_us, account, kind, canonical(body).decode())
            heads[writer] = (seq + 1, row_chain(chain, columns))
            written.append((*columns, heads[writer][1]))
        with shop.control.transaction():
            shop.control.many(insert, written)
            FOLDS["usage"].apply(shop.control, [Row(0, *columns) for columns in written])
        if (total + len(page)) // sealed_at > total // sealed_at and total + len(page) < usage:
            shop.seal("usage")
        total += len(page)


def _usage_rows(shop: Shop, made: Many, usage: int, began_us: int, chance: random.Random) -> Iterator[tuple[Any, ...]]:
    """(writer, id, time, account, kind, body): for each server and customer first the money set aside, last the rest."""
    accounts = list(made.accounts.values())
    keys = {name: token.split("_")[2] for name, token in made.tokens.items()}
    key_of = {made.accounts[name]: keys[name] for name in made.accounts}
    tested = made.accounts["Tester"]
    served = _served(shop, made)
    left: dict[tuple[str, str], int] = {}
    ends_us = now_us()
    step_us = (ends_us - began_us) // (usage + 1)
    set_aside = 5_000 * (usage + 1) * 3
    for number in range(WRITERS):
        for account in accounts:
            if account != tested:
                left[f"w_{number}", account] = set_aside
                body = {"micros": set_aside, "expires_us": ends_us + 60_000_000}
                yield f"w_{number}", id_at("row", began_us, len(left)), began_us, account, "draw", body
    for number in range(usage):
        at_us = began_us + (number + 1) * step_us
        account = chance.choices(accounts, SHARES)[0]
        writer, test = f"w_{number % WRITERS}", account == tested
        model, package = served[number % len(served)]
        units = 1 + (number % 50 == 0) * 3
        micros = 0 if test else charge(units, RATE)[0]
        id = id_at("req", at_us, number)
        body = {"request_id": id, "key": key_of[account], "model": model, "package": package, "units": units,
                "price": None if test else 1, "rate": 0 if test else RATE, "micros": micros, "test": test}
        if not test:
            left[writer, account] -= micros
        yield writer, id, at_us, account, "use", body
    for at, ((writer, account), micros) in enumerate(left.items(), start=1):
        body = {"worker": writer, "micros": micros}
        yield writer, id_at("row", ends_us, at), ends_us, account, "return", body


def _served(shop: Shop, made: Many) -> list[tuple[str, str]]:
    """The newest version of three models, with the entries of their packages."""
    bases = list(dict.fromkeys(name.partition("@")[0] for name in made.models))[:3]
    return [(str(found), found.entry) for found in (shop.named(base) for base in bases)] or [("reviews@1", "run_none")]


def _bill(shop: Shop, made: Many, began_us: int) -> None:
    """The two small customers are billed for the two months that are over."""
    ended = period_at(bounds(period_at(now_us(), "+08:00"), "+08:00")[0] - 1, "+08:00")
    before = period_at(bounds(ended, "+08:00")[0] - 1, "+08:00")
    for month in (before, ended):
        for name in CUSTOMERS[1:3]:
            made.invoices.append(shop.act(invoice_issue, customer=name, period=month).number)


def main() -> int:
    """Make one by hand, and say how long it took."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--usage", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=10_000)
    given = parser.parse_args()
    began = time.monotonic()
    made = make_many(given.folder, given.usage, given.runs)
    sys.stdout.write(f"{made.usage:,} requests and {made.runs:,} runs in {time.monotonic() - began:.0f} s: {made.path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
