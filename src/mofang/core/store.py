"""The object store: immutable files under their own SHA-256.

A file enters by rename after fsync, so a reader never sees half of one; a digest that is there already is kept.
"""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from mofang.core.canonical import file_digest, sync_file, sync_folder
from mofang.core.errors import MofangError

FREE_FLOOR_BYTES = 64 * 1024 * 1024


class Store:
    """Objects below one folder, as ``objects/ab/abcdef…``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)

    def path(self, digest: str) -> Path:
        """Where the object with this digest lies."""
        return self.root / digest[:2] / digest

    def has(self, digest: str) -> bool:
        """True if the object is there (its bytes are checked by ``check``)."""
        return self.path(digest).exists()

    def held(self) -> set[str]:
        """The digests of all objects that are there."""
        found: set[str] = set()
        for folder in os.scandir(self.root):
            if folder.is_dir():
                found.update(file.name for file in os.scandir(folder.path))
        return found

    def keep(self, source: Path) -> tuple[str, int]:
        """Move a finished file into the store; its digest and size in bytes."""
        sync_file(source)
        digest, size_bytes = file_digest(source), source.stat().st_size
        home = self.path(digest)
        if self._touch(home):
            source.unlink()
            return digest, size_bytes
        home.parent.mkdir(exist_ok=True)
        source.chmod(0o444)
        try:
            os.replace(source, home)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            beside = home.with_name(f".{digest}.{os.getpid()}")  # scratch on another disk: copy, sync, rename
            shutil.copyfile(source, beside)
            sync_file(beside)
            os.replace(beside, home)
            source.unlink()
        sync_folder(home.parent)
        return digest, size_bytes

    def _touch(self, home: Path) -> bool:
        """True if the object is there; its time is then now, so that a sweep that was about to remove it lets it be."""
        try:
            os.utime(home)
        except FileNotFoundError:
            return False
        except PermissionError:  # another user's, in a shop of several
            return home.exists()
        return True

    def check(self, digest: str) -> str | None:
        """None if the object is whole, else ``missing`` or ``changed``."""
        path = self.path(digest)
        if not path.exists():
            return "missing"
        return None if file_digest(path) == digest else "changed"

    def require_space(self) -> None:
        """Refuse to begin work on a disk that is nearly full, while the databases can still be written."""
        free_bytes = shutil.disk_usage(self.root).free
        if free_bytes < FREE_FLOOR_BYTES:
            raise MofangError("disk-nearly-full", free_mb=free_bytes // 2**20, floor_mb=FREE_FLOOR_BYTES // 2**20)
