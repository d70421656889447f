"""Operators that change a value: run when records are cleaned and again, through the same code, on every
served request.

Their names, versions and fitted state travel inside the model, so the model served is the model trained. This
module is all that serving needs of the data floor; it imports nothing heavy.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from mofang.core.errors import MofangError

ROLES_NORMALISED = ("text", "category")


class Operator(Protocol):
    """A value operator: the same values and state always give the same result, one value at a time."""

    name: ClassVar[str]
    version: ClassVar[int]

    def apply(self, values: Sequence[Any], state: Mapping[str, Any]) -> list[Any]:
        """The changed values, in order; None stays None."""


_SPACES = "\t\n\v\f\r\x1c\x1d\x1e\x1f\x20\x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000"
_INVISIBLE = [
    0xAD,
    0x34F,
    0x61C,
    0x180E,
    *range(0x200B, 0x2010),
    *range(0x202A, 0x202F),
    *range(0x2060, 0x2070),
    0xFEFF,
    *range(0xFFF9, 0xFFFC),
]
_CONTROL = [code for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in _SPACES]
_MAP: dict[str, str] = {
    **dict.fromkeys(map(chr, (*_INVISIBLE, *_CONTROL, *range(0xD800, 0xE000))), ""),
    **{chr(code): chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)},
    **dict.fromkeys([*_SPACES, *map(chr, range(0x2000, 0x200B))], " "),
}
_CHANGES = re.compile(
    "["
    + "".join(re.escape(sign) for sign in _MAP if sign != " " and not "\ud800" <= sign <= "\udfff")
    + "\ud800-\udfff]"
)


def normalise(text: str) -> str:
    """One spelling for what reads alike: Unicode NFC, full-width signs as half-width, no invisible or control
    characters.

    Every stretch of white space becomes one blank, and none stands at the ends. Applying it twice changes
    nothing.
    """
    text = _CHANGES.sub(_changed, text)
    if not unicodedata.is_normalized("NFC", text):
        text = _CHANGES.sub(_changed, unicodedata.normalize("NFC", text))
    return " ".join(text.split())


def _changed(found: re.Match[str]) -> str:
    return _MAP[found[0]]


@dataclass(frozen=True)
class TextNormalise:
    """Brings texts and categories into one spelling (see ``normalise``)."""

    name: ClassVar[str] = "text-normalise"
    version: ClassVar[int] = 1

    def apply(self, values: Sequence[Any], state: Mapping[str, Any]) -> list[Any]:
        """The normalised texts; a value that is no text stays as it is."""
        return [normalise(value) if isinstance(value, str) else value for value in values]


OPERATORS: dict[str, Operator] = {one.name: one for one in (TextNormalise(),)}

Spec = Mapping[str, Any]


def operator_of(spec: Spec) -> Operator:
    """The operator that a model's ``about.json`` names, in the version it was trained with."""
    known = OPERATORS.get(str(spec["name"]))
    if known is None or known.version != spec["version"]:
        raise MofangError(
            "operator-unknown",
            operator=spec["name"],
            version=spec["version"],
            known=", ".join(f"{one.name} {one.version}" for one in OPERATORS.values()),
        )
    return known


def apply_to_columns(specs: Sequence[Spec], columns: Mapping[str, Sequence[Any]]) -> dict[str, Sequence[Any]]:
    """Columns after the operators, in order: what cleaning calls for each batch."""
    changed = dict(columns)
    for spec in specs:
        operator = operator_of(spec)
        for name in spec["columns"]:
            if name in changed:
                changed[name] = operator.apply(changed[name], spec.get("state", {}))
    return changed


def apply_operators(specs: Sequence[Spec], records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Records after the operators: what serving calls for each request.

    A column that a record lacks stays away.
    """
    changed = [dict(record) for record in records]
    for spec in specs:
        operator = operator_of(spec)
        for name in spec["columns"]:
            holders = [record for record in changed if name in record]
            for record, value in zip(
                holders, operator.apply([one[name] for one in holders], spec.get("state", {})), strict=True
            ):
                record[name] = value
    return changed


def default_operators(roles: Mapping[str, str]) -> list[dict[str, Any]]:
    """The operators that cleaning applies to records with these columns."""
    columns = [name for name, role in roles.items() if role in ROLES_NORMALISED]
    if not columns:
        return []
    return [{"name": TextNormalise.name, "version": TextNormalise.version, "columns": columns, "state": {}}]
