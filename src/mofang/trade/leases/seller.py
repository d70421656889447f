"""What a seller does with leases: make one, renew it, end it, book the use that was sent home, find whose copy a file is."""

from __future__ import annotations

import hmac
import os
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from mofang.core.action import Act, action, turn
from mofang.core.artifact import Artifact
from mofang.core.canonical import canonical, file_digest, write_durably
from mofang.core.clock import local, shift
from mofang.core.errors import MofangError
from mofang.core.identity import new_id, now_us
from mofang.core.journal import NewRow
from mofang.core.language import current_language, say
from mofang.core.money import charge as priced
from mofang.core.money import parse_amount, parse_price, round_half_even_minor
from mofang.core.progress import progress
from mofang.core.rule import Rule
from mofang.core.signing import fingerprint, public_key
from mofang.core.stage import OnDisk
from mofang.core.strict import strict_json
from mofang.trade.accounts.customers import Customer, find_customer
from mofang.trade.accounts.lists import open_books, shop_offset
from mofang.trade.billing.oneoff import charge
from mofang.trade.leases.book import (
    JOURNAL,
    Lease,
    beyond,
    code_secret,
    data_key,
    find_lease,
    receipt_of,
)
from mofang.trade.leases.copies import contents, leasable
from mofang.trade.leases.file import write_lease
from mofang.trade.leases.licence import (
    DAY_US,
    FEATURES,
    Licence,
    new_lease_id,
    read_machine,
    signed,
    unlock_code,
    wrap,
)
from mofang.trade.leases.readme import ENDING as README
from mofang.trade.leases.readme import readme
from mofang.trade.leases.record import Row, Total, chain_key, checked, report_mac

if TYPE_CHECKING:
    from mofang.core.shop import Shop

