"""The command line as client of a shop on another machine (``MOFANG_SHOP=https://…``).

A command is parsed here, so that a mistake in it is said at once, and runs there. Files that it reads are uploaded, files
that it writes come back. A recipe runs here, with a shop whose stages run there.
"""

from __future__ import annotations

import fnmatch
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import click
from click.core import ParameterSource

from mofang.cli.context import Context, Given, LentFile, NewFile, NewPlace, OnDiskText
from mofang.cli.places import Access, access_of
from mofang.core.errors import MofangError


class Forward(click.Command):
    """A command that is parsed as ever and runs at the shop."""

    def __init__(self, command: click.Command) -> None:
        super().__init__(command.name, help=command.help)
        self.command = command

    def make_context(self, info_name: str | None, args: list[str], parent: click.Context | None = None,
                     **extra: Any) -> click.Context:
        """Parse with the command's own rules, down to the command inside a group."""
        context = self.command.make_context(info_name, list(args), parent, **extra)
        words, command = [info_name or ""], self.command
        while isinstance(command, click.Group):
            name, found, rest = command.resolve_command(context, [*context._protected_args, *context.args])
            assert found is not None and name is not None
            context = found.make_context(name, rest, parent=context)
            command = found
            words.append(name)
        made = click.Context(self, info_name=info_name, parent=parent)
        made.meta["mofang.words"], made.meta["mofang.leaf"] = words, context
        return made

    def invoke(self, ctx: click.Context) -> Any:
        """Send it, and print what comes back; the exit status is the command's own."""
        context = ctx.find_object(Context)
        assert context is not None
        status = forward(context, ctx.meta["mofang.words"], ctx.meta["mofang.leaf"])
        ctx.exit(status)


def place_of(command: click.Command, name: str, args: list[str]) -> click.Command:
    """The command itself where it runs here, its forwarder where it runs at the shop, or a refusal."""
    words = [name, *(args[:1] or ["list"])] if isinstance(command, click.Group) else [name]
    if isinstance(command, click.Group) and (words[1].startswith("-") or words[1] not in command.commands):
        return Forward(command)  # its own help, its list, or a wrong word that it answers itself
    found = access_of(words)
    if found is None or found[1].place == "server":
        raise MofangError("command-at-server", command=" ".join(words))
    return command if found[1].place == "here" else Forward(command)


@dataclass
class Plan:
    """A parsed command line as it is sent: words, files that go, and where those that come back are written."""

    argv: list[str]
    access: Access
    files: dict[str, str] = field(default_factory=dict)
    written: dict[str, Path] = field(default_factory=dict)
    standard_input: str = ""

    def destination(self, name: str) -> Path | None:
        """Where a file that came back belongs; None for one that nobody asked for."""
        if name in self.written:
            return self.written[name]
        folder, _, own = name.rpartition("/")
        if folder in self.written and self.written[folder].is_dir():
            return self.written[folder] / own
        return Path(name) if any("/" not in name and fnmatch.fnmatch(name, each) for each in self.access.brings) else None


def planned(client: Any, words: list[str], leaf: click.Context) -> Plan:
    """Turn parsed values back into words; whatever names a file of this machine is uploaded or remembered."""
    found = access_of(words)
    assert found is not None
    plan = Plan([], found[1])
    options: list[str] = []
    arguments: list[str] = []
    for param in leaf.command.params:
        value = leaf.params.get(param.name or "")
        if isinstance(param.type, Given):
            value = _given(client, plan, value, leaf)
        if value is None or leaf.get_parameter_source(param.name or "") is not ParameterSource.COMMANDLINE:
            continue
        for one in value if isinstance(value, tuple) else (value,):
            text = _text(client, plan, param, one)
            if isinstance(param, click.Argument):
                arguments.append(text)
            elif isinstance(param, click.Option):
                options += _option(param, one, text)
    rest = [*leaf.args] if leaf.args else []
    plan.argv = [*words, *options, *([] if rest else ["--"]), *arguments, *rest]
    return plan


def _option(param: click.Option, value: Any, text: str) -> list[str]:
    flag = max(param.opts, key=len)
    if param.is_flag:
        return [flag] if value else [max(param.secondary_opts, key=len)] if param.secondary_opts else []
    return [f"{flag}={text}"]


