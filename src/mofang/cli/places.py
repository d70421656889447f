"""Where each command runs when the shop is on another machine, and which role it takes. A command that is not here is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Place = Literal["remote", "here", "server"]


@dataclass(frozen=True)
class Access:
    """``remote`` runs at the shop for whoever has the role, ``here`` needs no shop, ``server`` is typed at the shop only.

    ``brings`` are the names of files that the command writes where it is typed, without being told a name.
    """

    place: Place
    role: str = ""
    brings: tuple[str, ...] = ()


HERE, SERVER = Access("here"), Access("server")
LOOK, TRAIN, RELEASE, MONEY, PEOPLE, LABEL = (Access("remote", role)
                                              for role in ("look", "train", "release", "money", "people", "label"))

COMMANDS: dict[str, Access] = {
    "new": HERE, "run": HERE, "plan": TRAIN, "show": LOOK, "predict": LOOK, "generate": LOOK, "search": LOOK,
    **{f"label {word}": LABEL for word in ("list", "show", "next", "answer")}, "label work": SERVER,
    **{f"label {word}": TRAIN for word in ("new", "add", "annotators", "guidelines", "change", "pause", "open", "close",
                                           "assign", "adjudicate", "check", "agreement", "aggregate", "import", "prelabel",
                                           "order", "export")},
    "serve": SERVER, "up": SERVER, "console": SERVER, "release": RELEASE, "rollback": RELEASE, "deploy status": LOOK,
    "deploy report": LOOK, "replay": TRAIN, "package": Access("remote", "release", ("*.mofang",)),
    "sell": MONEY,
    "customer new": MONEY, "customer limit": MONEY, "customer list": MONEY, "customer top-up": MONEY,
    "customer credit-note": MONEY, "customer priority": MONEY, "customer keep": MONEY,
    "key new": MONEY, "key rotate": MONEY, "key revoke": MONEY, "key list": MONEY,
    "member add": MONEY, "member remove": MONEY, "member list": MONEY,
    "reconcile": MONEY, "jobs list": MONEY, "jobs run": SERVER,
    "limit set": MONEY, "limit show": MONEY, "limit list": MONEY,
    "remote add": SERVER, "remote remove": SERVER, "remote secret": SERVER, "remote list": MONEY,
    "outbox add": SERVER, "outbox remove": SERVER, "outbox secret": SERVER, "outbox send": SERVER, "outbox list": MONEY,
    "fapiao list": MONEY, "fapiao buyer": MONEY, "fapiao record": MONEY,
    "pay": MONEY, "credit": MONEY, "usage": MONEY, "customer show": MONEY, "customer agree": MONEY, "customer subscribe": MONEY,
    "customer unsubscribe": MONEY, "customer churn": MONEY,
    "price set": MONEY, "price suggest": MONEY, "price list": MONEY,
    **{f"lease {word}": SERVER for word in ("new", "renew", "take", "find-mark")},
    **{f"lease {word}": MONEY for word in ("list", "revoke", "show")},
    **{f"lease {word}": HERE for word in ("machine", "check", "run", "predict", "accept", "report")},
    "customise new": MONEY, "customise quote": MONEY, "customise status": MONEY, "customise list": MONEY, "customise add": TRAIN,
    "customise run": RELEASE, "customise cancel": RELEASE, "customise work": SERVER,
    "customise delete": Access("remote", "people", ("*-deleted.json",)), "customise check": HERE,
    "solution make": Access("remote", "money", ("*.solution",)), "solution check": HERE, "solution open": HERE,
    "invoice": Access("remote", "money", ("INV-*.pdf",)),
    "status": LOOK, "models": LOOK, "runs": LOOK, "trace": LOOK, "verify": LOOK, "diff": TRAIN, "costs": MONEY,
    "backup": SERVER, "restore": SERVER, "sweep": SERVER,
    "export": Access("remote", "release", ("*.mofang",)), "import": RELEASE, "fingerprint": LOOK,
    "invite": PEOPLE, "people list": PEOPLE, "people remove": PEOPLE, "people roles": PEOPLE, "join": HERE,
    "erase": PEOPLE,
    "source add": SERVER, "source remove": SERVER, "source secret": SERVER, "source list": LOOK,
    "private count": TRAIN, "private mean": TRAIN, "private histogram": TRAIN, "private release": TRAIN,
    "private budget": PEOPLE, "private list": LOOK, "reveal": PEOPLE,
    "demo": HERE, "matrix": HERE, "rates": MONEY, "settings": MONEY, "doctor": HERE, "explain": HERE,
}
STAGE = TRAIN


def access_of(words: list[str]) -> tuple[str, Access] | None:
    """The command that an argument list begins with, and who may run it where; None for anything unknown.

    ``words`` come from outside: an option before the command, such as ``--shop``, is no command and so refused.
    """
    from mofang.core.lock import locked

    first = words[0] if words else ""
    both = " ".join(words[:2])
    if first in COMMANDS:
        return first, COMMANDS[first]
    if both in COMMANDS:
        return both, COMMANDS[both]
    if first == "stage" and len(words) > 1:
        return (both, STAGE) if words[1].replace("-", "_") in locked()["stages"] else None
    return (first, STAGE) if first.replace("-", "_") in locked()["stages"] else None
