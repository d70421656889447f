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
    from mofang.core.shop import Shop
    from mofang.core.tombstones import Tombstones

Holder = Callable[["Shop", "Sought"], dict[str, int]]
H = TypeVar("H", bound=Holder)

PERSONAL: set[str] = set()
HOLDERS: dict[str, Holder] = {}


@dataclass(frozen=True)
class Sought:
    """Whom an erasure looks for: keyed marks always, the words themselves only while the person who asked is there.

    ``subjects`` are ids of records, for journals that seal by record; empty when an older backup is brought up to date.
    """

    marks: Tombstones
    values: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    dry: bool = False


def holds_personal_data(cls: Any = None, *, kind: str = "") -> Any:
    """Say that artifacts of this kind can hold personal data: as a decorator of the class, or by the kind's name.

    Every part of such an artifact is then encrypted at rest. When a person is erased, rows with the record's ``id`` or
    with the person in a column of role ``person`` are taken out of its Parquet and JSON-lines parts.
    """
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


def forgets(name: str) -> Callable[[H], H]:
    """Register a holder: a function that removes what it keeps of a person, and says how many of what went.

    With ``sought.dry`` it only counts. It must be safe to repeat.
    """

    def register(function: H) -> H:
        HOLDERS[name] = function
        return function

    return register
