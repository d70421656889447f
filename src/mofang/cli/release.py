"""Release: which version answers to a model's name, tried out beside the old one first, and the way back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mofang.cli.context import Context, listing, pass_context, when
from mofang.core.errors import MofangError
from mofang.core.language import say

if TYPE_CHECKING:
    from mofang.serve.routing import Route

REASONS = {
    "errors": ("more errors than the old release", "出错多于旧发布版"),
    "tokens": ("answers much longer or shorter than the old release's", "应答长度明显不同于旧发布版"),
    "latency": ("slower than the old release", "比旧发布版慢"),
    "quality": ("more answers judged wrong than of the old release", "被判为错误的应答多于旧发布版"),
    "agreement": ("too many answers other than the old release's", "与旧发布版不同的应答过多"),
    "as-good": ("as good as the old release", "不逊于旧发布版"),
    "requests": ("more requests are needed", "请求数还不够"),
    "errors-not-excluded": ("more errors are not excluded yet", "尚不能排除出错更多"),
    "no-quality-evidence": ("nothing is known of its answers yet", "尚无应答质量的依据"),
}
DECISIONS = {"promote": ("promoted", "已转正"), "rollback": ("taken back", "已撤回"), "wait": ("goes on", "继续观察")}


@click.command()
@click.argument("releases", nargs=-1, metavar="[MODEL@VERSION]")
@click.option("--canary", metavar="SHARE",
              help="Beside the old one with this share of requests, e.g. 5%; promoted or taken back by itself.")
@click.option("--shadow", is_flag=True, help="Asked with every request, never answering and never charged.")
@click.option("--ab", metavar="A=50,B=50", help="Several releases with fixed shares, e.g. reviews@1=50,reviews@2=50.")
@click.option("--sticky", type=click.Choice(["request", "customer"]), default="request", show_default=True,
              help="Whether a customer always meets the same release, or each request is drawn.")
@click.option("--after", default=500, show_default=True, help="Canary: promote after so many requests at the earliest.")
@click.option("--errors", default=0.01, show_default=True, help="Canary: by how much its error rate may be higher.")
@click.option("--slower", default=1.5, show_default=True, help="Canary: by what factor its slowest twentieth may be slower.")
@click.option("--agree", default=0.9, show_default=True, help="Canary: the least share of answers like the old release's.")
@click.option("--longer", default=1.5, show_default=True,
              help="Canary of a generator: by what factor its answers may be longer or shorter.")
@click.option("--force", is_flag=True, help="Although the evidence speaks against it; needs --why.")
@click.option("--why", default="", help="A reason, kept in the journal.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def release(context: Context, /, releases: tuple[str, ...], canary: str | None, ab: str | None, shadow: bool, as_json: bool,
            **settings: Any) -> None:
    """Put a version of a model on sale: at once, or tried out first. Running servers follow within a second.

    No request is lost on the way, and nothing is charged twice. Without a version the newest is meant.
    """
    from mofang.serve import deploy

    chosen = [bool(canary), shadow, bool(ab)]
    if sum(chosen) > 1 or (ab and releases) or (not ab and len(releases) != 1):
        raise MofangError("release-which")
    if ab:
        arms = _arms(ab)
        route = context.shop.act(deploy.deploy_set, releases=tuple(arms), weights=tuple(arms.values()), mode="ab", **settings)
    else:
        mode = "canary" if canary else "plain"
        route = context.shop.act(deploy.deploy_set, releases=releases, mode=mode, canary=percent(canary or "5"), shadow=shadow,
                                 **settings)
    _show(context, route, as_json)


def _arms(text: str) -> dict[str, float]:
    """``reviews@1=50,reviews@2=50`` as shares in per cent."""
    found = {}
    for one in text.replace("，", ",").split(","):
        name, _, weight = one.partition("=")
        found[name.strip()] = percent(weight)
    return found


def percent(text: str) -> float:
    """A share such as ``5%`` or ``5``; raises ``share-unreadable``."""
    try:
        return float(text.strip().removesuffix("%"))
    except ValueError:
        raise MofangError("share-unreadable", text=text) from None


def _show(context: Context, route: Route, as_json: bool) -> None:
    if as_json:
        import orjson

        click.echo(orjson.dumps(route.to_dict(), option=orjson.OPT_INDENT_2).decode())
        return
    shares = say(", ", "，").join(f"{one.release} {one.weight / 100:g} %" for one in route.shares)
    context.say("{model}: {shares}{shadow}", "{model}：{shares}{shadow}", model=route.model, shares=shares,
                shadow=say(", {name} in the shadow", "，{name} 为影子", name=route.shadow) if route.shadow else "")
    if route.challenger:
        context.say("  promoted by itself after {n:,} requests if it is as good; taken back as soon as it is not",
                    "  满 {n:,} 次请求且不逊于旧版时自动转正；一旦不如旧版即自动撤回", n=route.rule.after)
    context.say("  running servers follow within a second", "  运行中的服务在一秒内跟随")
    context.next("mofang deploy status", f"mofang rollback {route.model}")


@click.command()
@click.argument("model")
@click.option("--why", default="", help="A reason, kept in the journal.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def rollback(context: Context, model: str, why: str, as_json: bool) -> None:
    """Go back: end a canary, a shadow or an A/B test with the old release alone, or return to the release before."""
    from mofang.serve import deploy

    _show(context, context.shop.act(deploy.deploy_rollback, model=model, why=why), as_json)


@click.group()
def deploy() -> None:
    """Which release answers, and what was seen of it."""


@deploy.command("status")
@listing
@pass_context
def deploy_status(context: Context, as_json: bool, as_csv: bool) -> None:
    """Every model's releases: share, requests, errors, latency, quality evidence, verdict."""
    from mofang.trade.released import status_rows

    rows = status_rows(context.shop)
    words = {"model": say("model", "模型"), "release": say("release", "发布版"), "share": say("share", "占比"),
             "requests": say("requests", "请求"), "errors": say("errors", "出错"), "p50_ms": "p50 ms", "p99_ms": "p99 ms",
             "quality": say("quality", "质量"), "verdict": say("verdict", "结论"), "since": say("since", "起自")}
    told = rows if as_json else [{**one, "share": _share(one), "quality": _quality(one), "verdict": _verdict(one),
                                  "since": when(one["since_us"]) if one["since_us"] else None} for one in rows]
    context.table(told, words, as_json=as_json, as_csv=as_csv)
    if not rows:
        context.say("Nothing was released yet: a plain name leads to the newest version.", "尚未发布：名称指向最新版本。")
        context.next("mofang release MODEL")


