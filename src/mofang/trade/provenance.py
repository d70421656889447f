"""One question for every name a person may hold: where does this come from, and what became of it?"""

from __future__ import annotations

import json

from mofang.core.errors import MofangError
from mofang.core.shop import Shop
from mofang.core.trace import Node, ancestors, descendants
from mofang.trade.billing import invoices_of, trace_line


def trace_tree(shop: Shop, name: str, line: int | None = None, *, forward: bool = False) -> Node:
    """The trace of an invoice line, a request id, a model's name, or a run; ``forward`` turns it round.

    Raises ``name-unknown`` with the nearest name, or ``entry-unknown``.
    """
    if any(one.number == name.strip().upper() for one in invoices_of(shop.control)):
        return trace_line(shop, name, line or 1)
    if name.startswith("req_"):
        return trace_request(shop, name)
    found = shop.find(name)
    return descendants(shop.ledger, found.entry) if forward else ancestors(shop.ledger, found.entry, found.within)


def trace_request(shop: Shop, request: str) -> Node:
    """From one answered request to the package that answered it, and on down."""
    found = shop.control.rows("select at_us, body from journal where journal='usage' and id=?", (request,))
    if not found:
        raise MofangError("request-unknown", request=request)
    at_us, body = found[0][0], json.loads(found[0][1])
    facts = {name: body[name] for name in ("model", "units", "micros", "test") if name in body}
    return Node(stage="request", entry=request, at_us=at_us, facts=facts, below=(ancestors(shop.ledger, body["package"]),))
