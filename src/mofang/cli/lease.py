"""Lease: hand a model to a customer for a time, and run a model that somebody leased to you."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mofang.cli import leased
from mofang.cli.context import Context, Names, NewFile, as_json_option, listing, pass_context, print_json, when
from mofang.core.language import say

if TYPE_CHECKING:
    from mofang.core.shop import Shop
    from mofang.trade.accounts.customers import Customer

FILE = click.Path(path_type=Path)


@click.group(cls=Names)
def lease() -> None:
    """Lease models: an encrypted file that answers offline under a signed licence; alone, the list."""


@lease.command("new")
@click.argument("model")
@click.option("--to", "customer", required=True, help="The customer.")
@click.option("--until", required=True, help="The last day, e.g. 2027-06-30, or a span: 90d.")
@click.option("--from", "begin", default="", help="The first day (default: now).")
@click.option("--grace", default="7d", show_default=True, help="How long it goes on after the last day, with a notice.")
@click.option("--instances", default=1, show_default=True, type=click.IntRange(1), help="So many at a time on each machine.")
@click.option("--machine", "machines", multiple=True, metavar="ID",
              help="Only there: what `mofang lease machine` shows the customer.")
@click.option("--features", default="predict", show_default=True, help="What it may be used for, separated by commas.")
@click.option("--fee", default="", help="What the lease costs, once, e.g. 5000.")
@click.option("--quota", default=0, type=click.IntRange(0), help="Units that the fee includes; 0: without bound.")
@click.option("--overage", default="", help="What a unit beyond the quota costs, e.g. 2.00/1000.")
@click.option("--start-within", default="7d", show_default=True, help="How long it may be started where no record of use is.")
@click.option("--no-mark", is_flag=True, help="Leave this copy without the customer's mark.")
@click.option("--out", type=NewFile(), help="The file (default: NAME-VERSION.lease here).")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def lease_new(context: Context, /, model: str, customer: str, features: str, no_mark: bool, out: Path | None, yes: bool,
              as_json: bool, fee: str, **asked: Any) -> None:
    """Lease MODEL to a customer: writes one file, and an unlock code to be told over another way."""
    from mofang.serve.parcel import package_named
    from mofang.trade.leases import seller

    shop = context.shop
    name = package_named(shop, model)[1]
    place = out or Path(name.replace("@", "-") + ".lease")
    given = {"features": tuple(one.strip() for one in features.split(",") if one.strip()), "fee": fee, **asked}
    package, _, who, _, fee_micros, _ = seller.asked(shop, name, customer, place, **given)
    licences = ", ".join(package.licences) or say("none stated", "未注明")
    context.confirm([say("{model} leaves this shop, encrypted, for {customer} until {until}. Licences behind it: {licences}.",
                         "{model} 将加密交付给 {customer}，租期至 {until}。其数据许可：{licences}。", model=name, customer=who.name,
                         until=asked["until"], licences=licences), *_beyond(shop, who, fee_micros)], yes)
    made = shop.act(seller.lease_new, model=name, customer=customer, out=str(place), marked=not no_mark, **given)
    if as_json:
        print_json({"lease": made.lease.id, "file": made.path, "code": made.code, "fingerprint": made.fingerprint,
               "mark": made.lease.mark, "entry": made.lease.entry, "size_bytes": made.size_bytes, "readme": made.readme})
        return
    context.say("{model} is leased to {customer}: {path} ({size:.1f} MB), lease {id}",
                "{model} 已租给 {customer}：{path}（{size:.1f} MB），租约 {id}", model=name, customer=customer, path=made.path,
                size=made.size_bytes / 1e6, id=made.lease.id)
    context.say("  what it promises and what it does not prevent: {readme}", "  约定内容和不能防止的事：{readme}",
                readme=made.readme)
    if made.code:
        context.say("  unlock code  {code}  (tell it over another way than the file)", "  解锁码  {code}  （请用文件之外的途径告知）",
                    code=made.code)
    context.say("  fingerprint  {fingerprint}", "  指纹  {fingerprint}", fingerprint=made.fingerprint)
    if not made.lease.mark and not no_mark:
        context.say("  This model holds no graph that could be marked: its copies cannot be told apart.",
                    "  这个模型没有可加标记的计算图：各份副本无法区分。")
    context.say("On the customer's machine:", "在客户的机器上：")
    context.next(f"mofang lease run {shlex.quote(Path(made.path).name)}" + (" --code CODE" if made.code else ""))


def _beyond(shop: Shop, who: Customer, fee_micros: int) -> list[str]:
    """What a fee means that is more than the customer may spend: it is charged all the same, and its calls are refused."""
    from mofang.core.money import format_micros
    from mofang.trade.billing.spendable import lacking

    over = lacking(shop, who.id, fee_micros) if fee_micros else 0
    return [say("The fee goes {over} beyond what {customer} has paid in advance and may owe this month: its calls to models are "
                "refused until it pays or has more credit.", "租金超出 {customer} 的预付款与本月额度 {over}：付款或提高额度之前，其模型调用将被拒绝。",
                over=format_micros(over, who.currency), customer=who.name)] if over else []


@lease.command("renew")
@click.argument("lease")
@click.option("--until", required=True, help="The new last day, or a span from the old one: 90d.")
@click.option("--fee", default="", help="What it costs, once.")
@click.option("--reinstalled", is_flag=True, help="The customer's record of use is lost: it may begin anew, once.")
@click.option("--out", type=NewFile(), required=True, help="The licence file that the customer's runner accepts.")
@as_json_option
@pass_context
def lease_renew(context: Context, /, out: Path, as_json: bool, **asked: Any) -> None:
    """Let a lease go on; the package is not sent again."""
    from mofang.trade.leases import seller
    from mofang.trade.leases.runner import day

    made = context.shop.act(seller.lease_renew, out=str(out), **asked)
    if as_json:
        licence = made.lease.licence
        print_json({"lease": made.lease.id, "file": made.path, "sequence": licence.sequence, "until_us": licence.until_us,
                    "ends_us": licence.ends_us, "fingerprint": made.fingerprint, "size_bytes": made.size_bytes})
        return
    context.say("{id} goes on until {until}: {path}", "租约 {id} 延长至 {until}：{path}", id=made.lease.id, path=out,
                until=day(made.lease.licence.until_us))
    context.say("On the customer's machine:", "在客户的机器上：")
    context.next(f"mofang lease accept FILE.lease {out.name}")


@lease.command("revoke")
@click.argument("lease")
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json_option
@pass_context
def lease_revoke(context: Context, lease: str, yes: bool, as_json: bool) -> None:
    """Never renew a lease. What is offline cannot be reached: it ends at its own end."""
    from mofang.trade.leases import seller
    from mofang.trade.leases.book import find_lease
    from mofang.trade.leases.runner import day

    context.shop.journals.make_tables()
    found = find_lease(context.shop.control, lease)
    context.confirm([say("Lease {id} of {model} will never be renewed. A copy that is offline ends on {ends}.",
                         "租约 {id}（{model}）将不再续期。离线副本于 {ends} 停止。", id=found.id, model=found.model,
                         ends=day(found.licence.ends_us))], yes)
    made = context.shop.act(seller.lease_revoke, lease=found.id)
    if as_json:
        print_json({"lease": made.id, "revoked_us": made.revoked_us, "ends_us": made.licence.ends_us})
        return
    context.say("{id} is revoked.", "{id} 已终止。", id=made.id)


@lease.command("take")
@click.argument("report", type=FILE)
@as_json_option
@pass_context
def lease_take(context: Context, report: Path, as_json: bool) -> None:
    """Book the use that a customer sent home; what goes beyond the quota is charged."""
    from mofang.core.money import format_micros
    from mofang.trade.leases import seller

    made = context.shop.act(seller.lease_take, report=str(report))
    if as_json:
        print_json({"lease": made.lease.id, "requests": made.requests, "units": made.units, "all_units": made.lease.units,
                    "quota": made.lease.licence.quota, "charged_micros": made.charged, "currency": made.lease.currency,
                    "restarted": made.restarted})
        return
    context.say("{model}: {requests:,} requests and {units:,} units more; {all:,} units in all",
                "{model}：新增 {requests:,} 次请求、{units:,} 个计量单位；累计 {all:,} 个单位", model=made.lease.model,
                requests=made.requests, units=made.units, all=made.lease.units)
    if made.charged:
        context.say("  beyond the quota: {money} is charged", "  超出额度：收费 {money}",
                    money=format_micros(made.charged, made.lease.currency))
    if made.restarted:
        context.say("  the customer's record began anew, as the renewal allowed", "  客户的用量记录按续期许可重新开始")
    context.next(f"mofang lease renew {made.lease.id} --until DAY --out renewal.licence")


@lease.command("list")
@listing
@pass_context
def lease_list(context: Context, as_json: bool, as_csv: bool) -> None:
    """List leases: to whom, until when, what was used."""
    from mofang.core import lock
    from mofang.core.identity import now_us
    from mofang.trade.accounts.lists import customer_names
    from mofang.trade.leases.book import JOURNAL, leases
    from mofang.trade.leases.runner import day

    lock.import_fold(JOURNAL)
    names = customer_names(context.shop)
    plain = as_json or as_csv
    rows = [{"lease": one.id, "model": one.model, "customer": names[one.account], "until": day(one.licence.until_us),
             "state": one.state(now_us()) if plain else stated(one.state(now_us())), "sequence": one.sequence,
             "units": one.units, "quota": one.licence.quota or None,
             "mark": one.mark or None} for one in leases(context.shop.control)]
    context.table(rows, {"lease": say("lease", "租约"), "model": say("model", "模型"), "customer": say("customer", "客户"),
                         "until": say("until", "租期至"), "state": say("state", "状态"), "sequence": say("licence", "许可序号"),
                         "units": say("units", "计量"), "quota": say("quota", "额度"), "mark": say("mark", "标记")},
                  as_json=as_json, as_csv=as_csv)
    if not rows and not (as_json or as_csv):
        context.next("mofang lease new MODEL --to CUSTOMER --until DAY")


@lease.command("show")
@click.argument("lease")
@as_json_option
@pass_context
def lease_show(context: Context, lease: str, as_json: bool) -> None:
    """Show one lease: what was agreed, its licences and reports, what was charged. LEASE is an id, or a lease's file."""
    from mofang.core.money import format_micros
    from mofang.trade.leases.history import about
    from mofang.trade.leases.runner import day

    if Path(lease).is_file():
        click.get_current_context().invoke(leased.lease_check, file=Path(lease), code="", as_json=as_json)
        return
    found = about(context.shop, lease)
    if as_json:
        print_json(found)
        return
    context.say("{model}, leased to {customer} until {until} ({state})", "{model}，租给 {customer}，至 {until}（{state}）",
                model=found["model"], customer=found["customer"], until=day(found["until_us"]), state=stated(found["state"]))
    context.say("  {units:,} units of {quota} used, in {requests:,} requests; {instances} at a time on a machine; {machines}",
                "  已用 {units:,} 个计量单位（额度 {quota}），{requests:,} 次请求；每台机器同时 {instances} 个；{machines}",
                units=found["units"], quota=f"{found['quota']:,}" if found["quota"] else say("no quota", "不限"),
                requests=found["requests"], instances=found["instances"],
                machines=", ".join(found["machines"]) or say("bound to no machine", "未绑定机器"))
    context.table([{"when": when(one["at_us"]), "what": said(one["what"]), "detail": _detail(one)} for one in found["history"]],
                  {"when": say("when", "时间"), "what": say("what", "事项"), "detail": say("detail", "详情")})
    for one in found["charges"]:
        context.say("  {when}  {money}  {what}", "  {when}  {money}  {what}", when=when(one["at_us"]), what=one["what"],
                    money=format_micros(one["micros"], one["currency"]))
    context.next(f"mofang lease renew {found['lease']} --until DAY --out renewal.licence", f"mofang trace {found['lease']}")


