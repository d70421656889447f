"""Limits: how fast, how many at once, how much money a month; of a customer or of one key."""

from __future__ import annotations

import shlex
from typing import Any

import click

from mofang.cli.context import Context, Names, listing, pass_context
from mofang.core.language import say


@click.group(cls=Names)
def limit() -> None:
    """Limit customers and keys; alone, the list."""


@limit.command("set")
@click.argument("customer")
@click.option("--key", default="", help="Only this key (default: the whole customer).")
@click.option("--rate", default="", metavar="N/PERIOD",
              help="Requests in a time: 600/minute, 10/s, 100/5min; none takes it away.")
@click.option("--burst", type=click.IntRange(1), help="How many of them may come at once (default: a second's worth).")
@click.option("--concurrency", type=click.IntRange(0), help="How many may be on their way at a time; 0 takes it away.")
@click.option("--budget", default="", metavar="AMOUNT", help="Money a month that is never passed; none takes it away.")
@click.option("--soft", default="", metavar="AMOUNT", help="Where the budget is said to run low; none takes it away.")
@pass_context
def limit_set(context: Context, /, customer: str, burst: int | None, concurrency: int | None, **given: str) -> None:
    """Set limits; what is not named stays as it is. Running servers follow within a second."""
    from mofang.trade.accounts import limits

    counts = {"burst": -1 if burst is None else burst, "concurrency": -1 if concurrency is None else concurrency}
    context.shop.act(limits.limit_set, customer=customer, **counts, **given)
    _show(context, customer, False, False)
    context.next(f"mofang limit show {shlex.quote(customer)}")


@limit.command("show")
@click.argument("customer", required=False)
@listing
@pass_context
def limit_show(context: Context, customer: str | None, as_json: bool, as_csv: bool) -> None:
    """List limits, with what this month has used of each budget."""
    _show(context, customer or "", as_json, as_csv)


limit.add_command(limit_show, "list")  # what the bare `mofang limit` is


def _show(context: Context, customer: str, as_json: bool, as_csv: bool) -> None:
    from mofang.core.money import format_micros
    from mofang.trade.accounts.lists import all_limits

    def money(micros: int, currency: str) -> str:
        return format_micros(micros, currency) if micros >= 0 else "–"

    rows: list[dict[str, Any]] = [
        {"customer": who.name, "key": one.key or "*", "rate": f"{one.requests}/{one.per_s} s" if one.requests else "–",
         "burst": one.burst or "–", "concurrency": one.concurrency or "–", "budget": money(one.budget_micros, who.currency),
         "soft": money(one.soft_micros, who.currency), "used": money(used if one.budget_micros >= 0 else -1, who.currency)}
        for who, one, used in all_limits(context.shop, customer)]
    words = {"customer": say("customer", "客户"), "key": say("key", "密钥"), "rate": say("rate", "速率"), "burst": say("burst", "突发"),
             "concurrency": say("at once", "并发"), "budget": say("budget a month", "每月预算"), "soft": say("warn at", "提醒线"),
             "used": say("used this month", "本月已用")}
    context.table(rows, words, as_json=as_json, as_csv=as_csv)
