"""Make: new, run, show, predict."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from mofang.cli.context import Context, Given, NewFile, pass_context
from mofang.core.errors import MofangError


@click.command()
@click.argument("path", type=str)
@click.option("--out", type=click.Path(dir_okay=False), help="Where to write the recipe (default: NAME.py here).")
@click.option("--name", help="The model's name.")
@click.option("--task", help="What to learn, such as text_classification, pair_classification or token_classification.")
@click.option("--label", help="The column that holds the label.")
@click.option("--map", help="Labels to classes, e.g. '4,5=positive;1,2=negative'; all others are set aside.")
@click.option("--inputs", help="Input columns, separated by commas.")
@click.option("--keep", multiple=True, metavar="COLUMN", help="Use a column that would be left out (repeat for several).")
@click.option("--group", help="Rows that agree in this column stay on one side of the split.")
@click.option("--time", help="The newest rows by this column are tested.")
@click.option("--sheet", help="The sheet of a spreadsheet (default: the first that holds records).")
@click.option("--encoding", help="For example utf-8 or gb18030.")
@click.option("--delimiter", help="The sign between columns.")
@click.option("--licence", help="Licence or terms of the records, for example own, CC-BY-4.0.")
@click.option("--origin", help="Where the records come from.")
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
@pass_context
def new(context: Context, /, path: str, as_json: bool, **flags: Any) -> None:
    """Look at a file or folder of records and write a recipe of about thirty readable lines.

    Every guess is one line of the recipe and one flag here. Nothing is overwritten.
    """
    from mofang.new import write_recipe

    given = {name: value for name, value in flags.items() if value is not None}
    shop = context.shop if not context.remote and context.place else None
    if shop:
        from mofang.fit.planning.learnt import paces

        given["paces"] = paces(shop)
        given |= {"rates": shop.rates, "currency": shop.currency, "cache": shop.path / "cache"}
    made = write_recipe(path, **given)
    if as_json:
        import orjson

        click.echo(orjson.dumps(made.to_dict(), option=orjson.OPT_INDENT_2).decode())
        return
    for line in made.lines():
        context.console.print(line, markup=False)
    context.next(f"mofang run {made.recipe}")


@click.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("--budget", default="5m", show_default=True, help="Time (90s, 5m, 1h) or money (¥20) for the search.")
@click.option("--miss-cost", type=click.FloatRange(min=0, min_open=True),
              help="How many false alarms a miss of the rarer class costs; stands in for the recipe's own miss_cost.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
@pass_context
def run(context: Context, recipe: Path, budget: str, miss_cost: float | None, as_json: bool) -> None:
    """Run a recipe: try kinds of model from cheap to dear within the budget, and end in a named model.

    Run it again and only what changed is done again; a larger budget continues where the smaller one ended.
    """
    from mofang.cli.report import report
    from mofang.cli.stopping import stoppable
    from mofang.recipe import Budget, run_recipe

    if context.remote:
        from mofang.cli.remote import run_at

        run_at(context, recipe, budget, miss_cost, as_json)
        return
    shop = context.shop
    spent = Budget.parse(budget, shop.rates.get("machine_hour_micros"), shop.currency)
    with stoppable():
        outcome = run_recipe(shop, recipe, spent, settings_of(miss_cost))
    report(context, outcome, as_json)


def settings_of(miss_cost: float | None) -> dict[str, dict[str, float]]:
    """What the flags of ``run`` put in the place of a recipe's own settings."""
    return {stage: {"miss_cost": miss_cost} for stage in ("export", "baseline")} if miss_cost else {}


@click.command()
@click.argument("model")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def show(context: Context, model: str, as_json: bool) -> None:
    """Print a model's report again: candidates, test figures, mistakes, how it compares with the version before.

    Of a snapshot: what was collected, kept and left out, its parts, its sources, and its score. Of a base: figures and lines.
    """
    from mofang.cli.report import show_facts
    from mofang.outcome import facts_of

    shop = context.shop
    named = shop.named(model)
    if named.kind not in ("snapshot", "base", "model"):
        named = shop.named(model, "package")
    show_facts(context, facts_of(shop, named), as_json)


@click.command()
@click.argument("model")
@click.argument("given", type=Given(), required=False, metavar="[TEXT|FILE|-]")
@click.option("--out", type=NewFile(), help="Write the answers to this file, each with the number of its row (.csv or .jsonl).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines.")
@pass_context
def predict(context: Context, model: str, given: str | None, out: Path | None, as_json: bool) -> None:
    """Ask a model from its package: a text, a file of records, an image, or - for one text a line from standard input."""
    from mofang.cli.answers import ask
    from mofang.engine.opening import open_package

    package = context.shop.find(model, "package")
    source = given if given is not None else ("-" if not sys.stdin.isatty() else "")
    if not source:
        raise MofangError("input-missing", model=model)
    ask(context, model, open_package(package), source, out, as_json)
