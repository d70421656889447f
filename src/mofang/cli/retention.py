"""Retention: what is past the day until which it may be kept, and erasing it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mofang.cli.context import Context
from mofang.core.language import say

if TYPE_CHECKING:
    from mofang.core.shop import Shop


def erase_expired(context: Context, why: str, *, dry_run: bool, yes: bool, as_json: bool) -> None:
    """``mofang erase --expired``: what is due, then the same questions and report as for a person."""
    from mofang.cli.erase import changes, told
    from mofang.data.erasure.retention import due, erase_due

    shop = context.shop
    past = due(shop)
    if not as_json:
        context.table([one.to_dict() for one in past],
                      {"until": say("kept until", "保留至"), "rows": say("rows", "行数"), "source": say("source", "来源"),
                       "entry": say("run", "运行")})
    looked = erase_due(shop, why, dry_run=True)
    if past and not dry_run:
        context.confirm(changes(looked), yes)
    report = looked if dry_run or not past else erase_due(shop, why)
    if past and not dry_run:
        report.descent, report.sources = looked.descent, looked.sources
    if as_json:
        import orjson

        shown: dict[str, Any] = {**report.to_dict(), "dry_run": dry_run, "due": [one.to_dict() for one in past]}
        click.echo(orjson.dumps(shown, option=orjson.OPT_INDENT_2).decode())
    elif past:
        told(context, report, dry_run=dry_run)
    else:
        context.say("Nothing here is past its day.", "没有超过保留期限的内容。")
        context.next("mofang")


def lines(shop: Shop) -> list[str]:
    """For the day's screen: erasures that were cut off, and what is past its day."""
    from mofang.core.erased import unfinished_erasures
    from mofang.data.erasure.retention import due

    found = []
    if unfinished_erasures(shop):
        found.append(say("an erasure was cut off; it goes on with the same mofang erase command",
                         "有一次抹除中途中断；再输入同一条 mofang erase 命令即可继续"))
    past = due(shop)
    if past:
        found.append(say("{n} records are past the day until which they may be kept: mofang erase --expired",
                         "{n} 条记录已超过保留期限：mofang erase --expired", n=f"{sum(one.rows for one in past):,}"))
    return found
