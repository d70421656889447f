"""Sell: a model in one command, and prices."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import click

from mofang.cli import ways
from mofang.cli.context import Context, Names, listing, pass_context, when
from mofang.core.errors import MofangError
from mofang.core.language import say

if TYPE_CHECKING:
    from mofang.core.shop import Shop
    from mofang.trade.pricing.prices import Price
    from mofang.trade.pricing.suggest import Suggestion
    from mofang.trade.sale import Sold

SAMPLES = {"text": "房间很干净", "number": 1, "category": "A"}


@click.command()
@click.argument("model")
@click.option("--to", required=True, metavar="CUSTOMER", help="Who buys; made if there is no such customer.")
@click.option("--price", default="", help="What calls cost, e.g. 5.00/1000 (default: the price that is set).")
@click.option("--output", type=click.IntRange(1, 1000),
              help="Models that write: how many read tokens a written one costs as.")
@click.option("--credit", default="", help="How much may be owed in a month, e.g. ¥1000 (prepaid customers: 0).")
@click.option("--label", default="", help="A note for yourself.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def sell(context: Context, /, model: str, to: str, price: str, output: int | None, credit: str, label: str, yes: bool,
         as_json: bool) -> None:
    """Sell a model to a customer: customer, price and live key in one. The key is shown this once.

    Done again it makes no second customer and no second key, and says so.
    """
    from mofang.trade import sale

    if output and not price:
        raise MofangError("output-needs-price")
    context.confirm(sale.plan_sale(context.shop, model, to, price, credit).doubts, yes)
    sold = context.shop.act(sale.sell, model=model, to=to, price=price, credit=credit, label=label, output=output or 0)
    if as_json:
        import orjson

        click.echo(orjson.dumps(_facts(sold), option=orjson.OPT_INDENT_2).decode())
        return
    _show(context, sold)


def _facts(sold: Sold) -> dict[str, Any]:
    token = sold.issued.token if sold.issued else None
    return {"model": sold.model, "customer": sold.customer.name, "account": sold.customer.id, "new_customer": sold.new_customer,
            "credit_micros": sold.customer.credit_micros, "currency": sold.customer.currency,
            "price_version": sold.price.version, "rate": sold.price.rate, "new_price": sold.new_price,
            "key": sold.issued.id if sold.issued else sold.key.id if sold.key else None, "token": token}


def _show(context: Context, sold: Sold) -> None:
    from mofang.core.money import format_micros

    who, name = sold.customer, sold.price.model
    context.say("{customer} may now ask {model}{new}", "{customer} 现在可以调用 {model}{new}", customer=who.name, model=sold.model,
                new=say(" (new customer)", "（新客户）") if sold.new_customer else "")
    context.say("  credit  {credit} a month", "  额度  每月 {credit}", credit=format_micros(who.credit_micros, who.currency))
    show_price(context, sold.price)
    if sold.issued is None:
        assert sold.key is not None
        context.say("  key     {id}: given before, and still good; no second one was made",
                    "  密钥  {id}：此前已签发，仍然有效；没有再签发第二个", id=sold.key.id)
        context.next(f"mofang key rotate {sold.key.id} --lost", f"mofang key new {shlex.quote(who.name)}", f"mofang serve {name}")
        return
    context.say("  key     {id}", "  密钥  {id}", id=sold.issued.id)
    click.echo(sold.issued.token)
    context.say("Keep it now: it is not stored and cannot be shown again.", "请立即保存：系统不保存明文，之后无法再次显示。")
    address = serving_address(context.shop, name)
    context.say("The customer asks like this:", "客户这样调用：")
    click.echo(curl(context.shop, name, sold.issued.token, address or "http://127.0.0.1:8080"))
    if address:
        context.next("mofang", f"mofang invoice {shlex.quote(who.name)} --preview")
    else:
        context.next(f"mofang serve {name}")


def show_price(context: Context, price: Price) -> None:
    """A price with what 1 and 40,000 calls cost."""
    from mofang.core.money import format_price

    examples = [say("{calls} {word} {cost}", "{calls} 次调用收费 {cost}", calls=f"{calls:,}", cost=cost,
                    word="call costs" if calls == 1 else "calls cost") for calls, cost in price.examples()]
    context.say("  price   {price} (version {version}): {examples}", "  价格  {price}（第 {version} 版）：{examples}",
                price=format_price(price.rate, price.currency), version=price.version, examples=say(", ", "，").join(examples))


def serving_address(shop: Shop, model: str) -> str:
    """Where a running server of this shop answers for a model; empty if none does."""
    from mofang.trade.live import serving

    return next((one["address"] for one in serving(shop) if any(name.partition("@")[0] == model for name in one["models"])), "")


def curl(shop: Shop, model: str, token: str, address: str) -> str:
    """A line to paste that asks the model once."""
    import json

    from mofang.trade.elsewhere.remotes import remotes

    if any(one.name == model for one in remotes(shop.control)):
        about: dict[str, Any] = {"task": "text_generation"}
    else:
        about = shop.parts_of(shop.ledger.get(shop.named(model, "package").entry)).read_json("package.json")
    if about.get("task") == "text_generation":
        body = json.dumps({"model": model, "messages": [{"role": "user", "content": "你好"}]}, ensure_ascii=False)
        return f"curl {address}/v1/chat/completions -H 'authorization: Bearer {token}' -d '{body}'"
    record: dict[str, Any] = {}
    for column in about.get("inputs", [{"name": "text", "role": "text"}]):
        record[column["name"]] = "BASE64" if column.get("role") == "image" else SAMPLES.get(column.get("role", "text"), 1)
    body = json.dumps(record, ensure_ascii=False).replace("BASE64", "'\"$(base64 < photo.png | tr -d '\\n')\"'")
    return f"curl {address}/v1/predict/{model} -H 'authorization: Bearer {token}' -d '{body}'"


class Prices(Names):
    """``mofang price --suggest MODEL`` is ``mofang price suggest MODEL``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As the group reads them, with ``--suggest`` as the word."""
        return super().parse_args(ctx, ["suggest", *args[1:]] if args[:1] == ["--suggest"] else args)


@click.group(cls=Prices)
def price() -> None:
    """Set, list and suggest prices; alone, the list."""


class Priced(click.Command):
    """A command that wants a price, in one form or another."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Without any form of a price nothing can be set."""
        rest = super().parse_args(ctx, args)
        if not any(ctx.params.get(name) for name in ("price", "tiers", "volume", "package")):
            raise click.UsageError(say("Say what it costs: PRICE, --tiers, --volume or --package.",
                                       "请写明价格：PRICE、--tiers、--volume 或 --package。"), ctx)
        return rest


