"""What each way of selling earned, as a table: for a suggested price and for the costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mofang.cli.context import Context
from mofang.core.language import say

if TYPE_CHECKING:
    from mofang.trade.pricing.ways import Way

NAMES = {"metered": "按量", "subscription": "订阅", "lease": "租约", "customisation": "定制", "solution": "解决方案", "other": "其他"}


def table(context: Context, ways: list[Way], *, customers: bool, as_json: bool = False, as_csv: bool = False) -> None:
    """One line for each way and, where asked, customer; and one for all of them. JSON and CSV hold plain numbers."""
    from mofang.core.money import format_micros, round_half_even_minor

    words = {"way": say("way", "方式"), "customer": say("customer", "客户"), "units": say("units", "计量"),
             "earned": say("earned", "收入"), "given_back": say("given back", "退还"), "serving": say("serving, estimate", "服务成本（估）"),
             "making": say("making, its part", "分摊的制作成本"), "margin": say("margin", "毛利")}
    if not customers:
        del words["customer"]
    if as_json or as_csv:
        facts = [one.facts() for one in ways]
        kept = facts if customers else [{name: value for name, value in one.items() if name not in ("customer", "model")}
                                        for one in facts]
        context.table(kept, {name: name for name in (kept[0] if kept else words)}, as_json=as_json, as_csv=as_csv)
        return

    def money(micros: int | None) -> str:
        if micros is None:
            return say("not known", "未知")
        return format_micros(round_half_even_minor(micros, context.shop.currency), context.shop.currency)

    def row(one: Way, name: str) -> dict[str, Any]:
        return {"way": name, "customer": one.customer, "units": one.units, "earned": money(one.earned),
                "given_back": money(one.given_back), "serving": money(one.serving), "making": money(one.making),
                "margin": money(one.margin)}

    rows = [row(one, say(one.way, NAMES[one.way])) for one in ways]
    if len(ways) > 1:
        from mofang.trade.pricing.ways import whole

        rows.append(row(whole(ways), say("all", "合计")))
    context.table(rows, words)
