"""Label: projects, the queue, and what a person does in it; what is made of the answers stands in ``labelled.py``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mofang.cli.context import Context, LentFile, Names, listing, pass_context, when
from mofang.core.errors import MofangError
from mofang.core.language import say

if TYPE_CHECKING:
    from mofang.data.labelling.projects import Project

KINDS = click.Choice(["classes", "several", "spans", "boxes", "polygons", "text", "ratings", "pairs"])
STATE_WORDS = {"open": "进行中", "paused": "已暂停", "closed": "已结束"}


@click.group(cls=Names)
def label() -> None:
    """Have people label records: projects, queue, agreement, one answer out of many; alone, the list."""


def _split(text: str | None) -> tuple[str, ...]:
    return tuple(piece.strip() for piece in (text or "").replace("，", ",").split(",") if piece.strip())


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise MofangError("source-missing", source=str(path), nearest="-") from None
    except (UnicodeDecodeError, IsADirectoryError):
        raise MofangError("not-text", file=str(path)) from None


@label.command("new")
@click.argument("name")
@click.argument("records", required=False)
@click.option(
    "--kind",
    type=KINDS,
    required=True,
    help="What is asked: one class, several classes, spans of text, boxes or polygons in "
    "pictures, free text, ratings, or which of two is better.",
)
@click.option("--classes", help="The classes, separated by commas.")
@click.option("--lowest", default=1, show_default=True, help="The lowest rating.")
@click.option("--highest", default=5, show_default=True, help="The highest rating.")
@click.option("--column", default="", help="The column that is asked about (default: the text).")
@click.option("--second", default="", help="For pairs: the column that it is compared with.")
@click.option("--guidelines", type=LentFile(), help="A Markdown file that tells people how to decide.")
@click.option("--overlap", default=1, show_default=True, help="How many people answer each task.")
@click.option("--lease", default=15.0, show_default=True, help="Minutes for which a task is lent to somebody.")
@click.option("--gold-every", default=0, show_default=True, help="Mix in a check after so many tasks (0: none).")
@pass_context
def label_new(
    context: Context, /, name: str, records: str | None, classes: str | None, guidelines: Path | None, lease: float, **asked: Any
) -> None:
    """Begin a labelling project, on RECORDS if they are given."""
    from mofang.data.labelling import desk

    shop = context.shop
    if records:
        shop.find(records, "records")  # before anything is begun
    made = shop.act(
        desk.label_new,
        name=name,
        classes=_split(classes),
        guidelines=_text(guidelines) if guidelines else "",
        lease_s=lease * 60,
        **asked,
    )
    if records:
        made = shop.act(desk.label_add, project=made.id, records=records).project
    context.say(
        "project {name}: {kind}, {tasks} tasks, each answered by {overlap}",
        "项目 {name}：{kind}，{tasks} 个任务，每个由 {overlap} 人作答",
        name=made.name,
        kind=made.schema.kind,
        tasks=f"{made.tasks:,}",
        overlap=made.overlap,
    )
    context.next(f"mofang label work {made.name}" if made.tasks else f"mofang label add {made.name} RECORDS", "mofang label")


@label.command("add")
@click.argument("name")
@click.argument("records")
@pass_context
def label_add(context: Context, name: str, records: str) -> None:
    """Add records to a project as tasks; those it has already are not added twice."""
    from mofang.data.labelling import desk

    made = context.shop.act(desk.label_add, project=name, records=records)
    context.say(
        "{tasks} tasks added to {name}; {known} records were there already",
        "已向 {name} 添加 {tasks} 个任务；{known} 条记录原来就有",
        tasks=f"{made.tasks:,}",
        name=made.project.name,
        known=f"{made.known:,}",
    )
    context.next(f"mofang label work {made.project.name}")


def _line(one: Project, plain: bool) -> dict[str, Any]:
    return {
        "project": one.name,
        "kind": one.schema.kind,
        "state": one.state if plain else say(one.state, STATE_WORDS[one.state]),
        "tasks": one.tasks,
        "overlap": one.overlap,
        "answers": one.answers,
        "done": one.done,
        "share": round(one.share, 4),
        "skipped": one.skipped,
        "comments": one.comments,
        "decided": one.decided,
        "checks": one.gold,
        "id": one.id,
        "guidelines": one.guidelines,
    }


@label.command("list")
@listing
@pass_context
def label_list(context: Context, as_json: bool, as_csv: bool) -> None:
    """List labelling projects and how far they are."""
    from mofang.data.labelling.projects import projects

    shop = context.shop
    shop.require("label")
    plain = as_json or as_csv
    rows = [_line(one, plain) for one in projects(shop)]
    shown = rows if plain else [{**one, "share": f"{one['share']:.1%}"} for one in rows]
    context.table(
        shown,
        {
            "project": say("project", "项目"),
            "kind": say("kind", "类型"),
            "state": say("state", "状态"),
            "tasks": say("tasks", "任务"),
            "overlap": say("people each", "每题人数"),
            "answers": say("answers", "回答"),
            "done": say("done", "完成"),
            "share": say("share", "进度"),
        },
        as_json=as_json,
        as_csv=as_csv,
    )
    if not plain:
        context.next(
            *(
                [f"mofang label show {rows[-1]['project']}", f"mofang label work {rows[-1]['project']}"]
                if rows
                else ["mofang label new NAME RECORDS --kind classes --classes good,bad"]
            )
        )


@label.command("show")
@click.argument("name")
@click.option("--task", type=int, help="One task with its content, answers, remarks and decision.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def label_show(context: Context, name: str, task: int | None, as_json: bool) -> None:
    """Show what a project asks, its guidelines, and how far everybody is; with --task everything about one task."""
    from mofang.data.labelling.looking import told, told_task

    shop = context.shop
    facts = told(shop, name) if task is None else told_task(shop, name, task)
    if as_json:
        import orjson

        click.echo(orjson.dumps(facts, option=orjson.OPT_INDENT_2).decode())
        return
    if task is not None:
        for key, value in facts.items():
            context.console.print(f"{key}: {value}", markup=False)
        context.next(f"mofang label adjudicate {name} {task} ANSWER")
        return
    context.say(
        "{name}: {kind}, {state}; {done} of {tasks} tasks done, {answers} answers",
        "{name}：{kind}，{state}；任务完成 {done}/{tasks}，回答 {answers} 条",
        **{**facts, "state": say(facts["state"], STATE_WORDS[facts["state"]])},
    )
    if facts["keys"]:
        click.echo("  " + "  ".join(f"{key}={choice}" for key, choice in facts["keys"].items()))
    if facts["guidelines_text"]:
        context.say("Guidelines, version {version}:", "标注说明，第 {version} 版：", version=facts["guidelines"])
        click.echo(facts["guidelines_text"].rstrip())
    _people(context, facts["people"], False, False)
    context.next(f"mofang label work {facts['name']}", f"mofang label agreement {facts['name']}")


def _people(context: Context, rows: list[dict[str, Any]], as_json: bool, as_csv: bool) -> None:
    shown = rows if as_json or as_csv else [{**one, "last": when(one["last_us"]) if one["last_us"] else "–"} for one in rows]
    words = {
        "person": say("annotator", "标注员"),
        "answers": say("answers", "回答"),
        "skipped": say("skipped", "跳过"),
        "seconds": say("seconds each", "平均秒数"),
        "checks": say("checks", "抽检"),
        "checks_right": say("right", "答对"),
        "accepted": say("proposals taken", "采纳预标"),
        "last": say("last", "最近"),
    }
    if as_json or as_csv:
        words["last_us"] = words.pop("last")
    context.table(shown, words, as_json=as_json, as_csv=as_csv)


@label.command("annotators")
@click.argument("name")
@listing
@pass_context
def label_annotators(context: Context, name: str, as_json: bool, as_csv: bool) -> None:
    """Who worked on a project: answers, speed, how often right in the checks, how many proposals were taken."""
    from mofang.data.labelling.looking import told

    shop = context.shop
    shop.require("train")
    _people(context, told(shop, name)["people"], as_json, as_csv)
    if not (as_json or as_csv):
        context.next(f"mofang label agreement {name}", f"mofang label aggregate {name}")


@label.command("guidelines")
@click.argument("name")
@click.argument("file", type=LentFile())
@pass_context
def label_guidelines(context: Context, name: str, file: Path) -> None:
    """Write new guidelines; each answer says by which version it was given."""
    from mofang.data.labelling import desk

    version = context.shop.act(desk.label_guidelines, project=name, text=_text(file))
    context.say("guidelines of {name}: version {version}", "{name} 的标注说明：第 {version} 版", name=name, version=version)


@label.command("change")
@click.argument("name")
@click.option("--overlap", type=int, help="How many people answer each task.")
@click.option("--lease", type=float, help="Minutes for which a task is lent to somebody.")
@click.option("--gold-every", type=int, help="Mix in a check after so many tasks (0: none).")
@pass_context
def label_change(context: Context, name: str, overlap: int | None, lease: float | None, gold_every: int | None) -> None:
    """Change how many people answer each task, how long it is lent, how often a check comes."""
    from mofang.data.labelling import desk

    made = context.shop.act(
        desk.label_settings, project=name, overlap=overlap, lease_s=None if lease is None else lease * 60, gold_every=gold_every
    )
    context.say(
        "{name}: {done} of {tasks} tasks done",
        "{name}：任务完成 {done}/{tasks}",
        name=made.name,
        done=made.done,
        tasks=made.tasks,
    )


def _set_state(context: Context, name: str, state: str) -> None:
    from mofang.data.labelling import desk

    made = context.shop.act(desk.label_state, project=name, state=state)
    context.say("{name} is {state}", "{name}：{state}", name=made.name, state=say(made.state, STATE_WORDS[made.state]))


@label.command("pause")
@click.argument("name")
@pass_context
def label_pause(context: Context, name: str) -> None:
    """Give out no more tasks for now."""
    _set_state(context, name, "paused")
    context.next(f"mofang label open {name}")


@label.command("open")
@click.argument("name")
@pass_context
def label_open(context: Context, name: str) -> None:
    """Give out tasks again."""
    _set_state(context, name, "open")
    context.next(f"mofang label work {name}")


@label.command("close")
@click.argument("name")
@pass_context
def label_close(context: Context, name: str) -> None:
    """End a project; what was answered stays."""
    _set_state(context, name, "closed")
    context.next(f"mofang label aggregate {name}")


@label.command("assign")
@click.argument("name")
@click.argument("person")
@click.option("--count", default=50, show_default=True, help="How many tasks.")
@click.option("--days", default=7.0, show_default=True, help="For how long they are set aside.")
@pass_context
def label_assign(context: Context, name: str, person: str, count: int, days: float) -> None:
    """Set the next tasks aside for one person."""
    from mofang.data.labelling import desk

    found = context.shop.act(desk.label_assign, project=name, person=person, count=count, days=days)
    context.say("{count} tasks are set aside for {person}", "已为 {person} 预留 {count} 个任务", count=found, person=person)


@label.command("next")
@click.argument("name")
@click.option("--count", default=1, show_default=True, help="How many tasks.")
@pass_context
def label_next(context: Context, name: str, count: int) -> None:
    """Take the next tasks and print them as JSON, with content, keys and proposals."""
    import orjson

    from mofang.data.labelling.looking import next_tasks

    click.echo(orjson.dumps(next_tasks(context.shop, context.shop.actor, name, count), option=orjson.OPT_INDENT_2).decode())


@label.command("answer")
@click.argument("name")
@click.argument("task", type=int)
@click.argument("answer")
@pass_context
def label_answer(context: Context, name: str, task: int, answer: str) -> None:
    """Answer a task: a class, a rating, several classes with commas, or JSON. Again, it changes one's own answer."""
    from mofang.data.labelling import queue
    from mofang.data.labelling.projects import find_project

    shop = context.shop
    made = shop.act(queue.label_answer, project=name, task=task, answer=_answer(find_project(shop, name), answer))
    again = say(" (in place of your earlier answer)", "（取代您之前的回答）") if made.changed else ""
    context.say("task {task}: {answer}{again}", "任务 {task}：{answer}{again}", task=task, answer=answer, again=again)


