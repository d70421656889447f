"""What each character is: word, Chinese or Japanese character, punctuation, space or line break; letter, capital, digit.

The classes are those of Python's ``re`` (``\\w``, ``\\s``) and ``str.splitlines``, as tables that NumPy looks up.
"""

from __future__ import annotations

import re
from functools import cache

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]

# The class of a character: its kind in the lower three bits, and what else it is. Texts are cut into runs of one kind;
# the first three kinds make tokens.
PUNCTUATION, WORD, HAN, SPACE, NEWLINE, OTHER_SPACE, OTHER_NEWLINE = range(7)
KIND, LETTER, UPPER, DIGIT = 7, 8, 16, 32
HAN_RANGES = ((0x3040, 0x30FF), (0x3400, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x323AF))
HAN_CLASS = "".join(f"{chr(first)}-{chr(last)}" for first, last in HAN_RANGES)
TOKEN = re.compile(rf"(?=\w)[{HAN_CLASS}]|[^\W{HAN_CLASS}]+|[^\w\s]+")
"""The tokens, as a regular expression: each Han or kana character alone, runs of ``\\w``, runs of anything else but
space. The reference that the vectorised tokenisation is tested against."""

_CODES = 0x110000
_NAMED = 0x40000  # nothing above is a letter, a digit or a space


@cache
def table() -> Bytes:
    """The class of each code point."""
    made = np.full(_CODES, PUNCTUATION, np.uint8)
    every = "".join(map(chr, range(_NAMED)))
    for found in re.finditer(r"\w+", every):
        made[found.start() : found.end()] = WORD
    for found in re.finditer(r"\s", every):
        made[found.start()] = OTHER_SPACE
    for first, last in HAN_RANGES:
        part = made[first : last + 1]
        part[part == WORD] = HAN
    made[[ord(sign) for sign in "\x1c\x1d\x1e\x85\u2028\u2029"]] = OTHER_NEWLINE
    made[[ord(sign) for sign in "\0 \t"]] = SPACE
    made[[ord(sign) for sign in "\n\r\v\f"]] = NEWLINE
    for bit, is_so in ((LETTER, str.isalpha), (UPPER, str.isupper), (DIGIT, str.isdecimal)):
        made[:_NAMED] |= np.fromiter(map(is_so, every), np.uint8, _NAMED) * np.uint8(bit)
    return made


@cache
def ascii_table() -> bytes:
    """The classes of the first 256 codes, for ``bytes.translate``."""
    return table()[:256].tobytes()


@cache
def folding() -> bytes:
    """Capitals A-Z as small letters and every digit as 0, for ``bytes.translate``: what shingles compare."""
    table = bytearray(range(256))
    table[ord("A") : ord("Z") + 1] = bytes(range(ord("a"), ord("z") + 1))
    table[ord("0") : ord("9") + 1] = b"0" * 10
    return bytes(table)


def has(signs: Bytes, bits: int) -> npt.NDArray[np.bool_]:
    """Where any of the bits is set."""
    found: npt.NDArray[np.bool_] = np.not_equal(signs & np.uint8(bits), 0)
    return found
