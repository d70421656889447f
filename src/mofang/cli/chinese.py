"""Help screens in Chinese: the same commands with their sentences exchanged; the English ones are the keys."""

from __future__ import annotations

import copy
import tomllib
from functools import cache
from pathlib import Path

import click


@cache
def sentences() -> dict[str, str]:
    """English to Chinese."""
    return tomllib.loads(Path(__file__).with_name("help.zh.toml").read_text(encoding="utf-8"))


def in_chinese(command: click.Command) -> click.Command:
    """A copy of a command, its flags and what is below it, worded in Chinese."""
    spoken = copy.copy(command)
    spoken.help, spoken.short_help = _said(command.help), _said(command.short_help)
    spoken.params = [_flag(one) for one in command.params]
    if isinstance(command, click.Group):
        assert isinstance(spoken, click.Group)
        spoken.commands = {name: in_chinese(one) for name, one in command.commands.items()}
    return spoken


def _flag(param: click.Parameter) -> click.Parameter:
    spoken = copy.copy(param)
    if isinstance(spoken, click.Option):
        spoken.help = _said(spoken.help)
    return spoken


def _said(text: str | None) -> str | None:
    return sentences().get(" ".join(text.split()), text) if text else text