def _answer(project: Project, text: str) -> Any:
    """What was typed as an answer of the project's kind; marks may come as a bare list."""
    import orjson

    kind = project.schema.kind
    if text.lstrip().startswith(("{", "[")):
        try:
            found = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise MofangError("label-answer", rule=f"JSON: {error}") from None
        return {"labels" if kind == "several" else kind: found} if isinstance(found, list) else found
    if kind in ("spans", "boxes", "polygons"):
        raise MofangError("label-answer", rule=f"JSON: {orjson.dumps(project.schema.example()).decode()}")
    if kind == "ratings" and text.strip().lstrip("-").isdecimal():
        return {"rating": int(text)}
    return {
        "classes": {"label": text},
        "several": {"labels": list(_split(text))},
        "text": {"text": text},
        "pairs": {"better": text},
    }.get(kind, text)


@label.command("adjudicate")
@click.argument("name")
@click.argument("task", type=int)
@click.argument("answer")
@click.option("--why", default="", help="Why; it stands in the journal beside the decision.")
@pass_context
def label_adjudicate(context: Context, name: str, task: int, answer: str, why: str) -> None:
    """Decide what the answer to a task is, whatever people answered."""
    from mofang.data.labelling import desk
    from mofang.data.labelling.projects import find_project

    shop = context.shop
    shop.act(desk.label_adjudicate, project=name, task=task, answer=_answer(find_project(shop, name), answer), why=why)
    context.say("task {task} is decided: {answer}", "任务 {task} 已裁定：{answer}", task=task, answer=answer)
    context.next(f"mofang label aggregate {name}")


import mofang.cli.labelled  # noqa: E402, F401  (adds the commands that make something of the answers)
