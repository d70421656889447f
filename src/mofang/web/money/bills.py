"""Bills: the list with what is paid, one with its lines, and a line from its requests up to licence and source."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fastapi import Request
from starlette.responses import RedirectResponse, Response

from mofang.core.errors import MofangError
from mofang.core.language import current_language, say
from mofang.trade.accounts.customers import find_customer
from mofang.trade.billing.credits import credit_line
from mofang.trade.billing.issuing import invoice_pdf
from mofang.trade.billing.papers import TYPES, Papers
from mofang.trade.shown import bills as shown
from mofang.trade.shown import lines
from mofang.web.gate import Route

if TYPE_CHECKING:
    from mofang.web.pages import Pages

ROUTES = (
    Route("GET", "/invoices", "money", "Invoices, with what is paid of each.", "账单列表及付款情况。"),
    Route("GET", "/invoices/{name}", "money", "One invoice; as a file with .pdf, .json or .csv behind its number.",
          "某张账单；编号后加 .pdf、.json 或 .csv 则为文件。"),
    Route("GET", "/invoices/{name}/{line}", "money", "One line: its requests, proof, licence, cost and source.",
          "账单的一行：请求、证明、许可、成本与来源。"),
    Route("POST", "/invoices/{name}/{line}", "money", "Give back part of a line, after it was shown what that comes to.",
          "退还一行的一部分；先显示金额，再确认。"),
)
STATES = {"open": ("open", "未付"), "part": ("partly paid", "部分付款"), "paid": ("paid", "已付"), "credited": ("given back", "已退还"),
          "unfinished": ("unfinished", "未完成")}
DONE = {"credited": ("It is given back: usable at once, and on the next invoice.", "已退还：可立即使用，并列在下一张账单上。"),
        "credited-before": ("This was given back before; nothing changed.", "此前已登记，没有重复。")}
LINE_MOST = 10**6


class Bills:
    """The handlers."""

    def __init__(self, site: Pages) -> None:
        self.site = site

    def handlers(self) -> tuple[Callable[..., Any], ...]:
        """In the order of the routes."""
        return self.listed, self.one, self.line, self.credit

    def listed(self, request: Request) -> Response:
        """All bills that were asked for, the newest first."""
        rows = shown.bill_rows(self.site.shop())
        listed = shown.CHOICE.of(rows, request.query_params)
        return self.site.page("invoices.html", request, listed=listed, nothing=not rows, states=STATES)

    def one(self, request: Request, name: str) -> Response:
        """One bill as a page, or as a file."""
        number, _, kind = name.partition(".")
        if kind:
            return self._file(number, kind)
        facts = lines.bill_facts(self.site.shop(), number[:100], current_language())
        return self.site.page("money/invoice.html", request, states=STATES, **facts)

    def _file(self, number: str, kind: str) -> Response:
        shop = self.site.shop()
        if kind == "pdf":
            made = invoice_pdf(shop, number[:100])
        else:
            who = find_customer(shop.control, lines.bill_facts(shop, number[:100], "en")["row"].account)
            made = Papers(shop).file(who, number[:100], kind)
        safe = f'inline; filename="{number}.{kind}"' if number.isascii() and number.replace("-", "").isalnum() else "inline"
        return Response(made, media_type=TYPES[kind].decode(), headers={"content-disposition": safe})

    def line(self, request: Request, name: str, line: str) -> Response:
        """One line, and the proof of one request where that is asked for."""
        return self._line(request, name, line)

    def _line(self, request: Request, name: str, line: str, problem: MofangError | None = None) -> Response:
        row = request.query_params.get("row", "").strip()[:100]
        shop, at = self.site.shop(), _number(name, line)
        unproved = None
        try:
            facts = lines.line_facts(shop, name[:100], at, current_language(), row)
        except MofangError as error:
            if error.code != "invoice-row-unknown":
                raise
            unproved, facts = error, lines.line_facts(shop, name[:100], at, current_language())
        given = {key: text for key, text in (getattr(request.state, "form", None) or {}).items() if isinstance(text, str)}
        done = DONE.get(request.query_params.get("done", ""))
        page = self.site.page("money/line.html", request, number=facts["claim"].number, at=at, row=row, problem=problem,
                              unproved=unproved, given=given if problem else {}, done=say(*done) if done else "", **facts)
        page.status_code = problem.status if problem else 200
        return page

    def credit(self, request: Request, name: str, line: str) -> Response:
        """Give back part of a line: shown first, done when it is sent again with ``sure``."""
        form, shop, at = request.state.form, self.site.acting(request), _number(name, line)
        units, amount, why = (str(form.get(one, "")).strip() for one in ("units", "amount", "why"))
        number = lines.line_facts(shop, name[:100], at, current_language())["claim"].number
        count = _units(units)
        if form.get("sure") != "yes":
            worth = lines.credit_worth(shop, number, at, count) if count else 0
            if worth or (amount and not count):
                return self.site.page("money/sure.html", request, number=number, at=at, units=count, amount=amount, why=why,
                                      worth=worth, currency=lines.bill_facts(shop, number, "en")["row"].currency)
        try:
            made = shop.act(credit_line, invoice=number, line=at, why=why, units=count, amount=amount)
        except MofangError as error:
            request.state.did = error.code
            return self._line(request, name, line, error)
        return RedirectResponse(f"/invoices/{number}/{at}?done={'credited-before' if made.repeated else 'credited'}", 303)


def _number(name: str, line: str) -> int:
    """The number of a line in an address."""
    if not (line.isascii() and line.isdigit() and 0 < int(line[:8]) <= LINE_MOST and len(line) < 8):
        raise MofangError("page-unknown", path=f"/invoices/{name[:40]}/{line[:20]}")
    return int(line)


def _units(text: str) -> int:
    """Units as they are typed (``1,200``); what is no number is refused by the action's own rule, as none."""
    plain = text.replace(",", "").replace("，", "")
    return int(plain) if plain.isascii() and plain.isdigit() and len(plain) < 18 else 0
