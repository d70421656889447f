"""Lease, on the customer's machine: check a lease's file, run it, renew it, report its use. No shop is needed."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import click
import orjson

from mofang.cli.context import Context, NewFile, as_json_option, pass_context, print_json
from mofang.core.canonical import canonical, write_durably
from mofang.core.errors import MofangError
from mofang.core.language import current_language, say

FILE = click.Path(path_type=Path)


@click.command("machine")
@pass_context
def lease_machine(context: Context) -> None:
    """Show the id of this installation on this machine, for a seller who binds a lease to it."""
    from mofang.trade.leases.record import installation

    click.echo(installation()[0])
    context.next("mofang lease new MODEL --to CUSTOMER --until DAY --machine ID")


@click.command("run")
@click.argument("file", type=FILE)
@click.option("--code", default="", envvar="MOFANG_LEASE_CODE", help="The unlock code; needed the first time only.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; loopback unless you say otherwise.")
@click.option("--port", default=8080, show_default=True, help="Port; 0 takes a free one and prints it.")
@pass_context
def lease_run(context: Context, file: Path, code: str, host: str, port: int) -> None:
    """Answer requests with a leased model: no shop, no network, until the lease ends."""
    from mofang.core.progress import progress
    from mofang.trade.leases.opening import generates
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
        if generates(opened.model):
            context.say("  Clients of the OpenAI protocols: base address {address}/v1, any key",
                        "  OpenAI 协议的客户端：基础地址 {address}/v1，密钥随意", address=address)
        if opened.notice:
            context.say("  The lease is over; it goes on until {ends}. Send the seller `mofang lease report`.",
                        "  租期已满，宽限至 {ends}。请把 `mofang lease report` 的结果发给卖方。", ends=day(licence.ends_us))
        if host not in ("127.0.0.1", "localhost", "::1"):
            context.say("  Whoever reaches this address may ask: there are no keys here.", "  能访问此地址的人都可以提问：这里没有密钥。")
        sys.stdout.flush()

    run_leased(opened, licence.model, host, port, ready=ready)


@click.command("predict")
@click.argument("file", type=FILE)
@click.argument("given", required=False)
@click.option("--code", default="", envvar="MOFANG_LEASE_CODE", help="The unlock code; needed the first time only.")
@pass_context
def lease_predict(context: Context, file: Path, given: str | None, code: str) -> None:
    """Ask a leased model once: a text, a record as JSON, or - for one of them a line from standard input."""
    from mofang.core.progress import progress
    from mofang.trade.leases.runner import Leased

    lines = [given] if given not in (None, "-") else sys.stdin.read().splitlines()
    if not any(line.strip() for line in lines if line):
        raise MofangError("input-missing", model=str(file))
    with progress(say("Checking and opening", "正在核对并打开"), file.stat().st_size if file.exists() else None) as bar:
        opened = Leased(file, code, tick=bar.advance)
    try:
        inputs = [one["name"] for one in opened.model.signature["inputs"]]
        for line in filter(None, lines):
            records, many = opened.model.parse(_body(line, inputs))
            answers = opened.predict(records)
            click.echo(orjson.dumps(answers if many else answers[0], option=orjson.OPT_SERIALIZE_NUMPY).decode())
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


@click.command("check")
@click.argument("file", type=FILE)
@click.option("--code", default="", envvar="MOFANG_LEASE_CODE", help="The unlock code; needed the first time only.")
@as_json_option
@pass_context
def lease_check(context: Context, file: Path, code: str, as_json: bool) -> None:
    """Show what a lease's FILE is: who signed it, what was agreed, whether it opens here, what it does not prevent."""
    from mofang.core.progress import progress
    from mofang.trade.leases import checking, readme

    with progress(say("Checking", "正在核对"), file.stat().st_size if file.exists() else None) as bar:
        found = checking.check(file, code, tick=bar.advance)
    if as_json:
        print_json(found.told())
        return
    licence, language = found.licence, 0 if current_language() == "en" else 1
    context.say("{model}, leased to {customer} (lease {id}, licence {sequence})",
                "{model}，租给 {customer}（租约 {id}，第 {sequence} 号许可）", model=licence.model, customer=licence.customer,
                id=licence.id, sequence=licence.sequence)
    context.say("  signed by {fingerprint}: compare it with what the seller tells you over another way",
                "  签名者 {fingerprint}：请通过其他途径与卖方核对", fingerprint=found.fingerprint)
    for line in readme.promises(licence):
        click.echo(f"  {line[language]}")
    if found.refusal is None:
        context.say("  It opens here; every byte is as it was written; {requests:,} requests and {units:,} units are on record.",
                    "  在本机可以打开，每个字节都与写入时一致；已记录 {requests:,} 次请求、{units:,} 个计量单位。",
                    requests=found.requests, units=found.units)
    else:
        context.say("  It does not open here: {what} {fix}", "  在本机无法打开：{what}{fix}", what=found.refusal.what,
                    fix=found.refusal.fix)
    context.say("What it does not prevent:", "租约不能防止的事：")
    for line in readme.not_prevented(licence):
        click.echo(f"  - {line[language]}")
    if found.refusal is None:
        context.next(f"mofang lease run {shlex.quote(str(file))}")


@click.command("accept")
@click.argument("file", type=FILE)
@click.argument("renewal", type=FILE)
@as_json_option
@pass_context
def lease_accept(context: Context, file: Path, renewal: Path, as_json: bool) -> None:
    """Take the RENEWAL that the seller sent; a runner that is running takes it up within a minute."""
    from mofang.trade.leases.runner import accept, day

    made = accept(file, renewal).licence
    if as_json:
        print_json({"lease": made.id, "model": made.model, "sequence": made.sequence, "until_us": made.until_us,
                    "ends_us": made.ends_us})
        return
    context.say("{model} goes on until {until}", "{model} 延长至 {until}", model=made.model, until=day(made.until_us))
    context.next(f"mofang lease run {shlex.quote(str(file))}")


@click.command("report")
@click.argument("file", type=FILE)
@click.option("--out", type=NewFile(), help="Where to write it (default: FILE.report.json).")
@as_json_option
@pass_context
def lease_report(context: Context, file: Path, out: Path | None, as_json: bool) -> None:
    """Write what was used into a file to be sent to the seller: counts and times, no texts."""
    from mofang.trade.leases.runner import use_report

    told = use_report(file)
    place = out or file.with_name(file.name + ".report.json")
    write_durably(place, canonical(told))
    if as_json:
        print_json({"file": str(place), **{name: told[name] for name in ("lease", "requests", "units")}})
        return
    context.say("{path}: {requests:,} requests, {units:,} units", "{path}：{requests:,} 次请求，{units:,} 个计量单位", path=place,
                requests=told["requests"], units=told["units"])
    context.say("The seller books it with:", "卖方用以下命令入账：")
    context.next(f"mofang lease take {place.name}")


COMMANDS = (lease_machine, lease_check, lease_run, lease_predict, lease_accept, lease_report)
