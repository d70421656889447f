"""Jobs: what runs by itself, when it ran last, and running it by hand or from cron."""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import suppress
from typing import Any

import click

from mofang.cli.context import Context, Names, listing, pass_context, when
from mofang.core.language import current_language, say


@click.group(cls=Names)
def jobs() -> None:
    """What runs by itself beside a server: outbox, reconciliation, budgets, expiry; alone, the list."""


@jobs.command("list")
@listing
@pass_context
def jobs_list(context: Context, as_json: bool, as_csv: bool) -> None:
    """When each job ran last, what came of it, and when it is due next."""
    from mofang.trade.keeping.sight import next_us, sight

    context.shop.require("money")
    found = sight(context.shop)
    due, language = next_us(context.shop, found), current_language()
    plain = as_json or as_csv
    rows = [{**one, "what": one["what"][language], "last": one["began_us"] if plain else _time(one["began_us"]),
             "next": due[one["name"]] if plain else when(due[one["name"]]), "said": one["said"] if plain else outcome(one)}
            for one in found.rows]
    headings = {"name": say("job", "任务"), "what": say("what", "内容"), "last": say("last run", "上次运行"), "said": say("result", "结果"),
                "done": say("done", "处理"), "found": say("found", "发现"), "next": say("next run", "下次运行")}
    context.table(rows, headings, as_json=as_json, as_csv=as_csv)
    if plain:
        return
    if found.keeper:
        context.say("They run by themselves: {keeper}.", "正在自动运行：{keeper}。", keeper=found.keeper)
    else:
        context.say("Nothing runs them at this moment: a server does, or mofang jobs run from cron.",
                    "目前没有进程在运行它们：请启动服务，或用 cron 运行 mofang jobs run。")


def outcome(one: dict[str, Any]) -> str:
    """What came of a run, in a word or with its code."""
    if not one["began_us"]:
        return say("never run", "从未运行")
    if not one["fails"]:
        return say("ok", "正常")
    if one["began_us"] > one["ended_us"]:
        return say("begun", "已开始")
    return f"✗ {one['said']}"


def last_line(context: Context, name: str) -> None:
    """One line on a job: when it ran by itself last, and what came of it."""
    from mofang.trade.keeping.past import past

    known = past(context.shop.control).get(name)
    if known is None:
        context.say("It has not run by itself yet: mofang jobs", "尚未自动运行过：mofang jobs")
    else:
        context.say("It ran by itself at {when}: {outcome}, {found} found wrong.", "上次自动运行：{when}，{outcome}，发现 {found} 处问题。",
                    when=when(known.began_us), outcome=outcome(vars(known)), found=known.found)


def _time(at_us: int) -> str:
    return when(at_us) if at_us else "–"


@jobs.command("run")
@click.argument("names", nargs=-1, metavar="[JOB]...")
@click.option("--forever", is_flag=True, help="Stay, and run each job whenever it is due.")
@click.option("--held", is_flag=True, hidden=True)
@pass_context
def jobs_run(context: Context, names: tuple[str, ...], forever: bool, held: bool) -> None:
    """Run what is due, once; with a JOB, that one now. For cron, where no server runs here; safe at any time."""
    from mofang.core.progress import progress
    from mofang.trade.keeping.jobs import job_named
    from mofang.trade.keeping.keeper import Keeper, run_job

    context.shop.require("money")
    if forever:
        _stay(context, held)
    if names:
        for job in [job_named(name) for name in names]:
            with progress(say(job.en, job.zh)):
                done = run_job(context.shop, job)
            _tell(context, job.name, done)
        return
    keeper = Keeper(context.shop)
    with progress(say("Running what is due", "正在运行到期的任务")):
        found = keeper.once()
    if found is None:
        context.say("Another process runs them already; nothing was done here.", "已有进程在自动运行它们；此处未做任何操作。")
        return
    for name, done in found.items():
        _tell(context, name, done)
    wrong = [slot for slot in keeper.slots if slot.said]
    for slot in wrong:
        context.say("✗ {job}: {code}", "✗ {job}：{code}", job=slot.job.name, code=slot.said)
    if not found and not wrong:
        context.say("Nothing is due.", "没有到期的任务。")
    if keeper.hung is not None:
        sys.stdout.flush()
        os._exit(75)  # its thread would keep this process for ever
    if wrong:
        click.get_current_context().exit(1)


def _tell(context: Context, name: str, done: Any) -> None:
    context.say("{job}: {n} done, {found} found", "{job}：处理 {n} 项，发现 {found} 项", job=name, n=done.done, found=done.found)


def _stay(context: Context, held: bool) -> None:
    """Keep the shop until SIGTERM, Ctrl-C or, beside a server, until that is gone."""
    from mofang.trade.keeping.keeper import Keeper
    from mofang.web.keeping import write_figures

    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    if held:
        threading.Thread(target=_watch, args=(ended,), daemon=True).start()
        if hasattr(os, "nice"):
            with suppress(OSError):
                os.nice(10)
    else:
        context.say("Running what is due, whenever it is  (Ctrl-C stops)", "任务到期即运行（Ctrl-C 停止）")
        sys.stdout.flush()
    status = Keeper(context.shop, show=write_figures).run(ended)
    sys.stdout.flush()
    os._exit(status)  # a thread that hangs, or still sends, would keep this process


def _watch(ended: threading.Event) -> None:
    """The server holds the other end of standard input for as long as it lives."""
    with suppress(OSError, ValueError):
        while sys.stdin.buffer.read(1 << 12):
            pass
    ended.set()
