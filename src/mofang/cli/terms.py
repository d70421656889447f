"""What is agreed with a customer, where it stands, and how customers come and go."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any

import click

from mofang.cli.context import Context, listing, pass_context
from mofang.core.language import say
from mofang.trade.pricing.named import WAYS


def add_to(customer: click.Group) -> None:
    """Hang these commands below ``mofang customer``."""
    for command in (show, agree, subscribe, unsubscribe, churn):
        customer.add_command(command)


@click.command("agree")
@click.argument("customer")
@click.option("--discount", default="", help="Off use, subscriptions and minimums, e.g. 10%; 0 takes it away.")
@click.option("--tax", default="", help="On the whole bill, e.g. 6%; a line of its own.")
@click.option("--tax-name", default="", help="What the tax is called, e.g. 增值税, VAT.")
@click.option("--minimum", default="", help="The least that a month comes to, e.g. ¥500.")
@click.option("--segment", default="", help="A word for your own tables, e.g. hotels.")
@pass_context
def agree(context: Context, /, **given: Any) -> None:
    """Agree on discount, tax or a minimum with a customer, for months that end from now on."""
    from mofang.trade.accounts import agreed

    context.shop.act(agreed.customer_agree, **given)
    context.next(f"mofang customer show {shlex.quote(given['customer'])}")


@click.command("subscribe")
@click.argument("customer")
@click.argument("model")
@click.option("--monthly", required=True, help="The fee of a month, e.g. ¥200.")
@click.option("--included", type=click.IntRange(0), default=0, help="Units that are in it; what goes beyond has its price.")
@click.option("--starts", default="", help="The first day (2026-12-01); today if left out.")
@click.option("--ends", default="", help="The last day; open if left out.")
@pass_context
def subscribe(context: Context, /, **given: Any) -> None:
    """Have a customer pay a monthly fee for a model, with units in it."""
    from mofang.core.money import format_micros
    from mofang.trade.accounts import agreed

    made = context.shop.act(agreed.customer_subscribe, **given)
    context.say(
        "{model}: {money} a month with {units} units, from {first}",
        "{model}：每月 {money}，含 {units} 单位，自 {first} 起",
        model=made.model,
        money=format_micros(made.monthly_micros, context.shop.currency),
        units=f"{made.included:,}",
        first=made.first,
    )
    context.next(f"mofang invoice {shlex.quote(given['customer'])} --preview")


@click.command("unsubscribe")
@click.argument("customer")
@click.argument("model")
@click.option("--ends", default="", help="The last day; today if left out.")
@pass_context
def unsubscribe(context: Context, /, **given: Any) -> None:
    """End a customer's subscription."""
    from mofang.trade.accounts import agreed

    made = context.shop.act(agreed.customer_unsubscribe, **given)
    context.say("{model}: ends with {last}", "{model}：{last} 结束", model=made.model, last=made.last)


@click.command("show")
@click.argument("customer")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def show(context: Context, customer: str, as_json: bool) -> None:
    """One customer: terms, balance, bills, payments, use by month and model."""
    import orjson

    from mofang.core.money import format_micros
    from mofang.trade.accounts.standing import standing

    found = standing(context.shop, customer)
    if as_json:
        click.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
        return

    def money(micros: int) -> str:
        return format_micros(micros, found["currency"])

    context.say("{name}  {id}", "{name}  {id}", name=found["customer"], id=found["id"])
    context.say(
        "  credit {credit} a month · balance {balance} · available {available} · keys {keys}",
        "  每月额度 {credit} · 余额 {balance} · 可用 {available} · 密钥 {keys}",
        credit=money(found["credit_micros"]),
        balance=money(found["balance_micros"]),
        available=money(found["available_micros"]),
        keys=found["keys"],
    )
    terms = found["agreed"]
    if any(terms.values()):
        context.say(
            "  discount {discount:g}% · tax {tax:g}% {name} · minimum {minimum} · segment {segment}",
            "  折扣 {discount:g}% · 税 {tax:g}% {name} · 最低消费 {minimum} · 分组 {segment}",
            name=terms["tax_name"],
            discount=terms["discount_ppm"] / 10_000,
            tax=terms["tax_ppm"] / 10_000,
            minimum=money(terms["minimum_micros"]),
            segment=terms["segment"] or "–",
        )
    for one in found["subscriptions"]:
        context.say(
            "  subscription {model}: {money} a month, {units} units, {first} – {last}",
            "  订阅 {model}：每月 {money}，{units} 单位，{first} – {last}",
            model=one["model"],
            money=money(one["monthly_micros"]),
            units=f"{one['included']:,}",
            first=one["first"],
            last=one["last"] or "…",
        )
    _show_books(context, found, money)
    context.next(f"mofang usage {shlex.quote(found['customer'])}", f"mofang invoice {shlex.quote(found['customer'])} --preview")


