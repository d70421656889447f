"""Look back: models, runs, trace, verify."""

from __future__ import annotations

import click

from mofang.cli.context import Context, listing, pass_context, short, when
from mofang.core.language import say


@click.command()
@listing
@pass_context
def models(context: Context, as_json: bool, as_csv: bool) -> None:
    """List the named models, newest version first."""
    from mofang.cli.report import package_figure

    shop = context.shop
    rows = []
    for one in shop.names("package"):
        artifact = shop.parts_of(shop.ledger.get(one.entry))
        rows.append({"model": str(one), "headline": package_figure(artifact), "licences": ", ".join(artifact.licences),
                     "entry": short(one.entry)})
    context.table(rows, {"model": say("model", "模型"), "headline": say("on the test part", "测试集"),
                         "licences": say("licences", "许可"), "entry": say("made by", "来自运行")}, as_json=as_json, as_csv=as_csv)


@click.command()
@click.option("--limit", default=30, show_default=True, help="How many of the newest.")
@listing
@pass_context
def runs(context: Context, limit: int, as_json: bool, as_csv: bool) -> None:
    """List the newest runs, also failed and unfinished ones."""
    from mofang.core.history import recent

    rows = [{"run": short(one.id), "stage": one.body.get("stage", ""), "state": one.state, "when": when(one.at_us),
             "seconds": one.seconds, "error": one.error} for one in recent(context.shop.ledger, limit)]
    context.table(rows, {"run": say("run", "运行"), "stage": say("stage", "阶段"), "state": say("state", "状态"),
                         "when": say("when", "时间"), "seconds": say("seconds", "秒"), "error": say("error", "错误")},
                  as_json=as_json, as_csv=as_csv)


@click.command()
@click.argument("name")
@click.argument("line", required=False, type=int)
@click.option("--forward", is_flag=True, help="Forwards: everything that was made from it.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def trace(context: Context, name: str, line: int | None, forward: bool, as_json: bool) -> None:
    """From a model, a run, a request or an invoice LINE back to model, run, data, licence and cost."""
    from mofang.trade.provenance import trace_tree

    tree = trace_tree(context.shop, name, line, forward=forward)
    if as_json:
        import orjson

        click.echo(orjson.dumps(tree.to_dict(), option=orjson.OPT_INDENT_2).decode())
        return
    from mofang.core.trace import render

    context.console.print(render(tree, context.shop.currency))


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def verify(context: Context, as_json: bool) -> None:
    """Check every chain, every table and every file of the shop."""
    from mofang.core.progress import progress
    from mofang.trade.customs.deletion import verify_rooms

    shop = context.shop
    with progress(say("Checking", "核对中")):
        wrong = shop.verify()
        wrong += [] if any("cannot be read" in one for one in wrong) else verify_rooms(shop)
    entries, head = shop.ledger.head() if not wrong else (0, "")
    if as_json:
        import orjson

        click.echo(orjson.dumps({"verified": not wrong, "entries": entries, "head": head, "wrong": wrong}).decode())
    elif wrong:
        for one in wrong:
            context.console.print(f"✗ {one}", markup=False, style="red")
    else:
        context.say("ledger verified: {n} entries, head {head}", "账本已核对：{n} 条，链头 {head}", n=entries, head=head[:16])
    if wrong:
        click.get_current_context().exit(3)
