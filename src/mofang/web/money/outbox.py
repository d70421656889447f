"""Who is told of bills and payments, and whether what was answered, used and billed fits together."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fastapi import Request
from starlette.responses import RedirectResponse, Response

from mofang.core.language import say
from mofang.trade.billing.reconcile import reconcile
from mofang.trade.shown import outbox as shown
from mofang.trade.telling.posting import post
from mofang.trade.telling.sending import outbox_again, send_all
from mofang.web.gate import Route

if TYPE_CHECKING:
    from mofang.web.pages import Pages

ROUTES = (
    Route("GET", "/outbox", "money", "Who is told, what waits, what was answered last.", "通知：待发、重试与最近的应答。"),
    Route("GET", "/outbox/{name}", "money", "One of them with its newest events.", "某个通知地址的最近事件。"),
    Route("POST", "/outbox/{name}", "money", "Tell now what it has not taken.", "立即重发未送达的通知。"),
    Route("GET", "/reconcile", "money", "When answered, used and billed were compared last.", "最近一次对账的结果。"),
    Route("POST", "/reconcile", "money", "Compare now.", "立即对账。"),
)
STATES = {"arrived": ("arrived", "已送达"), "waiting": ("waits", "待发"), "resting": ("tried again later", "稍后重试"),
          "lost": ("given up", "已放弃")}
EVENTS = {"invoice.issued": ("bill issued", "出账"), "payment.booked": ("payment", "付款"), "credit.given": ("credit", "退还"),
          "charge.made": ("charge", "一次性收费"), "budget.passed": ("budget low", "预算将尽"),
          "usage.unusual": ("unusual volume", "用量异常"), "reconcile.differs": ("books differ", "对账不符")}
DONE = {"sent": ("It was told all that waited.", "待发的通知均已送达。"),
        "not": ("It did not take everything; see below.", "仍有通知未送达，详见下方。")}


class Outbox:
    """The handlers."""

    def __init__(self, site: Pages) -> None:
        self.site = site

    def handlers(self) -> tuple[Callable[..., Any], ...]:
        """In the order of the routes."""
        return self.listed, self.one, self.send, self.reconciled, self.reconcile

    def listed(self, request: Request) -> Response:
        """Everybody who is told."""
        return self.site.page("money/outbox.html", request, rows=shown.told_rows(self.site.shop()))

    def one(self, request: Request, name: str) -> Response:
        """One of them."""
        endpoint, events = shown.told_one(self.site.shop(), name[:100])
        done = DONE.get(request.query_params.get("done", ""))
        return self.site.page("money/told.html", request, endpoint=endpoint, events=events, states=STATES, kinds=EVENTS,
                              done=say(*done) if done else "")

    def send(self, request: Request, name: str) -> Response:
        """Forget how often it was tried in vain, and tell it now; what it took before is never told under another id."""
        shop = self.site.acting(request)
        found = shop.act(outbox_again, name=name[:100])
        outcomes = [one for one in send_all(shop, post) if one.endpoint == found.name]
        return RedirectResponse(f"/outbox/{found.name}?done={'sent' if all(one.ok for one in outcomes) else 'not'}", 303)

    def reconciled(self, request: Request) -> Response:
        """The last comparison that is known."""
        return self.site.page("money/reconcile.html", request, found=None)

    def reconcile(self, request: Request) -> Response:
        """Compare the last two days now."""
        return self.site.page("money/reconcile.html", request, found=reconcile(self.site.shop()))
