"""Commands inside a console's child: files stand below the folder it was put into, and a text is never taken for a path."""

from __future__ import annotations

import copy
from pathlib import Path, PurePosixPath
from typing import Any

import click

from mofang.cli.child import Handover
from mofang.cli.context import Given, NewFile
from mofang.core.errors import MofangError


def guarded(command: click.Command, handover: Handover) -> click.Command:
    """A copy of a command, and of what is below it, that reads and writes only what its person lent it."""
    kept = copy.copy(command)
    kept.params = [_param(one, handover) for one in command.params]
    if isinstance(command, click.Group):
        assert isinstance(kept, click.Group)
        kept.commands = {name: guarded(one, handover) for name, one in command.commands.items()}
    return kept


def _param(param: click.Parameter, handover: Handover) -> click.Parameter:
    if isinstance(param.type, Given):
        param = copy.copy(param)
        param.type = _Lent(handover)
    elif isinstance(param.type, click.Path | click.File):
        param = copy.copy(param)
        param.type = _Inside(param.type)
    return param


class _Lent(Given):
    """A file only if it was lent; anything else is a text."""

    def __init__(self, handover: Handover) -> None:
        self.files = handover.files

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from mofang.engine.intake import PlainText

        return value if value == "-" or value in self.files else PlainText(value)


class _Inside(click.ParamType[Any]):
    """A path below the working folder that leads to nowhere else."""

    name = "path"

    def __init__(self, inner: click.ParamType[Any]) -> None:
        self.inner = inner

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = PurePosixPath(str(value))
        if path.is_absolute() or ".." in path.parts:
            raise MofangError("place-not-here", setting=(param.name if param else "") or "path", place=str(value))
        if isinstance(self.inner, NewFile):
            if Path(path).is_symlink():  # a file that was lent is only read
                raise MofangError("file-not-writable", path=path)
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        return self.inner.convert(value, param, ctx)
