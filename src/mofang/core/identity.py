"""Who acts, for whom, and when: actors, owners, sortable ids and times."""

from __future__ import annotations

import getpass
import itertools
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


# What a person may be let do. ``owner`` is everything, people too; the three in BRINGS_LOOK bring ``look`` with them.
ROLES = ("look", "label", "train", "release", "money")
BRINGS_LOOK = frozenset({"train", "release", "money"})
EVERYTHING = "everything"

_acting: list[Actor] = []  # at most one


def act_as(actor: Actor) -> None:
    """From now on this process acts for somebody with these roles, and no variable of its environment changes that.

    Only the child process of a console calls it, before anything else (``cli/child.py``).
    """
    _acting[:] = [actor]


def local_actor() -> Actor:
    """The person at this machine's keyboard: owner of the shop, so every role; in a console's child whom it acts for."""
    if _acting:
        return _acting[0]
    try:
        name = os.environ.get("MOFANG_ACTOR") or getpass.getuser()
    except (KeyError, OSError):  # a container without a user entry
        name = f"uid-{os.getuid()}"
    return Actor(name=name, roles=frozenset({EVERYTHING}))


def permit_roles(actor: Actor, may: str) -> bool:
    """Allow what the actor's roles name; ``everything`` allows all."""
    return EVERYTHING in actor.roles or may in actor.roles


def refuse(_actor: Actor, _may: str) -> bool:
    """The default permit: nobody may do anything."""
    return False


def now_us() -> int:
    """Wall-clock time in microseconds since 1970 (UTC)."""
    return time.time_ns() // 1000


ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32
PAIRS = [first + second for first in ALPHABET for second in ALPHABET]
STRIDE = 0x9E3779B97F4A7C15F39D  # odd, so that its multiples meet every 80-bit number before any twice


class _Chance:
    """80 bits that no other id of this process has, and no other process by more than chance.

    A random start and a counter instead of random bytes for each id: asking the system for them lets go of the
    interpreter's lock, which costs a busy server an eighth of its time.
    """

    def __init__(self) -> None:
        self.seed()

    def seed(self) -> None:
        """Begin anew; also in every forked child."""
        self.start = int.from_bytes(os.urandom(10), "big")
        self.count = itertools.count()

    def bits(self) -> int:
        """The next number; ``next`` on a counter is one step that no other thread can enter."""
        return (self.start + next(self.count) * STRIDE) & (1 << 80) - 1


_chance = _Chance()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_chance.seed)


def new_id(prefix: str) -> str:
    """A new id ``prefix_<26 characters>`` that sorts by time: UUIDv7 layout (RFC 9562), base 32 by Crockford.

    It names, and does not authorise: who knows one id of a process can guess others. Keys have secrets of their own.
    """
    number = (time.time_ns() // 1_000_000) << 80 | _chance.bits()
    digits = [PAIRS[number >> shift & 1023] for shift in range(120, -10, -10)]
    return f"{prefix}_{''.join(digits)}"