@price.command("set", cls=Priced)
@click.argument("model")
@click.argument("price", required=False, default="")
@click.option("--tiers", default="", help="Graduated, each unit at its tier's price: '0-1000:2.00, 1000-:1.50'.")
@click.option("--volume", default="", help="All units at the price of the tier that a month reaches; written like --tiers.")
@click.option("--package", default="", help="Each package that is begun: 1000:5.00.")
@click.option("--included", type=click.IntRange(0), default=0, help="Units a month that cost nothing.")
@click.option("--minimum", default="", help="The least that a month with use comes to, e.g. ¥100.")
@click.option("--starts", default="", help="From when on (2026-12-01); now if left out.")
@click.option("--output", type=click.IntRange(1, 1000),
              help="Generators: how many read tokens a written one costs as (at first: 1).")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_context
def price_set(context: Context, /, model: str, price: str, starts: str, output: int | None, yes: bool, **plan: Any) -> None:
    """Set what a model costs from now on, e.g. 5.00/1000, or in tiers or packages. Earlier use keeps its price.

    A change of the price, and one that looks like a slip, shows what it comes to and asks.
    """
    from mofang.trade.elsewhere.remotes import sold_name
    from mofang.trade.pricing import prices
    from mofang.trade.sale import price_doubts

    name = sold_name(context.shop, model)
    before = None
    if price:
        _, before, doubts = price_doubts(context.shop, name, price)
        context.confirm(doubts, yes)
    made = context.shop.act(prices.price_set, model=name, price=price, starts=starts, currency=context.shop.currency,
                            output=output or 0, **plan)
    context.say("price {version} of {model}:", "{model} 的第 {version} 版价格：", version=made.version, model=made.model)
    for calls, cost in made.examples():
        context.say("  {calls} {word} {cost}", "  {calls} 次调用收费 {cost}", calls=f"{calls:,}", cost=cost,
                    word="call costs" if calls == 1 else "calls cost")
    if made.output > 1:
        context.say("  a token that is written costs as {n} that are read", "  每个生成的词元按 {n} 个读入的词元计", n=made.output)
    if made.postpaid:
        context.say("  what a unit costs is known when the month is over: sold on credit only, up to {most} a unit",
                    "  单价在月末才能确定：仅适用于后付费客户，单位最高 {most}", most=made.cost(1))
    if before is not None and before.rate > made.rate:
        context.say("What was answered before keeps its price. To give some of it back:",
                    "此前的用量仍按原价。如需退还一部分：")
        context.next("mofang customer credit-note CUSTOMER AMOUNT --reason \"…\"", "mofang customer")
    else:
        context.next(f"mofang sell {name} --to CUSTOMER", f"mofang serve {name}")


