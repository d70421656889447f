"""The shop's own signature: one Ed25519 key (RFC 8032), made at first use, and what it signs always says what for.

A signature by a key on the same machine does not stop its owner from signing something else; it stops everybody in
between, and it binds the owner to what was handed out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mofang.core.canonical import sha256
from mofang.core.errors import MofangError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from mofang.core.shop import Shop

ALGORITHM = "ed25519"
KEY = "signing"  # keys/signing.key: 32 bytes, readable by this user only
FINGERPRINT_HEX = 32  # 128 bits, in eight groups of four


def fingerprint(public_key: str) -> str:
    """What people compare over the telephone: ``3f2a-91bc-…``, eight groups of four hexadecimal digits."""
    digest = sha256(f"mofang shop key\0{public_key}".encode())[:FINGERPRINT_HEX]
    return "-".join(digest[at:at + 4] for at in range(0, FINGERPRINT_HEX, 4))


def same_fingerprint(one: str, other: str) -> bool:
    """True if two fingerprints are equal as people write them: capitals, blanks and dashes do not count."""
    bare = [text.lower().replace("-", "").replace(" ", "").replace(":", "") for text in (one, other)]
    return bare[0] == bare[1] and len(bare[0]) == FINGERPRINT_HEX


def public_key(shop: Shop) -> str:
    """This shop's public key in hexadecimal; the key is made if there is none yet."""
    return _private(shop).public_key().public_bytes_raw().hex()


def sign(shop: Shop, context: str, data: bytes) -> dict[str, str]:
    """The shop's signature over bytes, valid in this context only (``ancestry`` is no ``invoice``)."""
    signed = _private(shop).sign(_message(context, data)).hex()
    return {"algorithm": ALGORITHM, "context": context, "public_key": public_key(shop), "signature": signed}


def check_signature(signature: Any, context: str, data: bytes) -> str:
    """The fingerprint of the key that signed these bytes in this context; raises ``signature-wrong``."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    names = ("algorithm", "context", "public_key", "signature")
    if not isinstance(signature, dict) or set(signature) != set(names):
        raise MofangError("signature-wrong")
    algorithm, said, key, signed = (signature[name] for name in names)
    if algorithm != ALGORITHM or said != context or not (isinstance(key, str) and isinstance(signed, str)) or key != key.lower():
        raise MofangError("signature-wrong")
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)).verify(bytes.fromhex(signed), _message(context, data))
    except (InvalidSignature, ValueError):
        raise MofangError("signature-wrong") from None
    return fingerprint(key)


def _message(context: str, data: bytes) -> bytes:
    return f"mofang\0{context}\0".encode() + data


def _private(shop: Shop) -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(shop.secret(KEY))
