"""Commands inside a console's child: files stand below the folder it was put into, and a text is never taken for a path."""

from __future__ import annotations

import copy
from pathlib import Path, PurePosixPath
from typing import Any

import click

from mofang.cli.child import Handover
from mofang.cli.context import Given, LentFile, NewFile, NewPlace
from mofang.core.errors import MofangError


def guarded(command: click.Command, handover: Handover) -> click.Command:
    """A copy of a command, and of what is below it, that reads and writes only what its person lent it."""
    kept = copy.copy(command)
    kept.params = [_param(one, handover) for one in command.params]
    if isinstance(command, click.Group):
        found = command.get_command  # also where a group finds its commands only when they are asked for
        kept.get_command = lambda ctx, name: (one := found(ctx, name)) and guarded(one, handover)  # type: ignore[attr-defined]
    return kept


def _param(param: click.Parameter, handover: Handover) -> click.Parameter:
    if isinstance(param.type, Given):
        param = copy.copy(param)
        param.type = _Lent(handover)
    elif isinstance(param.type, LentFile):
        param = copy.copy(param)
        param.type = _Inside(click.Path(path_type=Path))
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
        if isinstance(self.inner, NewFile | NewPlace):
            if str(value).endswith("/"):  # a folder of the other machine's, to write into
                Path(path).mkdir(parents=True, exist_ok=True)
            if Path(path).is_symlink():  # a file that was lent is only read
                raise MofangError("file-not-writable", path=path)
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        return self.inner.convert(value, param, ctx)
