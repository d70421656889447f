"""Entries of journals that hold somebody's content: sealed under a key of that subject, so that they can be forgotten.

A journal is a chain and nothing is ever taken out of it. So what it says about a person or a record is written as
ciphertext, which the chain covers; once the subject's key is destroyed, the row stays and says nothing. A subject is
any text: a person's id, or the id of a record.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import orjson

from mofang.core.canonical import canonical
from mofang.core.errors import MofangError

if TYPE_CHECKING:
    from mofang.core.shop import Shop

LEAD = "sealed1."
NONCE_BYTES = 12


def seal(shop: Shop, subject: str, body: dict[str, Any]) -> str:
    """A body as text that only the subject's key opens; the key is made at first use. Raises ``subject-erased``."""
    return seal_many(shop, [(subject, body)])[0]


def seal_many(shop: Shop, bodies: Sequence[tuple[str, dict[str, Any]]]) -> list[str]:
    """The same for many (subject, body) at once: all new keys are made durable together."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    marks = [mark_of(shop, subject) for subject, _ in bodies]
    keys = shop.store.keys.of_subjects(marks, make=True)
    found = []
    for (subject, body), mark in zip(bodies, marks, strict=True):
        if not keys[mark]:
            raise MofangError("subject-erased", subject=subject[:12])
        nonce = os.urandom(NONCE_BYTES)
        sealed = AESGCM(keys[mark]).encrypt(nonce, canonical(body), mark.encode())
        found.append(LEAD + base64.urlsafe_b64encode(nonce + sealed).decode())
    return found


def open_(shop: Shop, subject: str, sealed: str) -> dict[str, Any] | None:
    """The body behind a sealed text; None once the subject was forgotten. Raises ``sealed-changed``."""
    return open_many(shop, [(subject, sealed)])[0]


def open_many(shop: Shop, texts: Sequence[tuple[str, str]]) -> list[dict[str, Any] | None]:
    """The same for many (subject, sealed text) at once."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    marks = [mark_of(shop, subject) for subject, _ in texts]
    keys = shop.store.keys.of_subjects(marks, make=False)
    found: list[dict[str, Any] | None] = []
    for (_, sealed), mark in zip(texts, marks, strict=True):
        key = keys.get(mark)
        if not key:
            found.append(None)
            continue
        try:
            data = base64.b64decode(sealed.removeprefix(LEAD), altchars=b"-_", validate=True)
            if not sealed.startswith(LEAD) or len(data) < NONCE_BYTES:
                raise ValueError
            plain = AESGCM(key).decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], mark.encode())
        except (InvalidTag, ValueError):
            raise MofangError("sealed-changed") from None
        found.append(orjson.loads(plain))
    return found


def forget(shop: Shop, subject: str) -> bool:
    """Destroy a subject's key: everything sealed under it is gone, in every copy. True if there was one."""
    return forget_many(shop, [subject]) > 0


def forget_many(shop: Shop, subjects: Sequence[str]) -> int:
    """The same for many subjects at once; how many had a key."""
    return shop.store.keys.forget([mark_of(shop, subject) for subject in subjects])


def mark_of(shop: Shop, subject: str) -> str:
    """The keyed mark under which a subject's key is kept; without the shop's secret it says nothing."""
    key = shop.secret("subjects")
    text = subject.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, key=key, digest_size=16, person=b"mofang subject").hexdigest()
