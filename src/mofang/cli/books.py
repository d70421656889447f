"""Payments, credits, usage files: what passes between a seller and a customer after the bill."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from mofang.cli.context import Context, NewFile, pass_context
from mofang.core.language import say
from mofang.core.progress import progress

WAYS = ("transfer", "wechat", "alipay", "stripe", "cash", "other")


@click.command()
@click.argument("customer")
@click.argument("amount")
@click.option("--reference", required=True, help="The payment's own reference; the same one is never booked twice.")
@click.option("--by", type=click.Choice(WAYS), default="transfer", show_default=True, help="How it was paid.")
@click.option("--until", default="", help="Money paid in advance: the last day on which it can be used (2027-06-30).")
@pass_context
def pay(context: Context, customer: str, amount: str, reference: str, by: str, until: str) -> None:
    """Book a customer's payment: by transfer, WeChat, Alipay, Stripe. The same reference twice is one payment."""
    from mofang.core.money import format_micros
    from mofang.trade.billing import paid

    shop = context.shop
    made = shop.act(paid.pay, customer=customer, amount=amount, reference=reference, by=by, until=until)
    context.say(
        "{money} booked for {customer}{until}{again}",
        "已为 {customer} 入账 {money}{until}{again}",
        customer=customer,
        money=format_micros(made.micros, shop.currency),
        until=say(", to be used until {day}", "，{day} 前有效", day=made.until) if made.until else "",
        again=say(" (already booked; nothing changed)", "（此前已入账，没有重复）") if made.repeated else "",
    )
    context.next(f"mofang customer show {shlex.quote(customer)}")


@click.command()
@click.argument("invoice")
@click.argument("line", type=click.IntRange(1))
@click.option("--units", type=click.IntRange(0), default=0, help="So many units of a line of use.")
@click.option("--amount", default="", help="An amount, of a line that no use stands behind.")
@click.option("--why", required=True, help="Why; it stands on the next invoice.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_context
def credit(context: Context, invoice: str, line: int, units: int, amount: str, why: str, yes: bool) -> None:
    """Give back part of an invoice's LINE: usable at once, and on the next invoice. Never more than the line."""
    from mofang.core.money import format_micros
    from mofang.trade.billing import credits

    part = say("{n} units", "{n} 单位", n=f"{units:,}") if units else amount
    made = context.confirm_act(
        [
            say(
                "{part} of line {line} of {invoice} are given back: {why}. It cannot be taken back.",
                "将退还账单 {invoice} 第 {line} 行中的 {part}：{why}。此操作无法撤销。",
                part=part,
                line=line,
                invoice=invoice,
                why=why,
            )
        ],
        yes,
        credits.credit_line,
        invoice=invoice,
        line=line,
        units=units,
        amount=amount,
        why=why,
    )
    context.say(
        "{money} given back of {invoice}, line {line}{again}",
        "已退还账单 {invoice} 第 {line} 行：{money}{again}",
        money=format_micros(made.micros, made.currency),
        invoice=made.number,
        line=made.line,
        again=say(" (already booked; nothing changed)", "（此前已登记，没有重复）") if made.repeated else "",
    )
    context.next("mofang customer", f"mofang trace {made.number} {made.line}")


@click.command()
@click.argument("customer")
@click.option("--month", default="", help="The month, e.g. 2026-11 (default: this month).")
@click.option("--from", "first", default="", help="The first day, e.g. 2026-11-03, instead of a month.")
@click.option("--until", "last", default="", help="The last day, counted with it (default: today).")
@click.option("--out", type=NewFile(), help="Where to write the file (default: the screen).")
@click.option("--csv", is_flag=True, help="Print CSV.")
@pass_context
def usage(context: Context, customer: str, month: str, first: str, last: str, out: Path | None, csv: bool) -> None:
    """A customer's use by day, key and model: the same file that the customer downloads with its own key."""
    from mofang.trade.accounts.customers import find_customer
    from mofang.trade.accounts.lists import open_books, shop_offset
    from mofang.trade.billing.usage_file import read_days, usage_file

    db, offset = open_books(context.shop), shop_offset(context.shop)
    pieces = usage_file(db, find_customer(db, customer), read_days(month, first, last, offset), offset)
    if out:
        with progress(say("Reading what was used", "读取用量")), out.open("wb") as file:
            file.writelines(piece.encode() for piece in pieces)
        context.say("{path}", "{path}", path=out)
        return
    if csv:
        for piece in pieces:
            click.echo(piece, nl=False)
        return
    import csv as reader

    with progress(say("Reading what was used", "读取用量")):
        rows = list(reader.DictReader("".join(pieces).splitlines()))
    context.table(
        rows,
        {
            "day": say("day", "日期"),
            "key": say("key", "密钥"),
            "model": say("model", "模型"),
            "test": say("test", "测试"),
            "requests": say("requests", "请求"),
            "units": say("units", "计量"),
            "debited": say("debited", "扣款"),
        },
    )
