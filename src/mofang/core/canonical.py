"""One way to write JSON and to digest bytes, so that the same content always has the same SHA-256."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import orjson


def canonical(value: Any) -> bytes:
    """UTF-8 JSON with sorted keys and no spaces; the form in which everything is digested and chained."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def sha256(data: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def digest_of(value: Any) -> str:
    """SHA-256 of a value's canonical JSON."""
    return sha256(canonical(value))


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_file(path: Path) -> None:
    """Force a file's bytes to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Force a folder's entries (new names, renames) to the disk; Windows has no such call."""
    if os.name == "posix":
        sync_file(path)


def write_durably(path: Path, data: bytes) -> None:
    """Write a file so that a crash leaves the old content or the new, never a torn one."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.new")
    with beside.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)
    sync_folder(path.parent)
