"""The licence of a leased model: who may run which package until when, signed by the shop that leases it.

Canonical JSON under the shop's Ed25519 key (RFC 8032). The package's data key is wrapped for whoever may open it: by an
unlock code, or for single machines (X25519, RFC 7748, and HKDF, RFC 5869). The wrapped key is bound to the licence's own
words and to the key that signed it, so that no word can be changed and nobody else's signature stands in, even where
signatures were not looked at. Once a lessee has opened the package on a machine of its own, no licence stops it from keeping
a copy: docs/lease.md.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import unicodedata
from dataclasses import asdict, dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import orjson

from mofang.core.canonical import canonical, sha256
from mofang.core.errors import MofangError
from mofang.core.identity import new_id
from mofang.core.signing import check_signature, sign

if TYPE_CHECKING:
    from mofang.core.shop import Shop

FORMAT = 1
CONTEXT = "lease"
FEATURES = ("predict",)
DAY_US = 86_400_000_000
BEHIND_US = 600_000_000  # two clocks may differ by so much
CODE = "code"            # the name under which the key is wrapped for the unlock code
SECRET_BYTES, SIGNER_BYTES = 15, 5
MACHINE = "mm-"
PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/-]{0,200}")
TEXTS = ("id", "shop", "customer", "model", "digest")
NUMBERS = ("sequence", "issued_us", "from_us", "until_us", "grace_us", "instances", "quota", "start_until_us")


@dataclass(frozen=True)
class Licence:
    """What was agreed. Times in microseconds since 1970 (UTC); ``quota`` in units, 0: not counted against any.

    ``start_until_us``: until when it may be started where no record of earlier use lies; later an installation without its
    record is refused. ``parts`` are [name, bytes, SHA-256]; ``receipt`` is what the seller has booked: [rows, last link, time].
    """

    id: str
    sequence: int
    shop: str
    customer: str
    model: str
    digest: str
    parts: tuple[tuple[str, int, str], ...]
    features: tuple[str, ...]
    issued_us: int
    from_us: int
    until_us: int
    grace_us: int
    instances: int
    quota: int
    start_until_us: int
    machines: tuple[str, ...] = ()
    receipt: tuple[int, str, int] | None = None
    wrapped: dict[str, str] = field(default_factory=dict)

    @property
    def base(self) -> str:
        """The model's name without its version."""
        return self.model.partition("@")[0]

    @property
    def ends_us(self) -> int:
        """When it stops answering: the end and its grace."""
        return self.until_us + self.grace_us

    def to_dict(self) -> dict[str, Any]:
        """As it is signed."""
        return {"format": FORMAT, **asdict(self)}

    def bound(self, public_key: str) -> bytes:
        """What the wrapped key is bound to: all words but itself, and who signs."""
        words = {name: value for name, value in self.to_dict().items() if name != "wrapped"}
        return sha256(canonical([words, public_key])).encode()

    def phase(self, at_us: int) -> str:
        """``early``, ``good``, ``grace`` or ``ended`` at a moment."""
        if at_us < self.from_us - BEHIND_US:
            return "early"
        return "good" if at_us < self.until_us else "grace" if at_us < self.ends_us else "ended"


@dataclass(frozen=True)
class Signed:
    """A licence with the key that signed it."""

    licence: Licence
    fingerprint: str
    public_key: str
    data: bytes


def signed(shop: Shop, licence: Licence) -> bytes:
    """The licence with the shop's signature, as it stands in files."""
    told = licence.to_dict()
    return canonical({"licence": told, "signature": sign(shop, CONTEXT, canonical(told))})


def read_signed(data: bytes) -> Signed:
    """A licence from outside, its signature checked. Raises ``lease-edited``, ``lease-unreadable``."""
    try:
        told = orjson.loads(data)
        said, signature = told["licence"], told["signature"]
        exact = canonical(told) == data and bytes.fromhex(signature["signature"]).hex() == signature["signature"]
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        raise MofangError("lease-edited") from None
    if not exact:
        raise MofangError("lease-edited")
    try:
        fingerprint = check_signature(signature, CONTEXT, canonical(said))
    except MofangError as error:
        raise MofangError("lease-edited") from error
    return Signed(_licence(said), fingerprint, signature["public_key"], data)


def _licence(told: Any) -> Licence:
    """A signed licence's fields, each of its kind: a stranger may sign anything."""
    try:
        if told.pop("format") != FORMAT:
            raise MofangError("lease-unreadable", reason="format")
        found = Licence(**{**told, "parts": tuple((str(name), int(size), str(digest)) for name, size, digest in told["parts"]),
                           "features": tuple(map(str, told["features"])), "machines": tuple(map(str, told["machines"])),
                           "receipt": _receipt(told["receipt"])})
    except (KeyError, TypeError, ValueError, AttributeError):
        raise MofangError("lease-unreadable", reason="fields") from None
    kinds = all(isinstance(getattr(found, name), str) for name in TEXTS)
    whole = all(isinstance(getattr(found, name), int) and 0 <= getattr(found, name) < 2**62 for name in NUMBERS)
    wrapped = isinstance(told["wrapped"], dict) and all(isinstance(one, str) for one in told["wrapped"].values())
    if not (kinds and whole and wrapped and found.sequence and found.instances):
        raise MofangError("lease-unreadable", reason="fields")
    _require_plain(found)
    return found


