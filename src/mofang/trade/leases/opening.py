"""A leased package while it is opened: its plain files lie in a private folder, which is removed before the first answer.

The folder is in memory where the system has such a place with room for the package; else it is on the disk.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeGuard

from mofang.core.copying import remove_tree
from mofang.core.errors import MofangError
from mofang.core.unlocked import process_lives
from mofang.engine.generation.runtime import FILE
from mofang.engine.predictor import Predictor

if TYPE_CHECKING:
    from mofang.engine.generation.opened import Generator

MEMORY = Path("/dev/shm")
LEAD = "mofang-lease-"
SPARE_BYTES = 16 * 2**20  # left free for others
DECODER = f"decoder/{FILE}"

Model: TypeAlias = "Predictor | Generator"


def open_model(folder: Path) -> Predictor | Generator:
    """What answers from a package's folder, each file and its canonical requests checked. Raises what opening raises."""
    if not (folder / DECODER).exists():
        return Predictor(folder)
    from mofang.engine.generation.opened import Generator

    return Generator(folder)


def generates(model: Predictor | Generator) -> TypeGuard[Generator]:
    """Whether a model writes, token by token."""
    return model.signature["task"] == "text_generation"


@contextmanager
def plain_folder(size_bytes: int = 0) -> Iterator[Path]:
    """A private folder with room for so many bytes, removed when it is left; what killed ones left goes first.

    Raises ``lease-no-room``.
    """
    places = [place for place in (MEMORY, Path(tempfile.gettempdir())) if os.access(place, os.W_OK)]
    for place in places:
        _sweep(place)
    parent = next((place for place in places if shutil.disk_usage(place).free >= size_bytes + SPARE_BYTES), None)
    if parent is None:
        shown = ", ".join(map(str, places)) or tempfile.gettempdir()
        raise MofangError("lease-no-room", needs_mb=-(-(size_bytes + SPARE_BYTES) // 10**6), places=shown)
    folder = Path(tempfile.mkdtemp(prefix=f"{LEAD}{os.getpid()}-", dir=parent))
    try:
        yield folder
    finally:
        remove_tree(folder)


def _sweep(place: Path) -> None:
    for left in place.glob(f"{LEAD}*-*"):
        process = left.name.removeprefix(LEAD).partition("-")[0]
        if process.isdigit() and not process_lives(int(process)):
            with suppress(OSError):
                remove_tree(left)
