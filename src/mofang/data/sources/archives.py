"""Zip archives (tar: tars.py) read in place: names repaired, dangerous entries refused by name, bombs and passwords as a
whole.

Nothing is ever unpacked to the disk, so an entry's path can reach no file; entries that try are refused all the same,
because whoever packed them did not mean well.
"""

from __future__ import annotations

import io
import re
import stat
import struct
import zipfile
import zlib
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from mofang.core.errors import MofangError
from mofang.core.language import say

DIRECTORY_BYTES_MOST = 256 * 2**20
TOTAL_BYTES_MOST = 256 * 2**30
BOMB_BYTES = 512 * 2**20  # below this an archive may shrink as far as it likes
BOMB_RATIO = 200
END_RECORD = b"PK\x05\x06"
TAR_ENDINGS = (".tar", ".tgz", ".tbz2", ".txz", ".tzst", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst")
PACKED_ENDINGS = (".zip", ".rar", ".7z", ".xz", ".bz2", ".zst", *TAR_ENDINGS)
DAMAGED = (OSError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, ValueError, struct.error)
NAME_CODECS = ("gb18030", "big5", "shift_jis", "euc_kr")


@dataclass(frozen=True)
class Entry:
    """One file in an archive: its repaired name, its place in the archive's own list, its size unpacked."""

    name: str
    place: int
    size_bytes: int


class Archive:
    """A zip archive, listed once. ``entries`` are in the order of their names; ``refused`` are (name, reason).

    Raises ``archive-broken``, ``archive-locked`` (a password), ``archive-bomb``.
    """

    one_way = False  # a packed tar can only be read from its beginning

    def __init__(self, path: Path) -> None:
        self.path = path
        _require_small_directory(path)
        try:
            self._zip = zipfile.ZipFile(path)
        except DAMAGED as error:
            raise MofangError("archive-broken", file=path.name, reason=str(error)) from error
        self._infos = self._zip.infolist()
        if any(info.flag_bits & 1 for info in self._infos):
            raise MofangError("archive-locked", file=path.name)
        self._require_no_bomb()
        self.refused: list[tuple[str, str]] = []
        self.entries = self._list()

    def require_some(self) -> None:
        """Raise ``archive-refused`` if every entry was refused."""
        if self.refused and not self.entries:
            counts = Counter(reason for _, reason in self.refused)
            reasons = ", ".join(f"{reason} {count}" for reason, count in counts.most_common())
            raise MofangError("archive-refused", file=self.path.name, reasons=reasons)

    def _require_no_bomb(self) -> None:
        packed = self.path.stat().st_size
        total = sum(info.file_size for info in self._infos)
        overlapping = sum(info.compress_size for info in self._infos) > packed
        if total > TOTAL_BYTES_MOST or overlapping or (total > BOMB_BYTES and total > BOMB_RATIO * packed):
            sizes = {"mb": f"{packed / 2**20:,.1f}", "unpacked_mb": f"{total / 2**20:,.0f}"}
            raise MofangError("archive-bomb", file=self.path.name, **sizes)

    def _list(self) -> list[Entry]:
        repaired = repaired_names([(info.orig_filename, bool(info.flag_bits & 0x800)) for info in self._infos])
        found: dict[str, Entry] = {}
        for place, (info, name) in enumerate(zip(self._infos, repaired, strict=True)):
            name = name.replace("\\", "/")
            if name.endswith("/") and not info.file_size:
                continue
            reason = why_refused(name, info.external_attr >> 16)
            name = name.removeprefix("./")
            if reason:
                self.refused.append((name, reason))
                continue
            if name in found:  # the later one is what unpacking would leave
                self.refused.append((name, "entry-doubled"))
            found[name] = Entry(name, place, info.file_size)
        return sorted(found.values(), key=lambda entry: entry.name)

    def open(self, place: int) -> io.BufferedReader:
        """The bytes of one entry, unpacked as they are read; damage ends in ``archive-broken``."""
        info = self._infos[place]
        name = f"{self.path.name}/{info.filename}"
        try:
            return checked(name, self._zip.open(info))
        except DAMAGED as error:
            raise MofangError("archive-broken", file=name, reason=str(error)) from error


def archive_at(path: Path) -> Archive:
    """The archive at this place, listed once for as long as it does not change."""
    found = path.stat()
    return _archive(path.resolve(), found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=8)
def _archive(path: Path, _size_bytes: int, _changed_ns: int) -> Archive:
    from mofang.data.sources.tars import TarArchive

    return TarArchive(path) if path.name.lower().endswith(TAR_ENDINGS) else Archive(path)


def _require_small_directory(path: Path) -> None:
    """The list of entries is held in memory: an absurd one is refused before it is read."""
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - 22 - 65535, 0))
        tail = file.read()
    place = tail.rfind(END_RECORD)
    if place < 0 or len(tail) < place + 16:
        raise MofangError("archive-broken", file=path.name, reason=say("its end is missing", "文件不完整，缺少结尾"))
    size: int = struct.unpack_from("<I", tail, place + 12)[0]
    if DIRECTORY_BYTES_MOST < size < 0xFFFFFFFF:
        raise MofangError("archive-bomb", file=path.name, mb=f"{path.stat().st_size / 2**20:,.1f}", unpacked_mb="?")


