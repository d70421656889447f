"""What is on sale right now: the statistics files of serving processes that are alive."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

from mofang.core.identity import now_us
from mofang.core.shop import Shop

SILENT_US = 15_000_000  # a server on another machine that has told nothing for so long is taken for gone


def serving(shop: Shop) -> list[dict[str, Any]]:
    """What each living server of this shop said last (web/statistics.py), in the order in which they were started.

    ``silent_s`` is how long ago that was: a server that hangs goes on being listed, with a growing number.
    """
    found = []
    for path in (shop.path / "scratch").glob("serving-*.json"):
        told = _read(path)
        if told is not None and _alive(told):
            found.append({**told, "silent_s": round(max(0, now_us() - told["at_us"]) / 1e6, 1)})
    return sorted(found, key=lambda one: int(one["started_us"]))


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(path.read_bytes())
    except (OSError, ValueError):  # it ended meanwhile
        return None
    return found if found.get("format") == 1 else None


def _alive(told: dict[str, Any]) -> bool:
    if told["host"] != socket.gethostname():
        return bool(now_us() - told["at_us"] < SILENT_US)
    try:
        os.kill(told["pid"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
