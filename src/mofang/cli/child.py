"""The process in which a console runs one command, stage or report for somebody; nobody types it.

Who it acts for, with which roles, in which shop and what it shall do come as one JSON document on its standard input,
from the console that started it. Nothing of this is read from the environment or from arguments, so no variable of a
shell can be taken for a permission, and no argument can turn it to another shop. It stands in an empty folder with only
the files that its person lent it.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO, cast

if TYPE_CHECKING:
    from mofang.core.shop import Shop
    from mofang.core.stage import Spec

EVENTS_FD = 3


@dataclass(frozen=True)
class Handover:
    """What the console hands over."""

    shop: str
    person: str
    name: str
    roles: list[str]
    language: str
    what: str
    given: dict[str, Any] = field(repr=False)
    width: int = 160
    address: str = ""
    files: dict[str, str] = field(default_factory=dict)


_handed: list[Handover] = []  # at most one


def handed() -> Handover | None:
    """What this process was handed, or None in a shell of somebody's own."""
    return _handed[0] if _handed else None


def main() -> int:
    """Take the handover and do what it says; the exit status is the command's own.

    A command is one document and one process. Stages come one after the other, a document a line, until the input ends,
    so that a recipe pays only once for starting Python.
    """
    import orjson

    asked = sys.stdin.buffer
    events = os.fdopen(EVENTS_FD, "wb", buffering=0)
    os.set_inheritable(EVENTS_FD, False)
    lent = Handover(**orjson.loads(asked.readline()))
    _handed[:] = [lent]

    from mofang.core.identity import Actor, act_as
    from mofang.core.language import language_of, set_language
    from mofang.core.progress import tell

    act_as(Actor(lent.name, roles=frozenset(lent.roles)))
    tell(lambda words, done, total, detail: send(events, {"progress": [words, done, total, detail]}))
    if lent.what == "command":
        from mofang.cli.group import run

        sys.stdin = open("stdin" if os.path.exists("stdin") else os.devnull, encoding="utf-8")  # noqa: SIM115
        return run(list(lent.given["argv"]))
    sys.stdout = cast(TextIO, Screen(events))
    while True:
        set_language(language_of(lent.language))
        status = _answer(events, lent)
        send(events, {"ended": status})
        line = asked.readline() if status < 128 else b""
        if not line:
            return status
        lent = Handover(**orjson.loads(line))
        _handed[:] = [lent]


def send(events: BinaryIO, event: dict[str, Any]) -> None:
    """One event, as one line of JSON."""
    import orjson

    events.write(orjson.dumps(event) + b"\n")


class Screen:
    """What is printed goes among the events, so that it comes before the end of what printed it."""

    encoding, errors = "utf-8", "replace"

    def __init__(self, events: BinaryIO) -> None:
        self.events = events

    def write(self, text: str) -> int:
        """Print."""
        if not isinstance(text, str):
            raise TypeError("text only")
        if text:
            send(self.events, {"out": text})
        return len(text)

    def flush(self) -> None:
        """Nothing waits here."""

    def isatty(self) -> bool:
        """It is no terminal."""
        return False


def _answer(events: BinaryIO, lent: Handover) -> int:
    """Run a stage, or name a package and report on it, and send what came of it; an error goes as code, what and fix."""
    from mofang.cli.stopping import stoppable
    from mofang.core.errors import MofangError

    try:
        with stoppable():
            if lent.what == "stage":
                send(events, {"made": _stage(lent)})
            else:
                _finish(lent)
    except MofangError as error:
        send(events, {"error": error.to_dict()})
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _stage(lent: Handover) -> dict[str, Any]:
    from mofang.core.lock import import_stage
    from mofang.core.shop import Shop
    from mofang.web.remote import shown

    given = lent.given
    shop = Shop.open(lent.shop, make=False)
    spec = import_stage(str(given["stage"]))
    assert spec is not None  # the console has looked
    require_lent(shop, spec, given["settings"])
    found = [_inputs(shop, one) for one in given["inputs"]]
    return shown(shop.run(spec.function, *found, **given["settings"]))


def require_lent(shop: Shop, spec: Spec, settings: dict[str, Any]) -> None:
    """In a child, a place on the disk must be this person's upload, a source registered at the shop, or lie in a package
    installed there."""
    from mofang.core.errors import MofangError
    from mofang.core.uploads import PREFIX, Uploads

    lent = handed()
    if lent is None:
        return
    for name, place in spec.places(spec.check(settings)).items():
        if place.startswith(PREFIX):
            Uploads(shop, lent.person).require(place.removeprefix(PREFIX).split("/", 1)[0])
        elif not place.startswith(("package:", "source:")):
            raise MofangError("place-not-here", setting=name, place=place)


def _inputs(shop: Shop, given: Any) -> Any:
    """An artifact by its reference, several, or none."""
    if isinstance(given, list):
        return tuple(_inputs(shop, one) for one in given)
    return None if given is None else shop.find(str(given))


def _finish(lent: Handover) -> None:
    """Name what a recipe made elsewhere, and print the report that ends ``mofang run``."""
    from mofang.cli.context import Context
    from mofang.cli.report import report
    from mofang.core.errors import MofangError
    from mofang.recipe import ENDS, finish

    context = Context(lent.shop)
    given = lent.given
    made = context.shop.find(given["entry"])
    if made.kind not in ENDS:
        raise MofangError("kind-wrong", name=given["entry"], kind=made.kind, wanted=ENDS[0])
    outcome = finish(context.shop, given["name"], made, time.monotonic() - given["seconds"])
    report(context, outcome, bool(given["json"]))


if __name__ == "__main__":
    sys.modules["mofang.cli.child"] = sys.modules["__main__"]  # one module, whichever way it is imported
    sys.exit(main())