START_WITHIN = "7d"
SPAN = re.compile(r"(\d{1,5})\s*(h|d|w|小时|天|周)")
SPANS_US = {"h": DAY_US // 24, "小时": DAY_US // 24, "d": DAY_US, "天": DAY_US, "w": 7 * DAY_US, "周": 7 * DAY_US}
INSTANCES_MOST = 1000
Path_ = Annotated[str, OnDisk()]


@dataclass(frozen=True)
class Made:
    """A lease's file that was written; ``code`` is empty where it is bound to machines. ``readme`` is the text beside it."""

    lease: Lease
    path: str
    size_bytes: int
    code: str
    fingerprint: str
    readme: str = ""


@action(may="money")
def lease_new(act: Act, *, model: str, customer: str, until: str, out: Path_, begin: str = "", grace: str = "7d",
              instances: Annotated[int, Rule(ge=1, le=INSTANCES_MOST)] = 1, machines: tuple[str, ...] = (),
              features: tuple[str, ...] = FEATURES, fee: str = "", quota: Annotated[int, Rule(ge=0, le=10**15)] = 0,
              overage: str = "", start_within: str = START_WITHIN, marked: bool = True) -> Made:
    """Hand a model to a customer: an encrypted file that answers offline until a day, under a signed licence.

    ``until`` is a day (to its end on the shop's clock) or a span such as ``90d``; ``machines`` bind it to installations. Refused
    where a licence or terms behind the model forbid it (``lease-forbidden``). The fee is charged once.
    """
    shop, place = act.shop, Path(out)
    package, name, who, words, fee_micros, rate = asked(
        shop, model, customer, place, until=until, begin=begin, grace=grace, instances=instances, machines=machines,
        features=features, fee=fee, quota=quota, overage=overage, start_within=start_within)
    key = data_key(shop, words.id)
    with (progress(say("Marking and checking", "正在加标记并核对")) as bar,
          contents(shop, package, name, words.id, marked=marked, note=bar.note) as (parts, strength)):
        found = tuple((part, path.stat().st_size, file_digest(path)) for part, path in sorted(parts.items()))
        licence = _wrapped(shop, replace(words, parts=found))
        beside = place.with_name(f".{place.name}.{os.getpid()}.new")
        try:
            with progress(say("Encrypting", "正在加密"), sum(size for _, size, _ in found)) as written:
                digest = write_lease(beside, signed(shop, licence), licence, key, parts, written.advance)
            size_bytes = beside.stat().st_size
            entry = new_id("run")
            body = {"decision": "lease", "inputs": [package.reference()], "file": place.name, "sha256": digest, "lease": words.id,
                    "customer": who.id}
            shop.ledger.append("decision", f"lease:{words.id}", shop.actor, body, id=entry)
            with act.transaction():
                told = {"licence": licence.to_dict(), "package": package.entry, "entry": entry, "currency": who.currency,
                        "overage": rate, "mark": strength}
                act.record(JOURNAL, NewRow("new", told, account=who.id))
                if fee_micros:
                    charge(act, who.id, "lease", f"{name}, {_days(shop, licence)}", fee_micros, who.currency, entry)
            mine, text = public_key(shop), place.with_name(place.name + README)
            write_durably(text, readme(licence, fingerprint(mine), place.name).encode())
            os.replace(beside, place)
        finally:
            beside.unlink(missing_ok=True)
    code = "" if machines else unlock_code(code_secret(shop, words.id), mine)
    return Made(find_lease(shop.control, words.id), str(place), size_bytes, code, fingerprint(mine), str(text))


def asked(shop: Shop, model: str, customer: str, place: Path, *, until: str, begin: str, grace: str, instances: int,
          machines: tuple[str, ...], features: tuple[str, ...], fee: str, quota: int, overage: str, start_within: str,
          ) -> tuple[Artifact, str, Customer, Licence, int, int]:
    """What `lease new` was asked for, checked before anybody is asked to say yes: package and its name, customer, what is agreed,
    fee in micros, and what a million units beyond the quota cost. Raises every refusal of ``lease_new``; writes nothing."""
    shop.require("release")
    shop.require("money")
    package, name = leasable(shop, model)
    if place.exists():
        raise MofangError("file-exists-already", path=str(place))
    who = find_customer(open_books(shop), customer)
    words = _words(shop, name, package, who.name, until, begin, grace, instances, machines, features, quota, start_within)
    fee_micros = parse_amount(fee, who.currency) if fee else 0
    rate = parse_price(overage, who.currency) if overage else 0
    if rate and not quota:
        raise MofangError("lease-overage")
    return package, name, who, words, fee_micros, rate


def _words(shop: Shop, name: str, package: Artifact, customer: str, until: str, begin: str, grace: str, instances: int,
           machines: tuple[str, ...], features: tuple[str, ...], quota: int, start_within: str) -> Licence:
    """What is agreed, without the parts and the key."""
    at_us = now_us()
    from_us = moment(begin, at_us, shop_offset(shop), end=False) if begin else at_us
    until_us = moment(until, from_us, shop_offset(shop), end=True)
    if until_us <= max(from_us, at_us):
        raise MofangError("lease-dates", begin=begin or "-", until=until)
    unknown = sorted(set(features) - set(FEATURES))
    if unknown or not features:
        raise MofangError("lease-feature", feature=", ".join(unknown) or "-", features=", ".join(FEATURES))
    for one in machines:
        read_machine(one)
    return Licence(new_lease_id(), 1, str(shop.settings["id"]), customer, name, package.digest, (), tuple(sorted(set(features))),
                   at_us, from_us, until_us, span(grace), instances, quota, max(at_us, from_us) + span(start_within),
                   tuple(sorted(set(machines))))


def _wrapped(shop: Shop, licence: Licence) -> Licence:
    secret = code_secret(shop, licence.id)
    return replace(licence, wrapped=wrap(data_key(shop, licence.id), secret, licence, public_key(shop)))


def _days(shop: Shop, licence: Licence) -> str:
    offset = shop_offset(shop)
    return f"{local(licence.from_us, offset):%Y-%m-%d} – {local(licence.until_us - 1, offset):%Y-%m-%d}"


def moment(text: str, from_us: int, offset: str, *, end: bool) -> int:
    """A day such as ``2027-06-30`` (its end or beginning, on the shop's clock) or a span: ``90d``. Raises ``lease-day``."""
    if SPAN.fullmatch(text.strip()):
        return from_us + span(text)
    try:
        found = datetime.strptime(text.strip(), "%Y-%m-%d").replace(tzinfo=UTC)
        found = found - shift(offset) + timedelta(days=1 if end else 0)
    except (ValueError, OverflowError):
        raise MofangError("lease-day", text=text) from None
    return int(found.timestamp()) * 1_000_000


def span(text: str) -> int:
    """``7d``, ``12h``, ``2w`` or ``0`` in microseconds. Raises ``lease-day``."""
    if text.strip() == "0":
        return 0
    known = SPAN.fullmatch(text.strip())
    if known is None:
        raise MofangError("lease-day", text=text)
    return int(known[1]) * SPANS_US[known[2]]


# Renewing, ending, booking


@action(may="money")
def lease_renew(act: Act, *, lease: str, until: str, out: Path_, fee: str = "",
                quota: Annotated[int, Rule(ge=-1, le=10**15)] = -1, reinstalled: bool = False,
                start_within: str = START_WITHIN) -> Made:
    """Let a lease go on: a small licence file of the next sequence, which the customer's runner accepts.

    ``quota`` is what the new term includes (-1: as the term before); what was left of the old one ends with it.
    ``reinstalled`` lets a machine whose record was lost start anew, once. Raises ``lease-revoked``, ``lease-dates``.
    """
    shop = act.shop
    place = Path(out)
    if place.exists():
        raise MofangError("file-exists-already", path=str(place))
    beside = place.with_name(f".{place.name}.{os.getpid()}.made")
    try:
        licence_id = _renewed(act, lease, until, beside, place.name, fee, quota, reinstalled, start_within)
        os.replace(beside, place)
    finally:
        beside.unlink(missing_ok=True)
    return Made(find_lease(shop.control, licence_id), str(place), place.stat().st_size, "", fingerprint(public_key(shop)))


def _renewed(act: Act, lease: str, until: str, beside: Path, name: str, fee: str, quota: int, reinstalled: bool,
             start_within: str) -> str:
    """Write the next licence and book it, in this order: what is booked has its file. The lease's id."""
    shop = act.shop
    with turn(act, JOURNAL) as db:
        found = find_lease(db, lease)
        if found.revoked_us:
            raise MofangError("lease-revoked", lease=found.id)
        at_us, before = now_us(), found.licence
        until_us = moment(until, max(at_us, before.until_us), shop_offset(shop), end=True)
        if until_us <= at_us:
            raise MofangError("lease-dates", begin="-", until=until)
        start_us = at_us + span(start_within) if reinstalled else 0
        micros = parse_amount(fee, found.currency) if fee else 0
        later = replace(before, sequence=before.sequence + 1, issued_us=at_us, until_us=until_us, start_until_us=start_us,
                        quota=before.quota if quota < 0 else quota, receipt=receipt_of(found), wrapped={})
        licence = _wrapped(shop, later)
        write_durably(beside, signed(shop, licence))
        entry = new_id("run")
        body = {"decision": "renew", "inputs": [{"entry": found.entry, "digest": before.digest, "within": "", "kind": "lease"}],
                "lease": found.id, "sequence": licence.sequence, "file": name}
        shop.ledger.append("decision", f"lease:{found.id}", shop.actor, body, id=entry)
        act.record(JOURNAL, NewRow("renew", {"licence": licence.to_dict()}, account=found.account))
        if micros:
            charge(act, found.account, "lease", f"{found.model}, – {_days(shop, licence)[-10:]}", micros, found.currency, entry)
    return found.id


@action(may="money")
def lease_revoke(act: Act, *, lease: str) -> Lease:
    """End a lease here: it is never renewed. A copy that is offline goes on to its end; ending twice changes nothing."""
    with turn(act, JOURNAL) as db:
        found = find_lease(db, lease)
        if not found.revoked_us:
            act.record(JOURNAL, NewRow("revoke", {"lease": found.id}, account=found.account))
    return find_lease(act.shop.control, found.id)


@dataclass(frozen=True)
class Taken:
    """A report that was booked: what was new in it, and what was charged beyond the quota, in micros."""

    lease: Lease
    requests: int
    units: int
    charged: int
    restarted: bool


@action(may="money")
def lease_take(act: Act, *, report: Path_) -> Taken:
    """Book the use that a customer sent home, and charge what goes beyond the quota. The same report twice is booked once.

    Raises ``lease-report-unreadable``, ``lease-record-changed``, and ``lease-report-gap`` where it does not go on from there.
    """
    told = _report(Path(report))
    with turn(act, JOURNAL) as db:
        found = find_lease(db, told["lease"])
        chain, mac = chain_key(data_key(act.shop, found.id)), told.pop("mac")
        rows, total = checked([canonical(row) for row in told["rows"]], chain, found.id)
        said = [told["requests"], told["units"], told["link"]]
        if not hmac.compare_digest(report_mac(chain, told), mac) or [total.requests, total.units, total.link] != said:
            raise MofangError("lease-record-changed", row=total.rows)
        before = _booked(found, rows, total)
        new = (max(0, total.requests - before[0]), max(0, total.units - before[1]))
        requests, units = found.requests + new[0], found.units + new[1]
        quotas = _used(found, rows)
        over = priced(beyond(quotas), found.overage)[0] if found.overage else 0
        due = round_half_even_minor(over, found.currency) - found.billed
        restarted = bool(found.records) and rows[0].link not in found.records
        if total.rows > found.records.get(rows[0].link, [0])[0]:
            records = {**found.records, rows[0].link: [total.rows, total.link, total.requests, total.units]}
            body = {"lease": found.id, "rows": total.rows, "link": total.link, "requests": requests, "units": units,
                    "billed": found.billed + max(0, due), "records": records, "quotas": quotas}
            act.record(JOURNAL, NewRow("use", body, account=found.account))
            if due > 0:
                what = _beyond(act.shop, found.model, beyond(quotas) - found.beyond)
                charge(act, found.account, "lease", what, due, found.currency, found.entry,
                       reference=f"{found.id}/{total.link[:16]}")
    return Taken(find_lease(act.shop.control, found.id), *new, max(0, due), restarted)


def _beyond(shop: Shop, model: str, units: int) -> str:
    """What a line of a bill says of use beyond the quota, in the language of the shop's bills."""
    if (shop.settings.get("invoice_language") or current_language()) == "zh":
        return f"{model}，超出额度的 {units:,} 单位"
    return f"{model}, {units:,} units beyond the quota"


def _used(found: Lease, rows: list[Row]) -> dict[str, list[int]]:
    """Units and quota of each term with what is new in a record, each row under the licence by which it was written."""
    quotas = {sequence: list(told) for sequence, told in found.quotas.items()}
    for row in rows[found.records.get(rows[0].link, [0])[0]:]:
        if str(row.sequence) not in quotas:
            raise MofangError("lease-record-changed", row=row.number)
        quotas[str(row.sequence)][0] += row.units
    return quotas


def _report(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise MofangError("lease-report-unreadable", path=str(path))
    try:
        data = path.read_bytes()
        told = strict_json(data, path.name)
        good = canonical(told) == data and told["format"] == 1 and isinstance(told["rows"], list) and told["rows"]
        kinds = (all(isinstance(told[name], int) for name in ("requests", "units"))
                 and all(isinstance(told[name], str) for name in ("lease", "link", "mac")))
    except (MofangError, KeyError, TypeError):
        good = kinds = False
    if not good or not kinds:
        raise MofangError("lease-report-unreadable", path=str(path))
    return dict(told)


def _booked(found: Lease, rows: list[Row], total: Total) -> tuple[int, int]:
    """Requests and units of this record that were booked already. A record that began anew must have been allowed to.

    Each record is known by the link of its first row, so a report that comes again, late or early, is booked once.
    """
    known = found.records.get(rows[0].link)
    if known is None:
        if found.records and not (total.begun == found.sequence and found.licence.start_until_us):
            raise MofangError("lease-report-gap", lease=found.id, rows=found.rows)
        return 0, 0
    if total.rows >= known[0] and rows[known[0] - 1].link != known[1]:
        raise MofangError("lease-report-gap", lease=found.id, rows=known[0])
    return int(known[2]), int(known[3])
