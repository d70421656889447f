"""Noise in texts, mended where that is certain: repeated punctuation, wrongly decoded letters, invisible signs, entities
left from markup, lines of copyright and cookie notices, addresses of pages."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from typing import NamedTuple

STEPS = ("mojibake", "entities", "invisible", "punctuation", "laughs", "boilerplate", "urls")
DEFAULT = STEPS[:6]  # addresses stay unless asked for

_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,30});")
_INVISIBLE = re.compile("[\xad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]")
_REPEATED = re.compile(r"([!?！？。，、；：~～…—_=*#+-])\1{3,}|([.,;:])\2{3,}")
_LAUGHS = re.compile(r"(\w)\1{5,}|(\w{2})\2{4,}")  # 哈哈哈哈哈哈, hahahahaha
_BOILERPLATE = re.compile(
    r"^[^\S\n]*(?:copyright\b|©|\(c\)[^\S\n]*\d{4}|all rights reserved|版权所有|著作权所有|保留所有权利|保留一切权利|"
    r"this (?:web)?site uses cookies|we use cookies|本网站使用[^\n]{0,10}cookie)[^\n]{0,300}$\n?",
    re.IGNORECASE | re.MULTILINE,
)
_URL = re.compile(r"(?:https?|ftp)://[^\s<>\"'（）()，。；、]+|www\.[A-Za-z0-9-]+\.[^\s<>\"'（）()，。；、]+")
# What UTF-8 looks like when it was read as Windows-1252: a lead byte and its continuation bytes.
_C1 = "".join(bytes([code]).decode("cp1252", "ignore") for code in range(0x80, 0xA0))
_TAIL = f"[\x80-\xbf{re.escape(_C1)}]"
_MOJIBAKE = re.compile(f"(?:[\xc2-\xdf]{_TAIL}|[\xe0-\xef]{_TAIL}{{2}}|[\xf0-\xf4]{_TAIL}{{3}})+")


class Mended(NamedTuple):
    """A text after mending and what was mended, by step: how many places."""

    text: str
    reasons: dict[str, int]


def mend(text: str, steps: tuple[str, ...] = DEFAULT) -> Mended:
    """The text without the noise that the steps name, and how many places each step changed.

    A step changes only what is certain: letters are decoded again only where every sign of the run fits UTF-8; a line
    is boilerplate only where it begins as such; four or more equal signs become three.
    """
    reasons: dict[str, int] = {}
    for step in STEPS:
        if step in steps:
            text, places = _MENDERS[step](text)
            if places:
                reasons[step] = places
    return Mended(text, reasons)


def _laughs(text: str) -> tuple[str, int]:
    """Of a letter or pair repeated many times three stay; digits are left alone."""
    places = 0

    def shortened(found: re.Match[str]) -> str:
        nonlocal places
        piece = found[1] or found[2]
        if piece.isdecimal():
            return found[0]
        places += 1
        return piece * 3

    return _LAUGHS.sub(shortened, text), places


def _letters(text: str) -> tuple[str, int]:
    if text.isascii():
        return text, 0
    mended = _MOJIBAKE.sub(_decoded, text)
    return mended, 0 if mended == text else sum(_decoded(found) != found[0] for found in _MOJIBAKE.finditer(text))


def _decoded(found: re.Match[str]) -> str:
    """The run as UTF-8, where it is some and no control sign comes out."""
    data = b"".join(_byte(sign) for sign in found[0])
    try:
        made = data.decode()
    except UnicodeDecodeError:
        return found[0]
    return made if all(sign.isprintable() or sign == "\xa0" for sign in made) else found[0]


def _byte(sign: str) -> bytes:
    return bytes([ord(sign)]) if ord(sign) < 0x100 else sign.encode("cp1252")


def _entities(text: str) -> tuple[str, int]:
    if "&" not in text:
        return text, 0
    places = sum(html.unescape(found[0]) != found[0] for found in _ENTITY.finditer(text))
    return (_ENTITY.sub(lambda found: html.unescape(found[0]), text), places) if places else (text, 0)


def _punctuation(text: str) -> tuple[str, int]:
    return _REPEATED.subn(lambda found: (found[1] or found[2]) * 3, text)


_MENDERS: dict[str, Callable[[str], tuple[str, int]]] = {
    "mojibake": _letters,
    "entities": _entities,
    "invisible": lambda text: _INVISIBLE.subn("", text),
    "punctuation": _punctuation,
    "laughs": _laughs,
    "boilerplate": lambda text: _BOILERPLATE.subn("", text),
    "urls": lambda text: _URL.subn("", text),
}
