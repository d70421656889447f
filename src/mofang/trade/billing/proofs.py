"""From a line of an invoice back to what it stands for, and the proof for a customer that a row is counted in it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from mofang.core.errors import MofangError
from mofang.core.language import say
from mofang.core.lineage import elsewhere_line, lineage_cost
from mofang.core.merkle import Tree, root, verify_inclusion
from mofang.core.money import format_micros
from mofang.core.shop import Shop
from mofang.core.trace import Node, ancestors
from mofang.trade.billing.billed import Bill, UsageRow, bill_of, bounds, period_at, usage_rows
from mofang.trade.billing.claims import find_invoice
from mofang.trade.billing.issuing import inputs_of, invoice_document
from mofang.trade.pricing.costs import money_of


def line_of(document: dict[str, Any], line: int) -> dict[str, Any]:
    """One line of a document. Raises ``invoice-line-unknown``."""
    if not 1 <= line <= len(document["lines"]):
        raise MofangError(
            "invoice-line-unknown", number=document["number"], line=line, lines=len(document["lines"])
        )
    found: dict[str, Any] = document["lines"][line - 1]
    return found


def line_rows(shop: Shop, number: str, line: int) -> Iterator[UsageRow]:
    """The usage rows behind one line, in the order in which they stand under its Merkle root."""
    for _, rows in line_groups(shop, number, line):
        yield from rows


def line_groups(shop: Shop, number: str, line: int) -> Iterator[tuple[dict[str, Any], Iterator[UsageRow]]]:
    """Each seal that a line names, with the line's rows in it; in bills of the first form, all rows together."""
    claim, document = find_invoice(shop.control, number), invoice_document(shop, number)
    wanted = line_of(document, line)
    if wanted.get("kind", "usage") != "usage":
        return
    usage, _ = inputs_of(shop, claim.fixed)
    offset = claim.fixed["utc_offset"]
    from_us, to_us = bounds(claim.period, offset)
    bills = [Bill(*reach) for reach in claim.fixed["earlier"]] + [Bill(from_us, to_us, len(usage))]
    key = (wanted["model"], wanted["package"], wanted["price_version"])

    def of_line(only: frozenset[int], month: str = "") -> Iterator[UsageRow]:
        for row in usage_rows(usage, claim.account, only):
            same = (row.body["model"], row.body["package"], row.body["price"]) == key and not row.body["test"]
            if same and bill_of(row, bills) == len(bills) - 1 and month in ("", period_at(row.at_us, offset)):
                yield row

    places = {one.entry: at for at, one in enumerate(usage, start=1)}
    if document["format"] == 1:
        yield {"root": wanted["merkle_root"]}, of_line(frozenset(places[one["entry"]] for one in wanted["seals"]))
        return
    for one in wanted["seals"]:
        yield one, of_line(frozenset({places[one["entry"]]}), one["month"])


def prove_row(shop: Shop, number: str, line: int, row: str) -> dict[str, Any]:
    """What a customer needs to check that a usage row stands on a line: its bytes, place and sibling hashes.

    ``proof`` leads from the row to ``seal_root``, the root of the line's rows in one seal; ``seal_roots`` are those of all its
    seals, in the line's order, and the line's ``merkle_root`` is the root over them. Check it with
    ``mofang.core.merkle.verify_inclusion``, or any RFC 6962 library. Raises ``invoice-row-unknown``.
    """
    document = invoice_document(shop, number)
    wanted, form = line_of(document, line), document["format"]
    for place, (told, rows) in enumerate(line_groups(shop, number, line)):
        leaves: list[bytes] = []
        index = -1
        for one in rows:
            if one.id == row:
                index = len(leaves)
            leaves.append(one.leaf(form))
        if index < 0:
            continue
        tree = Tree(watch=index)
        for leaf in leaves:
            tree.add(leaf)
        return {
            "number": number,
            "line": line,
            "row": leaves[index].decode(),
            "index": index,
            "rows": len(leaves),
            "proof": [beside.hex() for beside in tree.proof()],
            "seal_root": told["root"],
            "seal": place,
            "seal_roots": [one.get("root", told["root"]) for one in wanted["seals"]] if form > 1 else [told["root"]],
            "merkle_root": wanted["merkle_root"],
        }
    raise MofangError("invoice-row-unknown", row=row, number=number, line=line)


def check_proof(proof: dict[str, Any]) -> bool:
    """Whether a row is shown to stand under its line's root; needs nothing but what ``prove_row`` gave."""
    roots = [bytes.fromhex(one) for one in proof["seal_roots"]]
    top = bytes.fromhex(proof["merkle_root"])
    own = bytes.fromhex(proof["seal_root"])
    beside = [bytes.fromhex(one) for one in proof["proof"]]
    placed = 0 <= proof["seal"] < len(roots) and roots[proof["seal"]] == own
    if not placed or (own != top and root(roots) != top):  # a bill of the first form has one root and no seals' roots
        return False
    return verify_inclusion(proof["row"].encode(), proof["index"], proof["rows"], beside, own)


