"""Remote: sell models of engines elsewhere behind our keys and meter."""

from __future__ import annotations

import shlex
import sys
from typing import Any

import click

from mofang.cli.context import Context, Names, listing, pass_context
from mofang.core.language import say


@click.group(cls=Names)
def remote() -> None:
    """Sell models of OpenAI-compatible engines elsewhere (vLLM and others); alone, the list."""


@remote.command("add")
@click.argument("name")
@click.option("--url", required=True, help="Base address of the engine, up to its version: https://host/v1.")
@click.option("--model", required=True, help="What the model is called there.")
@click.option("--price", default="", help="What a token costs, e.g. ¥2/1000000; left out, its price stays as it is.")
@click.option("--output", type=click.IntRange(1, 1000), help="How many read tokens a written one costs as (default: 1).")
@click.option("--secret", default="", metavar="NAME",
              help="The secret that the engine wants as a key; see `mofang remote secret`.")
@click.option("--allow-private", multiple=True, metavar="HOST:PORT",
              help="A machine of your own that may be reached, e.g. 127.0.0.1:8000.")
@click.option("--timeout-s", type=click.FloatRange(min=0, min_open=True), default=120.0, show_default=True,
              help="For one answer, in seconds.")
@click.option("--most-tokens", type=click.IntRange(1), default=4096, show_default=True,
              help="The longest answer where the caller sets no bound.")
@pass_context
def remote_add(context: Context, /, name: str, output: int | None, **flags: Any) -> None:
    """Sell a model of an engine elsewhere under NAME, or change it. Running servers take it up within a second."""
    from mofang.data.remote.secret import has_secret
    from mofang.trade.elsewhere import remotes

    made = context.shop.act(remotes.remote_add, name=name, output=output or 0, **flags)
    context.say("{name}: {model} at {url}", "{name}：{url} 上的 {model}", name=made.name, model=made.model, url=made.url)
    for machine in made.private:
        context.say("  may reach {machine}, though it is not public", "  允许访问非公网的 {machine}", machine=machine)
    missing = bool(made.secret) and not has_secret(context.shop, made.secret)
    context.next(*([f"mofang remote secret {shlex.quote(made.secret)}"] if missing else []),
                 *([] if flags["price"] else [f"mofang price set {shlex.quote(name)} PRICE"]),
                 "mofang key new CUSTOMER", "mofang serve")


@remote.command("list")
@listing
@pass_context
def remote_list(context: Context, as_json: bool, as_csv: bool) -> None:
    """List engines elsewhere; secrets by name, never their value."""
    from mofang.trade.elsewhere import remotes

    context.shop.journals.make_tables()
    rows = [{"name": one.name, "url": one.url, "model": one.model, "secret": one.secret or "–",
             "private": ", ".join(one.private) or "–"} for one in remotes.remotes(context.shop.control)]
    context.table(rows, {"name": say("name", "名称"), "url": say("address", "地址"), "model": say("model there", "对方模型名"),
                         "secret": say("secret", "密钥"), "private": say("own machines", "自有主机")}, as_json=as_json, as_csv=as_csv)
    if not rows and not (as_json or as_csv):
        context.next("mofang remote add NAME --url https://… --model …")


@remote.command("remove")
@click.argument("name")
@pass_context
def remote_remove(context: Context, name: str) -> None:
    """Sell it no more; what was used keeps its price."""
    from mofang.trade.elsewhere import remotes

    made = context.shop.act(remotes.remote_remove, name=name)
    context.say("{name} is no longer sold here.", "{name} 已停止出售。", name=made.name)
    context.next("mofang remote list")


@remote.command("secret")
@click.argument("name")
@click.option("--remove", is_flag=True, help="Take the value away.")
@pass_context
def remote_secret(context: Context, name: str, remove: bool) -> None:
    """Keep an engine's key under NAME: typed unseen, or read from standard input; it is shown and logged nowhere."""
    from mofang.core.errors import MofangError
    from mofang.data.remote.registry import set_secret

    value = ""
    if not remove:
        asked = sys.stdin.isatty()
        value = (click.prompt(say("Value of {name}", "{name} 的内容", name=name), hide_input=True, err=True) if asked
                 else sys.stdin.readline(20_000).rstrip("\r\n"))
        if not value:
            raise MofangError("secret-empty", name=name)
    set_secret(context.shop, name, value)
    context.say("The secret {name} is {state}.", "密钥 {name} {state}。", name=name,
                state=say("gone", "已删除") if remove else say("kept in the key ring; no backup holds it", "已存入密钥环，备份不含它"))
    context.next("mofang remote list")
