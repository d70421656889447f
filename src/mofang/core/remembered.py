"""Which shops this person used last, and which lie near: for somebody who stands in the wrong folder.

A small file in the user's cache (``$XDG_CACHE_HOME/mofang/shops.json``); losing it loses nothing.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from mofang.core.identity import now_us
from mofang.core.migrate import SETTINGS

MOST = 20
AGAIN_US = 3_600_000_000  # the file is not written for every command
FOLDERS_MOST = 200


def cache_file() -> Path:
    """Where the list lies."""
    home = os.environ.get("XDG_CACHE_HOME") or ""
    return (Path(home) if os.path.isabs(home) else Path.home() / ".cache") / "mofang" / "shops.json"


def remember(shop: Path) -> None:
    """Put a shop at the head of the list. A home that cannot be written is no reason to refuse a command."""
    path, now = str(shop.resolve()), now_us()
    known = _read()
    if known and known[0][0] == path and now - known[0][1] < AGAIN_US:
        return
    listed = [(path, now), *(one for one in known if one[0] != path)][:MOST]
    try:
        place = cache_file()
        place.parent.mkdir(parents=True, exist_ok=True)
        beside = place.with_name(f".{place.name}.{os.getpid()}")
        beside.write_text(json.dumps(listed), encoding="utf-8")
        os.replace(beside, place)
    except (OSError, RuntimeError):
        return


def last_used() -> Path | None:
    """The shop used last that is still there."""
    return next((Path(path) for path, _ in _read() if (Path(path) / SETTINGS).exists()), None)


def below(folder: Path) -> Path | None:
    """A shop one or two folders further down."""
    looked = 0
    waiting = [(folder, 0)]
    while waiting and looked < FOLDERS_MOST:
        here, depth = waiting.pop(0)
        looked += 1
        try:
            inside = sorted(one for one in here.iterdir() if one.is_dir() and not one.name.startswith("."))
        except OSError:
            continue
        for one in inside:
            if (one / SETTINGS).exists():
                return one
        if depth < 2:
            waiting += [(one, depth + 1) for one in inside]
    return None


def way_to(shop: Path) -> str:
    """What to type to stand where this shop is found by itself."""
    import shlex

    folder = shop.parent if shop.name == "shop" else shop
    return f"cd {shlex.quote(str(folder))}"


def _read() -> list[tuple[str, int]]:
    try:
        return [(str(path), int(at_us)) for path, at_us in json.loads(cache_file().read_text(encoding="utf-8"))]
    except (OSError, RuntimeError, ValueError, TypeError):  # never written, no home, or by another hand
        return []
