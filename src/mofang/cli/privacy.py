"""Privacy: answers with noise on one budget, and opening a pseudonym."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from mofang.cli.context import Context, Names, listing, pass_context
from mofang.core.errors import MofangError
from mofang.core.language import say


@click.group(cls=Names)
def private() -> None:
    """Ask how many, how much on average and how they are spread, with noise that hides each single person; alone, the budgets."""


def asking(command: Callable[..., Any]) -> Callable[..., Any]:
    """The flags that every question has."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON."),
        click.option("--contributions", type=click.IntRange(1, 1000), default=1, show_default=True,
                     help="How many records of one person are used (where a column has the role person)."),
        click.option("--where", default="", metavar="COLUMN=VALUE", help="Ask about these records only."),
        click.option("--epsilon", type=click.FloatRange(0, 100, min_open=True), required=True,
                     help="How much may be told: small is private and vague, large is exact."),
        click.argument("name"),
    ):
        command = option(command)
    return command


@private.command("count")
@asking
@pass_context
def private_count(context: Context, /, **given: Any) -> None:
    """How many records there are."""
    _ask(context, "count", given)


@private.command("mean")
@asking
@click.option("--column", required=True, help="The column of numbers.")
@click.option("--bounds", required=True, metavar="LOW,HIGH",
              help="Values beyond these count as these; choose them without looking.")
@pass_context
def private_mean(context: Context, /, bounds: str, **given: Any) -> None:
    """The mean of a column."""
    try:
        limits = tuple(float(one) for one in bounds.split(","))
    except ValueError:
        raise MofangError("protect-pair", setting="bounds", given=bounds) from None
    _ask(context, "mean", given | {"bounds": limits})


@private.command("histogram")
@asking
@click.option("--cells", required=True, metavar="COLUMN=CELLS",
              help="What is counted: city=上海|北京, or age=0:100:10 (from, to, bins).")
@pass_context
def private_histogram(context: Context, /, cells: str, **given: Any) -> None:
    """How many records there are of each value, or in each bin."""
    _ask(context, "histogram", given | {"cells": (cells,)})


@private.command("release")
@asking
@click.option("--cells", multiple=True, required=True, metavar="COLUMN=CELLS",
              help="One column of the table (repeat for several).")
@pass_context
def private_release(context: Context, /, **given: Any) -> None:
    """A table of counts over several columns, to be given away."""
    _ask(context, "release", given)


@private.command("budget")
@click.argument("name")
@click.option("--epsilon", type=click.FloatRange(0, 100, min_open=True), required=True, help="How much may be told in all.")
@pass_context
def private_budget(context: Context, name: str, epsilon: float) -> None:
    """Say how much may be told of a data set in all: of the records, and of every snapshot and copy of them."""
    from mofang.data.protecting.budget import datasets_of, privacy_budget, shown

    shop = context.shop
    datasets = datasets_of(shop, records_in(context, name))
    if not datasets:
        raise MofangError("privacy-no-dataset", name=name)
    made = shop.act(privacy_budget, datasets=tuple(datasets), name=next(iter(datasets.values())), epsilon=epsilon)
    context.say("{name}: epsilon {limit} in all, {left} left.", "{name}：隐私预算共 ε={limit}，还剩 {left}。", name=made.name,
                limit=shown(made.limit_micros), left=shown(made.left_micros))
    context.next(f"mofang private count {name} --epsilon 0.5")


@private.command("list")
@listing
@pass_context
def private_list(context: Context, as_json: bool, as_csv: bool) -> None:
    """List the privacy budgets and what is left of them."""
    from mofang.data.protecting.budget import budgets, shown

    shop = context.shop
    shop.require("look")
    shop.journals.make_tables()
    rows = [{"dataset": one.dataset[:16], "name": one.name, "limit": shown(one.limit_micros), "spent": shown(one.spent_micros),
             "left": shown(one.left_micros), "answers": one.answers} for one in budgets(shop.control)]
    context.table(rows, {"dataset": say("data set", "数据集"), "name": say("name", "名称"), "limit": say("budget", "预算"),
                         "spent": say("spent", "已用"), "left": say("left", "剩余"), "answers": say("answers", "回答次数")},
                  as_json=as_json, as_csv=as_csv)
    if not rows and not (as_json or as_csv):
        context.next("mofang private budget NAME --epsilon 3")


def records_in(context: Context, name: str) -> tuple[Any, ...]:
    """The records that a name stands for: themselves, what was kept of them, or all parts of a snapshot."""
    found = context.shop.find(name)
    if found.kind == "records":
        return (found,)
    inside = [part for part, kind in found.inside.items() if kind == "records"]
    if not inside:
        raise MofangError("kind-wrong", name=name, kind=found.kind, wanted="records")
    return tuple(found / part for part in inside)


def _ask(context: Context, what: str, given: dict[str, Any]) -> None:
    from mofang.data.private import private as stage

    name, as_json = given.pop("name"), given.pop("as_json")
    made = context.shop.run(stage, records_in(context, name), what=what, **given)
    answer = made.read_json("answer.json")
    if as_json:
        import orjson

        click.echo(orjson.dumps(answer, option=orjson.OPT_INDENT_2).decode())
        return
    within = answer.get("within", answer.get("within_count"))
    if what == "release":
        context.say("{cells} counts, each within {within} of the truth (95 %): part release.parquet of {entry}.",
                    "共 {cells} 个计数，各自与真值相差不超过 {within}（95%）：{entry} 的 release.parquet。", cells=answer["cells"],
                    within=within, entry=made.entry[:17])
    elif what == "histogram":
        rows = [{"cell": cell, "count": count} for cell, count in answer["answer"].items()]
        context.table(rows, {"cell": say("cell", "取值"), "count": say("about", "约数")})
        context.say("Each within {within} of the truth (95 %).", "各自与真值相差不超过 {within}（95%）。", within=within)
    elif what == "mean":
        context.say("About {answer:.4g}, from about {count} records.", "约 {answer:.4g}，约 {count} 条记录。", answer=answer["answer"],
                    count=answer["count"])
    else:
        context.say("About {answer}, within {within} of the truth (95 %).", "约 {answer}，与真值相差不超过 {within}（95%）。",
                    answer=answer["answer"], within=within)
    context.say("Epsilon {epsilon} of the data set's {limit}; {left} was left after this answer. Answers about it add up.",
                "本次 ε={epsilon}，该数据集共 {limit}，本次回答后剩 {left}。对同一数据集的回答，ε 相加。", epsilon=answer["epsilon"],
                **answer["budget"])


@click.command()
@click.argument("token")
@click.option("--key", default="people", show_default=True, help="The key of the ring that made the pseudonym.")
@click.option("--why", default="", help="Why it is opened, for the journal.")
@pass_context
def reveal(context: Context, token: str, key: str, why: str) -> None:
    """Open a pseudonym: what stands behind it. Who opened it, when and why is written down."""
    from mofang.data.protecting.budget import pseudonym_open

    _, value = context.shop.act(pseudonym_open, token=token, key=key, why=why)
    click.echo(value)
    context.next("mofang verify")
