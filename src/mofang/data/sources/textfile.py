"""Text files of unknown encoding: which one it is, and reading it so that a broken byte spoils one row,
not the file."""

from __future__ import annotations

import codecs
import io
import re
from typing import Any, BinaryIO

from mofang.core.errors import MofangError
from mofang.data.sources.files import SourceFile

SAMPLE_BYTES = 2 * 2**20
BAD_LINES_ALLOWED = 0.02
BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
DECLARED = re.compile(rb"""(?:charset|encoding)\s{0,9}=\s{0,9}["']?([A-Za-z0-9._:-]{2,40})""", re.I)
LARGER = {"gb2312": "gb18030", "gbk": "gb18030", "iso-8859-1": "cp1252", "latin1": "cp1252", "big5-hkscs": "big5"}
CJK_CODECS = ("gb18030", "big5", "shift_jis", "euc_kr")
# The commonest characters of each script: a text decoded with a wrong table has next to none of them.
COMMON = {
    "gb18030": "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过",
    "big5": "的一是不了在人有我他這個們中來上大為和國地到以說時要就出會可也你對生能而子那得於著下自之年過",
    "shift_jis": "のにはをたがでてとしれさあいうるらりまっかなもよくすこどき",
    "euc_kr": "이다의는에을가고하를지은도로기사한어시자정대인나들수있그",
}


def detect_encoding(file: SourceFile) -> str:
    """The encoding of a text file: a byte order mark decides, then UTF-8 if it fits, then the likeliest
    national one."""
    with file.open() as opened:
        sample = opened.read(SAMPLE_BYTES)
        whole = not opened.read(1)
    return encoding_of(sample, whole)


def declared_encoding(head: bytes) -> str:
    """The encoding that the beginning of a web page or XML file names, if there is one of that name."""
    found = DECLARED.search(head)
    name = found[1].decode().lower() if found else ""
    name = LARGER.get(name, name)
    try:
        codecs.lookup(name)
    except LookupError:
        return ""
    return "" if name.startswith(("utf-16", "utf-32", "ucs")) else name


def encoding_of(sample: bytes, whole: bool = True) -> str:
    """The encoding of these bytes; ``whole`` is False if they are cut from a longer file."""
    for mark, name in BOMS:
        if sample.startswith(mark):
            return name
    if not whole:
        sample = sample[: sample.rfind(b"\n") + 1] or sample
    if wide := _unmarked_utf16(sample, whole):
        return wide
    if decodes(sample, "utf-8"):
        return "utf-8"
    bad = {name: _bad_share(sample, name) for name in ("utf-8", *CJK_CODECS)}
    if looks_western(sample):
        return "cp1252" if bad["utf-8"] > BAD_LINES_ALLOWED else "utf-8"
    if bad["utf-8"] <= BAD_LINES_ALLOWED:
        return "utf-8"
    fitting = [name for name in CJK_CODECS if bad[name] <= BAD_LINES_ALLOWED] or [
        min(CJK_CODECS, key=bad.__getitem__)
    ]
    return max(fitting, key=lambda name: common_share(sample, name))


def _unmarked_utf16(sample: bytes, whole: bool) -> str:
    """UTF-16 without a byte order mark, where nearly every NUL is the upper byte of a Latin letter; else nothing.

    A file of an odd length, or with NULs on both sides, is something else: NULs stand in damaged UTF-8 too.
    """
    upper, lower = sample[::2].count(0), sample[1::2].count(0)
    if upper + lower <= len(sample) // 5 or (whole and len(sample) % 2):
        return ""
    name = "utf-16-le" if lower > upper else "utf-16-be"
    one_sided = min(upper, lower) <= 0.02 * max(upper, lower)
    return name if one_sided and decodes(sample, name) else ""


def decodes(data: bytes, encoding: str) -> bool:
    """True if these bytes are text in this encoding; a character cut off at the end does no harm."""
    try:
        codecs.getincrementaldecoder(encoding)().decode(data)
    except UnicodeDecodeError:
        return False
    return True


def _bad_share(sample: bytes, encoding: str) -> float:
    lines = sample.splitlines()
    return sum(not decodes(line, encoding) for line in lines) / max(len(lines), 1)


def looks_western(sample: bytes) -> bool:
    """True if bytes above 127 mostly stand alone between ASCII letters, as accents do; Chinese comes in
    runs."""
    high = alone = 0
    for place, byte in enumerate(sample[:200_000]):
        if byte >= 0x80:
            high += 1
            before = sample[place - 1] if place else 0
            after = sample[place + 1] if place + 1 < len(sample) else 0
            alone += before < 0x80 and after < 0x80
    return alone > high * 0.5


def common_share(sample: bytes, encoding: str) -> float:
    """The share of the commonest characters of a script among those beyond ASCII, were this the encoding."""
    text = sample.decode(encoding, errors="ignore")
    foreign = [character for character in text if character > "\x7f"]
    common = set(COMMON[encoding])
    return sum(character in common for character in foreign) / max(len(foreign), 1)


def open_text(file: SourceFile, encoding: str, start: int = 0, end: int = 0) -> io.TextIOWrapper:
    """The file as text with its line ends kept; a byte that does not decode becomes a lone surrogate. Of a plain file
    only the bytes from ``start`` to ``end`` may be wanted.

    Rows that hold one are found and rejected when they become Arrow columns, so good files pay nothing for
    the check.
    """
    try:
        name = codecs.lookup(encoding).name
    except LookupError:
        raise MofangError("encoding-unknown", encoding=encoding, file=file.name) from None
    errors = "surrogateescape" if not name.startswith(("utf-16", "utf-32")) else "replace"
    if start and name == "utf-8-sig":
        encoding = "utf-8"
    opened: BinaryIO | io.BufferedReader = file.open()
    if end:
        opened = io.BufferedReader(_Stretch(opened, start, end), 1 << 18)
    return io.TextIOWrapper(opened, encoding=encoding, errors=errors, newline="")


class _Stretch(io.RawIOBase):
    """The bytes of a file from one place to another."""

    def __init__(self, opened: BinaryIO, start: int, end: int) -> None:
        self._opened, self._left = opened, end - start
        opened.seek(start)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._opened.read(min(len(buffer), self._left))
        self._left -= len(data)
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._opened.close()
        super().close()


def is_clean(text: str) -> bool:
    """True if the text holds no byte that failed to decode."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
