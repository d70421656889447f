"""Which release answers a request: shares by weight, the same caller always by the same one, all of it in memory.

A *route* is what a model's plain name leads to: one release, a new one beside it with a small share (canary), or several
with fixed shares (A/B). The router knows no database and no clock; whoever owns it tells it routes (``serve/rollout.py``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

WHOLE = 10_000  # a share is counted in hundredths of a per cent

Mode = Literal["plain", "canary", "ab"]
Sticky = Literal["request", "customer"]


@dataclass(frozen=True)
class Rule:
    """When a canary is promoted or taken back.

    ``after`` requests of the new release must be seen; ``errors`` is by how much its error rate may exceed the old one's
    (a share), ``slower`` by what factor its 95th percentile may, ``agree`` the least share of answers that must be as the
    old release gives them where nobody has told the right ones. ``longer`` is for what writes: by what factor its answers'
    tokens may leave the span in which nine tenths of the old one's lie. ``alpha`` is the chance, over all looks, of taking
    back a release that is as good as the old one, for each kind of evidence.
    """

    after: int = 500
    errors: float = 0.01
    slower: float = 1.5
    agree: float = 0.9
    alpha: float = 0.01
    longer: float = 1.5


@dataclass(frozen=True)
class Share:
    """A release such as ``reviews@2`` and its share of the requests, of 10,000."""

    release: str
    weight: int


@dataclass(frozen=True)
class Route:
    """What a model's plain name leads to. ``trial`` is the journal row that began this; ``history`` the earlier releases
    that answered alone, oldest first, to which a rollback goes."""

    model: str
    shares: tuple[Share, ...]
    mode: Mode = "plain"
    sticky: Sticky = "request"
    shadow: str = ""
    trial: str = ""
    version: int = 0
    history: tuple[str, ...] = ()
    rule: Rule = field(default_factory=Rule)
    by: str = ""
    why: str = ""
    at_us: int = 0

    @property
    def stable(self) -> str:
        """The release that answers if nothing else is said: the first."""
        return self.shares[0].release

    @property
    def challenger(self) -> str:
        """The canary's release; empty where there is none."""
        return self.shares[1].release if self.mode == "canary" else ""

    @property
    def releases(self) -> tuple[str, ...]:
        """Every release that must be open for this route, the shadow included."""
        return tuple(dict.fromkeys([*(one.release for one in self.shares), *([self.shadow] if self.shadow else [])]))

    def to_dict(self) -> dict[str, Any]:
        """The route as it stands in the journal."""
        return asdict(self)


def route_from(body: dict[str, Any]) -> Route:
    """A route out of its journal row."""
    return Route(**{**body, "shares": tuple(Share(**one) for one in body["shares"]), "history": tuple(body["history"]),
                    "rule": Rule(**body["rule"])})


def point(salt: str, key: str) -> int:
    """Where a caller stands among 10,000: the same for ever for one salt and key."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8, key=salt.encode()[:64]).digest(), "big") % WHOLE


class Router:
    """The routes of one process. ``choose`` is called for every request; ``tell`` replaces all routes at once."""

    def __init__(self, routes: Iterable[Route] = ()) -> None:
        self.routes: dict[str, Route] = {}
        self._plain: dict[str, str] = {}
        self.tell(routes)

    def tell(self, routes: Iterable[Route]) -> None:
        """These are the routes from now on; a request sees all of the old ones or all of the new ones."""
        told = {one.model: one for one in routes}
        plain = {name: one.stable for name, one in told.items() if len(one.shares) == 1}
        self.routes, self._plain = told, plain

    def choose(self, model: str, customer: str, request: str) -> str:
        """The release that answers: ``model`` itself where it has no route (a release by its full name is none).

        ``request`` is the caller's Idempotency-Key where there is one, so that a retry meets the same release.
        """
        plain = self._plain.get(model)
        if plain is not None:
            return plain
        route = self.routes.get(model)
        if route is None:
            return model
        at = point(route.shares[-1].release, customer if route.sticky == "customer" else request)
        for share in reversed(route.shares):  # the newest first, so that a growing canary keeps whom it had
            if at < share.weight:
                return share.release
            at -= share.weight
        return route.stable

    def shadow(self, model: str) -> str:
        """The release that is asked too and never answers; empty where there is none."""
        route = self.routes.get(model)
        return route.shadow if route else ""
