"""Whether seals still say what their journals hold: the table of seals, its entries in the ledger, and the rows below them.

A seal's reach decides which rows the next one takes, and so on which bill a row stands. So the reach is worked out anew from
what each seal says of itself, and its root from the rows in the journal: rows that vanished from a journal's end, or were
written anew together with their chain, are found as long as a seal holds them.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from mofang.core.canonical import canonical
from mofang.core.database import Database
from mofang.core.erased import replaced_in
from mofang.core.errors import MofangError
from mofang.core.merkle import root

if TYPE_CHECKING:
    from mofang.core.shop import Shop


def verify_seals(shop: Shop, control: Database) -> list[str]:
    """Every seal whose entry, reach or root is not what ledger and journal say, in words; empty if all is well."""
    wrong: list[str] = []
    reach: dict[str, dict[str, int]] = {}
    replaced = replaced_in(shop.ledger.db)
    sql = "select journal, number, up_to, root, digest, entry, id from seal where entry<>'' order by journal, number"
    for row in control.rows(sql):
        journal, number = row[0], row[1]
        if row[5] in replaced:  # an erasure wrote its file anew; the erasure's own entry vouches for that
            reach[journal] = json.loads(row[2])
            continue
        said = _said(shop, row)
        if said is None:
            wrong.append(f"seal {number} of journal {journal} is not what the ledger says of it")
            continue
        reach.setdefault(journal, {}).update({writer: to for writer, (_, to) in said["ranges"].items()})
        if row[2] != canonical(reach[journal]).decode():
            wrong.append(f"seal {number} of journal {journal} reaches other rows than it holds")
        if _root(control, journal, said["ranges"]) != row[3]:
            wrong.append(f"journal {journal} no longer holds the rows of seal {number}")
    return wrong


def _said(shop: Shop, row: tuple[Any, ...]) -> dict[str, Any] | None:
    """What a seal's own file says, where table, ledger and file agree; None where they do not."""
    journal, number, _, tree, output, entry, id = row
    try:
        body = shop.ledger.get(entry).body
        in_ledger = (body["journal"], body["number"], body["root"], canonical(body["output"]).decode(), entry)
        if in_ledger != (journal, number, tree, output, id):
            return None
        said: dict[str, Any] = shop.artifact(shop.ledger.get(entry)).read_json("seal.json")
    except (MofangError, OSError, ValueError, KeyError):  # no such entry, or a file that the check of objects names as well
        return None
    return said if (said["journal"], said["number"], said["root"]) == (journal, number, tree) else None


def _root(control: Database, journal: str, ranges: dict[str, Any]) -> str:
    """The root over the chains of the rows in these stretches, in the order in which a seal takes them."""
    sql = "select chain from journal where journal=? and writer=? and seq between ? and ? order by seq"
    try:
        return root(bytes.fromhex(row[0]) for writer, (since, to) in sorted(ranges.items())
                    for row in control.rows(sql, (journal, writer, since, to))).hex()
    except ValueError:  # a chain that is no number any more
        return json.dumps(None)
