"""Label, second half: what is made of the answers, and files of other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mofang.cli.context import Context, LentFile, NewPlace, listing, pass_context
from mofang.cli.label import _answer, label
from mofang.core.errors import MofangError
from mofang.core.language import say

FORMATS = click.Choice(["jsonl", "label-studio", "coco", "conll", "yolo"])
METHODS = click.Choice(["auto", "majority", "dawid-skene", "mean", "median"])


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


@label.command("agreement")
@click.argument("name")
@listing
@pass_context
def label_agreement(context: Context, name: str, as_json: bool, as_csv: bool) -> None:
    """How far people agree: overall, each two of them, each person, and the tasks they agree on least."""
    from mofang.data.labelling.agreement import agreement
    from mofang.data.labelling.exchange.sending import current_answers
    from mofang.data.labelling.gathering import Gathered
    from mofang.data.labelling.projects import find_project

    shop = context.shop
    shop.require("train")
    found = agreement(Gathered.read(current_answers(shop, find_project(shop, name))))
    if as_json:
        import orjson

        click.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
        return
    if not as_csv:
        overall = found["overall"]
        context.say(
            "{answers} answers to {tasks} tasks by {people} people; {twice} tasks with two or more",
            "{people} 人对 {tasks} 个任务作答 {answers} 条；{twice} 个任务有两条以上",
            **{"twice": 0, **overall},
        )
        named = (
            ("alpha", "Krippendorff α"),
            ("alpha_ordinal", "α (ordinal)"),
            ("fleiss", "Fleiss κ"),
            ("cohen", "Cohen κ"),
            ("f1", "F1"),
            ("agreement", say("same answer", "回答相同")),
        )
        click.echo("  " + "   ".join(f"{words} {_figure(overall[key])}" for key, words in named if overall.get(key) is not None))
    pairs = [{**one, "cohen": one.get("cohen")} for one in found["pairs"]]
    context.table(
        pairs,
        {
            "one": say("annotator", "标注员"),
            "two": say("and", "与"),
            "tasks": say("tasks", "任务"),
            "agreement": say("same answer", "回答相同"),
            "cohen": "Cohen κ",
        },
        as_csv=as_csv,
    )
    worst = [str(one["task"]) for one in found["tasks"] if one["agreement"] < 1][:10]
    if worst and not as_csv:
        context.say("Least agreed: tasks {tasks}", "分歧最大的任务：{tasks}", tasks=", ".join(worst))
        context.next(f"mofang label show {name} --task {worst[0]}", f"mofang label adjudicate {name} {worst[0]} ANSWER")
    elif not as_csv:
        context.next(f"mofang label aggregate {name}")


@label.command("aggregate")
@click.argument("name")
@click.option("--method", type=METHODS, default="auto", show_default=True, help="How one answer is made of many.")
@click.option("--column", default="label", show_default=True, help="The column of the answer.")
@click.option("--flag-below", default=0.6, show_default=True, help="Flag answers that are less sure than this.")
@click.option("--drop-flagged", is_flag=True, help="Set flagged records aside.")
@click.option("--as", "result", help="Name the records, e.g. reviews-labelled (default: NAME-labelled).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def label_aggregate(context: Context, /, name: str, result: str | None, as_json: bool, **settings: Any) -> None:
    """Make one answer out of many: records with a label, ready for a snapshot."""
    from mofang.data.label import aggregate
    from mofang.data.labelling.exchange.sending import current_answers
    from mofang.data.labelling.looking import project_records
    from mofang.data.labelling.projects import find_project

    shop = context.shop
    shop.require("train")
    project = find_project(shop, name)
    made = shop.run(aggregate, current_answers(shop, project), project_records(shop, project), **settings)
    named = shop.name(result or f"{project.name}-labelled", made)
    quality = made.read_json("quality.json")
    if as_json:
        import orjson

        click.echo(
            orjson.dumps(
                {"name": str(named), "entry": made.entry, **made.measures, "quality": quality}, option=orjson.OPT_INDENT_2
            ).decode()
        )
        return
    context.say(
        "{name}: {kept} records labelled by {method}; {flagged} flagged, {none} without an answer",
        "{name}：{kept} 条记录已有标签（{method}）；存疑 {flagged} 条，无回答 {none} 条",
        name=named,
        kept=made.measures["kept"],
        method=quality["method"],
        flagged=made.measures["flagged"],
        none=made.measures["no-answer"],
    )
    context.table(
        quality["people"],
        {
            "person": say("annotator", "标注员"),
            "answers": say("answers", "回答"),
            "with_result": say("as the result", "与结果一致"),
            "expected_right": say("right by the model", "模型估计正确率"),
            "checks": say("checks", "抽检"),
            "checks_right": say("right", "答对"),
        },
    )
    context.next(
        f"mofang snapshot {named.name} --task text_classification --label {settings['column']}", f"mofang label agreement {name}"
    )


@label.command("import")
@click.argument("name")
@click.argument("file", type=LentFile())
@click.option("--format", "format", type=FORMATS, default="jsonl", show_default=True, help="The format of the file.")
@click.option("--person", default="", help="Whose the answers are that do not say it.")
@click.option("--licence", default="own", show_default=True, help="Licence or terms of the records, for example own, CC-BY-4.0.")
@click.option("--bad-share", default=0.05, show_default=True, help="Stop if more than this share cannot be used.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def label_import(context: Context, /, name: str, file: Path, as_json: bool, **settings: Any) -> None:
    """Bring records, answers and proposals in from a file of another tool."""
    from mofang.data.labelling.looking import bring_file

    made, taken = bring_file(context.shop, name, str(file), **settings)
    facts = {
        "project": taken.project.name,
        "tasks": taken.tasks,
        "known": taken.known,
        "answers": taken.answers,
        "proposals": taken.proposals,
        "unmatched": taken.unmatched,
        "rejected": made.measures["rejected"],
    }
    if as_json:
        import orjson

        click.echo(orjson.dumps(facts).decode())
        return
    context.say(
        "{project}: {tasks} new tasks ({known} known), {answers} answers, {proposals} proposals; "
        "{rejected} set aside with reasons",
        "{project}：新任务 {tasks} 个（已有 {known}），回答 {answers} 条，预标 {proposals} 条；{rejected} 条附原因留出",
        **facts,
    )
    if taken.unmatched:
        context.say(
            "{n} answers are of records that are no tasks of the project.", "{n} 条回答对应的记录不在项目里。", n=taken.unmatched
        )
    context.next(f"mofang label show {name}", f"mofang label agreement {name}")


@label.command("prelabel")
@click.argument("name")
@click.argument("file", type=LentFile())
@click.option("--model", default="", help="Which model proposed it; shown beside the proposal.")
@pass_context
def label_prelabel(context: Context, name: str, file: Path, model: str) -> None:
    """Show what a model answered as a proposal beside each task; FILE is what `mofang predict --out` wrote.

    Proposals are nobody's answers; how many are taken as they are is counted for each annotator.
    """
    from mofang.data.labelling.looking import bring_model_file

    shop = context.shop
    count = bring_model_file(shop, name, str(file), model)
    context.say("{count} proposals for {name}", "{name} 已有 {count} 条预标", count=f"{count:,}", name=name)
    context.next(f"mofang label order {name}", f"mofang label work {name}")


@label.command("order")
@click.argument("name")
@click.option("--count", default=500, show_default=True, help="How many tasks to put first.")
@click.option(
    "--how",
    type=click.Choice(["entropy", "margin", "least"]),
    default="entropy",
    show_default=True,
    help="How unsure a model is of a task.",
)
@click.option("--diverse/--no-diverse", default=True, help="Also ask tasks that differ from each other.")
@click.option("--seed", default=0, show_default=True, help="The same seed gives the same order.")
@click.option("--plain", is_flag=True, help="Back to the order of the records.")
@pass_context
def label_order(context: Context, name: str, count: int, how: Any, diverse: bool, seed: int, plain: bool) -> None:
    """Ask the most telling tasks first: those a model is unsure of, and that differ from each other."""
    from mofang.data.labelling import active, desk
    from mofang.data.labelling.projects import find_project

    shop = context.shop
    shop.require("train")
    chosen = [] if plain else active.next_batch(shop, find_project(shop, name), count, how=how, diverse=diverse, seed=seed)
    shop.act(desk.label_order, project=name, tasks=tuple(chosen), how="" if plain else f"{how} seed {seed}")
    context.say("{count} tasks come first now", "{count} 个任务已排到最前", count=len(chosen))
    context.next(f"mofang label work {name}")


@label.command("export")
@click.argument("name")
@click.argument("file", type=NewPlace())
@click.option(
    "--format",
    "format",
    default="jsonl",
    show_default=True,
    help="jsonl, label-studio, coco, conll, yolo (a folder), csv, or tasks (what `mofang predict` is asked with).",
)
@pass_context
def label_export(context: Context, name: str, file: Path, format: str) -> None:
    """Write a project's tasks and answers into a file of another tool."""
    from mofang.data.labelling.exchange.sending import send
    from mofang.data.labelling.projects import find_project

    shop = context.shop
    shop.require("train")
    if format != "yolo" and not file.resolve().parent.is_dir():
        raise MofangError("file-not-writable", path=file)
    count = send(shop, find_project(shop, name), file, format)
    context.say("{count} tasks in {path}", "{count} 个任务已写入 {path}", count=f"{count:,}", path=file)
    if format == "tasks":
        context.next(f"mofang predict MODEL {file} --out answers.jsonl", f"mofang label prelabel {name} answers.jsonl")


@label.command("check")
@click.argument("name")
@click.argument("task", type=int)
@click.argument("answer")
@pass_context
def label_check(context: Context, name: str, task: int, answer: str) -> None:
    """Make a task with a known answer a check that everybody gets among the others."""
    from mofang.data.labelling import desk
    from mofang.data.labelling.projects import find_project

    shop = context.shop
    project = find_project(shop, name)
    shop.act(desk.label_gold, project=name, task=task, answer=_answer(project, answer))
    context.say("task {task} is a check now", "任务 {task} 已设为抽检题", task=task)
    if not project.settings["gold_every"]:
        context.next(f"mofang label change {name} --gold-every 10")


@label.command("work")
@click.argument("name")
@pass_context
def label_work(context: Context, name: str) -> None:
    """Label by keyboard in this terminal: one key is one answer; u undoes, s skips, c remarks, q quits."""
    from mofang.cli.keyboard import work

    work(context, name)
