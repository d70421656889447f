"""Up: a model's file on a bare server becomes a service that survives reboot."""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mofang.cli.context import Context, LentFile, pass_context
from mofang.core.errors import MofangError
from mofang.core.language import say

if TYPE_CHECKING:
    from mofang.serve.account import Account
    from mofang.serve.unit import Service


@click.command()
@click.argument("file", type=LentFile())
@click.option("--domain", required=True, help="The name under which it is reached.")
@click.option("--tls-cert", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="TLS certificate (PEM).")
@click.option("--tls-key", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="The certificate's key (PEM).")
@click.option("--behind-proxy", is_flag=True, help="A proxy on this machine speaks TLS; the service listens on loopback only.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port (default: 443 with a certificate, 8080 behind a proxy).")
@click.option("--workers", type=click.IntRange(1, 64), default=2, show_default=True, help="Processes that answer.")
@click.option("--canary", metavar="SHARE", help="Beside what answers now, with this share of requests, e.g. 5%.")
@click.option("--from", "pinned", default="", metavar="FINGERPRINT", help="Take the file only if this shop's key signed it.")
@click.option("--user", "own", is_flag=True, help="A service of your own account instead of the system's; needs no root.")
@click.option("--run-as", default="", metavar="NAME",
              help="The account of the service (default: yours, also under sudo; never root).")
