"""Write docs/reference.md from the code: commands, stages, families, actions, endpoints, error codes.

``python tools/reference.py`` writes it, ``python tools/reference.py --check`` exits 1 where it is behind the code.
"""

from __future__ import annotations

import dataclasses
import os
import sys
import tomllib
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "mofang"
PAGE = ROOT / "docs" / "reference.md"
sys.path.insert(0, str(ROOT / "src"))
os.environ["MOFANG_LANG"] = "en"

HEADERS = (
    ("Authorization: Bearer KEY", "Who asks. Without it everything but `/health` is 401."),
    ("Idempotency-Key: TEXT", ("1 to 200 printable ASCII characters. The same key and body within 24 hours get the first "
      "answer again (`idempotent-replayed: true`) and pay once. Without it a repeated request is a new request.")),
    ("Accept-Language: zh", "Words errors in Chinese."),
    ("Mofang-Arrays: 1", "Adds `arrays_sha256`, the digest of what the graph was given: compare it with training's own."),
)


def reference() -> str:
    """The whole page."""
    contents = " · ".join(f"[{name}](#{name.lower().replace(' ', '-')})" for name in
                          ("Commands", "Stages", "Families", "Actions", "HTTP", "Error codes"))
    parts = ["# Reference", "", ("Written by `python tools/reference.py` from the code; `tests/test_docs.py` proves it current. "
              "Do not edit it by hand."), "", contents, ""]
    for section in (commands, stages, families, actions, http, errors):
        parts += [*section(), ""]
    return "\n".join(parts).rstrip("\n") + "\n"


# Commands


def commands() -> Iterator[str]:
    """Every command with its arguments and flags, in the order of the help screen."""
    import click

    from mofang.cli.group import COMMANDS, cli

    yield "## Commands"
    yield from ("", "Before any command:", "", *_options(cli))
    context = click.Context(cli, info_name="mofang")
    for (heading, _), names in COMMANDS.items():
        yield from ("", f"### {heading}")
        for name in names:
            command = cli.get_command(context, name)
            assert command is not None
            yield from _command(command, f"mofang {name}", context)


def _command(command: Any, path: str, parent: Any) -> Iterator[str]:
    import click

    context = click.Context(command, info_name=path.rpartition(" ")[2], parent=parent)
    usage = " ".join([path, *command.collect_usage_pieces(context)])
    yield from ("", f"**`{usage}`**", "", " ".join((command.help or "").split()))
    if isinstance(command, click.Group):
        for name in sorted(command.commands):
            yield from _command(command.commands[name], f"{path} {name}", context)
    else:
        rows = _options(command)
        yield from ["", *rows] if rows else []


def _options(command: Any) -> list[str]:
    import click

    options = [one for one in command.params if isinstance(one, click.Option)]
    rows = [(", ".join(f"`{flag}`" for flag in [*one.opts, *one.secondary_opts]), _words(one.help or ""), _default(one))
            for one in options]
    return table(("flag", "meaning", "default"), rows) if rows else []


def _default(option: Any) -> str:
    value = option.default
    shown = isinstance(value, str | int | float | Path) and not option.is_flag
    return f"`{value}`" if shown and str(value) else ""


# Stages, families, actions


def stages() -> Iterator[str]:
    """Every stage with inputs and settings."""
    from mofang.core.lock import import_stage, locked

    yield from ("## Stages", "", ("Called alike as `shop.run(clean, records, min_chars=5)` in a recipe and as "
                 "`mofang clean RECORDS --min-chars 5`."))
    for name in sorted(locked()["stages"]):
        spec = import_stage(name)
        assert spec is not None and spec.output is not None
        inputs = ", ".join(f"{one.name}: {one.kind.kind}{'…' if one.many else '?' if one.optional else ''}"
                           for one in spec.inputs)
        yield from ("", f"### {name}", "", f"`({inputs or 'no input'}) → {spec.output.kind}`, version {spec.version}. "
                    + _sentence(spec.doc), "")
        rows = [(f"`{one.name}`", _type(one.annotation), "required" if one.required else _value(one.default))
                for one in spec.settings]
        yield from table(("setting", "type", "default"), rows)


def families() -> Iterator[str]:
    """Every family with its tasks and settings."""
    from mofang.fit.families import KINDS

    yield from ("## Families", "", "The setting `family` of `train` (`--family resnet --family.depth 14`), and `families` of `select`.")
    for tag, kind in sorted(KINDS.items()):
        yield from ("", f"### {tag}", "", f"For {', '.join(kind.tasks)}. {_sentence(kind.__doc__ or '')}", "")
        hints = typing.get_type_hints(kind, include_extras=True)
        fields = dataclasses.fields(kind)  # type: ignore[arg-type]
        rows = [(f"`{one.name}`", _type(hints[one.name]), _value(one.default)) for one in fields]
        yield from table(("setting", "type", "default"), rows)


