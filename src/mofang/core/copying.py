"""Copying files so that they are whole and on the disk: many at once, linked where that costs nothing.

A file gets its own name only after its bytes are durable, so a name always stands for the whole file.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import sqlite3
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mofang.core.canonical import sync_file, sync_folder
from mofang.core.errors import MofangError

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
CLOSED = {errno.EACCES, errno.EPERM, errno.EROFS}
NO_LINK = {errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
SQLITE_FULL, SQLITE_IOERR, SQLITE_READONLY, SQLITE_CANTOPEN = 13, 10, 8, 14
NEW = ".new-"  # how an unfinished file's name begins


@contextmanager
def full_disk_told(place: Path) -> Iterator[None]:
    """Say a full or closed disk in words."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise MofangError("disk-full", place=place) from error
        if error.errno in CLOSED:
            raise MofangError("folder-not-writable", place=place) from error
        raise
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (SQLITE_FULL, SQLITE_IOERR):
            raise MofangError("disk-full", place=place) from error
        if code in (SQLITE_READONLY, SQLITE_CANTOPEN):
            raise MofangError("folder-not-writable", place=place) from error
        raise


def require_room(place: Path, needed_bytes: int) -> None:
    """Refuse before the work begins what cannot fit."""
    there = next(one for one in (place.absolute(), *place.absolute().parents) if one.is_dir())
    free_bytes = shutil.disk_usage(there).free
    if free_bytes < needed_bytes:
        raise MofangError("disk-too-small", place=place, needed_mb=-(-needed_bytes // 2**20), free_mb=free_bytes // 2**20)


def link_or_copy(source: Path, target: Path, *, link: bool) -> bool:
    """Bring a file to a new place; True if it was linked. A copy still has its bytes to be synced."""
    if link:
        try:
            os.link(source, target)
        except OSError as error:
            if error.errno not in NO_LINK:
                raise
        else:
            return True
    shutil.copyfile(source, target)
    target.chmod(0o444)
    return False


def sync_all(folder: Path, files: Iterable[Path]) -> None:
    """Force everything written below a folder to the disk: at once where the system can, else file by file."""
    if not _sync_file_system(folder):
        places = list(files)
        for path in places:
            sync_file(path)
        for parent in {path.parent for path in places} | {folder}:
            sync_folder(parent)


def _sync_file_system(folder: Path) -> bool:
    """Linux has one call for a whole file system; thousands of single ones take minutes."""
    if not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "syncfs"):
        return False
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if library.syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            if number in (errno.ENOSYS, errno.EINVAL):
                return False
            raise OSError(number, os.strerror(number), str(folder))
    finally:
        os.close(descriptor)
    return True


def remove_tree(folder: Path) -> None:
    """Remove a folder and what is below, read-only files too; nothing if it is not there."""
    if folder.is_dir() and not folder.is_symlink():
        shutil.rmtree(folder)
