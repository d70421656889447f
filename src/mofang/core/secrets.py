"""Secrets of a shop: 32 random bytes under a name below ``keys/``, which no backup contains."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path


def secret_in(folder: Path, name: str) -> bytes:
    """A 32-byte secret below a shop's ``keys/``, made at first use and readable by this user only."""
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / f"{name}.key"
    if not path.exists():
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
            file.write(os.urandom(32))
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):  # the first of several processes wins
            os.link(file.name, path)
        os.unlink(file.name)
    return path.read_bytes()
