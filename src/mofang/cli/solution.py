"""Solution: several models, a recipe, limits and support terms as one signed file."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mofang.cli.context import Context, LentFile, NewFile, pass_context, when
from mofang.core.language import say

if TYPE_CHECKING:
    from mofang.trade.solutions.file import Solution


@click.group()
def solution() -> None:
    """A bundle of models, recipe, limits and support terms at one price, as one signed file."""


@solution.command("make")
@click.argument("name")
@click.option("--models", required=True, metavar="MODEL,MODEL", help="The releases in it, e.g. reviews@1,tickets@2.")
@click.option("--to", "customer", required=True, metavar="CUSTOMER", help="Who buys it.")
@click.option("--price", required=True, help="What it costs, once, e.g. 20000.00.")
@click.option("--terms", required=True, type=LentFile(), help="The support terms, a text file.")
@click.option("--recipe", type=LentFile(), help="The recipe that makes such a model, a Python file.")
@click.option("--limit", "limits", multiple=True, metavar="NAME=VALUE",
              help="A limit of use, e.g. instances=2 (repeat for several).")
@click.option("--out", type=NewFile(), help="The file (default: NAME.solution here).")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def solution_make(context: Context, /, yes: bool, as_json: bool, **given: Any) -> None:
    """Bundle models for a customer, charge the price once, and write the signed file."""
    from mofang.core.money import format_micros
    from mofang.trade.solutions import making as trade

    given["models"] = tuple(one.strip() for one in given["models"].split(",") if one.strip())
    given |= {one: str(given[one] or "") for one in ("terms", "recipe", "out")}
    if not yes:
        context.shop.require("money")
        wanted = trade.asked(context.shop, **{name: value for name, value in given.items() if name != "out"})
        price = format_micros(wanted.micros, wanted.who.currency)
        context.confirm([say("{customer} is charged {price}, once, for {name}.", "将向 {customer} 一次性收取 {price}（{name}）。",
                             customer=wanted.who.name, name=wanted.name, price=price)], yes)
    made = context.shop.act(trade.solution_make, **given)
    if as_json:
        import orjson

        told = {"file": str(made.path), "sha256": made.sha256, "size_bytes": made.size_bytes, "entry": made.entry,
                "charged_micros": made.charged.micros, "repeated": made.charged.repeated, **made.document}
        click.echo(orjson.dumps(told, option=orjson.OPT_INDENT_2).decode())
        return
    context.say("{name} is in {path} ({size:,} bytes), with {n} models, signed by this shop",
                "{name} 已写入 {path}（{size:,} 字节），含 {n} 个模型和本店签名", name=made.document["name"], path=made.path,
                size=made.size_bytes, n=len(made.document["models"]))
    context.say("{customer} is charged {money}, once{again}", "已向 {customer} 一次性收取 {money}{again}",
                customer=made.document["customer"], money=format_micros(made.charged.micros, made.charged.currency),
                again=say(" (charged before; nothing is added)", "（此前已收取，没有重复）") if made.charged.repeated else "")
    fingerprint = made.document["shop"]["fingerprint"]
    context.say("  fingerprint  {fingerprint}", "  指纹  {fingerprint}", fingerprint=fingerprint)
    context.next(f"mofang solution check {shlex.quote(str(made.path))} --from {fingerprint}", f"mofang trace {made.entry}")


@solution.command("check")
@click.argument("file", type=LentFile())
@click.option("--from", "pinned", default="", metavar="FINGERPRINT", help="Take it only if this shop's key signed it.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def solution_check(context: Context, file: Path, pinned: str, as_json: bool) -> None:
    """Check a solution byte by byte; needs no shop and no network."""
    from mofang.core.progress import progress
    from mofang.trade.solutions.file import checked

    with progress(say("Checking", "核对中")), checked(file, pinned) as (found, _):
        pass
    _show(context, found, as_json)
    if not as_json:
        context.next(f"mofang solution open {shlex.quote(str(file))} --into FOLDER --from {found.fingerprint}")


@solution.command("open")
@click.argument("file", type=LentFile())
@click.option("--into", required=True, type=click.Path(path_type=Path), help="A new or empty folder.")
@click.option("--from", "pinned", default="", metavar="FINGERPRINT", help="Take it only if this shop's key signed it.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def solution_open(context: Context, file: Path, into: Path, pinned: str, as_json: bool) -> None:
    """Check a solution and lay its files into a folder; needs no shop and no network. Nothing of it is run."""
    from mofang.core.progress import progress
    from mofang.trade.solutions.file import open_solution

    with progress(say("Checking", "核对中")):
        found = open_solution(file, into, pinned)
    _show(context, found, as_json)
    if not as_json:
        first = found.models[0]["file"]
        context.next(f"mofang up {shlex.quote(str(into / first))}",
                     f"mofang import {shlex.quote(str(into / first))} --from {found.fingerprint}")


def _show(context: Context, found: Solution, as_json: bool) -> None:
    from mofang.core.money import format_micros

    document = found.document
    if as_json:
        import orjson

        click.echo(orjson.dumps({**document, "fingerprint": found.fingerprint}, option=orjson.OPT_INDENT_2).decode())
        return
    context.say("{name} for {customer}, made on {when}, {price}: whole, as it was signed",
                "{name}，客户 {customer}，制作于 {when}，{price}：完整，与签名一致", name=found.name, customer=document["customer"],
                when=when(document["made_us"]), price=format_micros(document["price"]["micros"], document["price"]["currency"]))
    for one in found.models:
        context.say("  {name}  {task}  licences: {licences}", "  {name}  {task}  许可证：{licences}", name=one["name"],
                    task=one["task"], licences=", ".join(one["licences"]) or "-")
    for limit, value in document["limits"].items():
        click.echo(f"  {limit}: {value}")
    context.say("signed by {fingerprint}", "签名者 {fingerprint}", fingerprint=found.fingerprint)