def stated(state: str) -> str:
    """How a lease stands, in the language of the screen."""
    return {"good": say("good", "有效"), "grace": say("grace", "宽限期"), "ended": say("ended", "已结束"),
            "early": say("not yet begun", "未开始"), "revoked": say("revoked", "已终止")}[state]


def said(what: str) -> str:
    """What happened to a lease, in the language of the screen."""
    return {"made": say("made", "生成"), "renewed": say("renewed", "续期"), "reported": say("use booked", "用量入账"),
            "revoked": say("revoked", "终止")}[what]


def _detail(line: dict[str, Any]) -> str:
    from mofang.trade.leases.runner import day

    if "until_us" in line:
        again = say("; may begin anew", "；允许重新开始") if line["may_begin_anew"] else ""
        return say("licence {sequence}, until {until}{again}", "第 {sequence} 号许可，至 {until}{again}", sequence=line["sequence"],
                   until=day(line["until_us"]), again=again)
    if "units" in line:
        return say("{requests:,} requests, {units:,} units", "{requests:,} 次请求，{units:,} 个计量单位", requests=line["requests"],
                   units=line["units"])
    return ""


@lease.command("find-mark")
@click.argument("file", type=FILE)
@listing
@pass_context
def lease_find_mark(context: Context, file: Path, as_json: bool, as_csv: bool) -> None:
    """Whose leased copy is this? FILE is an ONNX graph, a package's folder or a package's file."""
    from mofang.core.progress import progress
    from mofang.trade.leases.copies import find_mark

    with progress(say("Comparing", "正在比对")) as bar:
        rows = find_mark(context.shop, file, bar.advance)
    context.table(rows, {"customer": say("customer", "客户"), "model": say("model", "模型"), "lease": say("lease", "租约"),
                         "score": say("standard deviations", "标准差倍数"), "found": say("its mark", "有其标记")},
                  as_json=as_json, as_csv=as_csv)


for _command in leased.COMMANDS:
    lease.add_command(_command)
