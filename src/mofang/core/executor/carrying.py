"""How results and errors come back from workers that are no processes of ours."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

from mofang.core.errors import MofangError


def tried(function: Callable[[Any], Any], item: Any) -> tuple[bytes, bool]:
    """The result, or what the function raised as a value: a cluster would turn it into words of its own."""
    try:
        return pickle.dumps(function(item)), False
    except (MofangError, ValueError, OSError) as error:
        return pickle.dumps(error), True


def told(result: bytes, failed: bool) -> Any:
    """The result as it was, or the error raised again."""
    found = pickle.loads(result)  # noqa: S301  (from our own worker)
    if failed:
        raise found
    return found
