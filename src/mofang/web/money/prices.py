"""Prices in words, and what was earned, what it cost, and what a model should cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from fastapi import Request
from starlette.responses import Response

from mofang.core.errors import MofangError
from mofang.core.shop import Shop
from mofang.trade.pricing import costs
from mofang.trade.pricing.named import WAYS
from mofang.trade.pricing.plans import UNITS_MOST
from mofang.trade.pricing.suggest import suggest
from mofang.trade.pricing.ways import Way, by_way
from mofang.trade.settings import rates_example
from mofang.trade.shown import prices as shown
from mofang.web.gate import Route

if TYPE_CHECKING:
    from mofang.web.pages import Pages

ROUTES = (
    Route("GET", "/prices", "money", "Prices: every version, in words, and who set it.", "价格：所有版本、计价方式与设定人。"),
    Route("GET", "/costs", "money", "What was earned and what it cost; what a model should cost.", "收入与成本，以及建议价格。"),
)
BY: dict[str, Callable[[Shop], Sequence[costs.Line | Way]]] = {
    "model": costs.by_model, "customer": costs.by_customer, "month": costs.by_month, "way": by_way}
BY_WORDS = {"model": ("By model", "按模型"), "customer": ("By customer", "按客户"), "month": ("By month", "按月"),
            "way": ("By way of selling", "按卖法")}
STATES = {"holds": ("holds now", "当前"), "comes": ("comes later", "将生效"), "past": ("past", "历史")}


class Prices:
    """The handlers."""

    def __init__(self, site: Pages) -> None:
        self.site = site

    def handlers(self) -> tuple[Callable[..., Any], ...]:
        """In the order of the routes."""
        return self.listed, self.costs

    def listed(self, request: Request) -> Response:
        """All models that have a price."""
        rows = shown.priced_models(self.site.shop())
        listed = shown.CHOICE.of(rows, request.query_params)
        return self.site.page("money/prices.html", request, listed=listed, nothing=not rows, states=STATES)

    def costs(self, request: Request) -> Response:
        """By model, customer, month or way of selling; with ``model`` what that should cost."""
        shop, asked = self.site.shop(), request.query_params
        by = asked.get("by", "model")
        if by not in BY:
            raise MofangError("query-wrong", name="by", value=by[:40], wanted=", ".join(BY))
        lines = BY[by](shop)
        model, units, margin = (asked.get(name, "").strip()[:100] for name in ("model", "units", "margin"))
        suggestion, problem = None, None
        if model:
            try:
                expected = _count("units", units or "0", UNITS_MOST)
                suggestion = suggest(shop, model, expected, _count("margin", margin or "50", 99))
            except MofangError as error:
                problem = error
        models = [one.name for one in costs.by_model(shop)]
        page = self.site.page("money/costs.html", request, lines=lines, by=by, words=BY_WORDS, ways=WAYS, model=model,
                              units=units, margin=margin, models=models, one=suggestion, problem=problem,
                              unset=shop.rates.get("machine_hour_micros") is None, example=rates_example(shop))
        page.status_code = problem.status if problem else 200
        return page


def _count(name: str, text: str, most: int) -> int:
    plain = text.replace(",", "").replace("，", "").replace("%", "")
    if not (plain.isascii() and plain.isdigit() and len(plain) < 17 and int(plain) <= most):
        raise MofangError("query-wrong", name=name, value=text[:40], wanted=f"0 … {most:,}")
    return int(plain)
