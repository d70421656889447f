"""The training rows on which features are fitted, one operator after the other, each seeing what the ones before made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mofang.core.errors import MofangError
from mofang.core.nearest import nearest
from mofang.data.operators import OPERATORS, apply_to_columns
from mofang.data.operators.values import level, number

READY = "ready"
ROWS_MOST = 200_000  # of the training part, evenly spaced, that features are fitted on


@dataclass
class Workbench:
    """``columns`` are values of the training rows; ``features`` says which of them the model reads, and their roles.

    ``specs`` are the operators so far; a raw column is never overwritten, what is made of it gets a name of its own.
    """

    columns: dict[str, Sequence[Any]]
    features: dict[str, str]
    ids: Sequence[str]
    labels: Sequence[str]
    taken: frozenset[str] = frozenset()
    specs: list[dict[str, Any]] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)

    def apply(self, name: str, columns: Sequence[str], state: Mapping[str, Any]) -> None:
        """Add an operator with its fitted state and give the training rows what it makes."""
        spec = {"name": name, "version": OPERATORS[name][0], "columns": list(columns), "state": dict(state)}
        self.specs.append(spec)
        self.columns = dict(apply_to_columns([spec], self.columns))

    def named(self, name: str) -> str:
        """A name for a new column; refused where the data has a column of that name already."""
        if name in self.taken or name in self.columns:
            raise MofangError("feature-name-taken", name=name)
        return name

    def ready(self, name: str) -> str:
        """The column to write a changed ``name`` into: itself where it is made, ``name.ready`` where it is raw."""
        return name if name not in self.taken else f"{name}.{READY}"

    def replace(self, old: str, new: Mapping[str, str]) -> None:
        """The model reads ``new`` (name to role) in the place of ``old``."""
        found: dict[str, str] = {}
        for name, role in self.features.items():
            found |= new if name == old else {name: role}
        self.features = found

    def numbers(self) -> list[str]:
        """The features that are numbers."""
        return [name for name, role in self.features.items() if role == "number"]

    def categories(self) -> list[str]:
        """The features that are categories."""
        return [name for name, role in self.features.items() if role == "category"]

    def values(self, name: str) -> list[float]:
        """The numbers of a column that are there."""
        return [one for one in map(number, self.columns[name]) if one is not None]

    def levels(self, name: str) -> list[str]:
        """The categories of a column, a missing one as the empty text."""
        return [level(value) or "" for value in self.columns[name]]

    def require(self, name: str, what: str) -> str:
        """The column of this name, or a clear error that says what it was named for."""
        if name not in self.columns:
            known = sorted(self.columns)
            raise MofangError("feature-column-missing", column=name, what=what, nearest=nearest(name, known),
                              columns=", ".join(known))
        return name

    def pruned(self) -> list[dict[str, Any]]:
        """The operators that some feature still needs, in order."""
        needed, kept = set(self.features), []
        for spec in reversed(self.specs):
            if needed & set(spec["state"]["makes"]):
                kept.append(spec)
                needed |= set(spec["columns"])
        return kept[::-1]


def split_pair(bench: Workbench, text: str, sign: str, what: str) -> tuple[str, str]:
    """``income/debt`` as two columns; a sign within a column's own name does no harm."""
    for place in (at for at, one in enumerate(text) if one == sign):
        first, second = text[:place].strip(), text[place + 1:].strip()
        if first in bench.columns and second in bench.columns:
            return first, second
    first, found, second = (one.strip() for one in text.partition(sign))
    if not found or not second:
        raise MofangError("feature-pair-wrong", given=text, sign=sign, what=what)
    return bench.require(first, what), bench.require(second, what)
