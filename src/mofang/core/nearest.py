"""The nearest known name to a mistyped one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name most like the given one, or the first known one, or ``-`` (an error then names none: ``NOTHING_NEAR``)."""
    names = sorted(known)
    found = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
    return (found or names or ["-"])[0]
