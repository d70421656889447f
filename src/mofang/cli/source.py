"""Source: register where records come from on other machines, and keep the secrets for it."""

from __future__ import annotations

import shlex
import sys
from typing import Any

import click

from mofang.cli.context import Context, Names, listing, pass_context, when
from mofang.core.language import say


@click.group(cls=Names)
def source() -> None:
    """Register databases, APIs, web pages, data sets and object stores to collect from; alone, the list."""


@source.command("add")
@click.argument("name")
@click.argument("url")
@click.option("--kind", type=click.Choice(["file", "api", "web", "sql", "cassandra", "hub", "store"]),
              help="What it is (default: told from the address).")
@click.option("--query", help="Database: the SELECT whose rows are collected.")
@click.option("--table", help="Database: the table whose rows are collected.")
@click.option("--newer-than", metavar="COLUMN",
              help="A column or field that only grows: collecting again takes only rows beyond the last.")
@click.option("--items", metavar="PATH", help="API: where the items stand in an answer, e.g. data.items.")
@click.option("--paging", type=click.Choice(["link", "page", "offset", "cursor"]),
              help="API: how it pages (default: Link headers).")
@click.option("--cursor", metavar="PATH", help="API: where an answer names the next cursor or page, e.g. meta.next.")
@click.option("--since", metavar="PARAMETER", help="API: the parameter that takes the last value of --newer-than.")
@click.option("--page-name", metavar="PARAMETER", help="API: the parameter of the page, offset or cursor.")
@click.option("--size-name", metavar="PARAMETER", help="API: the parameter of the page size.")
@click.option("--page-size", type=click.IntRange(min=1), help="API: how many items a page holds (default: 100).")
@click.option("--growing", is_flag=True, help="API: new items come last, so collecting again goes on at the last page.")
@click.option("--header", "headers", multiple=True, metavar="'NAME: VALUE'",
              help="A header; {secret} stands for the secret's value.")
@click.option("--secret", metavar="NAME", help="The secret to use: a password, a token, or KEY:SECRET of an object store.")
@click.option("--allow-private", multiple=True, metavar="HOST:PORT",
              help="A machine of your own that may be reached (repeat for several).")
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), help="At most so many requests a second.")
@click.option("--pages", type=click.Choice(["one", "list", "sitemap", "crawl"]),
              help="Web: one page, a list of addresses, a sitemap, or all of one host.")
@click.option("--depth", type=click.IntRange(min=0), help="Web: how many links away from the first page (default: 2).")
@click.option("--limit", type=click.IntRange(min=1), help="Web: how many pages at most (default: 1000).")
@click.option("--split", help="Hub: one split (default: all).")
@click.option("--config", help="Hub: the configuration.")
@click.option("--option", "options", multiple=True, metavar="NAME=VALUE",
              help="Object store: an option of its driver, e.g. endpoint_url=…")
@click.option("--most-mb", type=click.IntRange(min=1), help="The largest file or answer that is taken (default: 8192).")
@pass_context
def source_add(context: Context, /, name: str, url: str, **flags: Any) -> None:
    """Register a source under NAME, or change it. Collect from it with --source source:NAME."""
    from mofang.data.remote import registry, secret

    given = {key: value for key, value in flags.items() if value not in (None, (), False)}
    made = context.shop.act(registry.source_add, name=name, url=url, **given)
    context.say("source {name}: {kind} {url}", "来源 {name}：{kind} {url}", name=made.name, kind=made.definition.nature,
                url=made.definition.url)
    for machine in made.definition.allow_private:
        context.say("  may reach {machine}, though it is not public", "  允许访问非公网的 {machine}", machine=machine)
    wanted = made.definition.secret
    missing = bool(wanted) and not secret.has_secret(context.shop, wanted)
    context.next(*([f"mofang source secret {shlex.quote(wanted)}"] if missing else []),
                 f"mofang collect --source source:{name} --licence …")


@source.command("list")
@listing
@pass_context
def source_list(context: Context, as_json: bool, as_csv: bool) -> None:
    """List registered sources; secrets by name, never their value."""
    from mofang.data.remote import registry, secret

    rows = [{"source": one.name, "kind": one.definition.nature, "url": one.definition.url,
             "asks": one.definition.query or one.definition.table or one.definition.items or one.definition.pages or "–",
             "secret": one.definition.secret or "–", "private": ", ".join(one.definition.allow_private) or "–",
             "kept": bool(one.definition.secret) and secret.has_secret(context.shop, one.definition.secret),
             "since": when(one.at_us), "by": one.by} for one in registry.sources_of(context.shop)]
    context.table(rows, {"source": say("source", "来源"), "kind": say("kind", "类型"), "url": say("address", "地址"),
                         "asks": say("asks for", "查询"), "secret": say("secret", "密钥"),
                         "private": say("own machines", "自有主机"), "since": say("since", "登记时间")}, as_json=as_json, as_csv=as_csv)
    if not rows and not (as_json or as_csv):
        context.next("mofang source add NAME URL")


@source.command("remove")
@click.argument("name")
@pass_context
def source_remove(context: Context, name: str) -> None:
    """Take a registered source away; what was collected from it stays."""
    from mofang.data.remote import registry

    made = context.shop.act(registry.source_remove, name=name)
    context.say("source {name} is no longer registered; its secret stays until you remove it too.",
                "来源 {name} 已取消登记；其密钥仍保留，需要时请另行删除。", name=made.name)
    context.next("mofang source list")


@source.command("secret")
@click.argument("name")
@click.option("--remove", is_flag=True, help="Take the value away.")
@pass_context
def source_secret(context: Context, name: str, remove: bool) -> None:
    """Keep a password or token under NAME: typed unseen, or read from standard input; it is shown and logged nowhere."""
    from mofang.core.errors import MofangError
    from mofang.data.remote.registry import set_secret

    value = ""
    if not remove:
        if sys.stdin.isatty():
            value = click.prompt(say("Value of {name}", "{name} 的内容", name=name), hide_input=True, err=True)
        else:
            value = sys.stdin.readline(20_000).rstrip("\r\n")
        if not value:
            raise MofangError("secret-empty", name=name)
    set_secret(context.shop, name, value)
    if remove:
        context.say("The secret {name} is gone.", "密钥 {name} 已删除。", name=name)
    else:
        context.say("The secret {name} is kept in the key ring; no backup holds it.",
                    "密钥 {name} 已存入密钥环，备份不含它。", name=name)
    context.next("mofang source list")
