"""Records come in, the model is taught, delivered and charged; each step is safe to repeat."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import orjson

from mofang.core.action import Act, action, turn
from mofang.core.ancestry import ancestry, carried_name, envelope, open_envelope, shop_name
from mofang.core.artifact import Artifact, Part, manifest_digest
from mofang.core.canonical import digest_of, sha256
from mofang.core.database import Database
from mofang.core.errors import MofangError
from mofang.core.foreign import IMPORT, record
from mofang.core.identity import now_us
from mofang.core.journal import NewRow
from mofang.core.ledger import Entry
from mofang.core.money import format_price
from mofang.core.run import Cost, leased
from mofang.core.shop import Shop
from mofang.core.stage import OnDisk
from mofang.core.unlocked import remove_own
from mofang.engine.task import task_named
from mofang.trade.accounts.customers import find_customer
from mofang.trade.accounts.lists import open_books
from mofang.trade.billing.oneoff import OneOff, charge, oneoffs
from mofang.trade.customs.orders import (
    JOURNAL,
    Custom,
    alive,
    base_of,
    find_custom,
    give_back,
    keep_held,
    open_orders,
    whole,
)
from mofang.trade.customs.room import FILE_BYTES_MOST, KINDS, keep_rows, open_room, read_rows
from mofang.trade.customs.terms import check_base, taught_on
from mofang.trade.pricing.prices import Price, price_at, price_set, prices

if TYPE_CHECKING:
    from mofang.trade.customs.teaching import Taught

CUSTOMISED_VERSION = 1
Learn = Literal["auto", "both", "own"]
STATEMENT = "statement.json"
WORSE = ("test_rows", "own_right", "base_right", "own", "base")


class Customised(Artifact):
    """A model of a customer's own, as this shop's ledger knows it: statement.json, and ``ancestry/`` with the signed entries of
    the room in which it was made. The model itself lies in the room."""

    kind = "customised"


@dataclass(frozen=True)
class Delivered:
    """What a run came to: the customisation, what was taught, and the charge (None where the model was declined)."""

    custom: Custom
    taught: Taught
    charged: OneOff | None
    price: str


def columns_of(shop: Shop, custom: Custom) -> tuple[list[dict[str, str]], str, str]:
    """The base's input columns, its label, and what that holds: what a customer's file must have."""
    package = base_of(shop, custom)
    snapshot = taught_on(shop, package)
    described = check_base(shop, package)
    label = snapshot.read_json("about.json")["label"] if snapshot else described.get("label", "label")
    return described["inputs"], str(label), task_named(described["task"]).target


def add_records(act: Act, custom: Custom, data: bytes, kind: str) -> tuple[Custom, int, bool]:
    """Take a file of records into the customer's room; the customisation after it, the rows, and whether it was there before.

    Raises ``customise-file``, ``customise-columns``, ``customise-row``, ``customise-too-much``, ``customise-quote-expired``.
    """
    shop = act.shop
    require_open(alive(custom))
    rows = read_rows(data, kind, *columns_of(shop, custom))
    room = open_room(shop, custom)
    with turn(act, JOURNAL) as db:
        alive(find_custom(db, custom.id))
        size_bytes, repeated = keep_rows(room, rows)
        if not repeated:
            body = {"custom": custom.id, "records": len(rows), "bytes": size_bytes}
            act.record(JOURNAL, NewRow("records", body, account=custom.account))
        return find_custom(db, custom.id), len(rows), repeated


def require_open(custom: Custom) -> None:
    """Refuse work for which nothing is set aside any more."""
    if custom.state == "delivered":
        raise MofangError("customise-delivered", name=custom.name)
    if custom.expires_us <= now_us():
        raise MofangError("customise-quote-expired", name=custom.name)


@action(may="train")
def custom_add(act: Act, *, custom: str, file: Annotated[str, OnDisk()]) -> Custom:
    """Add a file of a customer's records (CSV, TSV, JSON or JSON lines, with the base's columns) to the customer's room."""
    open_books(act.shop)
    place = Path(file)
    if not place.is_file():
        raise MofangError("customise-file", reason=f"there is no file {place.name}")
    kind = KINDS.get(place.suffix.lower(), place.suffix.lower().lstrip(".") or "?")
    return add_records(act, find_custom(act.shop.control, custom), _read(place), kind)[0]


def _read(place: Path) -> bytes:
    with place.open("rb") as file:
        return file.read(FILE_BYTES_MOST + 1)


