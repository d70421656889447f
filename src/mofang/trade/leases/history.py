"""What happened to one lease, from its first licence to its newest report: rows of the journal, and what was charged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mofang.core.identity import now_us
from mofang.trade.accounts.lists import customer_names, open_books
from mofang.trade.billing.oneoff import oneoffs
from mofang.trade.leases.book import JOURNAL, Lease, find_lease

if TYPE_CHECKING:
    from mofang.core.shop import Shop


def about(shop: Shop, id: str) -> dict[str, Any]:
    """A lease as it stands (customer, model, times in microseconds, quota, use, mark), its history and its charges.

    Each line of the history has ``at_us``, ``what`` (made, renewed, reported, revoked) and what came of it. Raises
    ``lease-unknown``.
    """
    shop.require("money")
    db = open_books(shop)
    lease = find_lease(db, id)
    licence = lease.licence
    return {
        "lease": lease.id, "model": lease.model, "customer": customer_names(shop)[lease.account], "state": lease.state(now_us()),
        "from_us": licence.from_us, "until_us": licence.until_us, "ends_us": licence.ends_us, "sequence": lease.sequence,
        "instances": licence.instances, "machines": list(licence.machines), "quota": licence.quota, "beyond": lease.beyond,
        "requests": lease.requests, "units": lease.units, "overage_micros_per_million": lease.overage, "currency": lease.currency,
        "mark": lease.mark, "entry": lease.entry, "package": lease.package, "records": len(lease.records),
        "history": _history(shop, lease), "charges": _charges(shop, lease),
    }


def _history(shop: Shop, lease: Lease) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    before = (0, 0)
    for row in shop.journals.rows(JOURNAL, account=lease.account):
        body = row.body
        if (body["licence"]["id"] if "licence" in body else body["lease"]) != lease.id:
            continue
        line: dict[str, Any] = {"at_us": row.at_us, "what": {"new": "made", "renew": "renewed", "use": "reported",
                                                             "revoke": "revoked"}[row.kind]}
        if "licence" in body:
            units, quota = lease.quotas[str(body["licence"]["sequence"])]
            line |= {"sequence": body["licence"]["sequence"], "until_us": body["licence"]["until_us"], "used": units,
                     "quota": quota, "may_begin_anew": row.kind == "renew" and bool(body["licence"]["start_until_us"])}
        elif row.kind == "use":
            line |= {"requests": body["requests"] - before[0], "units": body["units"] - before[1]}
            before = (body["requests"], body["units"])
        found.append(line)
    return found


def _charges(shop: Shop, lease: Lease) -> list[dict[str, Any]]:
    """The fee, those of renewals, and what went beyond the quota."""
    charges = [one for one in oneoffs(shop.control, lease.account) if one.kind == "lease"]
    own = {id for id in {one.source_entry for one in charges} if shop.ledger.get(id).body.get("lease") == lease.id}
    return [{"at_us": one.at_us, "what": one.what, "micros": one.micros, "currency": one.currency, "charge": one.id}
            for one in charges if one.source_entry in own]