def why_refused(name: str, mode: int) -> str:
    """Why an entry is not read: it points outside, is a link, or is an archive itself; nothing for a plain file."""
    parts = name.split("/")
    if name.startswith("/") or re.match(r"[A-Za-z]:", name) or "\0" in name:
        return "entry-outside"
    if ".." in parts or not parts[-1]:
        return "entry-outside"
    if stat.S_ISLNK(mode) or (stat.S_IFMT(mode) and not stat.S_ISREG(mode)):
        return "entry-link"
    return "entry-archive" if name.lower().endswith(PACKED_ENDINGS) else ""


def repaired_names(given: list[tuple[str, bool]]) -> list[str]:
    """Entry names as their packer meant them; ``given`` is (name as Python read it, whether it was marked UTF-8).

    Old packers write names in the machine's own encoding and say nothing; Python then reads code page 437. All such
    names of an archive come from one machine, so one encoding is chosen for all.
    """
    raw = [name.encode("cp437") if not marked and not name.isascii() and _is_cp437(name) else b"" for name, marked in given]
    sample = b"\n".join(name for name in raw if name)
    encoding = encoding_of_names(sample) if sample else "cp437"
    return [one.decode(encoding, "replace") if one else name for one, (name, _) in zip(raw, given, strict=True)]


def _is_cp437(name: str) -> bool:
    try:
        name.encode("cp437")
    except UnicodeEncodeError:
        return False
    return True


def encoding_of_names(sample: bytes) -> str:
    """UTF-8 where it fits, code page 437 for lone accents among letters, else GB18030 unless another national
    encoding explains the names clearly better."""
    from mofang.data.sources.textfile import common_share, decodes, looks_western

    if decodes(sample, "utf-8"):
        return "utf-8"
    fitting = [name for name in NAME_CODECS if decodes(sample, name)]
    if not fitting or looks_western(sample):
        return "cp437"
    shares = {name: common_share(sample, name) for name in fitting}
    best = max(fitting, key=shares.__getitem__)
    return best if "gb18030" not in fitting or shares[best] > shares["gb18030"] + 0.2 else "gb18030"


class _Checked(io.RawIOBase):
    """A stream that is unpacked while it is read, whose damage is told in words wherever it is met."""

    def __init__(self, streams: tuple[IO[bytes], ...], name: str, most: int, cut: list[str] | None) -> None:
        self._left, self._cut = most, cut
        self._inner = streams[0]
        self._streams = streams
        self._name = name

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._inner.read(len(buffer))
        except DAMAGED as error:
            if self._cut is not None:
                self._cut.append(str(error))
                return 0
            raise MofangError("archive-broken", file=self._name, reason=str(error)) from error
        self._left -= len(data)
        if self._left < 0:
            raise MofangError("archive-bomb", file=self._name, mb="?", unpacked_mb="?")
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            for stream in self._streams:
                stream.close()
        super().close()


def checked(name: str, *streams: IO[bytes], most: int = TOTAL_BYTES_MOST, cut: list[str] | None = None) -> io.BufferedReader:
    """A packed stream as a buffered file whose damage ends in ``archive-broken``, and more than ``most`` bytes in
    ``archive-bomb``, or where ``cut`` is a list, damage ends the file and is noted there; the streams after
    the first lie below it and are closed with it."""
    return io.BufferedReader(_Checked(streams, name, most, cut), 1 << 16)
