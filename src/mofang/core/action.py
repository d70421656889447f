"""An action is what a person decides: issue a key, set a price, approve a release.

The same signature rule as for stages, and one place for permission and audit: the action's change and its journal row
are one transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from mofang.core.database import Database
from mofang.core.identity import Actor
from mofang.core.journal import NewRow, Row
from mofang.core.stage import Spec, read_signature, spec_of

if TYPE_CHECKING:
    from mofang.core.shop import Shop

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class ActionSpec(Spec):
    """An action's signature and the permission it needs."""

    may: str = ""


ACTIONS: dict[str, Spec] = {}


def action(*, may: str) -> Callable[[F], F]:
    """Make a function an action that only an actor with this permission may take."""

    def register(function: F) -> F:
        read = read_signature(function, version=1)
        assert not read.inputs, f"action {read.name} takes settings only, after the star"
        spec = ActionSpec(name=read.name, function=function, version=1, doc=read.doc, inputs=(), settings=read.settings,
                          output=None, may=may)
        function.spec = spec  # type: ignore[attr-defined]
        ACTIONS[spec.name] = spec
        return function

    return register


class Act:
    """What an action works with: the shop, the actor, and the journals it may write."""

    def __init__(self, shop: Shop, actor: Actor) -> None:
        self.shop = shop
        self.actor = actor

    def record(self, journal: str, *rows: NewRow) -> list[Row]:
        """Append rows with the actor's name; call it inside ``transaction`` when a decision depends on state."""
        signed = [NewRow(row.kind, {**row.body, "by": self.actor.name}, row.id, row.account, self.actor.owner) for row in rows]
        journals = self.shop.journals
        return journals.append(journal, signed, writer="hand")

    def transaction(self) -> Any:
        """The transaction in which state is read, decided upon and recorded."""
        return self.shop.control.transaction()


@contextmanager
def turn(act: Act, journal: str) -> Iterator[Database]:
    """The transaction in which an action reads, decides and records; for each journal one action at a time."""
    with act.shop.journals.db.transaction():
        act.record(journal)  # no rows: makes the tables where they are missing, and waits for its turn
        yield act.shop.control


class _Undone(Exception):
    """Ends a rehearsal."""


def rehearse(shop: Shop, function: Callable[..., Any], **settings: Any) -> None:
    """Take an action and undo it, so that what it refuses is known before somebody is asked to say yes.

    Only for actions that do nothing but write journals.
    """
    shop.journals.make_tables()
    with suppress(_Undone), shop.control.transaction():
        act(shop, function, **settings)
        raise _Undone


def act(shop: Shop, function: Callable[..., Any], **settings: Any) -> Any:
    """Take an action: permission first, then the settings' rules, then the function."""
    spec = spec_of(function)
    assert isinstance(spec, ActionSpec)
    shop.require(spec.may)
    shop.journals.make_tables()
    return function(Act(shop, shop.actor), **spec.check(settings))
