"""Reconcile: answered, used and billed, held against each other."""

from __future__ import annotations

import click

from mofang.cli.context import Context, pass_context
from mofang.core.language import say


@click.command()
@click.option("--days", type=click.IntRange(1, 31), default=2, show_default=True, help="How many days back.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def reconcile(context: Context, days: int, as_json: bool) -> None:
    """Compare what was answered, what was metered and what was billed; ends with 3 where something does not fit."""
    from mofang.cli.jobs import last_line
    from mofang.core.progress import progress
    from mofang.trade.billing.reconcile import reconcile as compare
    from mofang.trade.keeping.noticed import note_reconciled

    with progress(say("Comparing", "对账中")):
        found = compare(context.shop, days)
    if as_json:
        import orjson

        click.echo(orjson.dumps(found.to_dict()).decode())
    else:
        context.say("{days} days: {answered} answered, {used} metered, {invoices} invoices made again",
                    "{days} 天：应答 {answered} 次，计量 {used} 次，重新生成账单 {invoices} 张", days=days, answered=found.answered,
                    used=found.used, invoices=found.invoices)
        if found.undelivered:
            context.say("{n} were charged and perhaps not delivered: a retry with the same key replays them.",
                        "{n} 次已计费但可能未送达：用同一个键重试即可取回。", n=found.undelivered)
        kinds = ((say("answered, not metered", "已应答但未计量"), found.missing), (say("answered twice", "重复应答"), found.twice),
                 (say("sum differs", "汇总不符"), found.sums), (say("invoice differs", "账单不符"), found.changed))
        for words, names in kinds:
            for name in names[:20]:
                context.console.print(f"✗ {words}: {name}", markup=False, style="red")
        if not found.wrong:
            context.say("everything fits", "全部相符")
        last_line(context, "reconcile")
    note_reconciled(context.shop, found, days, by=context.shop.actor.name)
    if found.wrong:
        click.get_current_context().exit(3)
