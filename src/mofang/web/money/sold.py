"""Leases, customers' own models, solutions: lists, and one page each."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fastapi import Request
from starlette.responses import Response

from mofang.trade.shown import sold as shown
from mofang.web.gate import Route

if TYPE_CHECKING:
    from mofang.web.pages import Pages

ROUTES = (
    Route("GET", "/leases", "money", "Leases: to whom, until when, what was used.", "租约：客户、期限与用量。"),
    Route("GET", "/leases/{id}", "money", "One lease.", "某个租约。"),
    Route("GET", "/customisations", "money", "Customers' own models: state, price, counts.", "客户定制：状态、价格与数量。"),
    Route("GET", "/customisations/{id}", "money", "One customisation; nothing of a record.", "某个定制；不含任何记录内容。"),
    Route("GET", "/solutions", "money", "Solutions that were sold.", "已售解决方案。"),
    Route("GET", "/solutions/{id}", "money", "One solution.", "某个解决方案。"),
)
LEASE_STATES = {"early": ("not begun", "未开始"), "good": ("running", "有效"), "grace": ("in grace", "宽限期"), "ended": ("ended", "已到期"),
                "revoked": ("revoked", "已终止"), "soon": ("ends within 30 days", "30 天内到期")}
CUSTOM_STATES = {"ordered": ("ordered", "已下单"), "queued": ("queued", "排队中"), "running": ("running", "训练中"),
                 "declined": ("declined", "未达标"), "delivered": ("delivered", "已交付"), "deleting": ("being deleted", "删除中"),
                 "deleted": ("deleted", "已删除")}


class Sold:
    """The handlers."""

    def __init__(self, site: Pages) -> None:
        self.site = site

    def handlers(self) -> tuple[Callable[..., Any], ...]:
        """In the order of the routes."""
        return self.leases, self.lease, self.customs, self.custom, self.solutions, self.solution

    def leases(self, request: Request) -> Response:
        """All leases that were asked for, those that end first on top."""
        rows = shown.lease_rows(self.site.shop())
        listed = shown.LEASES.of(rows, request.query_params)
        return self.site.page("money/leases.html", request, listed=listed, nothing=not rows, states=LEASE_STATES)

    def lease(self, request: Request, id: str) -> Response:
        """One lease."""
        return self.site.page("money/lease.html", request, states=LEASE_STATES, **shown.lease_facts(self.site.shop(), id[:100]))

    def customs(self, request: Request) -> Response:
        """All customisations that were asked for."""
        rows = shown.custom_rows(self.site.shop())
        listed = shown.CUSTOMS.of(rows, request.query_params)
        return self.site.page("money/customs.html", request, listed=listed, nothing=not rows, states=CUSTOM_STATES)

    def custom(self, request: Request, id: str) -> Response:
        """One customisation."""
        facts = shown.custom_facts(self.site.shop(), id[:100])
        return self.site.page("money/custom.html", request, states=CUSTOM_STATES, **facts)

    def solutions(self, request: Request) -> Response:
        """All solutions."""
        rows = shown.solution_rows(self.site.shop())
        listed = shown.SOLUTIONS.of(rows, request.query_params)
        return self.site.page("money/solutions.html", request, listed=listed, nothing=not rows)

    def solution(self, request: Request, id: str) -> Response:
        """One solution."""
        return self.site.page("money/solution.html", request, **shown.solution_facts(self.site.shop(), id[:100]))
