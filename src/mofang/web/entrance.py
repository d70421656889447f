"""The entrance of a console: who somebody is. Personal tokens, browser sessions, one-time links."""

from __future__ import annotations

import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock

from mofang.core.errors import MofangError
from mofang.core.identity import Actor, now_us
from mofang.core.shop import Shop
from mofang.core.token import Pepper
from mofang.manage.people import SECRET, admit, person_by_id
from mofang.web.guessing import Limit

SESSION_S = 12 * 3600.0
SESSIONS_MAX = 200
OWNER = "owner"


@dataclass(frozen=True)
class Who:
    """Somebody who has come in. ``person`` is an id, or ``owner`` for whoever sits at the shop's own machine."""

    person: str
    actor: Actor
    form_token: str = field(default="", repr=False)


@dataclass(frozen=True)
class Session:
    """A browser that came in; kept in memory only, so that a restart ends all."""

    person: str
    form_token: str
    ends_s: float


class Entrance:
    """Knows everybody who may come in; asks the shop anew for every request, so that a removal holds at once."""

    def __init__(self, shop: Shop, *, said: Callable[[str], None] = lambda _link: None) -> None:
        shop.journals.make_tables()
        self.known = shop.control.again()
        self.pepper = Pepper(shop.secret(SECRET))
        self.owner = shop.actor
        self.limit = Limit()
        self._said = said
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._code = ""
        self._lock = Lock()

    def close(self) -> None:
        """End the connection to the shop."""
        self.known.close()

    def bearer(self, token: str, address: str) -> Who:
        """Whose personal token this is; a wrong one counts against its address."""
        try:
            person = admit(self.known, self.pepper, token, now_us())
        except MofangError as error:
            if error.code != "token-expired" and self.limit.failed(address):
                raise MofangError("too-many-tries") from None
            raise
        return Who(person.id, person.actor())

    def new_code(self) -> str:
        """A code that lets the owner's browser in, once; an earlier unused one is void."""
        with self._lock:
            self._code = secrets.token_urlsafe(24)
            return self._code

    def enter(self, code: str, address: str) -> str:
        """Exchange a one-time code for a session; the next code is told to the terminal."""
        with self._lock:
            good = bool(self._code) and hmac.compare_digest(code.encode(), self._code.encode())
            if good:
                self._code = ""
        if not good:
            raise MofangError("too-many-tries" if self.limit.failed(address) else "link-used")
        self._said(self.new_code())
        return self._begin(OWNER)

    def login(self, token: str, address: str) -> str:
        """Exchange a personal token for a session."""
        return self._begin(self.bearer(token, address).person)

    def session(self, secret: str) -> Who | None:
        """Who a browser's cookie belongs to, if that person may still come in."""
        found = self._sessions.get(secret)
        if found is None or found.ends_s < time.monotonic():
            self._sessions.pop(secret, None)
            return None
        if found.person == OWNER:
            return Who(OWNER, self.owner, found.form_token)
        person = person_by_id(self.known, found.person, now_us())
        return None if person is None else Who(person.id, person.actor(), found.form_token)

    def leave(self, secret: str) -> None:
        """End a session."""
        self._sessions.pop(secret, None)

    def may_stay(self, person: str) -> bool:
        """False as soon as somebody was removed."""
        return person == OWNER or person_by_id(self.known, person, now_us()) is not None

    def _begin(self, person: str) -> str:
        secret = secrets.token_urlsafe(32)
        self._sessions[secret] = Session(person, secrets.token_urlsafe(24), time.monotonic() + SESSION_S)
        while len(self._sessions) > SESSIONS_MAX:
            self._sessions.popitem(last=False)
        return secret
