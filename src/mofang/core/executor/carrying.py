"""How results and errors come back from workers that are no processes of ours: as JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from mofang.core.errors import MofangError

KNOWN: dict[str, type[Exception]] = {"ValueError": ValueError, "OSError": OSError}


def tried(function: Callable[[Any], Any], item: Any) -> bytes:
    """The result, or what the function raised as a value: a cluster would turn it into words of its own."""
    try:
        return orjson.dumps({"result": function(item)})
    except MofangError as error:
        return orjson.dumps({"code": error.code, "values": error.values}, default=str)
    except (ValueError, OSError) as error:
        kind = next(name for name, one in KNOWN.items() if isinstance(error, one))
        return orjson.dumps({"kind": kind, "said": str(error)})


def told(answer: bytes) -> Any:
    """The result as it was, or the error raised again."""
    found = orjson.loads(answer)
    if "code" in found:
        raise MofangError(found["code"], **found["values"])
    if "kind" in found:
        raise KNOWN[found["kind"]](found["said"])
    return found["result"]
