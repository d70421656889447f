"""The object store: immutable files under their own SHA-256, encrypted where they can hold personal data.

A file enters by rename after fsync, so a reader never sees half of one; a digest that is there already is kept. The
name is always the digest of the plain bytes, so the same content has the same name whether it lies encrypted or not.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from pathlib import Path
from typing import BinaryIO

from mofang.core.canonical import file_digest, sync_file, sync_folder
from mofang.core.datakeys import DataKeys
from mofang.core.encrypted import encrypt, is_encrypted, open_encrypted
from mofang.core.errors import MofangError
from mofang.core.unlocked import unlocked_folder

FREE_FLOOR_BYTES = 64 * 1024 * 1024


class Store:
    """Objects below one folder, as ``objects/ab/abcdef…``."""

    def __init__(self, root: Path, keys: Path | None = None) -> None:
        """``keys`` is the folder of the shop's secrets; without it only plain objects can be read."""
        self.root = root
        self.keys = DataKeys(keys or root.with_name("keys"))
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

    def keep(self, source: Path, *, private: bool = False) -> tuple[str, int]:
        """Move a finished file into the store, encrypted if it is ``private``; its digest and size in bytes.

        Raises ``object-erased`` for what was erased.
        """
        if not private:
            sync_file(source)
        digest, size_bytes = file_digest(source), source.stat().st_size
        home = self.path(digest)
        if self._touch(home) and self._will_do(home, digest, private):
            source.unlink()
            return digest, size_bytes
        home.parent.mkdir(exist_ok=True)
        if private:
            self._lock_away(source, digest, home)
            return digest, size_bytes
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

    def _will_do(self, home: Path, digest: str, private: bool) -> bool:
        """True if the object that is there can be read, and lies as it should."""
        locked = is_encrypted(home, digest)
        return self.keys.of_object(digest) is not None if locked else not private

    def _lock_away(self, source: Path, digest: str, home: Path) -> None:
        """Encrypt into the store. The key is on the disk before the object has its name."""
        beside = home.with_name(f".{digest}.{os.getpid()}")
        try:
            while True:
                key = self.keys.offer(digest)
                if self.keys.settle(digest, key, encrypt(source, beside, digest, key)):
                    break
            beside.chmod(0o444)
            os.replace(beside, home)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
        sync_folder(home.parent)
        source.unlink()

    def _touch(self, home: Path) -> bool:
        """True if the object is there; its time is then now, so that a sweep that was about to remove it lets it be."""
        try:
            os.utime(home)
        except FileNotFoundError:
            return False
        except PermissionError:  # another user's, in a shop of several
            return home.exists()
        return True

    def open(self, digest: str) -> BinaryIO:
        """The plain bytes of an object, to be read and sought in; raises ``object-missing``, ``object-key-missing``."""
        path = self.path(digest)
        if not path.exists():
            raise MofangError("object-missing", part=digest[:12], digest=digest[:12])
        if not is_encrypted(path, digest):
            return path.open("rb")
        key = self.keys.of_object(digest)
        if key is None:
            raise MofangError("object-key-missing", digest=digest[:12])
        return open_encrypted(path, digest, key)

    def plain_path(self, digest: str) -> Path:
        """A file with the plain bytes of an object, to be read only.

        Of an encrypted object a copy is laid into a private folder, which goes when this process ends.
        """
        home = self.path(digest)
        if not is_encrypted(home, digest):
            return home
        place = unlocked_folder(self.root.parent) / digest
        if not place.exists():
            beside = place.with_name(f".{digest}.{os.urandom(4).hex()}")
            with self.open(digest) as source, os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT, 0o400), "wb") as file:
                shutil.copyfileobj(source, file, 2**20)
            os.replace(beside, place)
        return place

    def check(self, digest: str) -> str | None:
        """None if the object is whole, else ``missing``, ``changed`` or ``without its key``."""
        path = self.path(digest)
        if not path.exists():
            return "missing"
        try:
            with self.open(digest) as file:
                found = hashlib.sha256()
                while piece := file.read(2**20):
                    found.update(piece)
            return None if found.hexdigest() == digest else "changed"
        except MofangError as error:
            return "without its key" if error.code == "object-key-missing" else "changed"

    def remove(self, digest: str) -> None:
        """Remove an object for good; nothing if it is not there."""
        self.path(digest).unlink(missing_ok=True)

    def require_space(self) -> None:
        """Refuse to begin work on a disk that is nearly full, while the databases can still be written."""
        free_bytes = shutil.disk_usage(self.root).free
        if free_bytes < FREE_FLOOR_BYTES:
            raise MofangError("disk-nearly-full", free_mb=free_bytes // 2**20, floor_mb=FREE_FLOOR_BYTES // 2**20)