def _text(client: Any, plan: Plan, param: click.Parameter, value: Any) -> str:
    if isinstance(param.type, OnDiskText):
        from mofang.web.remote import lend

        return lend(client, str(value))
    if isinstance(param.type, NewFile | NewPlace):
        if not Path(value).is_dir():
            NewFile().convert(value, param, None)  # a folder that is not there is said before the work begins
        there = name_there(value)
        plan.written[there] = Path(value)
        return there + ("/" if Path(value).is_dir() else "")
    if isinstance(param.type, LentFile) and Path(value).is_file():
        from mofang.web.remote import lend

        plan.files[name_there(value)] = _set_id(lend(client, str(value)))
        return name_there(value)
    return str(value)


def name_there(path: Path | str) -> str:
    """What a file of this machine is called over there: its relative path, or its bare name if it lies elsewhere."""
    there = PurePosixPath(Path(path).as_posix())
    return there.name if there.is_absolute() or ".." in there.parts else str(there)


def _given(client: Any, plan: Plan, value: str | None, leaf: click.Context) -> str | None:
    """A text stays one; a file or standard input is sent."""
    from mofang.engine.intake import given_path
    from mofang.web.remote import lend

    if value == "-" or (value is None and not sys.stdin.isatty()):
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / "stdin"
            copy.write_bytes(sys.stdin.buffer.read())
            plan.standard_input = _set_id(lend(client, str(copy)))
        return value
    if value is None:
        raise MofangError("input-missing", model=leaf.params.get("model"))
    if given_path(value) is None:
        return value
    name = name_there(value)
    plan.files[name] = _set_id(lend(client, value))
    return name


def _set_id(source: str) -> str:
    return source.removeprefix("upload:").split("/", 1)[0]


def forward(context: Context, words: list[str], leaf: click.Context) -> int:
    """Run a parsed command at the shop; its exit status."""
    from mofang.web.client import Client

    client = Client.joined(context.shop_path)
    try:
        plan = planned(client, words, leaf)
        body = {"argv": plan.argv, "width": _width(), "files": plan.files, "stdin": plan.standard_input}
        with client.stream("/api/commands", body) as events:
            return _printed(events, client, plan)
    finally:
        client.close()


def _printed(events: Iterator[dict[str, Any]], client: Any, plan: Plan | None = None) -> int:
    """Print what comes and write the files that come; the exit status."""
    from mofang.web.client import Told, file_bytes
    from mofang.web.remote import listened

    status: int | None = None
    with ExitStack() as files:
        writing: BinaryIO | None = None
        try:
            for event in listened(events, client):
                if "out" in event:
                    click.echo(event["out"], nl=False)
                elif "err" in event:
                    click.echo(event["err"], nl=False, err=True)
                elif "file" in event:
                    files.close()
                    place = plan.destination(event["file"]) if plan else None
                    writing = files.enter_context(place.open("wb")) if place else None
                elif "data" in event and writing is not None:
                    writing.write(file_bytes(event))
                elif "error" in event:
                    raise Told(**event["error"])
                elif "exit" in event:
                    status = int(event["exit"])
        except KeyboardInterrupt:  # passed on; what the other side said of it has been printed
            if status is None:
                raise
    if status is None:
        raise MofangError("run-broken-off", stage=" ".join(plan.argv) if plan else "run")
    return status


def _width() -> int:
    """As wide as this screen; where it is none, as wide as a local command would print."""
    if sys.stdout.isatty():
        import shutil

        return max(20, min(1000, shutil.get_terminal_size().columns))
    return int(os.environ.get("COLUMNS", "160"))


def run_at(context: Context, recipe: Path, budget: str, miss_cost: float | None, as_json: bool) -> None:
    """``mofang run`` with the recipe here and the work there; named and reported on there."""
    from mofang.cli.make import settings_of
    from mofang.recipe import Budget, make
    from mofang.web.client import Client
    from mofang.web.remote import RemoteShop

    client = Client.joined(context.shop_path)
    try:
        shop = RemoteShop(client)
        began = time.monotonic()
        spent = Budget.parse(budget, shop.rates.get("machine_hour_micros"), shop.currency)
        name, made = make(shop, recipe, spent, settings_of(miss_cost))
        body = {"name": name, "entry": made.entry, "seconds": time.monotonic() - began, "json": as_json, "width": _width()}
        with client.stream("/api/outcomes", body) as events:
            status = _printed(events, client)
    finally:
        client.close()
    if status:
        click.get_current_context().exit(status)
