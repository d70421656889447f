"""Leases: a model handed to a customer in an encrypted file under a signed licence, renewed, ended, and its use booked.

Each change is a row of the journal ``leases``. A lease's data key and unlock code come of a secret in the shop's key ring,
which no backup holds. The fee and what is used beyond the quota are one-off charges (oneoff.py); the lease's ledger entry
names the package as its input, so a bill's line traces to the records behind the model, and an erasure names the leases that
descend from them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mofang.core.database import Database
from mofang.core.errors import MofangError
from mofang.core.journal import Row, fold
from mofang.core.nearest import nearest
from mofang.core.personal import follows
from mofang.core.tables import tables_of
from mofang.trade.leases.licence import Licence, derived

if TYPE_CHECKING:
    from mofang.core.shop import Shop

JOURNAL = "leases"
TABLES = ("""create table if not exists leased(id text primary key, account text not null, model text not null,
    package text not null, entry text not null, sequence bigint not null, licence text not null, currency text not null,
    overage bigint not null, mark text not null, made_us bigint not null, revoked_us bigint not null, rows bigint not null,
    link text not null, reported_us bigint not null, requests bigint not null, units bigint not null, billed bigint not null,
    records text not null, quotas text not null)""",)
COLUMNS = ("id, account, model, package, entry, sequence, licence, currency, overage, mark, made_us, revoked_us, rows, link, "
           "reported_us, requests, units, billed, records, quotas")


@dataclass(frozen=True)
class Lease:
    """A lease as the journal has left it. ``overage``: micros for 10⁶ units beyond the quota; ``billed``: what was charged
    of them.

    ``rows`` and ``link`` say how far the newest record of its use was booked; ``records`` has each by the link of its
    first row: rows, last link, requests, units. ``quotas`` has each licence's sequence with [units used under it, its quota]:
    what is included in a term ends with it, and a renewal includes its own. ``mark`` how strongly its copy is marked, "" for
    not at all.
    """

    id: str
    account: str
    model: str
    package: str
    entry: str
    sequence: int
    terms: dict[str, Any]
    currency: str
    overage: int
    mark: str
    made_us: int
    revoked_us: int
    rows: int
    link: str
    reported_us: int
    requests: int
    units: int
    billed: int
    records: dict[str, list[Any]]
    quotas: dict[str, list[int]]

    @property
    def beyond(self) -> int:
        """Units beyond the quotas, each term's for itself."""
        return beyond(self.quotas)

    @property
    def licence(self) -> Licence:
        """The newest licence."""
        told = {name: value for name, value in self.terms.items() if name != "format"}
        receipt = told["receipt"]
        return Licence(**{**told, "parts": tuple(map(tuple, told["parts"])), "features": tuple(told["features"]),
                          "machines": tuple(told["machines"]), "receipt": tuple(receipt) if receipt else None})

    def state(self, at_us: int) -> str:
        """``revoked``, ``early``, ``good``, ``grace`` or ``ended``."""
        return "revoked" if self.revoked_us else self.licence.phase(at_us)


@fold(JOURNAL, tables=TABLES)
def fold_leases(db: Database, rows: list[Row]) -> None:
    """Leases as they stand now."""
    for row in rows:
        body = row.body
        if row.kind == "new":
            licence = body["licence"]
            db.run(f"insert into leased({COLUMNS}) values({','.join('?' * 20)})",
                   (licence["id"], row.account, licence["model"], body["package"], body["entry"], licence["sequence"],
                    json.dumps(licence, sort_keys=True), body["currency"], body["overage"], body["mark"], row.at_us,
                    0, 0, "", 0, 0, 0, 0, "{}", _quotas({}, licence)))
        elif row.kind == "renew":
            licence = body["licence"]
            (before,), = db.rows("select quotas from leased where id=?", (licence["id"],))
            quotas = _quotas(json.loads(before), licence)
            db.run("update leased set sequence=?, licence=?, quotas=? where id=?",
                   (licence["sequence"], json.dumps(licence, sort_keys=True), quotas, licence["id"]))
        elif row.kind == "revoke":
            db.run("update leased set revoked_us=? where id=?", (row.at_us, body["lease"]))
        elif row.kind == "use":
            db.run("update leased set rows=?, link=?, reported_us=?, requests=?, units=?, billed=?, records=?, quotas=? "
                   "where id=?", (body["rows"], body["link"], row.at_us, body["requests"], body["units"], body["billed"],
                    json.dumps(body["records"], sort_keys=True), json.dumps(body["quotas"], sort_keys=True), body["lease"]))


def _quotas(before: dict[str, list[int]], licence: dict[str, Any]) -> str:
    """The same with a licence more."""
    return json.dumps({**before, str(licence["sequence"]): [0, licence["quota"]]}, sort_keys=True)


def beyond(quotas: dict[str, list[int]]) -> int:
    """Units beyond the quotas; a term without a quota has none beyond it."""
    return sum(max(0, units - quota) for units, quota in quotas.values() if quota)


def leases(db: Database, account: str = "") -> list[Lease]:
    """All leases, or one customer's, oldest first."""
    condition, params = (" where account=?", (account,)) if account else ("", ())
    return [_lease(row) for row in db.rows(f"select {COLUMNS} from leased{condition} order by id", params)]


def find_lease(db: Database, id: str) -> Lease:
    """One lease by its id or the unique beginning of it. Raises ``lease-unknown`` with the nearest."""
    known = leases(db)
    found = [one for one in known if one.id == id or (len(id) >= 6 and one.id.startswith(id))]
    if len(found) != 1:
        raise MofangError("lease-unknown", lease=id, nearest=nearest(id, [one.id for one in known]))
    return found[0]


def _lease(row: tuple[Any, ...]) -> Lease:
    values = list(row)
    for name in ("licence", "records", "quotas"):
        place = COLUMNS.split(", ").index(name)
        values[place] = json.loads(row[place])
    return Lease(*values)


def data_key(shop: Shop, lease: str) -> bytes:
    """The key of a lease's package."""
    return derived(shop.secret(f"lease-{lease}"), b"data")


def code_secret(shop: Shop, lease: str) -> bytes:
    """What a lease's unlock code is made of."""
    return derived(shop.secret(f"lease-{lease}"), b"code")


def mark_key(shop: Shop, lease: str) -> bytes:
    """The key of a lease's mark."""
    return derived(shop.secret("lease-marks"), b"mark", lease.encode())


def receipt_of(lease: Lease) -> tuple[int, str, int] | None:
    """What was booked of a lease's use, as a renewal says it."""
    return (lease.rows, lease.link, lease.reported_us) if lease.rows else None


@follows("leases")
def leased_from(shop: Shop, entries: set[str]) -> list[str]:
    """The leases that are not over, of packages among these entries: customer, model, and until when."""
    from mofang.trade.leases.runner import day

    if "leased" not in tables_of(shop.control):
        return []
    names = {row[0]: row[1] for row in shop.control.rows("select account, name from account")}
    return [f"{names[one.account]}: {one.model} ({day(one.licence.ends_us)}, {one.id})" for one in leases(shop.control)
            if one.package in entries]
