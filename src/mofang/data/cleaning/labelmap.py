"""Labels in one spelling, and the map that makes the classes of them: ``4,5=positive;1,2=negative``."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from mofang.core.errors import MofangError
from mofang.data.columns import text_of
from mofang.data.operators import normalise

SIGNS = ("\\", ",", ";", "=")
PIECES = re.compile(r"((?:[^\\,;=]|\\.)*)([,;=]|$)", re.S)
WHOLE = re.compile(r"-?\d+\.0+")


def plain_label(value: Any) -> str:
    """A label in one spelling: Unicode NFKC, no invisible signs, no blanks at the ends; empty where there is none.

    So 好评, 好评␠ and ＡＢＣ beside ABC are one class each; whole numbers lose their ``.0``.
    """
    text = text_of(value)
    if not text:
        return ""
    text = normalise(unicodedata.normalize("NFKC", text))
    return text.split(".")[0] if WHOLE.fullmatch(text) else text


def label_map(text: str) -> dict[str, str]:
    """Label to class from ``4,5=positive;1,2=negative``; a backslash before ``,`` ``;`` ``=`` makes it an ordinary sign.

    Raises ``label-map-unreadable``, and ``label-map-twice`` where one label stands for two classes.
    """
    mapped: dict[str, str] = {}
    for values, name in _rules(unicodedata.normalize("NFKC", text)):
        for value in values:
            if mapped.setdefault(value, name) != name:
                raise MofangError("label-map-twice", label=value, first=mapped[value], second=name)
    return mapped


def _rules(text: str) -> list[tuple[list[str], str]]:
    """(labels, class) of each stretch between semicolons."""
    rules: list[tuple[list[str], str]] = []
    values: list[str] = []
    name: str | None = None
    for found in PIECES.finditer(text):
        piece, sign = plain_label(re.sub(r"\\(.)", r"\1", found[1], flags=re.S)), found[2]
        if sign in (";", ""):
            if values and piece and name is not None:
                rules.append((values, piece))
            elif values or piece or name is not None:
                raise MofangError("label-map-unreadable", map=text)
            values, name = [], None
            if not sign:
                break
        elif not piece or name is not None:
            raise MofangError("label-map-unreadable", map=text)
        else:
            values.append(piece)
            name = "" if sign == "=" else None
    if not rules:
        raise MofangError("label-map-unreadable", map=text)
    return rules


def written_map(mapped: Mapping[str, str]) -> str:
    """The map as ``label_map`` reads it, the labels of one class together, in their own order."""
    classes: dict[str, list[str]] = {}
    for value, name in mapped.items():
        classes.setdefault(plain_label(name), []).append(plain_label(value))
    return ";".join(f"{','.join(map(_escaped, values))}={_escaped(name)}" for name, values in classes.items())


def _escaped(text: str) -> str:
    return "".join(f"\\{sign}" if sign in SIGNS else sign for sign in text)
