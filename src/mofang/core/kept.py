"""When the shop was last backed up and last verified: a small file beside the databases, for the day's screen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mofang.core.canonical import write_durably
from mofang.core.identity import now_us

KEPT = "kept.json"


def read_kept(shop: Path) -> dict[str, Any]:
    """``{"backup": {"at_us", "place", …}, "verify": {"at_us", "wrong", …}}``; empty until there is something to say."""
    try:
        found: dict[str, Any] = json.loads((shop / KEPT).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):  # never written, or by another hand
        return {}
    return found


def note_kept(shop: Path, what: str, **facts: Any) -> None:
    """Note that something was done now. A shop on a disk that takes no more is not refused a check for that."""
    try:
        write_durably(shop / KEPT, json.dumps({**read_kept(shop), what: {"at_us": now_us(), **facts}}, indent=1).encode())
    except OSError:
        return