@click.option("--admin-port", type=click.IntRange(1, 65535), help="A second port, on loopback only, for /metrics.")
@click.option("--dry-run", is_flag=True, help="Check everything and print the unit; change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_context
def up(context: Context, /, file: Path, domain: str, tls_cert: Path | None, tls_key: Path | None, behind_proxy: bool,
       port: int | None, workers: int, canary: str | None, pinned: str, own: bool, run_as: str, admin_port: int | None,
       dry_run: bool, yes: bool) -> None:
    """From a model's FILE to a service: check and take it in, put it on sale, serve it, again after every reboot.

    People and settings are reached from this machine only: the service answers customers and nobody else. Without systemd
    it is served here, in the foreground.
    """
    from mofang.serve.account import become, check_reach
    from mofang.serve.unit import Service, check_certificate, checked_domain, has_systemd, install

    name = checked_domain(domain)
    if (tls_cert is None) != (tls_key is None):
        raise MofangError("tls-half")
    if (tls_cert is None) != behind_proxy:
        raise MofangError("up-in-the-open")
    if tls_cert is not None and tls_key is not None:
        ends = check_certificate(tls_cert, tls_key, name)
        context.say("The certificate holds for {domain} until {day}.", "证书适用于 {domain}，有效期至 {day}。", domain=name, day=ends.date())
    if not file.is_file():
        raise MofangError("parcel-missing", path=str(file))
    shop = (context.place or Path(context.shop_path or "shop")).resolve()
    account = _account(own, run_as)
    service = Service(shop, name, "127.0.0.1" if behind_proxy else "0.0.0.0", _port(port, behind_proxy), workers,
                      tls_cert and tls_cert.resolve(), tls_key and tls_key.resolve(), account.name if account else "", own,
                      admin_port)
    if dry_run:
        _check_only(context, file, service)
        return
    if has_systemd() and not own and account is None:
        raise MofangError("up-as-root")
    with become(account):
        if account is not None:
            check_reach(account, shop, file, Path(sys.executable), service.certificate, service.private_key)
        model = _take_in(context, file, pinned, yes)
        _put_on_sale(context, model, canary)
        if not has_systemd():
            _foreground(context, service, model)
    if has_systemd():
        install(service)
        context.say("{unit} runs, and starts with the machine.", "{unit} 已运行，并随系统启动。", unit=service.name)
        _after(context, service, model)


def _account(own: bool, run_as: str) -> Account | None:
    """As whom it runs; None of a service of one's own, and where root itself asks and names nobody."""
    from mofang.serve.account import chosen

    if own or not hasattr(os, "geteuid"):
        return None
    return chosen(run_as)


def _port(port: int | None, behind_proxy: bool) -> int:
    return port if port is not None else 8080 if behind_proxy else 443


def _check_only(context: Context, file: Path, service: Service) -> None:
    """Everything that can be known without a change: the file's signature, the unit, what would be typed."""
    from mofang.serve.border import open_parcel
    from mofang.serve.unit import verify

    with tempfile.TemporaryDirectory() as folder:
        inside = Path(folder) / "parcel"
        inside.mkdir()
        parcel = open_parcel(file, inside, lambda _n: None)
        said = verify(service, Path(folder))
    context.say("{name} of shop {shop} ({fingerprint}): every signature and digest holds",
                "{name}，来自模坊 {shop}（{fingerprint}）：签名与摘要全部核对无误",
                name=parcel.name, shop=parcel.shop["name"], fingerprint=parcel.shop["fingerprint"])
    click.echo(f"\n# {service.place}\n{service.text()}")
    if not service.user and not service.own:
        context.say("(as root, and nobody else is known here: it will not be installed so; --run-as names an account)",
                    "（以 root 身份且不知道其他账户：不会这样安装；请用 --run-as 指定账户）")
    if said is None:
        context.say("(systemd-analyze is not here, so the unit was not checked by it)", "（本机没有 systemd-analyze，未用它检查单元文件）")
    elif said:
        click.echo(said)
    context.say("Nothing was changed. It would be written there, and then:", "未做任何更改。实际执行时会写入该文件，然后：")
    for step in service.steps():
        click.echo("  " + shlex.join(step))


def _take_in(context: Context, file: Path, pinned: str, yes: bool) -> str:
    """The release in this shop; the same file again is the same release."""
    from mofang.cli.travel import take_in

    facts, admitted = take_in(context, file, None, pinned, yes, quiet=False)
    del facts
    return str(admitted.named)


def _put_on_sale(context: Context, model: str, canary: str | None) -> None:
    from mofang.serve import deploy

    base = model.partition("@")[0]
    now = {one.model: one for one in deploy.standing_routes(context.shop)}.get(base)
    if now is not None and model in now.releases:
        context.say("{model} is on sale already.", "{model} 已经上线。", model=model)
        return
    settings: dict[str, Any] = {"releases": (model,)}
    if canary:
        from mofang.cli.release import percent

        settings |= {"mode": "canary", "canary": percent(canary)}
    route = context.shop.act(deploy.deploy_set, **settings)
    context.say("On sale: {shares}", "上线：{shares}",
                shares=say(", ", "，").join(f"{one.release} {one.weight / 100:g} %" for one in route.shares))


def _after(context: Context, service: Service, model: str) -> None:
    scheme = "https" if service.certificate else "http"
    context.say("Customers reach it at {address}; the console, settings and keys only from this machine.",
                "客户通过 {address} 访问；控制台、设置和密钥只能在本机操作。",
                address=f"https://{service.domain}" if not service.certificate else f"{scheme}://{service.domain}:{service.port}")
    base = model.partition("@")[0]
    context.next(f"mofang sell {base} --to CUSTOMER --price 5.00/1000", "mofang deploy status", f"mofang rollback {base}")


def _foreground(context: Context, service: Service, model: str) -> None:
    """Without systemd: the unit is kept for later, and it is served here until it is told to stop."""
    from mofang.cli.serve import told
    from mofang.wire import serve_many

    kept = service.shop / service.name
    if service.user or service.own:
        kept.write_text(service.text(), encoding="utf-8")
        context.say("There is no systemd here. The unit is in {path}; until then it is served here, in the foreground.",
                    "本机没有 systemd。单元文件在 {path}；现在改为在前台提供服务。", path=kept)
    else:
        context.say("There is no systemd here, so it is served here, in the foreground, as root; a unit is written once --run-as "
                    "names an account.", "本机没有 systemd，因此以 root 身份在前台提供服务；用 --run-as 指定账户后才会写出单元文件。")
    _after(context, service, model)
    if status := serve_many(context.shop, [], service.workers, host=service.host, port=service.port, ready=told,
                            certificate=service.certificate, private_key=service.private_key, admin_port=service.admin_port,
                            jobs=os.environ.get("MOFANG_NO_JOBS", "") in ("", "0")):
        sys.exit(status)
