"""Invoices on the screen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mofang.cli.context import Context
from mofang.core.language import say
from mofang.core.money import format_micros
from mofang.trade.pricing.named import LINES


def list_invoices(context: Context, as_json: bool, as_csv: bool) -> None:
    """All invoices, oldest first."""
    from mofang.trade.accounts.lists import all_invoices, customer_names

    names = customer_names(context.shop)
    rows = [{"invoice": one.number, "customer": names[one.account], "period": one.period,
             "total": format_micros(one.total_micros, context.shop.currency)} for one in all_invoices(context.shop)]
    context.table(rows, {"invoice": say("invoice", "账单"), "customer": say("customer", "客户"),
                         "period": say("period", "周期"), "total": say("total", "合计")}, as_json=as_json, as_csv=as_csv)


def show_document(context: Context, document: dict[str, Any], pdf: Path | None, as_json: bool, as_csv: bool) -> None:
    """One invoice: its lines, its total, where the PDF lies; as JSON the whole document, as CSV its lines."""
    import orjson

    if as_json:
        click.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())
        return
    currency = document["currency"]
    rows = [{"line": one["line"], "kind": one.get("kind", "usage"), "model": what(one, currency), "requests": one.get("requests"),
             "units": one.get("units"), "amount": format_micros(one["amount_micros"], currency)} for one in document["lines"]]
    words = {"line": say("line", "行"), "kind": say("kind", "种类"), "model": say("for", "内容"), "requests": say("requests", "请求"),
             "units": say("units", "计量"), "amount": say("amount", "金额")}
    if as_csv:
        context.table(rows, words, as_csv=True)
        return
    context.say("Invoice {number}  {customer}  {period}", "账单 {number}  {customer}  {period}", period=document["period"]["name"],
                number=document.get("number") or say("(preview)", "（预览）"), customer=document["customer"]["name"])
    context.table([{**row, "kind": say(*LINES[row["kind"]])} for row in rows], words)
    for one in document.get("credits", ()):
        context.say("credit note: {reason}  {money}", "冲减：{reason}  {money}", reason=one["reason"],
                    money=format_micros(one["amount_micros"], currency))
    context.say("total {total}", "合计 {total}", total=format_micros(document["total_micros"], currency))
    if pdf:
        context.say("written to {path}", "已写入 {path}", path=pdf)


def what(line: dict[str, Any], currency: str) -> str:
    """What a line is for: the model, or what was agreed."""
    from mofang.core.language import current_language
    from mofang.trade.billing.page import title, words_in

    return str(line["model"]) if line.get("kind", "usage") == "usage" else title(line, words_in(current_language()), currency)
