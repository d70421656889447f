"""Keys of pseudonyms, by name, from a shop's key ring: never in a record, a ledger entry or a model.

A model whose operators make pseudonyms names the key and its fingerprint. It serves where the shop holds that key, and is
refused with the key's name where it does not.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mofang.core.errors import MofangError

if TYPE_CHECKING:
    from mofang.core.shop import Shop

_HELD: dict[str, bytes] = {}  # by fingerprint, for this process


def hold(secret: bytes) -> str:
    """Keep a key for this process's operators; its fingerprint."""
    fingerprint = hmac.new(secret, b"mofang pseudonym fingerprint", hashlib.sha256).hexdigest()[:16]
    _HELD[fingerprint] = secret
    return fingerprint


def key_of(shop: Shop, name: str) -> bytes:
    """A shop's key of this name, made at first use."""
    return shop.secret(f"pseudonym-{shop.checked_name(name)}")


def existing_key(shop: Shop, name: str) -> bytes:
    """A shop's key of this name; refused where it was never made, so that a slip of the pen makes none."""
    place = shop.path / "keys" / f"pseudonym-{shop.checked_name(name)}.key"
    if not place.exists():
        raise MofangError("pseudonym-key-unknown", name=name)
    return place.read_bytes()


def told(shop: Shop, name: str) -> dict[str, str]:
    """What an operator's state says of a key: its name and fingerprint."""
    return {"name": name, "fingerprint": hold(key_of(shop, name))}


def held(state: Mapping[str, Any]) -> bytes:
    """The key that an operator's state names, or none where it needs none."""
    named = state.get("key")
    if not named:
        return b""
    secret = _HELD.get(str(named["fingerprint"]))
    if secret is None:
        raise MofangError("pseudonym-key-missing", name=named["name"])
    return secret


def lend(shop: Shop | None, specs: Sequence[Mapping[str, Any]]) -> None:
    """Give a model's operators the keys they name, from the shop that serves it; refused where it lacks one."""
    for spec in specs:
        named = spec.get("state", {}).get("key")
        if not named:
            continue
        place = shop.path / "keys" / f"pseudonym-{named['name']}.key" if shop else None
        if place is not None and place.exists():
            hold(place.read_bytes())
        held(spec["state"])
