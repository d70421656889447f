"""The key ring of a shop in a file of its own, locked by a passphrase.

Backups never hold keys: who finds a backup must not be able to pass for a customer. Without the ring, though, no
customer's key can be checked after a restore, so it is kept apart: scrypt (RFC 7914) makes a key of the passphrase, and
AES-256-GCM (NIST SP 800-38D) locks the ring and proves that nothing of the file was changed.
"""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path, PurePosixPath
from typing import Any

from mofang.core.canonical import canonical, sync_folder, write_durably
from mofang.core.copying import full_disk_told
from mofang.core.datakeys import FILE, DataKeys
from mofang.core.errors import MofangError
from mofang.core.identity import now_us
from mofang.core.secrets import secret_in
from mofang.core.tombfile import RING_NAME, tombs_in_ring
from mofang.core.tombstones import SECRET

KEYS_FORMAT = 1
WHAT = "mofang keys"
COST = {"n": 2**17, "r": 8, "p": 1}  # 128 MB and a third of a second for each guess
COST_MOST = {"n": 2**20, "r": 16, "p": 4}  # a file from elsewhere must not use up this machine
PASSPHRASE_LEAST = 10
DAYS_MOST = 30  # an older ring would bring back keys that were destroyed since
DATA_FILES = (FILE, f"{FILE}-wal", f"{FILE}-shm")


def check_passphrase(passphrase: str) -> str:
    """A passphrase long enough that scrypt's price for each guess means something."""
    if len(passphrase) < PASSPHRASE_LEAST:
        raise MofangError("passphrase-short", least=PASSPHRASE_LEAST)
    return passphrase


def ring_of(shop: Path) -> dict[str, bytes]:
    """Every secret of a shop by its path below ``keys/``; the database of data keys as it is at one moment."""
    folder = shop / "keys"
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*"))
             if path.is_file() and path.name not in DATA_FILES}
    data = DataKeys(folder)
    if data.path.exists():
        found[FILE] = data.dump()
        data.close()
    return found


def lock_ring(shop: Path, settings: dict[str, Any], file: Path, passphrase: str) -> int:
    """Write the key ring into a file that only the passphrase opens; how many keys it holds.

    An older key file of the same shop is replaced, any other file is not.
    """
    secret_in(shop / "keys", SECRET)  # before anybody is erased, so that an older ring can tell whose marks those are
    ring = ring_of(shop)
    if file.exists():
        _read(file, str(settings["id"]))
    head: dict[str, Any] = {"format": KEYS_FORMAT, "what": WHAT, "shop": settings["id"], "made_us": now_us(),
                            "scrypt": {**COST, "salt": os.urandom(16).hex()}, "nonce": os.urandom(12).hex(), "keys": len(ring)}
    plain = canonical({name: secret.hex() for name, secret in ring.items()})
    locked = _cipher(head, check_passphrase(passphrase)).encrypt(bytes.fromhex(head["nonce"]), plain, canonical(head))
    with full_disk_told(file):
        write_durably(file, json.dumps({**head, "locked": base64.b64encode(locked).decode()}, indent=1).encode())
        file.chmod(0o600)
    return len(ring)


def open_ring(file: Path, passphrase: str, shop: str = "", *, old: bool = False) -> dict[str, bytes]:
    """The secrets of a key file by name; ``shop`` is the id that they must belong to.

    A file of more than 30 days is refused (``keys-file-old``) unless ``old`` asks for it: who was erased since would be
    readable again with it.
    """
    from cryptography.exceptions import InvalidTag

    told = _read(file, shop)
    days = (now_us() - int(told["made_us"])) / 86_400e6
    if days > DAYS_MOST and not old:
        raise MofangError("keys-file-old", file=file, days=int(days), most=DAYS_MOST)
    locked = base64.b64decode(told.pop("locked"))
    try:
        plain = _cipher(told, passphrase).decrypt(bytes.fromhex(told["nonce"]), locked, canonical(told))
    except InvalidTag:
        raise MofangError("passphrase-wrong", file=file) from None
    ring = {name: bytes.fromhex(secret) for name, secret in json.loads(plain).items()}
    assert not any(PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts for name in ring)
    return ring


def put_ring(shop: Path, ring: dict[str, bytes]) -> int:
    """Give a restored shop its keys; one that it has already must be the same. How many there are now."""
    folder = shop / "keys"
    for name, secret in ring.items():
        if name not in (FILE, RING_NAME) and (folder / name).exists() and (folder / name).read_bytes() != secret:
            raise MofangError("keys-there", name=name.removesuffix(".key"))
    for name, secret in ring.items():
        place = folder / name
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if name == FILE:
            data = DataKeys(folder)
            data.merge(secret)
            data.close()
        elif name == RING_NAME and place.exists():
            both = tombs_in_ring({name: place.read_bytes()})
            both.add(tombs_in_ring(ring))
            write_durably(place, both.written())
        elif not place.exists():
            write_secret(place, secret)
    return len(ring)


def write_secret(place: Path, secret: bytes) -> None:
    """A file that only this user can read, from its first byte on."""
    beside = place.with_name(f".{place.name}.{os.getpid()}.new")
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(secret)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, place)
    sync_folder(place.parent)


def _read(file: Path, shop: str) -> dict[str, Any]:
    try:
        told: dict[str, Any] = json.loads(file.read_bytes())
        known = told["what"] == WHAT and {"scrypt", "nonce", "locked", "shop"} <= told.keys()
        cost = {name: int(told["scrypt"][name]) for name in COST} if known else COST
    except FileNotFoundError:
        raise MofangError("keys-file-missing", file=file) from None
    except (OSError, ValueError, KeyError, TypeError):
        raise MofangError("keys-file-unreadable", file=file) from None
    if not known or any(not 0 < cost[name] <= COST_MOST[name] for name in COST):
        raise MofangError("keys-file-unreadable", file=file)
    if told["format"] != KEYS_FORMAT:
        raise MofangError("keys-format", file=file, format=told["format"], known=KEYS_FORMAT)
    if shop and told["shop"] != shop:
        raise MofangError("keys-other-shop", file=file)
    return told


def _cipher(head: dict[str, Any], passphrase: str) -> Any:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

    cost = head["scrypt"]
    kdf = Scrypt(salt=bytes.fromhex(cost["salt"]), length=32, n=cost["n"], r=cost["r"], p=cost["p"])
    return AESGCM(kdf.derive(passphrase.encode()))