def trace_line(shop: Shop, number: str, line: int, requests: int = 3) -> Node:
    """From an invoice line back to seals, model, data, licence and cost, and down to its first requests.

    A charge made once leads to the ledger entry of what was delivered; a subscription and a model's minimum to the release that
    answered in that month, or was the newest then; a tax or discount to the terms that it follows.
    """
    claim = find_invoice(shop.control, number)
    document = invoice_document(shop, number)
    wanted = line_of(document, line)
    used = wanted.get("kind", "usage") == "usage"
    below = _use_node(shop, number, wanted, requests) if used else _term_node(shop, wanted, _source_of(shop, document, wanted))
    top = {
        "customer": document["customer"]["name"],
        "period": claim.period,
        "total_micros": claim.total_micros,
        "ledger": document["ledger"]["head"],
    }
    return Node(
        stage="invoice", kind="invoice", name=claim.number, entry=claim.entry, facts=top, below=(below,)
    )


def _source_of(shop: Shop, document: dict[str, Any], line: dict[str, Any]) -> str:
    """The ledger entry that stands behind a line without use of its own; "" where it concerns no model."""
    if line.get("source_entry") or not line.get("model"):
        return str(line.get("source_entry", ""))
    used = [one for one in document["lines"] if one.get("package")]
    answered = [one["package"] for one in used if one["model"].partition("@")[0] == line["model"]]
    known = [one.entry for one in shop.names("package") if one.name == line["model"]]  # the newest first
    then = [entry for entry in known if shop.ledger.get(entry).at_us <= document["issued_us"]]
    return next(iter([*reversed(answered), *then, *known]), "")


def _behind(shop: Shop, entry: str) -> dict[str, Any]:
    """What all runs behind an entry of this ledger came to."""
    cost = lineage_cost(shop.ledger, entry)
    return {
        "runs_behind": cost["runs"],
        "cpu_s_behind": cost["cpu_s"],
        "cost_micros_behind": _priced(shop, cost),
        "cost_elsewhere": elsewhere_line(cost),
    }


def _priced(shop: Shop, cost: dict[str, Any]) -> int | str:
    """What runs cost; where some ran before there was a rate, an estimate at today's."""
    if cost["micros"] is not None:
        return int(cost["micros"])
    micros = money_of(shop, cost["wall_s"], cost["energy_wh"])
    if micros is None:
        return say("rate not set", "未设费率")
    return f"≈ {format_micros(micros, shop.currency)}"


def _term_node(shop: Shop, line: dict[str, Any], source: str) -> Node:
    """A line that no use stands behind, with what it was worked out from."""
    facts = {name: value for name, value in line.items() if name not in ("line", "kind", "source_entry", "exact_micros")}
    found: tuple[Node, ...] = ()
    if source and shop.ledger.links([source]):
        facts |= _behind(shop, source)
        found = (ancestors(shop.ledger, source),)
    elif source:
        found = (Node(stage="delivered", entry=source, facts={"ledger": say("not in this ledger", "不在本账本中")}),)
    licences = found[0].licences if found else ()
    return Node(stage="line", name=f"{line['line']} · {line['kind']}", facts=facts, licences=licences, below=found)


def _use_node(shop: Shop, number: str, wanted: dict[str, Any], requests: int) -> Node:
    ledger, seen = shop.ledger, set[str]()
    first = tuple(
        Node(
            stage="request",
            entry=row.body["request_id"],
            at_us=row.at_us,
            facts={"units": row.body["units"], "micros": row.body["micros"]},
        )
        for row in islice(line_rows(shop, number, wanted["line"]), requests)
    )
    seals = tuple(
        _with_rows(ancestors(ledger, one["entry"], seen=seen), one["rows"], first if at == 0 else ())
        for at, one in enumerate(wanted["seals"])
    )
    facts = {name: wanted[name] for name in ("units", "requests", "exact_micros", "amount_micros", "merkle_root")}
    package = Node(stage="package", entry=wanted["package"], facts={"ledger": say("another shop", "另一个模坊")})
    if ledger.links([wanted["package"]]):
        package = ancestors(ledger, wanted["package"], seen=seen)
        facts |= _behind(shop, wanted["package"])
    return Node(
        stage="line",
        name=f"{wanted['line']} · {wanted['model']}",
        facts=facts,
        licences=package.licences,
        below=(*seals, package),
    )


def _with_rows(node: Node, rows: int, requests: tuple[Node, ...]) -> Node:
    return Node(**(node.__dict__ | {"facts": node.facts | {"rows": rows}, "below": (*node.below, *requests)}))
