"""What takes the place of personal data: a token, the last four signs, something coarser, a pseudonym, nothing.

A pseudonym is AES-SIV (RFC 5297) of the value in its plain spelling, with its kind as associated data: the same person
always gets the same pseudonym, nobody can make or open one without the key, and who holds the key can. Pseudonymised
records are still personal data.
"""

from __future__ import annotations

import base64
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from mofang.core.errors import MofangError
from mofang.core.nearest import nearest
from mofang.data.protecting.find import finder
from mofang.data.protecting.spans import ALL_KINDS, KINDS, Span

HOWS = ("mask", "last4", "generalise", "pseudonym", "remove", "keep")
WORDS = {
    "identity-card": ("身份证", "ID-CARD"), "card": ("银行卡", "CARD"), "iban": ("银行账号", "IBAN"), "ssn": ("社保号", "SSN"),
    "mobile": ("手机", "PHONE"), "landline": ("座机", "PHONE"), "phone": ("电话", "PHONE"), "passport": ("护照", "PASSPORT"),
    "permit": ("通行证", "PERMIT"), "email": ("邮箱", "EMAIL"), "ip": ("IP", "IP"), "plate": ("车牌", "PLATE"),
    "wechat": ("微信", "WECHAT"), "address": ("地址", "ADDRESS"), "name": ("姓名", "NAME"), "value": ("值", "VALUE"),
}  # fmt: skip
DIGITS_ONLY = frozenset({"mobile", "landline", "phone", "card", "ssn"})
LOWER = frozenset({"email", "ip"})
TOKEN = re.compile(r"<([^<>#\s]{1,12})#([A-Z2-7]{27,})>")
HAN = re.compile("[\u4e00-\u9fff]")


@dataclass(frozen=True)
class Change:
    """How each kind is changed (``*`` for all others), in which language tokens stand, and the key of pseudonyms."""

    how: Mapping[str, str] = field(default_factory=dict)
    kinds: frozenset[str] = ALL_KINDS
    tokens: Mapping[str, str] = field(default_factory=dict)
    language: str = "auto"
    key: bytes = b""
    engine: str = "own"

    def __post_init__(self) -> None:
        for kind, how in self.how.items():
            if kind != "*" and kind not in KINDS:
                raise MofangError("personal-kind-unknown", kind=kind, nearest=nearest(kind, KINDS), kinds=", ".join(KINDS))
            if how not in HOWS:
                raise MofangError("protect-how-unknown", how=how, nearest=nearest(how, HOWS), hows=", ".join(HOWS))

    def of(self, kind: str) -> str:
        """How this kind is changed."""
        return self.how.get(kind, self.how.get("*", "mask"))

    def texts(self, texts: Sequence[str]) -> list[tuple[str, list[Span]]]:
        """Each text without its personal data, and what was found in it."""
        found = finder(self.engine)(texts, self.kinds)
        return [(self.one(text, spans), spans) if spans else (text, spans) for text, spans in zip(texts, found, strict=True)]

    def one(self, text: str, spans: Sequence[Span]) -> str:
        """A text with something else in the place of each span; pseudonyms that stand there already stay."""
        kept = [found.span() for found in TOKEN.finditer(text)] if "#" in text else []
        chinese = self.language == "zh" or (self.language == "auto" and HAN.search(text) is not None)
        pieces, last = [], 0
        for span in spans:
            if any(low < span.end and span.start < high for low, high in kept):
                continue
            pieces += [text[last : span.start], self.value(text[span.start : span.end], span.kind, chinese)]
            last = span.end
        return "".join(pieces) + text[last:]

    def value(self, text: str, kind: str, chinese: bool) -> str:
        """What stands in the place of one value."""
        how = self.of(kind)
        if how == "keep":
            return text
        if how == "remove":
            return ""
        if how == "last4":
            return last_four(text, kind)
        word = WORDS[kind][0 if chinese else 1]
        token = self.tokens.get(kind) or self.tokens.get("*") or f"<{word}>"
        if how == "generalise":
            return coarser(text, kind) or token
        return pseudonym(self.key, kind, text, word) if how == "pseudonym" else token


