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
    "text-mask": (1, "mofang.data.operators.mask", "TextMask"),
    "text-html": (1, "mofang.data.operators.pages", "TextHtml"),
    "text-paragraphs": (1, "mofang.data.operators.pages", "TextParagraphs"),
    "text-noise": (1, "mofang.data.operators.pages", "TextNoise"),
    "date-parts": (1, "mofang.data.operators.dates", "DateParts"),
    "date-repair": (1, "mofang.data.operators.dates", "DateRepair"),
    "unit-repair": (1, "mofang.data.operators.quantities", "UnitRepair"),
    "missing-fill": (1, "mofang.data.operators.numbers", "MissingFill"),
    "number-clip": (1, "mofang.data.operators.numbers", "NumberClip"),
    "number-scale": (1, "mofang.data.operators.numbers", "NumberScale"),
    "number-bin": (1, "mofang.data.operators.numbers", "NumberBin"),
    "number-pairs": (1, "mofang.data.operators.numbers", "NumberPairs"),
    "category-cross": (1, "mofang.data.operators.categories", "CategoryCross"),
    "category-rare": (1, "mofang.data.operators.categories", "CategoryRare"),
    "category-encode": (1, "mofang.data.operators.categories", "CategoryEncode"),
    "image-denoise": (1, "mofang.data.operators.media", "ImageDenoise"),
    "sound-trim": (1, "mofang.data.operators.media", "SoundTrim"),
    "sound-normalise": (1, "mofang.data.operators.media", "SoundNormalise"),
    "sound-resample": (1, "mofang.data.operators.media", "SoundResample"),
    "value-coarsen": (1, "mofang.data.operators.coarsen", "ValueCoarsen"),
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


def apply_to_media(specs: Sequence[Spec], media: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
    """Bytes of images and sounds after the operators that name their column, in order."""
    changed = {name: list(values) for name, values in media.items()}
    for spec in specs:
        for name in spec["columns"]:
            if name in changed:
                changed[name] = operator_of(spec).apply(changed[name], spec.get("state", {}))
    return changed


def is_media(spec: Spec) -> bool:
    """Whether an operator changes the bytes of images or sounds."""
    return str(spec["name"]).startswith(("image-", "sound-"))


def default_operators(roles: Mapping[str, str]) -> list[dict[str, Any]]:
    """The operators that cleaning applies to records with these columns."""
    columns = [name for name, role in roles.items() if role in ROLES_NORMALISED]
    if not columns:
        return []
    return [{"name": TextNormalise.name, "version": TextNormalise.version, "columns": columns, "state": {}}]
