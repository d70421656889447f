"""One question for every name a person may hold: where does this come from, and what became of it?"""

from __future__ import annotations

import json

from mofang.core.errors import MofangError
from mofang.core.shop import Shop
from mofang.core.trace import Node, ancestors, descendants, find_foreign, foreign_ancestors, foreign_descendants
from mofang.trade.accounts.lists import all_invoices, open_books
from mofang.trade.billing.proofs import trace_line
from mofang.trade.leases.book import find_lease


def trace_tree(shop: Shop, name: str, line: int | None = None, *, forward: bool = False) -> Node:
    """The trace of an invoice line, a lease, a request id, a model's name, or a run; ``forward`` turns it round.

    Raises ``name-unknown`` with the nearest name, or ``entry-unknown``.
    """
    if any(one.number == name.strip().upper() for one in all_invoices(shop)):
        shop.require("money")
        return trace_line(shop, name, line or 1)
    if name.startswith("req_"):
        shop.require("money")
        return trace_request(shop, name)
    if name.startswith("lse_"):
        shop.require("money")
        entry = find_lease(open_books(shop), name).entry
        return descendants(shop.ledger, entry) if forward else ancestors(shop.ledger, entry)
    if not shop.ledger.by_prefix(name, 1) and (abroad := find_foreign(shop.ledger, name)):
        turned = foreign_descendants if forward else foreign_ancestors
        return turned(shop.ledger, abroad.shop, abroad.id)
    decided = shop.ledger.by_prefix(name, 2) if "_" in name else []
    if len(decided) == 1 and decided[0].owner == shop.actor.owner and decided[0].body.get("decision") == "solution":
        return descendants(shop.ledger, decided[0].id) if forward else ancestors(shop.ledger, decided[0].id)
    found = shop.find(name)
    return descendants(shop.ledger, found.entry) if forward else ancestors(shop.ledger, found.entry, found.within)


def trace_request(shop: Shop, request: str) -> Node:
    """From one answered request (its id, or the unique beginning of it) to the package that answered it, and on down."""
    sql = "select id, at_us, body from journal where journal='usage' and id>=? and id<? limit 2"
    found = shop.control.rows(sql, (request, request + "~"))
    if len(found) != 1:
        raise MofangError("request-unknown", request=request)
    id, at_us, body = found[0][0], found[0][1], json.loads(found[0][2])
    facts = {name: body[name] for name in ("model", "units", "micros", "test") if name in body}
    return Node(stage="request", entry=id, at_us=at_us, facts=facts, below=(ancestors(shop.ledger, body["package"]),))