def _require_plain(licence: Licence) -> None:
    """Refuse parts that would not lie beside each other in one folder, and words that are no words."""
    folders = {str(one) for name, _, _ in licence.parts for one in PurePosixPath(name).parents}
    seen = set[str]()
    for name, size, _ in licence.parts:
        plain = PART.fullmatch(name) and name == str(PurePosixPath(name)) and ".." not in PurePosixPath(name).parts
        if not plain or size < 0 or name in folders or name in seen:
            raise MofangError("lease-unreadable", reason=ascii(name)[:100])
        seen.add(name)
    for text in TEXTS:
        if any(unicodedata.category(sign) == "Cc" for sign in getattr(licence, text)):
            raise MofangError("lease-unreadable", reason=text)


def _receipt(told: Any) -> tuple[int, str, int] | None:
    return None if told is None else (int(told[0]), str(told[1]), int(told[2]))


def new_lease_id() -> str:
    """A lease's id."""
    return new_id("lse")


# The data key, for whoever may open the package


def unlock_code(secret: bytes, public_key: str) -> str:
    """The code told to the customer over another way than the file: 120 bits of secret, and the beginning of the signer's key."""
    whole = secret[:SECRET_BYTES] + bytes.fromhex(public_key)[:SIGNER_BYTES]
    text = base64.b32encode(whole).decode().lower()
    return "-".join(text[at:at + 4] for at in range(0, len(text), 4))


def _read_code(code: str, public_key: str) -> bytes:
    try:
        whole = base64.b32decode(re.sub(r"[\s-]", "", code).upper())
    except (binascii.Error, ValueError):
        raise MofangError("lease-code-wrong") from None
    if len(whole) != SECRET_BYTES + SIGNER_BYTES:
        raise MofangError("lease-code-wrong")
    if whole[SECRET_BYTES:] != bytes.fromhex(public_key)[:SIGNER_BYTES]:
        raise MofangError("lease-signer")
    return whole[:SECRET_BYTES]


def machine_id(public_key: bytes, fingerprint: bytes) -> str:
    """What a lessee tells the seller to have a lease bound to this installation on this machine."""
    whole = public_key + fingerprint[:8]
    return MACHINE + base64.b32encode(whole + bytes.fromhex(sha256(whole))[:5]).decode().lower()


def read_machine(text: str) -> tuple[bytes, bytes]:
    """(X25519 public key, 8 bytes of the machine's fingerprint). Raises ``lease-machine-unreadable``."""
    try:
        whole = base64.b32decode(text.strip().lower().removeprefix(MACHINE).upper())
    except (binascii.Error, ValueError):
        raise MofangError("lease-machine-unreadable", text=text) from None
    if len(whole) != 45 or bytes.fromhex(sha256(whole[:40]))[:5] != whole[40:]:
        raise MofangError("lease-machine-unreadable", text=text)
    return whole[:32], whole[32:40]


def wrap(key: bytes, secret: bytes, licence: Licence, public_key: str) -> dict[str, str]:
    """The data key for each machine of a licence; where it names none, for the unlock code."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

    bound = licence.bound(public_key)
    if not licence.machines:
        return {CODE: _seal(secret[:SECRET_BYTES], key, bound).hex()}
    found = {}
    for text in licence.machines:
        once = X25519PrivateKey.generate()
        theirs = X25519PublicKey.from_public_bytes(read_machine(text)[0])
        found[text] = (once.public_key().public_bytes_raw() + _seal(once.exchange(theirs), key, bound)).hex()
    return found


def unwrap_by_code(known: Signed, code: str) -> bytes:
    """The data key by the unlock code. Raises ``lease-code-wrong``, ``lease-signer``."""
    wrapped = known.licence.wrapped.get(CODE)
    if wrapped is None:
        raise MofangError("lease-other-machine", model=known.licence.model)
    secret = _read_code(code, known.public_key)
    return _opened(secret, wrapped, known, "lease-code-wrong")


def unwrap_by_machine(known: Signed, machine: str, private: bytes) -> bytes:
    """The data key for this installation. Raises ``lease-other-machine``."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

    wrapped = known.licence.wrapped.get(machine)
    if wrapped is None or machine not in known.licence.machines:
        raise MofangError("lease-other-machine", model=known.licence.model)
    try:
        theirs = X25519PublicKey.from_public_bytes(bytes.fromhex(wrapped[:64]))
        secret = X25519PrivateKey.from_private_bytes(private).exchange(theirs)
    except ValueError:
        raise MofangError("lease-other-machine", model=known.licence.model) from None
    return _opened(secret, wrapped[64:], known, "lease-other-machine")


def _opened(secret: bytes, wrapped: str, known: Signed, code: str) -> bytes:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    bound = known.licence.bound(known.public_key)
    try:
        blob = bytes.fromhex(wrapped)
        return AESGCM(derived(secret, b"wrap", bound)).decrypt(blob[:12], blob[12:], bound)
    except (InvalidTag, ValueError):
        raise MofangError(code, model=known.licence.model) from None


def _seal(secret: bytes, key: bytes, bound: bytes) -> bytes:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce = os.urandom(12)
    return nonce + AESGCM(derived(secret, b"wrap", bound)).encrypt(nonce, key, bound)


def derived(secret: bytes, purpose: bytes, bound: bytes = b"") -> bytes:
    """A key of 32 bytes for one purpose (HKDF-SHA256)."""
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(SHA256(), 32, salt=None, info=b"mofang lease\0" + purpose + b"\0" + bound).derive(secret)
