"""The console: the shop in a browser, and for people on other machines."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from mofang.cli.context import Context, pass_context
from mofang.cli.places import access_of
from mofang.core.errors import MofangError
from mofang.core.language import say


@click.command()
@click.option("--port", default=8090, show_default=True, help="Port; 0 takes a free one and prints it.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; loopback unless you say otherwise.")
@click.option("--address", default="", help="How people reach it, e.g. https://shop.example.com (default: where it listens).")
@click.option("--certificate", type=click.Path(dir_okay=False, path_type=Path), help="TLS certificate (PEM).")
@click.option("--private-key", type=click.Path(dir_okay=False, path_type=Path), help="The certificate's key (PEM).")
@click.option("--behind-proxy", is_flag=True, help="A proxy in front of it speaks TLS and hands on the host's name.")
@pass_context
def console(context: Context, port: int, host: str, address: str, certificate: Path | None, private_key: Path | None,
            behind_proxy: bool) -> None:
    """Show the shop in a browser, and let invited people work in it from other machines."""
    from mofang.web.console import Listening, run_console

    def ready(place: str) -> None:
        click.echo(say("The shop is at {place}  (Ctrl-C stops)", "模坊控制台：{place} （Ctrl-C 停止）", place=place))
        sys.stdout.flush()

    def link(place: str) -> None:
        click.echo(say("Open it here, once: {place}", "在浏览器中打开（仅一次）：{place}", place=place))
        sys.stdout.flush()

    listening = Listening(host, port, address, certificate, private_key, behind_proxy)
    run_console(context.shop, listening, allow=allow, ready=ready, link=link)


def allow(words: list[str]) -> tuple[str, str]:
    """The command that somebody elsewhere asks for, and the role it takes; a refusal for what is not done for others."""
    found = access_of(words)
    if found is None:
        from mofang.cli.places import COMMANDS
        from mofang.core.nearest import nearest

        raise MofangError("command-unknown", command=" ".join(words[:2])[:100], nearest=nearest(words[0], COMMANDS))
    name, access = found
    if access.place != "remote":
        raise MofangError("command-at-server" if access.place == "server" else "command-here", command=name)
    return name, access.role
