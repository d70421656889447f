"""One command for each stage, derived from its signature: artifacts are arguments, settings are flags."""

from __future__ import annotations

import types
import typing
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import click
import orjson

from mofang.cli.child import require_lent
from mofang.cli.context import Context, OnDiskText, short
from mofang.core.artifact import Artifact
from mofang.core.errors import MofangError
from mofang.core.language import say
from mofang.core.lock import import_stage, locked
from mofang.core.stage import Input, Setting, Spec

NESTED = "nested settings"
BY_NAME = "by_name_"  # before the names of flags that stand for an argument


class Stages(click.Group):
    """Every stage by its name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The stages of stages.lock; none is imported."""
        return list(locked()["stages"])

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """One stage's command."""
        return stage_command(name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Names alone: a description would import every stage."""
        with formatter.section(say("Single stages", "单个阶段")):
            formatter.write_text(", ".join(self.list_commands(ctx)))


def stages_group() -> click.Command:
    """``mofang stage NAME``: for stages whose name is also a command's."""
    return Stages("stage", help=say("Run a single stage by its name.", "按名字运行单个阶段。"))


def stage_command(name: str) -> click.Command | None:
    """The command of a stage, or None if there is no such stage."""
    spec = import_stage(name.replace("-", "_"))
    if spec is None:
        return None
    arguments = [click.Argument([one.name], nargs=-1 if one.many else 1, required=not (one.optional or one.many))
                 for one in spec.inputs]
    options = [_input_option(one.name) for one in _by_flag(spec)] + [_option(setting) for setting in spec.settings]
    options.append(click.Option(["--name"], help="Name the result, e.g. reviews."))
    options.append(click.Option(["--json", "as_json"], is_flag=True, help="Print JSON."))
    made = StageCommand(name, callback=_callback(spec), params=[*arguments, *options], help=spec.doc)
    made.spec = spec
    return made


class StageCommand(click.Command):
    """A stage's command: settings of a chosen kind come as ``--family.depth 18``, which click alone would take for arguments."""

    spec: Spec

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take such settings out first, and name what is no flag at all."""
        options = [one for one in self.get_params(ctx) if isinstance(one, click.Option)]
        flags = {flag for one in options for flag in (*one.opts, *one.secondary_opts)}
        valued = {flag for one in options if not one.is_flag for flag in one.opts}
        pieces, plain, nested = deque(args), [], []
        while pieces:
            piece = pieces.popleft()
            flag, given, value = piece.partition("=")
            if piece == "--":
                plain += [piece, *pieces]
                break
            if not piece.startswith("--") or flag in flags:
                plain.append(piece)
                if flag in valued and not given and pieces:
                    plain.append(pieces.popleft())
            elif "." in flag:
                nested.append((flag, value if given else pieces.popleft() if pieces else ""))
            else:
                raise _unknown(self.spec, flag)
        ctx.meta[NESTED] = nested
        return super().parse_args(ctx, plain)


def _by_flag(spec: Spec) -> list[Input]:
    """The inputs that may be left out: they can be given by name too (``--teacher MODEL``), whatever stands before them."""
    taken = {setting.name for setting in spec.settings}
    return [one for one in spec.inputs if one.optional and not one.many and one.name not in taken]


def _input_option(name: str) -> click.Option:
    return click.Option([f"--{name.replace('_', '-')}", BY_NAME + name], metavar=name.upper(), default=None,
                        help=f"The same as the argument {name.upper()}, by name.")


def _option(setting: Setting) -> click.Option:
    flag = f"--{setting.name.replace('_', '-')}"
    annotation = _bare(setting.annotation)
    shown: dict[str, Any] = {} if setting.required else {"default": None, "help": f"(default: {_show(setting)})"}
    many = typing.get_origin(annotation) is tuple
    if annotation is bool:
        return click.Option([f"{flag}/--no-{flag[2:]}", setting.name], **shown)
    if typing.get_origin(annotation) is typing.Literal:
        return click.Option([flag, setting.name], type=click.Choice([str(one) for one in typing.get_args(annotation)]), **shown)
    kinds = {int: "INTEGER", float: "NUMBER"}
    metavar = kinds.get(annotation, "A,B" if many else setting.name.upper())
    kind = OnDiskText() if setting.on_disk else str
    return click.Option([flag, setting.name], type=kind, metavar=metavar, **shown)


def _show(setting: Setting) -> str:
    if setting.variant is not None:
        return f"{setting.default.tag}; {', '.join(sorted(setting.variant.kinds))}"
    return ",".join(map(str, setting.default)) if isinstance(setting.default, tuple) else str(setting.default)


def _bare(annotation: Any) -> Any:
    """The type without its limits, and without the None of a setting that may be left to others."""
    if typing.get_origin(annotation) is typing.Annotated:
        return _bare(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        kinds = [one for one in typing.get_args(annotation) if one is not type(None)]
        return _bare(kinds[0]) if len(kinds) == 1 else annotation
    return annotation


def _callback(spec: Spec) -> Callable[..., None]:
    @click.pass_context
    def command(ctx: click.Context, /, **given: Any) -> None:
        context = ctx.find_object(Context)
        assert context is not None
        name, as_json = given.pop("name"), given.pop("as_json")
        by_name = {one.name: given.pop(BY_NAME + one.name) for one in _by_flag(spec)}
        artifacts = [_input(context, one.kind.kind, given.pop(one.name) or by_name.get(one.name)) for one in spec.inputs]
        settings = {s.name: _value(s, given[s.name]) for s in spec.settings if given.get(s.name) is not None}
        _nested(spec, settings, ctx.meta[NESTED])
        require_lent(context.shop, spec, settings)
        made = context.shop.run(spec.function, *artifacts, **settings)
        if as_json:
            called = str(context.shop.name(name, made)) if name else ""
            click.echo(orjson.dumps(_told(made, called), option=orjson.OPT_INDENT_2).decode())
            return
        named = f"  {context.shop.name(name, made)}" if name else ""
        context.console.print(f"{made.kind} {short(made.entry)}{named}", markup=False)
        rows = [{"part": part.name, "size": part.size_bytes, "sha256": part.digest[:12]} for part in made.parts]
        context.table(rows, {"part": "part", "size": "bytes", "sha256": "sha-256"})
        counted = _counted(made.measures)
        if counted:
            context.console.print(counted, markup=False)
        if made.kind == "base":
            from mofang.cli.base_report import show_base
            from mofang.outcome import base_facts

            show_base(context, base_facts(name or short(made.entry), named.strip() or short(made.entry), made))

    return command


def _counted(measures: dict[str, Any]) -> str:
    """The whole numbers that a run wrote down, as one line: rows 9 · kept 4 · dropped: duplicate 3, empty 2."""
    found = []
    for name, value in measures.items():
        if isinstance(value, int) and not isinstance(value, bool):
            found.append(f"{name} {value:,}")
        elif isinstance(value, dict) and value and all(isinstance(one, int) for one in value.values()):
            found.append(f"{name}: " + ", ".join(f"{kind} {count:,}" for kind, count in value.items()))
    return " · ".join(found)


def _input(context: Context, kind: str, given: Any) -> Any:
    if isinstance(given, tuple):
        return tuple(context.shop.find(one, kind) for one in given)
    return None if given is None else context.shop.find(given, kind)


def _value(setting: Setting, text: Any) -> Any:
    """Text as typed into what pydantic checks; a tuple is written with commas."""
    if typing.get_origin(_bare(setting.annotation)) is tuple and isinstance(text, str):
        return [piece.strip() for piece in text.split(",") if piece.strip()]
    return text


def _told(made: Artifact, called: str) -> dict[str, Any]:
    """What a stage made, as JSON."""
    parts = [{"part": one.name, "size_bytes": one.size_bytes, "sha256": one.digest} for one in made.parts]
    return {"name": called, "kind": made.kind, "entry": made.entry, "digest": made.digest, "measures": made.measures,
            "parts": parts}


def _nested(spec: Spec, settings: dict[str, Any], given: Sequence[tuple[str, str]]) -> None:
    """``--family.depth 18`` into the variant's settings."""
    choices = {s.name: s for s in spec.settings if s.variant}
    for flag, value in given:
        name, _, inner = flag.removeprefix("--").replace("-", "_").partition(".")
        if name not in choices or not inner:
            raise _unknown(spec, flag)
        default = choices[name].default
        chosen = settings.get(name, getattr(default, "tag", ""))
        if not isinstance(chosen, dict):
            chosen = settings[name] = {"tag": chosen}
        chosen[inner] = value


def _unknown(spec: Spec, flag: str) -> MofangError:
    from mofang.core.nearest import nearest

    known = [s.name.replace("_", "-") for s in spec.settings]
    return MofangError("setting-unknown", stage=spec.name, setting=flag, nearest="--" + nearest(flag.removeprefix("--"), known),
                       settings=", ".join(known))