@action(may="release")
def custom_run(act: Act, *, custom: str, learn: Learn = "auto", price: str = "", seed: int = 0) -> Delivered:
    """Teach the base on the customer's records, and deliver, charge and price the model if it passes.

    It passes where every gate of packaging does and the customer's own test rows do not show it to be worse than the base;
    otherwise nothing is charged and what was set aside is free again.
    ``learn`` is what it learns from: ``both`` (the base's training rows too), ``own``, or
    ``auto``. Calls cost ``price``, or what the base's calls cost. Cut off anywhere, typed again it goes on.
    """
    shop = act.shop
    open_orders(shop)
    found = alive(find_custom(shop.control, custom))
    with leased(shop, lease_key(found.id)):
        require_open(alive(find_custom(shop.control, found.id)))
        return run_held(act, found.id, learn, price, seed)


def lease_key(custom: str) -> str:
    """The lease that whoever runs or deletes an order holds: one at a time, over all machines."""
    return digest_of(["custom", custom])


def run_held(act: Act, custom: str, learn: Learn, price: str, seed: int,
             tick: Callable[[int], None] = lambda _: None) -> Delivered:
    """What ``custom_run`` does, while its lease is held; ``tick`` is told how far it is, in percent, and may raise to stop it."""
    from mofang.trade.customs.teaching import teach

    shop = act.shop
    found = alive(find_custom(shop.control, custom))
    base = base_of(shop, found)
    if not found.records:
        raise MofangError("customise-no-records", name=found.name)
    with turn(act, JOURNAL) as db:
        keep_held(act, db, alive(find_custom(db, found.id)))
    room = open_room(shop, found)
    room.change_settings(seller=found.name)
    try:
        taught = teach(shop, room, found.name, base, learn, seed, tick)
    finally:
        remove_own(room.path)  # a worker goes on to other customers: nothing of this one stays in plain
    if taught.worse:
        took_ms = round(used_s(shop, found, taught) * 1000)
        numbers = {name: taught.figures[name] for name in WORSE if name in taught.figures}
        reason = "customise-worse" if "own_right" in numbers else "customise-figure-worse"
        decline(act, found.id, reason, numbers, figures=taught.figures, used_ms=took_ms)
        return Delivered(find_custom(shop.control, found.id), taught, None, "")
    entry = _entered(shop, room, found, base, taught)
    return _settled(act, found, taught, entry, price)


def decline(act: Act, custom: str, reason: str, numbers: dict[str, Any], **more: Any) -> None:
    """An order ends undelivered: nothing is charged, and what was set aside for it is given back, in one transaction.

    Of the reason its code and numbers are kept: its words may be the customer's own.
    """
    with turn(act, JOURNAL) as db:
        found = find_custom(db, custom)
        body = {"custom": custom, "reason": reason, "told": orjson.dumps(numbers).decode(), "returned": give_back(act, db, found),
                **more}
        act.record(JOURNAL, NewRow("declined", body, account=found.account))


def _entered(shop: Shop, room: Shop, custom: Custom, base: Artifact, taught: Taught) -> Entry:
    """The ledger entry of a delivery: the base it was made from, and the room's signed entries behind the model."""
    key = digest_of(["customise", CUSTOMISED_VERSION, custom.id, taught.package.digest, taught.named.version])
    if known := shop.ledger.last(key, "done"):
        return known
    began = time.monotonic()
    files = {part.name: [part.kind, part.digest, part.size_bytes] for part in taught.package.parts}
    signed = envelope(room, ancestry(room, taught.package, str(taught.named), files))
    document = open_envelope(signed)  # never keep what could not be read again
    digest = sha256(signed)
    statement = statement_of(shop, room, custom, taught)
    parts = _kept(shop, {carried_name(digest): signed, STATEMENT: statement})
    licences = sorted({*taught.package.licences, *base.licences})
    took_s = used_s(shop, custom, taught)
    cost = Cost(wall_s=took_s, cpu_s=cpu_s(room) * took_s / max(took_s, taught.used_s, 0.001)).to_dict(shop.rates)
    body = {
        "stage": IMPORT, "version": CUSTOMISED_VERSION, "settings": {"customer": custom.account, "learn": taught.learnt},
        "inputs": [base.reference()], "returned": "", "licences": licences, "added_licences": licences, "nested": [],
        "choices": {},
        "output": {"kind": Customised.kind, "digest": manifest_digest(parts), "parts": [part.to_list() for part in parts]},
        "measures": {**taught.rows, "used_s": took_s, "entered_s": round(time.monotonic() - began, 3), **taught.figures},
        "lineage": digest_of(["customise", custom.id, taught.package.digest]), "cost": {"own": cost, "total": cost},
        "foreign": {"shop": document["shop"]["id"], "name": document["shop"]["name"], "room": custom.id,
                    "fingerprint": document["shop"]["fingerprint"], "entry": taught.package.entry,
                    "content": next(one["content"] for one in document["entries"] if one["id"] == taught.package.entry),
                    "document": digest},
    }
    with shop.ledger.db.transaction():
        entry = shop.ledger.append_within("done", key, shop.actor, body)
        record(shop.ledger.db, str(shop.settings["id"]), [(digest, document)])
    return entry


