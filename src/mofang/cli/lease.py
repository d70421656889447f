"""Lease: hand a model to a customer for a time, and run a model that somebody leased to you."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import click
import orjson

from mofang.cli.context import Context, Names, NewFile, listing, pass_context
from mofang.core.canonical import canonical
from mofang.core.errors import MofangError
from mofang.core.language import say

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
    from mofang.core.progress import progress
    from mofang.serve.parcel import package_named
    from mofang.trade.leases import seller

    shop = context.shop
    name = package_named(shop, model)[1]
    place = out or Path(name.replace("@", "-") + ".lease")
    given = {"features": tuple(one.strip() for one in features.split(",") if one.strip()), "fee": fee, **asked}
    package = seller.asked(shop, name, customer, place, **given)[0]
    licences = ", ".join(package.licences) or say("none stated", "未注明")
    context.confirm([say("{model} leaves this shop, encrypted, for {customer} until {until}. Licences behind it: {licences}.",
                         "{model} 将加密交付给 {customer}，租期至 {until}。其数据许可：{licences}。", model=name, customer=customer,
                         until=asked["until"], licences=licences)], yes)
    with progress(say("Marking, checking and encrypting", "正在加标记、核对并加密")):
        made = shop.act(seller.lease_new, model=name, customer=customer, out=str(place), marked=not no_mark, **given)
    if as_json:
        _json({"lease": made.lease.id, "file": made.path, "code": made.code, "fingerprint": made.fingerprint,
               "mark": made.lease.mark, "entry": made.lease.entry, "size_bytes": made.size_bytes})
        return
    context.say("{model} is leased to {customer}: {path} ({size:.1f} MB), lease {id}",
                "{model} 已租给 {customer}：{path}（{size:.1f} MB），租约 {id}", model=name, customer=customer, path=made.path,
                size=made.size_bytes / 1e6, id=made.lease.id)
    if made.code:
        context.say("  unlock code  {code}  (tell it over another way than the file)", "  解锁码  {code}  （请用文件之外的途径告知）",
                    code=made.code)
    context.say("  fingerprint  {fingerprint}", "  指纹  {fingerprint}", fingerprint=made.fingerprint)
    if not made.lease.mark and not no_mark:
        context.say("  This model holds no graph that could be marked: its copies cannot be told apart.",
                    "  这个模型没有可加标记的计算图：各份副本无法区分。")
    context.say("On the customer's machine:", "在客户的机器上：")
    context.next(f"mofang lease run {Path(made.path).name}" + (" --code CODE" if made.code else ""))


@lease.command("renew")
@click.argument("lease")
@click.option("--until", required=True, help="The new last day, or a span from the old one: 90d.")
@click.option("--fee", default="", help="What it costs, once.")
@click.option("--reinstalled", is_flag=True, help="The customer's record of use is lost: it may begin anew, once.")
@click.option("--out", type=NewFile(), required=True, help="The licence file that the customer's runner accepts.")
@pass_context
def lease_renew(context: Context, /, out: Path, **asked: Any) -> None:
    """Let a lease go on; the package is not sent again."""
    from mofang.trade.leases import seller
    from mofang.trade.leases.runner import day

    made = context.shop.act(seller.lease_renew, out=str(out), **asked)
    context.say("{id} goes on until {until}: {path}", "租约 {id} 延长至 {until}：{path}", id=made.lease.id, path=out,
                until=day(made.lease.licence.until_us))
    context.say("On the customer's machine:", "在客户的机器上：")
    context.next(f"mofang lease accept FILE.lease {out.name}")


@lease.command("revoke")
@click.argument("lease")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_context
def lease_revoke(context: Context, lease: str, yes: bool) -> None:
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
    context.say("{id} is revoked.", "{id} 已终止。", id=made.id)


@lease.command("take")
@click.argument("report", type=FILE)
@pass_context
def lease_take(context: Context, report: Path) -> None:
    """Book the use that a customer sent home; what goes beyond the quota is charged."""
    from mofang.core.money import format_micros
    from mofang.trade.leases import seller

    made = context.shop.act(seller.lease_take, report=str(report))
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
    rows = [{"lease": one.id, "model": one.model, "customer": names[one.account], "until": day(one.licence.until_us),
             "state": one.state(now_us()), "sequence": one.sequence, "units": one.units, "quota": one.licence.quota or None,
             "mark": one.mark or None} for one in leases(context.shop.control)]
    context.table(rows, {"lease": say("lease", "租约"), "model": say("model", "模型"), "customer": say("customer", "客户"),
                         "until": say("until", "租期至"), "state": say("state", "状态"), "sequence": say("licence", "许可序号"),
                         "units": say("units", "计量"), "quota": say("quota", "额度"), "mark": say("mark", "标记")},
                  as_json=as_json, as_csv=as_csv)
    if not rows and not (as_json or as_csv):
        context.next("mofang lease new MODEL --to CUSTOMER --until DAY")


@lease.command("find-mark")
@click.argument("file", type=FILE)
@listing
@pass_context
def lease_find_mark(context: Context, file: Path, as_json: bool, as_csv: bool) -> None:
    """Whose leased copy is this? FILE is an ONNX graph, a package's folder or a package's file."""
    from mofang.core.progress import progress
    from mofang.trade.leases import seller

    with progress(say("Comparing", "正在比对")):
        rows = seller.find_mark(context.shop, file)
    context.table(rows, {"customer": say("customer", "客户"), "model": say("model", "模型"), "lease": say("lease", "租约"),
                         "score": say("standard deviations", "标准差倍数"), "found": say("its mark", "有其标记")},
                  as_json=as_json, as_csv=as_csv)


# On the customer's machine


@lease.command("machine")
@pass_context
def lease_machine(context: Context) -> None:
    """Show the id of this installation on this machine, for a seller who binds a lease to it."""
    from mofang.trade.leases.record import installation

    click.echo(installation()[0])
    context.next("mofang lease new MODEL --to CUSTOMER --until DAY --machine ID")


@lease.command("run")
@click.argument("file", type=FILE)
@click.option("--code", default="", envvar="MOFANG_LEASE_CODE", help="The unlock code; needed the first time only.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; loopback unless you say otherwise.")
@click.option("--port", default=8080, show_default=True, help="Port; 0 takes a free one and prints it.")
@pass_context
def lease_run(context: Context, file: Path, code: str, host: str, port: int) -> None:
    """Answer requests with a leased model: no shop, no network, until the lease ends."""
    from mofang.core.progress import progress
    from mofang.trade.leases.runner import Leased, day
    from mofang.web.leased import run_leased

    with progress(say("Checking and opening", "正在核对并打开"), file.stat().st_size if file.exists() else None) as bar:
        opened = Leased(file, code, tick=bar.advance)
    licence = opened.licence

    def ready(address: str) -> None:
        context.say("Serving on {address}  (Ctrl-C stops, after finishing what has begun)",
                    "服务已启动：{address} （Ctrl-C 停止，会先完成已开始的请求）", address=address)
        context.say("{model}, leased to {customer} until {until}", "{model}，租给 {customer}，至 {until}", model=licence.model,
                    customer=licence.customer, until=day(licence.until_us))
        if opened.notice:
            context.say("  The lease is over; it goes on until {ends}. Send the seller `mofang lease report`.",
                        "  租期已满，宽限至 {ends}。请把 `mofang lease report` 的结果发给卖方。", ends=day(licence.ends_us))
        if host not in ("127.0.0.1", "localhost", "::1"):
            context.say("  Whoever reaches this address may ask: there are no keys here.", "  能访问此地址的人都可以提问：这里没有密钥。")
        sys.stdout.flush()

    run_leased(opened, licence.model, host, port, ready=ready)


@lease.command("predict")
@click.argument("file", type=FILE)
@click.argument("given", required=False)
@click.option("--code", default="", envvar="MOFANG_LEASE_CODE", help="The unlock code; needed the first time only.")
@pass_context
def lease_predict(context: Context, file: Path, given: str | None, code: str) -> None:
    """Ask a leased model once: a text, a record as JSON, or - for one of them a line from standard input."""
    from mofang.trade.leases.runner import Leased

    lines = [given] if given not in (None, "-") else sys.stdin.read().splitlines()
    if not any(line.strip() for line in lines if line):
        raise MofangError("input-missing", model=str(file))
    opened = Leased(file, code)
    try:
        inputs = [one["name"] for one in opened.model.signature["inputs"]]
        for line in filter(None, lines):
            opened.check()
            records, _ = opened.model.parse(_body(line, inputs))
            answer = opened.model.predict(records)[0]
            opened.count(opened.model.units(records))
            click.echo(orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY).decode())
    finally:
        opened.close()


def _body(line: str, inputs: list[str]) -> Any:
    """A line as a request's body."""
    if line.lstrip().startswith("{"):
        try:
            return orjson.loads(line)
        except orjson.JSONDecodeError:
            pass
    return {inputs[0]: line}


