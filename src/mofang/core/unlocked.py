"""Decrypted copies for libraries that need a file's name: in a private folder of this process, gone when it ends.

What a killed process left is removed when somebody next opens the shop.
"""

from __future__ import annotations

import atexit
import os
import re
import socket
from pathlib import Path

from mofang.core.copying import remove_tree

LEAD = "plain-"
NAME = re.compile(r"plain-(.+)-(\d+)")

_mine: dict[Path, int] = {}


def unlocked_folder(shop: Path) -> Path:
    """The private folder of this process, made at first use."""
    place = shop / "scratch" / f"{LEAD}{socket.gethostname()}-{os.getpid()}"
    if _mine.get(place) != os.getpid() or not place.is_dir():
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        if place not in _mine:
            atexit.register(_remove, place, os.getpid())
        _mine[place] = os.getpid()
    return place


def remove_own(shop: Path) -> None:
    """Remove this process's copies of a shop now, where it goes on with something else; what needs one again makes it again."""
    for place in (shop / "scratch").glob(f"{LEAD}*"):
        if place in _mine:
            _remove(place, _mine[place])


def _remove(place: Path, process: int) -> None:
    if process == os.getpid():  # a forked child leaves its parent's files alone
        remove_tree(place)


def remove_left_over(shop: Path) -> int:
    """Remove the folders of processes of this machine that are gone; how many there were."""
    gone = 0
    for place in (shop / "scratch").glob(f"{LEAD}*"):
        known = NAME.fullmatch(place.name)
        if known and known[1] == socket.gethostname() and not process_lives(int(known[2])):
            remove_tree(place)
            gone += 1
    return gone


def process_lives(process: int) -> bool:
    """True if a process with this number is there on this machine."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