def _share(row: dict[str, Any]) -> str:
    return say("shadow", "影子") if row["role"] == "shadow" else f"{row['share']:g} %"


def _quality(row: dict[str, Any]) -> str | None:
    if row["judged"]:
        return say("{right}/{judged} right", "{right}/{judged} 正确", right=row["right"], judged=row["judged"])
    if row.get("tokens_p50") is not None and not row["compared"]:
        return say("{n:g} tokens (p50)", "{n:g} 词元（p50）", n=row["tokens_p50"])
    if row["compared"]:
        return say("{same}/{compared} alike", "{same}/{compared} 一致", same=row["same"], compared=row["compared"])
    return None


def _verdict(row: dict[str, Any]) -> str | None:
    if not row["decision"]:
        return None
    words = [say(*REASONS.get(one, (one, one))) for one in row["reasons"]]
    return say(*DECISIONS[row["decision"]]) + (f" ({say(', ', '，').join(words)})" if words else "")


@deploy.command("report")
@click.argument("model")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def deploy_report(context: Context, model: str, as_json: bool) -> None:
    """An A/B test or a canary in figures: each arm beside the first, with difference, 95 % interval and p-value."""
    from mofang.trade.released import report

    found = report(context.shop, model)
    if as_json:
        import orjson

        click.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
        return
    rows = []
    for arm in found["arms"]:
        for name, figure in arm["versus"].items():
            rows.append({"release": arm["release"], "what": say("errors", "出错") if name == "errors" else say("right", "正确"),
                         "difference": figure["difference"], "low": figure["low"], "high": figure["high"], "p": figure["p"]})
    context.say("{model} since {when}; each beside {first}", "{model}，自 {when}；均与 {first} 相比", model=found["model"],
                when=when(found["since_us"]), first=found["first"])
    context.table(rows, {"release": say("release", "发布版"), "what": say("share of", "比例"), "difference": say("difference", "差"),
                         "low": say("from", "下限"), "high": say("to", "上限"), "p": "p"})
    for one in found["decisions"]:
        context.say("  {when}  {what}: {why}", "  {when}  {what}：{why}", when=when(one["at_us"]),
                    what=say(*DECISIONS[one["decision"]]),
                    why=say(", ", "，").join(say(*REASONS.get(each, (each, each))) for each in one["reasons"]))
