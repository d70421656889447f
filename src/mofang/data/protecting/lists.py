"""Word lists of the finders, read from lists.toml when a finder is first imported."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files


@cache
def _all() -> dict[str, str]:
    return tomllib.loads(files(__package__).joinpath("lists.toml").read_text(encoding="utf-8"))


def words(name: str) -> list[str]:
    """The words of one list, in order."""
    return _all()[name].split()


def signs(name: str) -> frozenset[str]:
    """The signs of one list."""
    return frozenset("".join(words(name)))
