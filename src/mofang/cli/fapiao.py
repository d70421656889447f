"""Tax invoices: the fields that an accountant types, and the number that comes back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mofang.cli.context import Context, Names, NewFile, listing, pass_context
from mofang.core.language import say


@click.group(cls=Names)
def fapiao() -> None:
    """Fields for tax invoices (发票), and their numbers; alone, the list."""


@fapiao.command("list")
@click.option("--month", default="", help="Bills of this month only (2026-11).")
@click.option("--out", type=NewFile(), help="Write them as CSV (UTF-8 with a mark, so that Excel reads it).")
@listing
@pass_context
def fapiao_list(context: Context, month: str, out: Path | None, as_json: bool, as_csv: bool) -> None:
    """What an accountant types: a row for each line of each bill, with tax apart."""
    from mofang.trade.billing import fapiao as trade

    rows = trade.fapiao_rows(context.shop, month)
    if out:
        import csv
        import io

        text = io.StringIO()
        writer = csv.DictWriter(text, trade.COLUMNS, lineterminator="\r\n")
        writer.writeheader()
        writer.writerows(rows)
        out.write_bytes(text.getvalue().encode("utf-8-sig"))
        context.say("written to {path}", "已写入 {path}", path=out)
        return
    words: dict[str, Any] = {
        "invoice": say("invoice", "账单"),
        "title": say("made out to", "抬头"),
        "item": say("item", "项目"),
        "amount": say("without tax", "不含税"),
        "tax": say("tax", "税额"),
        "total": say("total", "价税合计"),
        "fapiao": say("tax invoice", "发票号码"),
    }
    context.table(rows, {name: name for name in trade.COLUMNS} if as_csv else words, as_json=as_json, as_csv=as_csv)


@fapiao.command("buyer")
@click.argument("customer")
@click.option("--title", required=True, help="To whom it is made out (抬头).")
@click.option("--tax-id", default="", help="The buyer's tax number (税号).")
@click.option("--address", default="", help="The buyer's address.")
@click.option("--phone", default="", help="The buyer's telephone.")
@click.option("--bank", default="", help="The buyer's bank.")
@click.option("--bank-account", default="", help="The buyer's account there.")
@pass_context
def fapiao_buyer(context: Context, /, **given: Any) -> None:
    """Say to whom a customer's tax invoices are made out."""
    from mofang.trade.billing import fapiao as trade

    context.shop.act(trade.fapiao_buyer, **given)
    context.next("mofang fapiao list")


@fapiao.command("record")
@click.argument("invoice")
@click.argument("number")
@click.option("--replaces", default="", help="The number before, where that one was red-lettered.")
@pass_context
def fapiao_record(context: Context, invoice: str, number: str, replaces: str) -> None:
    """Record the number of the tax invoice that was issued for a bill."""
    from mofang.trade.billing import fapiao as trade

    made = context.shop.act(trade.fapiao_record, invoice=invoice, number=number, replaces=replaces)
    context.say(
        "{invoice}: tax invoice {number}{again}",
        "{invoice}：发票 {number}{again}",
        invoice=made.invoice,
        number=made.number,
        again=say(" (recorded before)", "（此前已登记）") if made.repeated else "",
    )