def used_s(shop: Shop, custom: Custom, taught: Taught) -> float:
    """Seconds that the runs of a room have taken since the last time that they were settled or declined."""
    rows = shop.journals.rows(JOURNAL, account=custom.account)
    before_ms: int = sum(row.body.get("used_ms", 0) for row in rows if row.body.get("custom") == custom.id)
    return round(max(0.0, taught.used_s - before_ms / 1000), 3)


def cpu_s(room: Shop) -> float:
    """Processor seconds of all runs of a room."""
    return sum(float(one.body["cost"]["own"]["cpu_s"]) for one in room.ledger.entries("done") if one.body.get("cost"))


def statement_of(shop: Shop, room: Shop, custom: Custom, taught: Taught) -> bytes:
    """What was made, of what, and how well: for the customer to keep. It holds no record and no word of one."""
    seq, chain = room.ledger.head()
    return orjson.dumps({"format": 1, "seller": shop_name(shop), "customisation": custom.id, "model": str(taught.named),
                         "base": custom.base, "learnt_from": taught.learnt, "rows": taught.rows, "figures": taught.figures,
                         "package": taught.package.digest, "room": {"entries": seq, "head": chain},
                         "licences": sorted(taught.package.licences)}, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)


def _kept(shop: Shop, files: dict[str, bytes]) -> tuple[Part, ...]:
    import tempfile

    (shop.path / "scratch").mkdir(exist_ok=True)
    parts = []
    with tempfile.TemporaryDirectory(dir=shop.path / "scratch") as scratch:
        for number, (name, data) in enumerate(sorted(files.items())):
            place = Path(scratch) / str(number)
            place.write_bytes(data)
            parts.append(Part(name, "json", *shop.store.keep(place)))
    return tuple(sorted(parts))


def _settled(act: Act, custom: Custom, taught: Taught, entry: Entry, price: str) -> Delivered:
    """End what was set aside, charge, price, and put the model on sale to its customer: one transaction."""
    shop = act.shop
    with turn(act, JOURNAL) as db:
        now, took_s = alive(find_custom(db, custom.id)), used_s(shop, custom, taught)
        if now.state == "delivered" and now.delivered == entry.id:  # another worker was as far: one delivery, one charge
            return Delivered(now, taught, _charged(db, entry.id), "")
        who = find_customer(db, custom.account)
        give_back(act, db, now)
        micros = now.micros
        if now.basis == "used":
            micros = min(now.micros, whole(math.ceil(took_s) * now.hour_micros, who.currency))
        what = f"{taught.named} · {custom.base}"
        charged = charge(act, who.id, "customisation", what, micros, who.currency, entry.id)
        holds = _priced(act, db, custom, price, who.currency)
        body = {"custom": custom.id, "version": taught.named.version, "entry": entry.id, "micros": micros,
                "charge": charged.id, "used_ms": round(took_s * 1000)}
        act.record(JOURNAL, NewRow("delivered", body, account=custom.account))
        return Delivered(find_custom(db, custom.id), taught, charged, format_price(holds.rate, holds.currency) if holds else "")


def _priced(act: Act, db: Database, custom: Custom, price: str, currency: str) -> Price | None:
    """What calls cost: ``price`` where it is said, what they cost already, or all that holds for the base's calls."""
    holds = price_at(prices(db, custom.name), now_us())
    asked = price_at(prices(db, custom.base.partition("@")[0]), now_us())
    if price:
        output = asked.output if asked and not holds else 0
        return price_set(act, model=custom.name, price=price, currency=currency, output=output)
    if holds is not None or asked is None or asked.currency != currency:
        return holds
    new = replace(asked, model=custom.name, version=1 + len(prices(db, custom.name)), from_us=now_us())
    body = {"model": new.model, "version": new.version, "rate": new.rate, "currency": new.currency, "from_us": new.from_us,
            **({"output": new.output} if new.output != 1 else {}), **({"plan": new.plan} if new.postpaid else {})}
    act.record("prices", NewRow("price", body))
    return new


def _charged(db: Database, entry: str) -> OneOff:
    return next(one for one in oneoffs(db) if one.reference == entry)
