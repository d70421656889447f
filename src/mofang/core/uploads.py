"""Uploads: files that people of another machine lend to a run. Clients name digests; the shop owns every path.

``uploads/PERSON/files/DIGEST`` holds each file once for each person, ``uploads/PERSON/sets/ID`` a set of them under the
names they had. A set's id follows from names and digests alone, so the same files are the same source tomorrow and for
everybody; but whoever names a set must have sent its files, since knowing a digest is not having the file. Only what the
shop lacks is sent, in pieces; after a broken connection the sending goes on where it ended.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from mofang.core.canonical import digest_of, file_digest, write_durably
from mofang.core.errors import MofangError
from mofang.core.shop import Shop

PREFIX = "upload:"
SET_ID = re.compile(r"[0-9a-f]{32}")
DIGEST = re.compile(r"[0-9a-f]{64}")
FILE_BYTES_MAX = 8 * 2**30
SET_BYTES_MAX = 32 * 2**30
SET_FILES_MAX = 200_000
KEPT_S = 30 * 86_400.0
_turn = threading.Lock()  # two senders of one file: the second is told how far the first came


@dataclass(frozen=True)
class Named:
    """One file of a set: its name below the set's root with forward slashes, its SHA-256, and its size."""

    name: str
    digest: str
    size_bytes: int


class Uploads:
    """The uploads of one person in a shop."""

    def __init__(self, shop: Shop, person: str) -> None:
        assert re.fullmatch(r"[\w-]+", person), person
        self.shop = shop
        self.person = person
        self.files = shop.path / "uploads" / person / "files"
        self.sets = shop.path / "uploads" / person / "sets"

    def announce(self, root: str, files: list[Named]) -> tuple[str, dict[str, int]]:
        """Say what is to come; the set's id, and for each digest that is not all here how many bytes are."""
        if not files or len(files) > SET_FILES_MAX:
            raise MofangError("upload-refused", reason=f"{len(files):,} files; 1 to {SET_FILES_MAX:,} are taken")
        for one in files:
            require_name(one.name)
            if not DIGEST.fullmatch(one.digest) or not 0 <= one.size_bytes <= FILE_BYTES_MAX:
                raise MofangError("upload-refused", reason=f"{one.name}: {one.size_bytes:,} bytes; at most {FILE_BYTES_MAX:,}")
        require_name(root)
        total = sum(one.size_bytes for one in files)
        if total > SET_BYTES_MAX or len({one.name.casefold() for one in files}) < len(files):
            raise MofangError("upload-refused", reason=f"{total:,} bytes; at most {SET_BYTES_MAX:,}, each name once")
        self.shop.store.require_space()
        rows = sorted([one.name, one.digest, one.size_bytes] for one in files)
        id = digest_of([root, rows])[:32]
        self.files.mkdir(parents=True, exist_ok=True)
        self.sets.mkdir(parents=True, exist_ok=True)
        write_durably(self.sets / f"{id}.json", json.dumps({"root": root, "files": rows}).encode())
        return id, {one.digest: self._have(one.digest) for one in files if not (self.files / one.digest).exists()}

    def add(self, digest: str, offset: int, size_bytes: int, data: bytes) -> int:
        """Append a piece; how many bytes are here now. The last piece is checked against the digest."""
        if not DIGEST.fullmatch(digest) or not 0 <= size_bytes <= FILE_BYTES_MAX or not self.files.is_dir():
            raise MofangError("upload-refused", reason="no such file was announced")
        with _turn:
            return self._append(digest, offset, size_bytes, data)

    def _append(self, digest: str, offset: int, size_bytes: int, data: bytes) -> int:
        if (self.files / digest).exists():
            return size_bytes
        partial, have = self._partial(digest), self._have(digest)
        if offset != have:
            raise MofangError("upload-out-of-step", have=have)
        if have + len(data) > size_bytes:
            raise MofangError("upload-refused", reason="more bytes than announced")
        self.shop.store.require_space()
        with partial.open("ab") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if have + len(data) == size_bytes:
            if file_digest(partial) != digest:
                partial.unlink()
                raise MofangError("upload-damaged")
            partial.replace(self.files / digest)
        return have + len(data)

    def require(self, id: str) -> dict[str, Any]:
        """What a complete set of this person holds; ``upload-missing`` for anything else."""
        place = self.sets / f"{id}.json"
        if not SET_ID.fullmatch(id) or not place.exists():
            raise MofangError("upload-missing", id=id)
        about: dict[str, Any] = json.loads(place.read_bytes())
        if any(not (self.files / digest).exists() for _, digest, _ in about["files"]):
            raise MofangError("upload-missing", id=id)
        return about

    def lay_out(self, id: str, folder: Path) -> None:
        """Link a set's files under their own names below a folder."""
        for name, digest, _ in self.require(id)["files"]:
            place = folder / name
            place.parent.mkdir(parents=True, exist_ok=True)
            if not place.is_symlink():
                place.symlink_to((self.files / digest).resolve())

    def _partial(self, digest: str) -> Path:
        return self.files / f"{digest}.part"

    def _have(self, digest: str) -> int:
        partial = self._partial(digest)
        return partial.stat().st_size if partial.exists() else 0


def require_name(name: str) -> None:
    """A relative name with forward slashes that stays below its root, or ``upload-refused``."""
    parts = PurePosixPath(name).parts
    plain = name and len(name) <= 1000 and name == "/".join(parts) and not {"..", "."} & {*parts}
    if not plain or name.startswith("/") or "\\" in name or any(ord(sign) < 32 for sign in name):
        raise MofangError("upload-refused", reason=f"{name[:100]!r} is no name below a folder")
    if any(len(part.encode(errors="replace")) > 255 for part in parts):
        raise MofangError("upload-refused", reason=f"{name[:100]!r} is too long")


def uploaded(shop: Shop, source: str) -> tuple[Path, dict[str, str]]:
    """A source ``upload:ID/NAME``: the folder its files are linked in, and the digest of each by name.

    Anybody's complete copy will do: equal ids are equal files. Who may name it was asked where the run began.
    """
    id = source.removeprefix(PREFIX).split("/", 1)[0]
    for place in sorted((shop.path / "uploads").glob(f"*/sets/{id}.json")) if SET_ID.fullmatch(id) else ():
        uploads = Uploads(shop, place.parent.parent.name)
        with suppress(MofangError):
            about = uploads.require(id)
            uploads.lay_out(id, place.with_suffix(""))
            os.utime(place)  # used today
            return place.with_suffix(""), {name: digest for name, digest, _ in about["files"]}
    raise MofangError("upload-missing", id=id)


def sweep(shop: Shop, kept_s: float = KEPT_S) -> int:
    """Remove sets that nobody used for so long, and files that no set names; how many files went."""
    before, gone = time.time() - kept_s, 0
    for person in (shop.path / "uploads").glob("*"):
        named: set[str] = set()
        for place in (person / "sets").glob("*.json"):
            if place.stat().st_mtime < before:
                shutil.rmtree(place.with_suffix(""), ignore_errors=True)
                place.unlink()
            else:
                named |= {digest for _, digest, _ in json.loads(place.read_bytes())["files"]}
        for file in (person / "files").glob("*"):
            if file.name.removesuffix(".part") not in named and file.stat().st_mtime < before:
                file.unlink()
                gone += 1
    return gone
