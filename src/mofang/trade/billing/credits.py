"""Giving back part of a line of a bill: the line's own price decides how much, and never more than the line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from mofang.core.action import Act, action, turn
from mofang.core.errors import MofangError
from mofang.core.journal import NewRow
from mofang.core.money import MINOR_MICROS, format_micros, parse_amount
from mofang.core.rule import Rule
from mofang.trade.accounts.customers import credit_notes
from mofang.trade.billing.claims import find_invoice
from mofang.trade.billing.issuing import invoice_document
from mofang.trade.billing.proofs import line_of

MILLION = 1_000_000


@dataclass(frozen=True)
class LineCredit:
    """What was given back of a line; ``repeated`` where the same was booked before and nothing was added."""

    id: str
    customer: str
    number: str
    line: int
    units: int
    micros: int
    currency: str
    reason: str
    repeated: bool = False


def worth(document: dict[str, Any], micros: int, part: int, whole: int) -> int:
    """What ``part`` of ``whole`` of a line's amount is worth to its customer: with the bill's discount and tax, rounded once."""
    discount = next((one["rate_ppm"] for one in document["lines"] if one.get("kind") == "discount"), 0)
    tax = next((one["rate_ppm"] for one in document["lines"] if one.get("kind") == "tax"), 0)
    minor = MINOR_MICROS[document["currency"]]
    over, under = micros * part * (MILLION - discount) * (MILLION + tax), whole * MILLION * MILLION * minor
    steps, rest = divmod(over, under)
    up = 2 * rest > under or (2 * rest == under and steps % 2 == 1)
    return (steps + up) * minor


@action(may="money")
def credit_line(
    act: Act,
    *,
    invoice: str,
    line: Annotated[int, Rule(ge=1)],
    why: Annotated[str, Rule(min_length=3, max_length=150)],
    units: Annotated[int, Rule(ge=0)] = 0,
    amount: str = "",
) -> LineCredit:
    """Give back some units of a line of an issued bill, or an amount of a line that no use stands behind.

    It can be spent at once, and stands on the next bill with its reason; the issued bill is never changed. Never more than the
    line, all credits of it together; the same line and reason twice is one credit. Raises ``credit-one-of``,
    ``credit-beyond-line`` and ``credit-note-differs``.
    """
    shop = act.shop
    claim, document = find_invoice(shop.control, invoice), invoice_document(shop, invoice)
    wanted = line_of(document, line)
    counted = wanted.get("kind", "usage") == "usage"
    if counted != bool(units) or bool(units) == bool(amount.strip()) or wanted["amount_micros"] <= 0:
        raise MofangError("credit-one-of", line=line, kind=wanted.get("kind", "usage"))
    full = worth(document, wanted["amount_micros"], 1, 1)
    reason = f"{claim.number} / {line}: {why.strip()}"
    with turn(act, "customers") as db:
        rows = db.rows("select units, micros from line_credit where number=? and line=?", (claim.number, line))
        before_units, before_micros = sum(int(row[0]) for row in rows), sum(int(row[1]) for row in rows)
        for one in credit_notes(db, claim.account):
            if one.reason == reason:
                booked = db.rows("select units, micros from line_credit where id=?", (one.id,))[0]
                asked = parse_amount(amount, document["currency"]) if amount.strip() else 0
                if (units and booked[0] != units) or (asked and booked[1] != asked):
                    raise MofangError(
                        "credit-note-differs", reason=reason, booked=format_micros(one.micros, document["currency"])
                    )
                return LineCredit(
                    one.id, claim.account, claim.number, line, units, one.micros, document["currency"], reason, True
                )
        if counted:
            if before_units + units > wanted["units"]:
                raise MofangError(
                    "credit-beyond-line", number=claim.number, line=line, left=f"{wanted['units'] - before_units:,}"
                )
            micros = worth(document, wanted["amount_micros"], before_units + units, wanted["units"]) - before_micros
        else:
            micros = parse_amount(amount, document["currency"])
            if before_micros + micros > full:
                raise MofangError(
                    "credit-beyond-line",
                    number=claim.number,
                    line=line,
                    left=format_micros(full - before_micros, document["currency"]),
                )
        if micros <= 0 or micros % MINOR_MICROS[document["currency"]]:
            raise MofangError("credit-note-amount", amount=amount or f"{units}")
        body = {"reason": reason, "micros": micros, "number": claim.number, "line": line, "units": units}
        row = act.record("customers", NewRow("credit-note", body, account=claim.account))[0]
    return LineCredit(row.id, claim.account, claim.number, line, units, micros, document["currency"], reason)
