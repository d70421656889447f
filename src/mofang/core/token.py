"""Tokens: what a program or a person shows at the door. Shown once, stored as a keyed hash, compared in constant time.

A token is ``mf_<kind>_<id>_<secret><check>``: the id finds the row, the secret (190 bits) is compared as HMAC-SHA256
under the shop's own pepper, and the check (CRC-32) lets a mistyped or leaked token be recognised without asking
anybody. A random secret of this size needs no slow hash. Customers' keys and people's tokens are both of this shape.
"""

from __future__ import annotations

import hmac
import re
import secrets
import zlib

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
ID_LENGTH, SECRET_LENGTH, CHECK_LENGTH = 12, 32, 6
DAY_US = 86_400_000_000
NOBODY = "0" * 64  # what an unknown id is compared with, so that it takes as long as a known one


def pattern(*kinds: str) -> re.Pattern[str]:
    """What a token of these kinds looks like: groups kind, id, secret, check."""
    sizes = (ID_LENGTH, SECRET_LENGTH, CHECK_LENGTH)
    id, secret, check = (f"([0-9A-Za-z]{{{size}}})" for size in sizes)
    return re.compile(rf"mf_({'|'.join(kinds)})_{id}_{secret}{check}")


def check_digits(text: str) -> str:
    """CRC-32 of the text in six characters of base 62."""
    number, digits = zlib.crc32(text.encode()), []
    for _ in range(CHECK_LENGTH):
        number, digit = divmod(number, 62)
        digits.append(ALPHABET[digit])
    return "".join(reversed(digits))


def drawn(length: int) -> str:
    """So many characters by chance."""
    return "".join(secrets.choice(ALPHABET) for _ in range(length))


def new_token(kind: str) -> tuple[str, str]:
    """A fresh (id, token)."""
    id = drawn(ID_LENGTH)
    head = f"mf_{kind}_{id}_{drawn(SECRET_LENGTH)}"
    return id, head + check_digits(head)


def id_in(token: str, shape: re.Pattern[str]) -> str | None:
    """The id inside a token, or None where it is mistyped or no such token at all."""
    match = shape.fullmatch(token)
    if match is None or check_digits(token[:-CHECK_LENGTH]) != token[-CHECK_LENGTH:]:
        return None
    return match[2]


class Pepper:
    """HMAC-SHA256 (RFC 2104) of whole tokens under a shop's secret; the secret is mixed in once, not per request."""

    def __init__(self, secret: bytes) -> None:
        self._begun = hmac.new(secret, digestmod="sha256")

    def hash(self, token: str) -> str:
        """The keyed hash of a token, in hexadecimal."""
        mixed = self._begun.copy()
        mixed.update(token.encode())
        return mixed.hexdigest()

    def same(self, token: str, hash: str) -> bool:
        """Whether the token has this hash; takes as long for a wrong one, and for an empty hash it never has."""
        return hmac.compare_digest(self.hash(token), hash or NOBODY)
