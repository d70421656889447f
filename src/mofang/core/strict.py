"""JSON from strangers: bounded in size and depth, without control signs that could rewrite a terminal."""

from __future__ import annotations

import re
from typing import Any

import orjson

from mofang.core.errors import MofangError

SIZE_MAX = 64 * 2**20
DEPTH_MAX = 32
# Control signs of C0 and C1 (without tab and line ends), and signs that turn the direction of writing.
UNSAFE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def strict_json(data: bytes, name: str = "", *, size_max: int = SIZE_MAX, text_free: bool = False) -> Any:
    """The value of a JSON file, or ``parcel-json``; ``text_free`` allows any sign in its texts (a vocabulary's)."""
    if len(data) > size_max:
        raise MofangError("parcel-json", name=name)
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise MofangError("parcel-json", name=name) from None
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > DEPTH_MAX or not (text_free or all(map(_is_safe, level))):
            raise MofangError("parcel-json", name=name)
        level = [inner for one in level if isinstance(one, dict | list)
                 for inner in ([*one.values(), *one] if isinstance(one, dict) else one)]
    return value


def _is_safe(value: Any) -> bool:
    return not (isinstance(value, str) and UNSAFE.search(value))
