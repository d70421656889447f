"""Which artifact kinds and which tables can hold personal data: the first are encrypted at rest, and erasure finds both.

Every kind of the data floor does; a kind of another floor, or of a recipe of one's own, says so where it is declared. A
floor that keeps content in a table of its own registers a holder. What is not known here is neither encrypted nor
erased, so a test looks at what a planted record leaves behind.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from mofang.core.artifact import Artifact
    from mofang.core.shop import Shop
    from mofang.core.tombstones import Tombstones

Holder = Callable[["Shop", "Sought"], dict[str, int]]
H = TypeVar("H", bound=Holder)
# the artifact and whether an id is of an erased record: parts as they are from now on, None for one that goes
Rewriter = Callable[["Artifact", Callable[[object], bool]], dict[str, bytes | None]]
R = TypeVar("R", bound=Rewriter)
# the shop, and the ids of all entries that were made of an erased person's records: the names of whom it concerns
Follower = Callable[["Shop", set[str]], list[str]]
F = TypeVar("F", bound=Follower)

PERSONAL: set[str] = set()
PARTS: dict[str, tuple[str, ...]] = {}
HOLDERS: dict[str, Holder] = {}
REWRITERS: dict[str, Rewriter] = {}
SHOWS: dict[str, str] = {}
FOLLOWERS: dict[str, Follower] = {}


@dataclass(frozen=True)
class Sought:
    """Whom an erasure looks for: keyed marks always, the words themselves only while the person who asked is there.

    ``subjects`` are ids of records, for journals that seal by record; empty when an older backup is brought up to date.
    """

    marks: Tombstones
    values: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    dry: bool = False


def holds_personal_data(cls: Any = None, *, kind: str = "", parts: tuple[str, ...] = ()) -> Any:
    """Say that artifacts of this kind can hold personal data: as a decorator of the class, or by the kind's name.

    Every part of such an artifact (or only ``parts``) is then encrypted at rest. When a person is erased, rows with the
    record's ``id`` or with the person in a column of role ``person`` are taken out of its Parquet and JSON-lines parts.
    """
    if parts:
        assert kind, "say which kind"
        PARTS[kind] = parts
    if cls is None:
        assert kind, "say which kind"
        PERSONAL.add(kind)
        return None
    PERSONAL.add(cls.kind)
    return cls


def is_personal(kind: str) -> bool:
    """True if artifacts of this kind can hold personal data; the module that declares the kind is imported first."""
    from mofang.core import lock
    from mofang.core.artifact import KINDS

    if kind not in KINDS and kind not in PERSONAL:
        lock.import_kind(kind)
    cls = KINDS.get(kind)
    return kind in PERSONAL or (cls is not None and cls.__module__.startswith("mofang.data."))


def is_private(kind: str, part: str) -> bool:
    """True if this part of an artifact of this kind is encrypted at rest."""
    return is_personal(kind) and part in PARTS.get(kind, (part,))


def rewrites(kind: str, *, shows: str = "") -> Callable[[R], R]:
    """Register how artifacts of a kind lose erased records where dropping rows by id is not enough.

    ``shows`` is a part that shows records without their ids: it is rewritten whenever what it was made from is.
    """

    def register(function: R) -> R:
        REWRITERS[kind] = function
        if shows:
            SHOWS[kind] = shows
        return function

    return register


def follows(name: str) -> Callable[[F], F]:
    """Register who is to be told: a function from everything that descends from erased records to names."""

    def register(function: F) -> F:
        FOLLOWERS[name] = function
        return function

    return register


def forgets(name: str) -> Callable[[H], H]:
    """Register a holder: a function that removes what it keeps of a person, and says how many of what went.

    With ``sought.dry`` it only counts. It must be safe to repeat.
    """

    def register(function: H) -> H:
        HOLDERS[name] = function
        return function

    return register
