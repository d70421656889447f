"""Secrets of sources, kept in the key ring by name: a value is read once, lies in ``keys/``, and goes where it is for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mofang.core.errors import MofangError
from mofang.core.keyring import write_secret
from mofang.data.remote.definition import NAME

if TYPE_CHECKING:
    from pathlib import Path

    from mofang.core.shop import Shop

LONGEST = 16_384
FOLDER = "sources"
HIDDEN = "•••"


def _place(shop: Shop, name: str) -> Path:
    if not NAME.fullmatch(name):
        raise MofangError("name-invalid", name=name)
    return shop.path / "keys" / FOLDER / f"{name}.key"


def keep_secret(shop: Shop, name: str, value: str) -> None:
    """Keep a value under a name, in place of an earlier one. Raises ``secret-empty``, ``secret-too-long``."""
    value = value.strip("\r\n")
    if not value.strip():
        raise MofangError("secret-empty", name=name)
    if len(value) > LONGEST or any(sign in value for sign in "\r\n\0"):
        raise MofangError("secret-too-long", name=name, most=LONGEST)
    place = _place(shop, name)
    place.parent.parent.mkdir(mode=0o700, exist_ok=True)
    place.parent.mkdir(mode=0o700, exist_ok=True)
    write_secret(place, value.encode())


def has_secret(shop: Shop, name: str) -> bool:
    """True if a value is kept under this name."""
    return _place(shop, name).exists()


def drop_secret(shop: Shop, name: str) -> None:
    """Remove a value. Raises ``secret-missing``."""
    place = _place(shop, name)
    if not place.exists():
        raise MofangError("secret-missing", name=name)
    place.unlink()


def secret_value(shop: Shop, name: str) -> str:
    """The value kept under a name, or an empty text for no name. Raises ``secret-missing``."""
    if not name:
        return ""
    place = _place(shop, name)
    if not place.exists():
        raise MofangError("secret-missing", name=name)
    return place.read_bytes().decode()


def hidden(text: object, secret: str) -> str:
    """What somebody else's software said, without the secret in it, plain or as URLs write it."""
    from urllib.parse import quote, quote_plus

    said = " ".join(str(text).split())
    for form in {secret, quote(secret, safe=""), quote_plus(secret)} if secret else ():
        said = said.replace(form, HIDDEN)
    return said[:240]