def plain(text: str, kind: str) -> str:
    """A value in one spelling, so that a person has one pseudonym however a number was written."""
    text = unicodedata.normalize("NFKC", text).strip()
    if kind in DIGITS_ONLY:
        digits = "".join(sign for sign in text if sign.isdecimal())
        return digits[-11:] if kind == "mobile" else digits
    if kind in LOWER:
        return text.lower()
    return text if kind in ("address", "name", "value") else "".join(text.split()).upper() if kind != "wechat" else text


def pseudonym(key: bytes, kind: str, text: str, word: str = "") -> str:
    """The pseudonym of a value: a token that only the key makes and opens."""
    from cryptography.hazmat.primitives.ciphers.aead import AESSIV

    sealed = AESSIV(_long(key)).encrypt(plain(text, kind).encode() or b"\0", [kind.encode()])
    body = base64.b32encode(sealed).decode().rstrip("=")
    return f"<{word or WORDS[kind][1]}#{body}>"


def opened(key: bytes, token: str) -> tuple[str, str]:
    """The kind and the value behind a pseudonym; refused where the key is not the one that made it."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESSIV

    found = TOKEN.fullmatch(token.strip())
    if found is None:
        raise MofangError("pseudonym-unreadable", token=token[:40])
    body = found[2] + "=" * (-len(found[2]) % 8)
    try:
        sealed = base64.b32decode(body)
    except ValueError:
        raise MofangError("pseudonym-unreadable", token=token[:40]) from None
    kinds = [kind for kind, words in WORDS.items() if found[1] in words] or list(WORDS)
    for kind in kinds:
        try:
            return kind, AESSIV(_long(key)).decrypt(sealed, [kind.encode()]).decode()
        except InvalidTag:
            continue
    raise MofangError("pseudonym-other-key", token=token[:40])


def _long(key: bytes) -> bytes:
    """The 64 bytes that AES-SIV takes, from a secret of the key ring (HKDF would need no salt here: the secret is random)."""
    from cryptography.hazmat.primitives.hashes import SHA512
    from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

    return HKDFExpand(SHA512(), 64, b"mofang pseudonym 1").derive(key)


def last_four(text: str, kind: str) -> str:
    """The last four letters or digits, stars for the others; of a mailbox its domain, of a name its first sign."""
    if kind == "email":
        name, _, domain = text.partition("@")
        return f"{name[:1]}***@{domain}"
    if kind in ("name", "wechat"):
        return text[:1] + "*" * (len(text) - 1)
    left = sum(map(str.isalnum, text)) - 4
    signs = []
    for sign in text:
        signs.append("*" if sign.isalnum() and left > 0 else sign)
        left -= sign.isalnum()
    return "".join(signs)


def coarser(text: str, kind: str) -> str:
    """Something less exact that is still worth knowing, or nothing where there is no such thing."""
    wide = unicodedata.normalize("NFKC", text)
    made = COARSER.get(kind)
    return made(wide) if made else ""


def _region(text: str) -> str:
    from mofang.data.protecting.places import REGION

    found = REGION.match(text)
    return found[0].strip(" ,") if found else ""


def _network(text: str) -> str:
    return text.rpartition(".")[0] + ".0/24" if ":" not in text else ":".join(text.split(":")[:2]) + "::/32"


COARSER: dict[str, Callable[[str], str]] = {
    "address": _region,
    "identity-card": lambda text: f"{text[:2]}****{text[6:10]}****",
    "mobile": lambda text: plain(text, "mobile")[:3] + "*" * 8,
    "email": lambda text: "***@" + text.partition("@")[2],
    "ip": _network,
    "plate": lambda text: text[:2] + "*****",
    "name": lambda text: text[:1] + "*" * (len(text) - 1) if HAN.match(text) else "",
}
