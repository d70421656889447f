"""Operators that change values: run when records are cleaned and again, through the same code, on every
served request.

Their names, versions and fitted state travel inside the model, so the model served is the model trained. This
package is all that serving needs of the data floor; it imports an operator's module when a model names it.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

from mofang.core.errors import MofangError
from mofang.data.operators.normalise import TextNormalise, normalise

__all__ = ["TextNormalise", "normalise"]
ROLES_NORMALISED = ("text", "category")


class Operator(Protocol):
    """A value operator: the same values and state always give the same result, one value at a time.

    ``columns`` of its spec are changed one by one and keep their names.
    """

    name: ClassVar[str]
    version: ClassVar[int]

    def apply(self, values: Sequence[Any], state: Mapping[str, Any]) -> list[Any]:
        """The changed values, in order; None stays None."""


class TableOperator(Protocol):
    """An operator over several columns of one record: it reads the spec's ``columns`` and makes the columns that
    ``state["makes"]`` names (new ones, or the same ones changed), one record at a time."""

    name: ClassVar[str]
    version: ClassVar[int]

    def apply_table(self, columns: Mapping[str, Sequence[Any]], state: Mapping[str, Any]) -> dict[str, list[Any]]:
        """The made columns by name, in the records' order; a column that a record lacks holds None."""


# name: (version, module, class). A module is imported when a spec names its operator.
OPERATORS: dict[str, tuple[int, str, str]] = {
    "text-normalise": (1, "mofang.data.operators.normalise", "TextNormalise"),
    "text-layout": (1, "mofang.data.operators.text_layout", "TextLayout"),
    "text-html": (1, "mofang.data.operators.text_layout", "TextHtml"),
    "text-noise": (1, "mofang.data.operators.text_layout", "TextNoise"),
    "text-segment": (1, "mofang.data.operators.text_segment", "TextSegment"),
    "text-tags": (1, "mofang.data.operators.text_segment", "TextTags"),
}

Spec = Mapping[str, Any]


def operator_of(spec: Spec) -> Any:
    """The operator that a model's ``about.json`` names, in the version it was trained with."""
    known = OPERATORS.get(str(spec["name"]))
    if known is None or known[0] != spec["version"]:
        raise MofangError(
            "operator-unknown",
            operator=spec["name"],
            version=spec["version"],
            known=", ".join(f"{name} {version}" for name, (version, _, _) in OPERATORS.items()),
        )
    _, module, cls = known
    return getattr(importlib.import_module(module), cls)()


def apply_to_columns(specs: Sequence[Spec], columns: Mapping[str, Sequence[Any]]) -> dict[str, Sequence[Any]]:
    """Columns after the operators, in order: what cleaning calls for each batch."""
    changed = dict(columns)
    for spec in specs:
        operator, state = operator_of(spec), spec.get("state", {})
        if hasattr(operator, "apply_table"):
            rows = max((len(values) for values in changed.values()), default=0)
            given = {name: changed.get(name, [None] * rows) for name in spec["columns"]}
            changed |= operator.apply_table(given, state)
            continue
        for name in spec["columns"]:
            if name in changed:
                changed[name] = operator.apply(changed[name], state)
    return changed


def apply_operators(specs: Sequence[Spec], records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Records after the operators: what serving calls for each request.

    A column that a record lacks stays away.
    """
    changed = [dict(record) for record in records]
    for spec in specs:
        operator, state = operator_of(spec), spec.get("state", {})
        if hasattr(operator, "apply_table"):
            made = operator.apply_table({name: [one.get(name) for one in changed] for name in spec["columns"]}, state)
            for name, values in made.items():
                for record, value in zip(changed, values, strict=True):
                    record[name] = value
            continue
        for name in spec["columns"]:
            holders = [record for record in changed if name in record]
            for record, value in zip(holders, operator.apply([one[name] for one in holders], state), strict=True):
                record[name] = value
    return changed


def default_operators(roles: Mapping[str, str]) -> list[dict[str, Any]]:
    """The operators that cleaning applies to records with these columns."""
    columns = [name for name, role in roles.items() if role in ROLES_NORMALISED]
    if not columns:
        return []
    return [{"name": TextNormalise.name, "version": TextNormalise.version, "columns": columns, "state": {}}]
