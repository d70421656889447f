"""Customise: a customer's own model out of a release and the customer's own records."""

from __future__ import annotations

import os
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mofang.cli.context import Context, LentFile, Names, NewFile, listing, pass_context, when
from mofang.core.language import say

if TYPE_CHECKING:
    from mofang.trade.customs.delivery import Delivered
    from mofang.trade.customs.orders import Custom
    from mofang.trade.customs.queue import Worked

LOOK_S = 2.0
NICE = 10  # a server beside it goes first
STATES = {"ordered": "已下单", "queued": "排队中", "running": "训练中", "stopping": "正在停止",
          "declined": "未达标", "delivered": "已交付", "deleting": "删除中", "deleted": "已删除"}


@click.group(cls=Names)
def customise() -> None:
    """A model of a customer's own, taught from a release and the customer's records; alone, the list."""


@customise.command("new")
@click.argument("customer")
@click.option("--base", required=True, metavar="MODEL", help="The release to teach further, e.g. reviews@2.")
@click.option("--name", default="", help="What the customer's model is called (default: made from the base's name).")
@click.option("--price", default="", help="A fixed price, e.g. 500.00 (default: at most the plan's estimate, by what was used).")
@click.option("--margin", default=100, show_default=True, help="Percent on top of the machine's rate, where no price is given.")
@click.option("--days", default=14, show_default=True, help="For so many days the quote holds and the money is set aside.")
@click.option("--own-run", is_flag=True, help="The customer may start the run with an own key.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def customise_new(context: Context, /, as_json: bool, **given: Any) -> None:
    """Take an order and set its price aside out of what the customer may spend."""
    from mofang.trade.customs import orders

    _show(context, context.shop.act(orders.custom_new, **given), as_json)


@customise.command("quote")
@click.argument("name")
@click.option("--price", default="", help="A fixed price, e.g. 500.00 (default: at most the plan's estimate, by what was used).")
@click.option("--margin", default=100, show_default=True, help="Percent on top of the machine's rate, where no price is given.")
@click.option("--days", default=14, show_default=True, help="For so many days the quote holds and the money is set aside.")
@click.option("--own-run", is_flag=True, help="The customer may start the run with an own key.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def customise_quote(context: Context, /, name: str, as_json: bool, **given: Any) -> None:
    """Quote anew: an old quote has expired, or a delivered model is to be taught again."""
    from mofang.trade.customs import orders

    _show(context, context.shop.act(orders.custom_quote, custom=name, **given), as_json)


@customise.command("add")
@click.argument("name")
@click.argument("file", type=LentFile())
@pass_context
def customise_add(context: Context, name: str, file: Path) -> None:
    """Add a file of the customer's records to the customer's room."""
    from mofang.trade.customs import delivery

    made = context.shop.act(delivery.custom_add, custom=name, file=str(file))
    context.say("{name} now has {records} records in {files} files; they lie encrypted in a room of their own",
                "{name} 现有 {records} 条记录（{files} 个文件），加密保存在独立的空间中", name=made.name, records=f"{made.records:,}",
                files=made.files)
    context.next(f"mofang customise run {made.name}", f"mofang customise run {made.name} --queue")


@customise.command("run")
@click.argument("name")
@click.option("--learn", type=click.Choice(["auto", "both", "own"]), default="auto", show_default=True,
              help="What is learnt from: the base's training rows too (both), or the customer's alone (own).")
@click.option("--price", default="", help="What calls cost, e.g. 5.00/1000 (default: what calls of the base cost).")
@click.option("--seed", default=0, show_default=True, help="The same seed gives the same weights.")
@click.option("--queue", "queued", is_flag=True, help="Put it into the queue, for `mofang customise work`.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def customise_run(context: Context, /, name: str, learn: str, price: str, seed: int, queued: bool, as_json: bool) -> None:
    """Teach the base on the records; deliver and charge the model if it is no worse than the base."""
    from mofang.trade.customs import delivery, queue

    if queued:
        _show(context, context.shop.act(queue.custom_queue, custom=name, learn=learn, price=price, seed=seed), as_json)
        return
    made = context.shop.act(delivery.custom_run, custom=name, learn=learn, price=price, seed=seed)
    if as_json:
        import orjson

        click.echo(orjson.dumps(_delivered(context, made), option=orjson.OPT_INDENT_2).decode())
    else:
        _show_delivered(context, made)


def _delivered(context: Context, made: Delivered) -> dict[str, Any]:
    from mofang.trade.customs.orders import facts

    return {**facts(context.shop, made.custom), "model": str(made.taught.named), "learnt_from": made.taught.learnt,
            "rows": made.taught.rows, "figures": made.taught.figures, "calls": made.price,
            "charged_micros": made.charged.micros if made.charged else 0,
            "entry": made.charged.source_entry if made.charged else ""}


def _show_delivered(context: Context, made: Delivered) -> None:
    from mofang.core.money import format_micros
    from mofang.trade.accounts.lists import customer_names

    taught, figures = made.taught, made.taught.figures
    learnt = (say("the base's training rows ({base}) and the customer's own ({own})",
                  "基础模型的训练记录（{base}）和客户自己的记录（{own}）", **taught.rows) if taught.learnt == "both" else
              say("the customer's own rows alone ({own})", "仅客户自己的记录（{own}）", own=taught.rows["own"]))
    context.say("{model} learnt from {learnt}", "{model} 学习了{learnt}", model=taught.named, learnt=learnt)
    if figures.get("start") == "weights":
        context.say("it went on from the base's own weights", "从基础模型的权重继续训练")
    verdict = say(figures["verdict"], {"better": "更好", "worse": "更差", "not compared": "未比较"}.get(figures["verdict"], "相当"))
    if "metric" in figures:
        context.say("on the customer's {n} test rows its {metric} is {own}, the base's {base}: {verdict}", "在客户的 {n} 条测试记录上，"
                    "它的 {metric} 为 {own}，基础模型为 {base}：{verdict}", n=figures["test_rows"], metric=figures["metric"],
                    own=figures["own"], base=figures["base"], verdict=verdict)
    elif "test_rows" in figures:
        context.say("of the customer's {n} test rows it answers {own} rightly, the base {base}: {verdict}",
                    "客户的 {n} 条测试记录中，它答对 {own} 条，基础模型答对 {base} 条：{verdict}", n=figures["test_rows"],
                    own=figures["own_right"], base=figures["base_right"], verdict=verdict)
    if made.charged is None:
        context.say("It is not delivered, and nothing is charged. More records may help:", "未交付，也不收费。更多记录可能有帮助：")
        context.next(f"mofang customise add {made.custom.name} FILE")
        return
    names = customer_names(context.shop)
    context.say("delivered to {customer} alone; charged once: {money}", "仅交付给 {customer}；一次性收费 {money}",
                customer=names[made.custom.account], money=format_micros(made.charged.micros, made.charged.currency))
    if made.price:
        context.say("  calls  {price}", "  调用  {price}", price=made.price)
    who = shlex.quote(names[made.custom.account])
    context.next(f"mofang key new {who} --model {made.custom.name}", f"mofang trace {made.charged.source_entry}",
                 *([] if made.price else [f"mofang price set {made.custom.name} 5.00/1000"]))


@customise.command("cancel")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def customise_cancel(context: Context, name: str, as_json: bool) -> None:
    """Take a run out of the queue and give back what is set aside; one at work stops after its step."""
    from mofang.trade.customs import queue

    _show(context, context.shop.act(queue.custom_cancel, custom=name), as_json)


@customise.command("work")
@click.option("--once", is_flag=True, help="Run what waits now, and end.")
@pass_context
def customise_work(context: Context, once: bool) -> None:
    """Run what waits in the queue, one after another, at low priority, until stopped."""
    from mofang.cli.stopping import stoppable
    from mofang.trade.customs.queue import work_once

    names, shop = Waiting(context), context.shop
    os.nice(NICE - os.nice(0))
    with stoppable():
        while True:
            done = work_once(shop, names.begins)
            if done is not None:
                names.ended(done)
            elif once:
                names.over()
                return
            else:
                names.waits()
                time.sleep(LOOK_S)


class Waiting:
    """What a worker says on the screen: a line when an order begins and ends, and once when nothing waits."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.said = False

    def begins(self, custom: Custom) -> None:
        """An order was taken."""
        self.said = False
        self.context.say("{name}: begun", "{name}：开始", name=custom.name)

    def ended(self, done: Worked) -> None:
        """What became of it."""
        state = say(done.state, STATES.get(done.state, {"cancelled": "已取消", "waiting": "稍后重试"}.get(done.state, done.state)))
        why = f" ({done.reason})" if done.reason else ""
        self.context.say("{name}: {state}{why}", "{name}：{state}{why}", name=done.custom.name, state=state, why=why)
        if done.delivered is not None:
            _show_delivered(self.context, done.delivered)

    def over(self) -> None:
        """Nothing waits any more, and nobody goes on looking."""
        self.context.say("Nothing waits in the queue.", "队列中没有等待的任务。")

    def waits(self) -> None:
        """Nothing can be taken now."""
        if not self.said:
            self.context.say("Nothing waits; looking every {n} seconds. Ctrl-C ends.", "没有等待的任务；每 {n} 秒查看一次，Ctrl-C 结束。",
                             n=int(LOOK_S))
        self.said = True


@customise.command("status")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def customise_status(context: Context, name: str, as_json: bool) -> None:
    """How far a customisation is: quote, records, deliveries."""
    from mofang.trade.accounts.lists import open_books
    from mofang.trade.customs.orders import find_custom

    context.shop.require("money")
    _show(context, find_custom(open_books(context.shop), name), as_json)


@customise.command("list")
@listing
@pass_context
def customise_list(context: Context, as_json: bool, as_csv: bool) -> None:
    """List customisations."""
    from mofang.trade.accounts.lists import customer_names, open_books
    from mofang.trade.customs.orders import customs, facts

    shop = context.shop
    shop.require("money")
    names, rows = customer_names(shop), []
    for one in customs(open_books(shop)):
        told = facts(shop, one)
        state = told["state"] if as_json or as_csv else say(told["state"], STATES[told["state"]])
        rows.append({**told, "customer": names[one.account], "state": state})
    words = {"name": say("name", "名称"), "customer": say("customer", "客户"), "base": say("base", "基础"),
             "state": say("state", "状态"), "records": say("records", "记录"), "version": say("version", "版本"),
             "price": say("price", "价格"), "place": say("place in the queue", "排队位置"), "percent": "%"}
    words = {key: word for key, word in words.items() if key not in ("place", "percent") or any(key in row for row in rows)}
    rows = [dict.fromkeys(words, "") | row for row in rows]
    context.table(rows, words, as_json=as_json, as_csv=as_csv)
    if not rows and not (as_json or as_csv):
        context.next("mofang customise new CUSTOMER --base MODEL --price 500.00")


@customise.command("delete")
@click.argument("name")
@click.option("--why", default="", help="Why; it stands in the statement.")
@click.option("--out", type=NewFile(), help="Where to write the signed statement (default: NAME-deleted.json here).")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_context
def customise_delete(context: Context, name: str, why: str, out: Path | None, yes: bool) -> None:
    """Delete the customer's records and everything taught from them, for good, and write the signed statement of it."""
    from mofang.trade.accounts.lists import open_books
    from mofang.trade.customs import deletion
    from mofang.trade.customs.orders import find_custom

    context.shop.require("money")
    name = find_custom(open_books(context.shop), name).name
    context.confirm([say("{name}, the customer's records and the keys that open them are destroyed; no backup holds them.",
                         "{name}、客户的记录及其密钥将被销毁；任何备份中都没有副本。", name=name)], yes)
    made = context.shop.act(deletion.custom_delete, custom=name, why=why)
    place = out or Path(f"{made.custom.name}-deleted.json")
    place.write_bytes(deletion.statement_bytes(made))
    gone = made.statement["destroyed"]
    context.say("{name} is deleted: {keys} keys and {files} files ({bytes} bytes) are destroyed", "{name} 已删除：销毁了 {keys} 把密钥、"
                "{files} 个文件（{bytes} 字节）", name=made.custom.name, keys=gone["object_keys"] + gone["secrets"], files=gone["files"],
                bytes=f"{gone['bytes']:,}")
    context.say("The signed statement is in {path}; the customer checks it with:", "签名声明已写入 {path}；客户可这样核对：", path=place)
    context.next(f"mofang customise check {shlex.quote(str(place))}", "mofang verify")


@customise.command("check")
@click.argument("file", type=LentFile())
@click.option("--from", "pinned", default="", metavar="FINGERPRINT", help="Take it only if this shop's key signed it.")
@pass_context
def customise_check(context: Context, file: Path, pinned: str) -> None:
    """Check a signed statement of deletion; needs no shop."""
    from mofang.core.errors import MofangError
    from mofang.trade.customs.deletion import STATEMENT_MOST, check_statement

    if not file.is_file() or file.stat().st_size > STATEMENT_MOST:
        raise MofangError("customise-file", reason=f"there is no statement in {file.name}")
    statement, signer = check_statement(file.read_bytes(), pinned)
    gone = statement["destroyed"]
    context.say("{model} ({id}) was deleted on {when}: {keys} keys, {files} files",
                "{model}（{id}）已于 {when} 删除：{keys} 把密钥、{files} 个文件",
                model=statement["model"], id=statement["customisation"], when=when(statement["deleted_us"]),
                keys=gone["object_keys"] + gone["secrets"], files=gone["files"])
    context.say("signed by {fingerprint}", "签名者 {fingerprint}", fingerprint=signer)


def _show(context: Context, custom: Custom, as_json: bool) -> None:
    from mofang.trade.accounts.lists import customer_names
    from mofang.trade.customs.orders import facts

    told = facts(context.shop, custom)
    if as_json:
        import orjson

        click.echo(orjson.dumps(told, option=orjson.OPT_INDENT_2).decode())
        return
    state = told["state"]
    context.say("{name} for {customer}, from {base}: {state}", "{name}，客户 {customer}，基于 {base}：{state}", name=custom.name,
                customer=customer_names(context.shop)[custom.account], base=custom.base, state=say(state, STATES[state]))
    if state in ("ordered", "declined", "queued", "running", "stopping"):
        at_most = say("at most ", "最多 ") if custom.basis == "used" else ""
        if custom.held:
            context.say("  price    {most}{price}, set aside until {when}", "  价格  {most}{price}，预留至 {when}", most=at_most,
                        price=told["price"], when=when(custom.expires_us))
        else:
            context.say("  price    {most}{price}, quoted until {when}; nothing is set aside now", "  价格  {most}{price}，报价至 "
                        "{when}；目前没有预留", most=at_most, price=told["price"], when=when(custom.expires_us))
    context.say("  records  {records} in {files} files", "  记录  {records} 条，{files} 个文件", records=f"{custom.records:,}",
                files=custom.files)
    if "place" in told:
        context.say("  queue    place {place}; begins in about {seconds} s where a worker is at hand", "  队列  第 {place} 位；有工作"
                    "进程时约 {seconds} 秒后开始", place=told["place"], seconds=f"{told['starts_in_s']:,}")
    if state == "running":
        context.say("  run      {percent} %, begun {tries} times", "  训练  {percent}%，第 {tries} 次", percent=told["percent"],
                    tries=told["tries"])
    if "reason" in told and state == "declined":
        context.say("  why      {what}", "  原因  {what}", what=told["reason"]["what"])
    if state in ("ordered", "declined"):
        ready = [f"mofang customise run {custom.name}"] if custom.records else []
        context.next(*ready, f"mofang customise add {custom.name} FILE")
    elif state == "queued":
        context.next("mofang customise work", f"mofang customise cancel {custom.name}")
