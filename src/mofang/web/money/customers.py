"""Customers: the list, one with all that concerns it, and what a finance person does with it every day."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fastapi import Request
from starlette.responses import RedirectResponse, Response

from mofang.core.errors import MofangError
from mofang.core.language import current_language, say
from mofang.trade.accounts.agreed import customer_agree
from mofang.trade.accounts.customers import find_customer
from mofang.trade.accounts.lists import shop_offset
from mofang.trade.billing.issuing import invoice_preview
from mofang.trade.billing.paid import pay
from mofang.trade.billing.usage_file import read_days, usage_file
from mofang.trade.shown import customers as shown
from mofang.trade.shown.lines import line_title
from mofang.web.gate import Route
from mofang.web.money.bills import STATES as BILL_STATES

if TYPE_CHECKING:
    from mofang.web.pages import Pages

ROUTES = (
    Route("GET", "/customers", "money", "Customers: balance, owed, this month, alerts.", "客户列表：余额、欠款、本月、提醒。"),
    Route("GET", "/customers/{id}", "money", "One customer, with all that concerns it.", "某个客户的全部情况。"),
    Route("POST", "/customers/{id}/pay", "money", "Book a payment.", "登记付款。"),
    Route("POST", "/customers/{id}/agree", "money", "Agree on discount, tax, minimum, segment.", "约定折扣、税率、最低消费、分组。"),
    Route("GET", "/customers/{id}/bill", "money", "What the running month's bill would say now.", "本月账单的预览。"),
    Route("GET", "/customers/{id}/bill.pdf", "money", "The same as PDF, marked as a preview.", "预览的 PDF，带预览标记。"),
    Route("GET", "/customers/{id}/usage.csv", "money", "A month's use as the customer downloads it.", "某月用量文件，与客户下载的一致。"),
)
WAYS = {"transfer": ("bank transfer", "转账"), "wechat": ("WeChat", "微信"), "alipay": ("Alipay", "支付宝"),
        "stripe": ("Stripe", "Stripe"), "cash": ("cash", "现金"), "other": ("other", "其他"), "": ("–", "–")}
ALERTS = {"money-used-up": ("money used up", "额度用完"), "budget-low": ("budget low", "预算将尽"),
          "volume-unusual": ("unusual volume", "用量异常"), "month-not-billed": ("month not billed", "有月份未出账"),
          "bill-open-long": ("bill open for 30 days", "账单逾 30 天未付")}
DONE = {"paid": ("The payment is booked.", "付款已入账。"),
        "paid-before": ("This payment was booked before; nothing changed.", "这笔付款此前已入账，没有重复。"),
        "agreed": ("The terms are agreed; they hold for months that end from now on.", "条款已约定，自此后结束的月份起生效。")}
STATES = {"good": ("good", "有效"), "ending": ("ends by itself", "到期自动失效"), "expired": ("expired", "已过期"),
          "revoked": ("revoked", "已吊销")}
ROLES = {"owner": ("owner", "所有者"), "developer": ("developer", "开发"), "accounts": ("accounts", "财务")}
KINDS = {"lease": ("lease", "租赁"), "customisation": ("customisation", "定制"), "solution": ("solution", "解决方案"),
         "other": ("other", "其他")}


class Customers:
    """The handlers."""

    def __init__(self, site: Pages) -> None:
        self.site = site

    def handlers(self) -> tuple[Callable[..., Any], ...]:
        """In the order of the routes."""
        return self.listed, self.one, self.pay, self.agree, self.preview, self.preview_pdf, self.usage

    def listed(self, request: Request) -> Response:
        """All customers that were asked for."""
        rows = shown.customer_rows(self.site.shop())
        listed = shown.CHOICE.of(rows, request.query_params)
        segments = sorted({one.segment for one in rows} - {""})
        return self.site.page("money/customers.html", request, listed=listed, nobody=not rows, alerts=ALERTS, segments=segments)

    def one(self, request: Request, id: str) -> Response:
        """One customer."""
        return self._one(request, id)

    def _one(self, request: Request, id: str, problem: MofangError | None = None) -> Response:
        facts = shown.customer_facts(self.site.shop(), id[:100])
        given = {name: text for name, text in (getattr(request.state, "form", None) or {}).items() if isinstance(text, str)}
        done = DONE.get(request.query_params.get("done", ""))
        page = self.site.page("money/customer.html", request, one=facts, ways=WAYS, bill_states=BILL_STATES, states=STATES,
                              roles=ROLES, kinds=KINDS, done=say(*done) if done else "", problem=problem,
                              given=given if problem else {})
        page.status_code = problem.status if problem else 200
        return page

    def pay(self, request: Request, id: str) -> Response:
        """Book a payment; the same reference twice is one payment, so a form that is sent twice does no harm."""
        form, shop = request.state.form, self.site.acting(request)
        who = find_customer(shop.control, id[:100]).id
        try:
            made = shop.act(pay, customer=who, **_texts(form, "amount", "reference", "by", "until"))
        except MofangError as error:
            return self._refused(request, who, error)
        return RedirectResponse(f"/customers/{who}?done={'paid-before' if made.repeated else 'paid'}", 303)

    def agree(self, request: Request, id: str) -> Response:
        """Agree on terms; what is left empty stays as it is."""
        form, shop = request.state.form, self.site.acting(request)
        who = find_customer(shop.control, id[:100]).id
        try:
            shop.act(customer_agree, customer=who, **_texts(form, "discount", "tax", "tax_name", "minimum", "segment"))
        except MofangError as error:
            return self._refused(request, who, error)
        return RedirectResponse(f"/customers/{who}?done=agreed", 303)

    def _refused(self, request: Request, who: str, error: MofangError) -> Response:
        """The page again with what is wrong and what was typed; written down with its code."""
        request.state.did = error.code
        return self._one(request, who, error)

    def preview(self, request: Request, id: str) -> Response:
        """The running bill, marked as what it is."""
        shop, month = self.site.shop(), request.query_params.get("month", "")
        who = find_customer(shop.control, id[:100])
        problem, document = None, None
        try:
            document, _ = invoice_preview(shop, who.id, _month(month), current_language())
        except MofangError as error:
            if error.code not in ("usage-none", "invoice-test-customer"):
                raise
            problem = error
        language = current_language()
        lines = [{**one, "title": line_title(one, who.currency, language)} for one in document["lines"]] if document else []
        return self.site.page("money/preview.html", request, who_paid=who, document=document, lines=lines, month=month,
                              problem=problem)

    def preview_pdf(self, request: Request, id: str) -> Response:
        """The same as the customer would get it, without a number."""
        shop = self.site.shop()
        who = find_customer(shop.control, id[:100])
        _, made = invoice_preview(shop, who.id, _month(request.query_params.get("month", "")), current_language())
        return Response(made, media_type="application/pdf", headers={"content-disposition": 'inline; filename="preview.pdf"'})

    def usage(self, request: Request, id: str) -> Response:
        """A month's use by day, key and model."""
        shop, month = self.site.shop(), request.query_params.get("month", "")
        who = find_customer(shop.control, id[:100])
        offset = shop_offset(shop)
        text = "".join(usage_file(shop.control, who, read_days(month, utc_offset=offset), offset))
        named = f'attachment; filename="usage-{month or "now"}.csv"'
        return Response(text.encode(), media_type="text/csv; charset=utf-8", headers={"content-disposition": named})


def _texts(form: dict[str, Any], *names: str) -> dict[str, str]:
    """Fields of a form as texts; a file in the place of a text is none."""
    return {name: form[name].strip() for name in names if isinstance(form.get(name), str)}


def _month(text: str) -> str:
    """A month that was asked for, or nothing; another word is refused where it is read as one."""
    if text:
        read_days(text)
    return text
