"""Who acts, for whom, and when: actors, owners, sortable ids and times."""

from __future__ import annotations

import getpass
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field

Permit = Callable[["Actor", str], bool]


@dataclass(frozen=True)
class Actor:
    """A person or program that acts, with the roles that say what it may do."""

    name: str
    owner: str = "shop"
    roles: frozenset[str] = field(default_factory=frozenset)


def local_actor() -> Actor:
    """The person at this machine's keyboard: owner of the shop, so every role."""
    try:
        name = os.environ.get("MOFANG_ACTOR") or getpass.getuser()
    except (KeyError, OSError):  # a container without a user entry
        name = f"uid-{os.getuid()}"
    return Actor(name=name, roles=frozenset({"everything"}))


def permit_roles(actor: Actor, may: str) -> bool:
    """Allow what the actor's roles name; ``everything`` allows all."""
    return "everything" in actor.roles or may in actor.roles


def refuse(_actor: Actor, _may: str) -> bool:
    """The default permit: nobody may do anything."""
    return False


def now_us() -> int:
    """Wall-clock time in microseconds since 1970 (UTC)."""
    return time.time_ns() // 1000


def new_id(prefix: str) -> str:
    """A new id ``prefix_<26 characters>`` that sorts by time: UUIDv7 layout (RFC 9562), base 32 by Crockford."""
    number = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10), "big")
    digits = []
    for _ in range(26):
        digits.append("0123456789abcdefghjkmnpqrstvwxyz"[number & 31])
        number >>= 5
    return f"{prefix}_{''.join(reversed(digits))}"
