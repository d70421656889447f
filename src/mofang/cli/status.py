"""The day on one screen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mofang.cli.context import Context, pass_context, when
from mofang.core.language import say

if TYPE_CHECKING:
    from mofang.trade.today import Today

WIDTH = 12
MONEY = frozenset(("earned_today_micros", "earned_month_micros", "spent_today_micros", "spent_month_micros", "owed_micros",
                   "unbilled_micros", "alerts", "jobs", "reconciled"))  # what only the role money sees


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def status(context: Context, as_json: bool) -> None:
    """The day on one screen: what is live, earned, spent, owed and unfinished, and what to type next."""
    if context.place is None:
        _nowhere(context, as_json)
        return
    from mofang.trade.today import today_of

    found = today_of(context.shop)
    may_see_money = context.shop.permit(context.shop.actor, "money")
    if as_json:
        import orjson

        told = {"shop": str(context.shop.path), **found.to_dict()}
        told = told if may_see_money else {name: value for name, value in told.items() if name not in MONEY}
        click.echo(orjson.dumps(told, option=orjson.OPT_INDENT_2).decode())
        return
    context.say("Shop {path}", "模坊 {path}", path=context.shop.path)
    _line(say("models", "模型"), ", ".join(found.models[:8]) + (" …" if len(found.models) > 8 else "") or "–")
    _live(context, found)
    _released(context)
    if may_see_money:
        _money(context, found)
    _runs(context, found)
    _line(say("disk", "磁盘"), say("{free:.1f} GB free", "剩余 {free:.1f} GB", free=found.disk_free_bytes / 1e9))
    _line(say("checked", "核对"), say("{when}; backup {backup}", "{when}；备份 {backup}", when=_ago(found.verified),
                                             backup=_ago(found.backed_up)))
    if may_see_money and (found.jobs.jobs or found.jobs.reconciled):
        _line(say("by itself", "自动"), _jobs(found))
    from mofang.cli.retention import lines

    for line in lines(context.shop):
        _line(say("erase", "抹除"), line)
    for one in found.alerts if may_see_money else ():
        click.echo(click.style(f"! {one.words}", fg="yellow"))
    context.next(*found.next)


def _nowhere(context: Context, as_json: bool) -> None:
    """No shop here: where the nearest or the last used one is, and how to go there."""
    from mofang.core.remembered import below, last_used, way_to

    near, last = below(Path.cwd()), last_used()
    if as_json:
        import orjson

        told = {"shop": None, "near": str(near) if near else None, "last": str(last) if last else None}
        click.echo(orjson.dumps(told).decode())
        return
    context.say("There is no shop here yet.", "这里还没有模坊。")
    if near:
        context.say("There is one further down: {path}", "下级文件夹里有一个：{path}", path=near)
    if last and last != near:
        context.say("The one you used last: {path}", "您上次使用的是：{path}", path=last)
    ways = [way_to(place) for place in (near, last) if place is not None]
    context.next(*dict.fromkeys(ways), *(["mofang new YOUR-FILE"] if ways else ["mofang new YOUR-FILE", "mofang demo"]))


def _line(label: str, text: str) -> None:
    """A label and what belongs to it; a Chinese sign is two columns wide."""
    from rich.cells import cell_len

    click.echo(f"  {label}{' ' * max(1, WIDTH - cell_len(label))}{text}")


def _live(context: Context, found: Today) -> None:
    if not found.live:
        _line(say("live", "在线"), say("nothing is served", "没有在运行的服务"))
    for one in found.live:
        p99 = one["last_minute"]["p99_ms"]
        refused = sum(one["refused"].values())
        _line(say("live", "在线"), say(
            "{models} at {address}: {n:,} requests, {refused:,} refused, {failed:,} errors{p99}",
            "{models}，{address}：{n:,} 次请求，拒绝 {refused:,} 次，出错 {failed:,} 次{p99}", models=", ".join(one["models"]),
            address=one["address"], n=one["requests"], refused=refused - one["failed"], failed=one["failed"],
            p99=say(", p99 {ms:.1f} ms", "，p99 {ms:.1f} 毫秒", ms=p99) if p99 is not None else ""))


def _released(context: Context) -> None:
    """What was put on sale, one line for each model that has a route."""
    from mofang.serve.deploy import standing_routes

    for route in standing_routes(context.shop):
        shares = say(", ", "，").join(f"{one.release} {one.weight / 100:g} %" for one in route.shares)
        tried = {"canary": say("canary", "金丝雀"), "ab": "A/B"}.get(route.mode, "")
        shadow = say("{name} in the shadow", "{name} 为影子", name=route.shadow) if route.shadow else ""
        _line(say("on sale", "上线"), " · ".join(one for one in (shares, tried, shadow) if one))


def _money(context: Context, found: Today) -> None:
    from mofang.trade.today import money

    def shown(micros: int | None) -> str:
        return money(micros, context.shop.currency)

    from mofang.core.money import format_micros

    for label, earned in ((say("today", "今天"), found.today), (say("this month", "本月"), found.month)):
        _line(label, say("{n:,} requests, {money} earned", "{n:,} 次请求，收入 {money}", n=earned.requests,
                                  money=format_micros(earned.micros, context.shop.currency)))
    hours = found.spent_s / 3600
    if found.spent_month is None:
        spent = say("rate not set ({hours:.1f} machine hours this month)", "未设费率（本月 {hours:.1f} 机器小时）", hours=hours)
    else:
        spent = say("{day} today, {month} this month ({hours:.1f} machine hours)", "今天 {day}，本月 {month}（{hours:.1f} 机器小时）",
                    day=shown(found.spent_today), month=shown(found.spent_month), hours=hours)
    _line(say("spent", "支出"), spent)
    _line(say("owed", "应收"), say("{owed}, of it not billed yet {open}", "{owed}，其中尚未出账 {open}", owed=shown(found.owed),
                                         open=shown(found.unbilled)))


def _runs(context: Context, found: Today) -> None:
    for one in found.running:
        _line(say("running", "运行中"), say("{stage} since {when}", "{stage}（{when} 起）", stage=one["stage"],
                                                  when=when(one["at_us"])))
    seen: set[str] = set()
    for one in reversed(found.unfinished):
        how = one["resume"] or say("run the same recipe again", "再运行同一份配方")
        if how in seen or len(seen) == 3:
            continue
        seen.add(how)
        words = say("{stage} since {when}; it continues with: {how}", "{stage}（{when} 起），继续：{how}", stage=one["stage"],
                    when=when(one["at_us"]), how=how)
        _line(say("unfinished", "未完成"), words)


def _jobs(found: Today) -> str:
    """The last reconciliation, and when somebody was told last."""
    last, told = found.jobs.reconciled, found.jobs.jobs.get("outbox")
    wrong = "" if last is None else say("everything fits", "全部相符") if not last["wrong"] else say(
        "{n} differences", "{n} 处不符", n=last["wrong"])
    reconciled = say("never reconciled", "从未对账") if last is None else say(
        "reconciled {when}: {wrong}", "对账 {when}：{wrong}", when=_ago(last), wrong=wrong)
    sent = say("outbox {when}", "通知 {when}", when=_ago({"at_us": told.ok_us} if told is not None and told.ok_us else None))
    return f"{reconciled}; {sent}"


def _ago(what: dict[str, Any] | None) -> str:
    """How long ago something was done last."""
    from mofang.core.identity import now_us

    if what is None:
        return say("never", "从未")
    hours = max(0, now_us() - int(what["at_us"])) / 3.6e9
    if hours < 1:
        return say("within the hour", "一小时内")
    if hours < 48:
        return say("{n:.0f} hours ago", "{n:.0f} 小时前", n=hours)
    return say("{n:.0f} days ago", "{n:.0f} 天前", n=hours / 24)