def _show_books(context: Context, found: dict[str, Any], money: Callable[[int], str]) -> None:
    """Use by month and model, what was charged once, bills, payments, credits; what there is none of is left out."""
    if found["held_micros"]:
        context.say("  set aside for orders  {money}", "  为订单预留  {money}", money=money(found["held_micros"]))
    use = {"month": say("month", "月份"), "model": say("model", "模型"), "requests": say("requests", "请求"),
           "units": say("units", "计量"), "debited": say("debited", "扣款")}
    charged = {"charged": say("charged once", "一次性收费"), "kind": say("kind", "种类"), "what": say("what", "内容")}
    bills = {"invoice": say("invoice", "账单"), "total": say("total", "合计")}
    paid = {"paid": say("paid", "付款"), "by": say("by", "方式"), "reference": say("reference", "编号"),
            "until": say("until", "有效期")}
    credited = {"given_back": say("given back", "退还"), "reason": say("reason", "原因")}
    tables: list[tuple[dict[str, str], list[dict[str, Any]]]] = [
        (use, [{**one, "debited": money(one["debited_micros"])} for one in found["use"]]),
        (charged, [{"charged": money(one["micros"]), "kind": say(*WAYS[one["kind"]]), "what": one["what"]}
                   for one in found["charges"]]),
        (bills, [{"invoice": one["invoice"], "total": money(one["total_micros"])} for one in found["invoices"]]),
        (paid, [{"paid": money(one["micros"]), "by": one["way"] or "–", "reference": one["reference"],
                 "until": one["until"] or "–"} for one in found["payments"]]),
        (credited, [{"given_back": money(one["micros"]), "reason": one["reason"]} for one in found["credits"]])]
    for words, rows in tables:
        if rows:
            context.table(rows, words)


@click.command("churn")
@click.option(
    "--by",
    type=click.Choice(["month", "cohort", "customer", "model", "segment"]),
    default="month",
    show_default=True,
    help="Who came and went by month; who stayed by first month; or use by month and …",
)
@listing
@pass_context
def churn(context: Context, by: str, as_json: bool, as_csv: bool) -> None:
    """How customers come and go, and their use over time."""
    from mofang.core.money import format_micros
    from mofang.trade.accounts import standing

    shop = context.shop
    if by == "cohort":
        rows = [
            {"first_month": one["first_month"], "customers": one["customers"], **one["asked"]} for one in standing.cohorts(shop)
        ]
        months = sorted({name for row in rows for name in row if name not in ("first_month", "customers")})
        words = {
            "first_month": say("first month", "首月"),
            "customers": say("customers", "客户"),
            **{name: name for name in months},
        }
        context.table(rows, words, as_json=as_json, as_csv=as_csv)
        return
    rows = standing.churn(shop) if by == "month" else standing.use_over_time(shop, by)  # type: ignore[arg-type]
    for row in rows:
        row |= {
            "debited": format_micros(row["debited_micros"], shop.currency),
            "lost_money": format_micros(row.get("lost_micros", 0), shop.currency),
        }
    words = {
        "month": say("month", "月份"),
        **({} if by == "month" else {by: say(by, {"customer": "客户", "model": "模型"}.get(by, "分组"))}),
    }
    words |= (
        {
            "active": say("active", "活跃"),
            "new": say("new", "新增"),
            "back": say("back", "回归"),
            "lost": say("lost", "流失"),
            "lost_money": say("lost, month before", "流失客户上月额"),
        }
        if by == "month"
        else {"requests": say("requests", "请求"), "units": say("units", "计量")}
    )
    context.table(rows, {**words, "debited": say("debited", "扣款")}, as_json=as_json, as_csv=as_csv)