def actions() -> Iterator[str]:
    """Every action: what a person decides."""
    from mofang.core.lock import locked

    rows = [(f"`{name}`", about["doc"]) for name, about in sorted(locked()["actions"].items())]
    yield from ("## Actions", "", ("What a person decides; each leaves a row in a journal. "
                 "`shop.act(key_new, customer=\"…\")` is the same call as the command."), "")
    yield from table(("action", "meaning"), rows)


def _type(annotation: Any) -> str:
    """A type as a person reads it, with its limits."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        limits = ", ".join(_limits(one) for one in arguments[1:] if _limits(one))
        return _type(arguments[0]) + (f", {limits}" if limits else "")
    if origin is typing.Literal:
        return ", ".join(f"`{one}`" for one in arguments)
    if origin is tuple:
        return "list of " + _type(arguments[0])
    if origin is dict:
        return "object"
    if origin is not None:
        return " or ".join(_type(one) for one in arguments if one is not type(None))
    plain = {"str": "text", "int": "whole number", "float": "number", "bool": "yes or no"}
    return plain.get(annotation.__name__, annotation.__name__.lower())


def _limits(info: Any) -> str:
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    found = [f"{sign} {getattr(one, name)}" for one in getattr(info, "metadata", ()) for name, sign in signs.items()
             if hasattr(one, name)]
    return " ".join(found)


def _value(value: Any) -> str:
    if hasattr(value, "to_dict"):
        return f"`{value.tag}`"
    if isinstance(value, tuple):
        value = ",".join(map(str, value))
    return f"`{value}`" if value not in ("", None) else ""


# HTTP and errors


def http() -> Iterator[str]:
    """Endpoints and headers."""
    yield from ("## HTTP", "", ("Whatever is not listed is 404. "
                 "Errors are `{\"error\": {\"code\", \"what\", \"fix\", \"request_id\"}}`."), "")
    from mofang.web.predict import ROUTES
    from mofang.web.routes import Table

    who = {"key": "a key", "open": "anybody", "session": "a browser session", "admin": "the admin listener"}
    yield from table(("request", "who", "meaning"), [(f"`{one.method} {one.path}`", who[one.scope], one.en) for one in Table(ROUTES)])
    yield from ("", "### The console's API", "", ("`mofang console` answers it to people who have joined, with "
                 "`Authorization: Bearer TOKEN`. What streams are lines of JSON until `{\"exit\": status}`."), "")
    from mofang.web import api, pages

    yield from table(("request", "role", "meaning"), [(f"`{one.method} {one.path}`", one.who, one.en) for one in api.ROUTES])
    yield from ("", "Its pages, for a browser that came in by the one-time link or with a token:", "")
    yield from table(("request", "role", "meaning"), [(f"`{one.method} {one.path}`", one.who, one.en) for one in pages.ROUTES])
    yield ""
    yield from table(("header", "meaning"), [(f"`{name}`", words) for name, words in HEADERS])


def errors() -> Iterator[str]:
    """Every code with its HTTP status and its wording in both languages, floor by floor."""
    yield from ("## Error codes", "", ("`{names}` are filled in. On the command line a code ends a mistake with exit status 1; "
                 "over HTTP it has the status shown."))
    for path in sorted(PACKAGE.rglob("wording.toml")):
        place = path.parent.relative_to(PACKAGE).as_posix()
        yield from ("", f"### {'the command line' if place == '.' else place}", "")
        rows = [(f"`{code}`", str(one.get("status", 400)), f"{' '.join(one['en'])}<br>{''.join(one['zh'])}")
                for code, one in tomllib.loads(path.read_text(encoding="utf-8")).items()]
        yield from table(("code", "status", "what happened, and what to do"), rows)


# Markdown


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    """A Markdown table; nothing for no rows."""
    if not rows:
        return ["It has no settings."]
    lines = [head, ("---",) * len(head), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |" for line in lines]


def _sentence(doc: str) -> str:
    """The first sentence of a docstring."""
    return " ".join(doc.strip().split("\n\n")[0].split())


def _words(text: str) -> str:
    return " ".join(text.split()).replace("<", "&lt;")


def main(arguments: list[str]) -> int:
    """Write the page, or compare it."""
    text = reference()
    if "--check" in arguments:
        current = PAGE.exists() and PAGE.read_text(encoding="utf-8") == text
        print("docs/reference.md is " + ("current" if current else "behind the code: run `python tools/reference.py`"))
        return 0 if current else 1
    PAGE.write_text(text, encoding="utf-8")
    print(f"{PAGE.relative_to(ROOT)}: {len(text.splitlines())} lines")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
