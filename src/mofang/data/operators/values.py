"""One reading of a number and of a category, whether it comes from a file, from JSON or from another operator."""

from __future__ import annotations

import math
from typing import Any

OTHER = "other"


def number(value: Any) -> float | None:
    """The finite number a value holds; None where it is missing, not finite, or no number at all."""
    if value is None:
        return None
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def level(value: Any) -> str | None:
    """A category in one writing: 1, 1.0 and "1" are the same level; None and "" are missing."""
    if value is None or value != value:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(value)
    return str(value) or None
