"""Bounds of a setting, written beside its type: ``Annotated[str, Rule(max_length=100)]``.

The same bounds as pydantic's ``Field``, without importing pydantic where a module is merely read for its lists: that
import alone takes longer than listing ten thousand runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Rule:
    """What a value must keep to; None where there is no such bound. ``pattern`` is a regular expression."""

    ge: float | None = None
    le: float | None = None
    min_length: int | None = None
    max_length: int | None = None
    pattern: str | None = None
    finite: bool = False

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        """The type's own schema with these bounds; pydantic asks for it when the setting is first checked."""
        schema = handler(source)
        schema.update({name: value for name, value in vars(self).items() if value is not None and name != "finite"})
        if self.finite:
            schema["allow_inf_nan"] = False
        return schema
