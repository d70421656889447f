"""Webhooks and Stripe: who is told of bills and payments, and what arrived."""

from __future__ import annotations

import sys
from typing import Any

import click

from mofang.cli.context import Context, Names, listing, pass_context
from mofang.core.language import say


@click.group(cls=Names)
def outbox() -> None:
    """Tell webhooks and Stripe of bills, payments and credits; alone, the list."""


@outbox.command("add")
@click.argument("name")
@click.option("--url", required=True, help="Where it listens; for Stripe https://api.stripe.com.")
@click.option(
    "--kind", type=click.Choice(["webhook", "stripe"]), default="webhook", show_default=True, help="What listens there."
)
@click.option("--secret", default="", metavar="NAME", help="The name of its secret; see `mofang outbox secret`.")
@click.option("--allow-private", multiple=True, metavar="HOST:PORT", help="A machine of your own that may be reached (repeat).")
@pass_context
def outbox_add(context: Context, /, **given: Any) -> None:
    """Tell an address of all that is billed and paid from now on."""
    from mofang.trade.telling import sending

    made = context.shop.act(sending.outbox_add, **given)
    context.say("{name}: {url} is told from now on", "{name}：今后将通知 {url}", name=made.name, url=made.url)
    context.next(*([f"mofang outbox secret {made.secret}"] if made.secret else []), "mofang outbox send")


@outbox.command("remove")
@click.argument("name")
@pass_context
def outbox_remove(context: Context, name: str) -> None:
    """Tell an address no more."""
    from mofang.trade.telling import sending

    context.shop.act(sending.outbox_remove, name=name)
    context.say("{name} is told no more.", "不再通知 {name}。", name=name)


@outbox.command("secret")
@click.argument("name")
@pass_context
def outbox_secret(context: Context, name: str) -> None:
    """Keep a webhook's or Stripe's secret under NAME: typed unseen, or read from standard input."""
    from mofang.data.remote.registry import set_secret

    value = (
        click.prompt(say("Value of {name}", "{name} 的内容", name=name), hide_input=True, err=True)
        if sys.stdin.isatty()
        else sys.stdin.readline(20_000).rstrip("\r\n")
    )
    set_secret(context.shop, name, value)
    context.next("mofang outbox send")


@outbox.command("send")
@click.option("--again", default="", metavar="NAME", help="First forget how often this address was tried in vain.")
@listing
@pass_context
def outbox_send(context: Context, again: str, as_json: bool, as_csv: bool) -> None:
    """Tell now what has not been told; what fails is tried again later. A server does it by itself."""
    from mofang.trade.telling import sending
    from mofang.trade.telling.posting import post

    context.shop.require("money")
    if again:
        context.shop.act(sending.outbox_again, name=again)
    rows = [
        {"name": one.endpoint, "event": one.event, "said": one.said, "again": say("yes", "是") if one.again else say("no", "否")}
        for one in sending.send_all(context.shop, post)
    ]
    context.table(
        rows,
        {
            "name": say("name", "名称"),
            "event": say("event", "事件"),
            "said": say("said", "结果"),
            "again": say("tried again", "再试"),
        },
        as_json=as_json,
        as_csv=as_csv,
    )


@outbox.command("list")
@listing
@pass_context
def outbox_list(context: Context, as_json: bool, as_csv: bool) -> None:
    """Who is told, how much waits, and what was given up."""
    from mofang.trade.accounts.lists import open_books
    from mofang.trade.telling import sending

    db = open_books(context.shop)
    stands = {one.endpoint: one for one in sending.standing(db)}
    rows = [
        {
            "name": one.name,
            "kind": one.kind,
            "url": one.url,
            "secret": one.secret or "–",
            "waiting": stands[one.name].waiting,
            "given_up": stands[one.name].given_up,
        }
        for one in sending.endpoints(db)
    ]
    context.table(
        rows,
        {
            "name": say("name", "名称"),
            "kind": say("kind", "种类"),
            "url": "url",
            "secret": say("secret", "密钥"),
            "waiting": say("waiting", "待通知"),
            "given_up": say("given up", "已放弃"),
        },
        as_json=as_json,
        as_csv=as_csv,
    )
    if not (as_json or as_csv):
        from mofang.cli.jobs import last_line

        last_line(context, "outbox")
