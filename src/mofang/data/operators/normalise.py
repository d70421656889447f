"""One spelling for what reads alike, for texts and categories."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

_SPACES = "\t\n\v\f\r\x1c\x1d\x1e\x1f\x20\x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000"
_INVISIBLE = [
    0xAD,
    0x34F,
    0x61C,
    0x180E,
    *range(0x200B, 0x2010),
    *range(0x202A, 0x202F),
    *range(0x2060, 0x2070),
    0xFEFF,
    *range(0xFFF9, 0xFFFC),
]
_CONTROL = [code for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in _SPACES]
_MAP: dict[str, str] = {
    **dict.fromkeys(map(chr, (*_INVISIBLE, *_CONTROL, *range(0xD800, 0xE000))), ""),
    **{chr(code): chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)},
    **dict.fromkeys([*_SPACES, *map(chr, range(0x2000, 0x200B))], " "),
}
_CHANGES = re.compile(  # white space is left to split(), which knows all of it
    "["
    + "".join(re.escape(sign) for sign, new in _MAP.items() if new != " " and not "\ud800" <= sign <= "\udfff")
    + "\ud800-\udfff]"
)

_ASCII_BLANKS = "\t\n\v\f\r\x1c\x1d\x1e\x1f "
_LINED: dict[str, str] = {**_MAP, "\x85": "\n", "\u2028": "\n", "\u2029": "\n\n"}
_LINED_CHANGES = re.compile(  # white space of ASCII is changed later
    "[" + "".join(sign for sign in _LINED if sign not in _ASCII_BLANKS and not "\ud800" <= sign <= "\udfff") + "\ud800-\udfff]"
)
_BLANKS = re.compile(b"  +")
_PLAIN = bytes.maketrans(b"\r\v\f\x1c\x1d\x1e\t\x1f", b"\n\n\n\n\n\n  ")
_NO_TEXT = bytes(code for code in (*range(0x20), 0x7F) if chr(code) not in _SPACES)


def normalise(text: str) -> str:
    """One spelling for what reads alike: Unicode NFC, full-width signs as half-width, no invisible or control
    characters.

    Every stretch of white space becomes one blank, and none stands at the ends. Applying it twice changes
    nothing.
    """
    return " ".join(_spelled(text).split())


def paragraphs(text: str) -> str:
    """One spelling for what reads alike, as ``normalise`` gives it, but line breaks stay.

    Blanks within a line become one, none stands at its ends, and of several empty lines one stays. Applying it twice
    changes nothing.
    """
    if "\r" in text:
        text = text.replace("\r\n", "\n")
    if not text.isascii():
        text = _LINED_CHANGES.sub(_lined, text.replace("\xa0", " "))
        if not unicodedata.is_normalized("NFC", text):
            text = _LINED_CHANGES.sub(_lined, unicodedata.normalize("NFC", text))
    data = _BLANKS.sub(b" ", text.encode().translate(_PLAIN, _NO_TEXT))
    data = data.replace(b" \n", b"\n").replace(b"\n ", b"\n").replace(b"\n" * 8, b"\n\n")
    while b"\n\n\n" in data:
        data = data.replace(b"\n\n\n", b"\n\n")
    return data.strip(b" \n").decode()


def _spelled(text: str) -> str:
    text = _CHANGES.sub(_changed, text)
    if not unicodedata.is_normalized("NFC", text):
        text = _CHANGES.sub(_changed, unicodedata.normalize("NFC", text))
    return text


def _lined(found: re.Match[str]) -> str:
    return _LINED[found[0]]


def _changed(found: re.Match[str]) -> str:
    return _MAP[found[0]]


@dataclass(frozen=True)
class TextNormalise:
    """Brings texts and categories into one spelling (see ``normalise``)."""

    name: ClassVar[str] = "text-normalise"
    version: ClassVar[int] = 1

    def apply(self, values: Sequence[Any], state: Mapping[str, Any]) -> list[Any]:
        """The normalised texts; a value that is no text stays as it is."""
        return [normalise(value) if isinstance(value, str) else value for value in values]


def spelling() -> dict[str, str]:
    """By code point what ``normalise`` puts in a sign's place, for a device that has no Mofang."""
    return {str(ord(sign)): new for sign, new in _MAP.items()}