@lease.command("accept")
@click.argument("file", type=FILE)
@click.argument("renewal", type=FILE)
@pass_context
def lease_accept(context: Context, file: Path, renewal: Path) -> None:
    """Take the RENEWAL that the seller sent; a runner that is running takes it up within a minute."""
    from mofang.trade.leases.runner import accept, day

    made = accept(file, renewal).licence
    context.say("{model} goes on until {until}", "{model} 延长至 {until}", model=made.model, until=day(made.until_us))
    context.next(f"mofang lease run {shlex.quote(str(file))}")


@lease.command("report")
@click.argument("file", type=FILE)
@click.option("--out", type=NewFile(), help="Where to write it (default: FILE.report.json).")
@pass_context
def lease_report(context: Context, file: Path, out: Path | None) -> None:
    """Write what was used into a file to be sent to the seller: counts and times, no texts."""
    from mofang.trade.leases.runner import use_report

    told = use_report(file)
    place = out or file.with_name(file.name + ".report.json")
    place.write_bytes(canonical(told))
    context.say("{path}: {requests:,} requests, {units:,} units", "{path}：{requests:,} 次请求，{units:,} 个计量单位", path=place,
                requests=told["requests"], units=told["units"])
    context.say("The seller books it with:", "卖方用以下命令入账：")
    context.next(f"mofang lease take {place.name}")


def _json(facts: dict[str, Any]) -> None:
    click.echo(orjson.dumps(facts, option=orjson.OPT_INDENT_2).decode())
