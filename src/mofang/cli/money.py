"""Money: costs, rates, and what bills say of the shop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mofang.cli.context import Context, listing, pass_context, when
from mofang.core.language import say

if TYPE_CHECKING:
    from mofang.trade.pricing.costs import Line


@click.command()
@click.option("--by", type=click.Choice(["model", "customer", "month", "way"]), default="model", show_default=True,
              help="What the lines are.")
@listing
@pass_context
def costs(context: Context, by: str, as_json: bool, as_csv: bool) -> None:
    """What was earned, what making and serving it cost, and what is left."""
    from mofang.trade.pricing import costs as trade

    shop = context.shop
    if by == "way":
        _by_way(context, as_json, as_csv)
        return
    lines = {"model": trade.by_model, "customer": trade.by_customer, "month": trade.by_month}[by](shop)
    rows = [_row(line, by, shop.currency) for line in lines]
    words = {"name": {"model": say("model", "模型"), "customer": say("customer", "客户"), "month": say("month", "月份")}[by],
             "requests": say("requests", "请求"), "units": say("units", "计量"), "tests": say("test requests", "测试请求"),
             "earned": say("earned", "收入"), "given_back": say("given back", "退还")}
    if by == "customer":
        words |= {"billed": say("billed", "已出账")}
    else:
        words |= {"making": say("making", "制作成本")}
        words |= {"serving": say("serving, estimate", "服务成本（估）")} if by == "model" else {}
        words |= {"margin": say("margin", "毛利")}
    if by == "model":
        del words["given_back"]
    context.table(rows, words, as_json=as_json, as_csv=as_csv)
    if as_json or as_csv:
        return
    if any(line.estimated for line in lines):
        context.say("≈: runs of before a rate was set are counted at today's rate.", "≈：设定费率之前的运行按现在的费率估算。")
    unset = by != "customer" and shop.rates.get("machine_hour_micros") is None
    context.next(*(["mofang rates --machine-hour ¥3"] if unset else []),
                 *(f"mofang costs --by {other}" for other in ("model", "customer", "month", "way") if other != by))


def _by_way(context: Context, as_json: bool, as_csv: bool) -> None:
    from mofang.cli import ways
    from mofang.core.progress import progress
    from mofang.trade.pricing.ways import by_way, totals

    with progress(say("Reading bills and what stands on none yet", "正在读取账单和未出账用量")) as bar:
        found = by_way(context.shop, tick=lambda: bar.advance(1))
    plain = as_json or as_csv
    ways.table(context, found if plain else totals(found), customers=plain, as_json=as_json, as_csv=as_csv)
    if not plain:
        context.next(*(["mofang rates --machine-hour ¥3"] if context.shop.rates.get("machine_hour_micros") is None else []),
                     "mofang price suggest MODEL", "mofang costs --by customer")


def _row(line: Line, by: str, currency: str) -> dict[str, Any]:
    """One line as it is shown, with the plain numbers beside for JSON."""
    from mofang.core.money import format_micros, round_half_even_minor

    def money(micros: int | None, estimated: bool = False) -> str:
        if micros is None:
            return say("rate not set", "未设费率")
        if not estimated:
            return format_micros(micros, currency)
        return f"≈ {format_micros(round_half_even_minor(micros, currency), currency)}"

    serving = say("not measured", "未测量") if line.serving_s is None else money(line.serving, True)
    row: dict[str, Any] = {"name": line.name, "requests": line.requests, "units": line.units, "tests": line.test_requests,
                           "earned": money(line.earned), "given_back": money(line.given_back)}
    if by == "customer":
        row |= {"billed": money(line.billed), "billed_micros": line.billed}
    else:
        own = "–" if line.making_s is None else money(line.making, line.estimated)  # nothing here made it
        making = " + ".join(filter(None, (own, line.elsewhere)))
        row |= {"making": making, "elsewhere": line.elsewhere, "serving": serving, "margin": money(line.margin, line.estimated),
                "making_micros": line.making, "making_s": line.making_s, "serving_micros": line.serving,
                "serving_s": line.serving_s, "margin_micros": line.margin, "estimated": line.estimated}
    return row | {"earned_micros": line.earned, "given_back_micros": line.given_back}


@click.command()
@click.option("--machine-hour", default="", help="What an hour of this machine costs, e.g. ¥3.")
@click.option("--kwh", default="", help="What a kilowatt-hour costs, e.g. ¥0.8.")
@listing
@pass_context
def rates(context: Context, machine_hour: str, kwh: str, as_json: bool, as_csv: bool) -> None:
    """Say what compute costs; until then money reads "rate not set". Alone, the rates and since when they hold."""
    from mofang.core.money import format_micros
    from mofang.trade import settings

    shop = context.shop
    if machine_hour or kwh:
        shop.act(settings.rates_set, machine_hour=machine_hour, kwh=kwh)

    def money(micros: int | None) -> str:
        return say("not set", "未设定") if micros is None else format_micros(micros, shop.currency)

    history = settings.rates_history(shop) or [{"at_us": 0, "by": "", "machine_hour_micros": None, "kwh_micros": None}]
    rows = [{"since": when(one["at_us"]) if one["at_us"] else "–", "machine_hour": money(one["machine_hour_micros"]),
             "kwh": money(one["kwh_micros"]), "by": one["by"], **{name: one[name] for name in settings.RATES}} for one in history]
    context.table(rows, {"since": say("since", "起始"), "machine_hour": say("machine hour", "机器小时"), "kwh": say("kWh", "千瓦时"),
                         "by": say("set by", "设定人")}, as_json=as_json, as_csv=as_csv)
    if not (as_json or as_csv):
        context.say("{example}", "{example}", example=settings.rates_example(shop))
        unset = shop.rates.get("machine_hour_micros") is None
        context.next("mofang rates --machine-hour ¥3" if unset else "mofang costs")


@click.command(context_settings={"ignore_unknown_options": True})  # an offset such as -03:30 is a value
@click.argument("name", required=False)
@click.argument("value", required=False)
@listing
@pass_context
def settings(context: Context, name: str | None, value: str | None, as_json: bool, as_csv: bool) -> None:
    """Set what bills say of you, the clock by which months begin, or that records are stored encrypted; alone, the list.

    Names: seller, address, tax-id, utc-offset, invoice-language, encrypt. An empty VALUE takes a setting away.
    """
    from mofang.trade import settings as trade

    shop = context.shop
    if name is not None and value is not None:
        made = shop.act(trade.settings_set, name=name, value=value)
        context.say("{name}: {value}", "{name}：{value}", name=made.name, value=made.value or "–")
        if made.name == "utc-offset":
            context.say("Days and months begin by this clock from now on; running servers take it at their next start.",
                        "今后的日与月按此时区计算；运行中的服务在下次启动时生效。")
        context.next("mofang settings", "mofang invoice CUSTOMER --preview")
        return
    found = trade.settings_of(shop)
    if name is not None:
        trade.known(name)
        found = [one for one in found if one.name == trade.known(name)]
    rows = [{"name": one.name, "value": one.value or "–", "what": say(trade.KNOWN[one.name].en, trade.KNOWN[one.name].zh),
             "since": when(one.at_us) if one.at_us else "–", "by": one.by} for one in found]
    context.table(rows, {"name": say("name", "名称"), "value": say("value", "值"), "what": say("what", "说明"),
                         "since": say("since", "起始"), "by": say("set by", "设定人")}, as_json=as_json, as_csv=as_csv)
    if not (as_json or as_csv):
        context.next("mofang settings seller \"…\"", "mofang settings utc-offset +08:00")