@price.command("list")
@listing
@pass_context
def price_list(context: Context, as_json: bool, as_csv: bool) -> None:
    """List all versions of all prices."""
    from mofang.trade.accounts.lists import all_prices

    rows = [{"model": one.model, "version": one.version, "per_1000": one.exact(1000), "kind": one.plan["kind"],
             "currency": one.currency, "from": when(one.from_us), "plan": one.plan} for one in all_prices(context.shop)]
    words = {"model": say("model", "模型"), "version": say("version", "版本"), "per_1000": say("per 1,000 at most", "每千次（最高）"),
             "kind": say("kind", "种类"), "currency": say("currency", "货币"), "from": say("from", "生效")}
    context.table(rows, words, as_json=as_json, as_csv=as_csv)


@price.command("suggest")
@click.argument("model")
@click.option("--volume", type=click.IntRange(1), default=None,
              help="Units that are expected to be sold, over which making is spread (default: what was sold so far).")
@click.option("--margin", type=click.IntRange(0, 95), default=50, show_default=True,
              help="Per cent of the price that should be left.")
@listing
@pass_context
def price_suggest(context: Context, model: str, volume: int | None, margin: int, as_json: bool, as_csv: bool) -> None:
    """What a model should cost: measured compute, energy and making, spread over the volume; and what each way of selling earned.

    `mofang price --suggest MODEL` is the same.
    """
    from dataclasses import asdict

    from mofang.core.money import format_micros
    from mofang.core.progress import progress
    from mofang.trade.pricing.suggest import suggest

    shop = context.shop
    with progress(say("Reading bills and what stands on none yet", "正在读取账单和未出账用量")) as bar:
        found = suggest(shop, model, volume or 0, margin, lambda: bar.advance(1))
    if as_json:
        import orjson

        told = {**asdict(found), "cost_per_1000": found.cost_per_1000, "ways": [one.facts() for one in found.ways]}
        click.echo(orjson.dumps(told, option=orjson.OPT_INDENT_2).decode())
        return
    if not as_csv:
        _show_costs(context, found)
    if found.ways or as_csv:
        ways.table(context, list(found.ways), customers=True, as_csv=as_csv)
    else:
        context.say("So far nobody bought it.", "目前还没有人购买。")
    if not as_csv:
        context.next(f"mofang price set {found.model} {format_micros(found.price_per_1000, shop.currency)}/1000",
                     "mofang costs --by way")


def _show_costs(context: Context, found: Suggestion) -> None:
    from mofang.core.money import format_micros

    def money(micros: int | None) -> str:
        return say("none", "无") if micros is None else format_micros(micros, context.shop.currency)

    context.say("{model}: making {making}, {per} of it in each 1,000 of {units} units; serving 1,000 costs {serving} "
                "({speed:.0f}/s).", "{model}：制作成本 {making}，按 {units} 单位分摊，每千单位 {per}；服务每千单位 {serving}（{speed:.0f} 条/秒）。",
                model=found.model,
                making=money(found.making), per=money(found.making_per_1000), units=f"{found.expected_units:,}",
                serving=money(found.serving_per_1000), speed=found.samples_per_s)
    context.say("Making took {cpu:,.1f} processor seconds, {gpu:,.1f} of GPUs, {wh:,.3f} Wh as an estimate.",
                "制作用时：处理器 {cpu:,.1f} 秒，GPU {gpu:,.1f} 秒；能耗约 {wh:,.3f} 瓦时。", cpu=found.cpu_s, gpu=found.gpu_s,
                wh=found.energy_wh)
    context.say("For a margin of {margin}%: {price} for 1,000. Now it is {now}.", "毛利率 {margin}%：每千单位 {price}。现价：{now}。",
                margin=found.margin_percent, price=money(found.price_per_1000), now=money(found.now_per_1000))
