"""A console inside the test process, with people of every kind."""

from __future__ import annotations

import http.client
import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from mofang.cli.console import allow
from mofang.core import token as tokens
from mofang.core.shop import Shop
from mofang.manage.people import join, person_invite, person_remove
from mofang.web.console import console_app
from mofang.web.entrance import Entrance
from mofang.web.gate import Rules
from tests.web.serving import InThread

Answer = tuple[int, dict[str, str], bytes]


def member(shop: Shop, name: str, *roles: str, token_days: float = 30) -> str:
    """Somebody who has joined; the personal token."""
    own = tokens.new_token("person")[1]
    join(shop, shop.act(person_invite, name=name, roles=roles, token_days=token_days).token, own)
    return own


@dataclass
class Reader:
    """A browser that came in: its cookie, and the token for forms."""

    cookie: str
    form_token: str


class Consoling(InThread):
    """One running console, ended with ``stop``."""

    def __init__(self, shop: Shop, **tls: str) -> None:
        self.shop = shop
        self.links: list[str] = []
        super().__init__()
        self.entrance = Entrance(shop, said=self.links.append)
        rules = Rules(frozenset({"127.0.0.1", "localhost"}), f"http://127.0.0.1:{self.port}", secure=False)
        app, self.jobs = console_app(shop, rules, self.entrance, allow)
        self.begin(app, **tls)

    def stop(self) -> None:
        """As SIGTERM does."""
        super().stop()
        self.entrance.close()

    def call(self, method: str, path: str, body: Any = None, *, token: str = "", cookie: str = "", **headers: str) -> Answer:
        """One request; a body that is not bytes is sent as JSON."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        named |= {"authorization": f"Bearer {token}"} if token else {}
        named |= {"cookie": f"mofang_session={cookie}"} if cookie else {}
        if data is not None and "content-type" not in named:
            named["content-type"] = "application/json"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, data, named)
            response = connection.getresponse()
            return response.status, {n.lower(): v for n, v in response.getheaders()}, response.read()
        finally:
            connection.close()

    def submit(self, path: str, form: dict[str, str], reader: Reader | None = None, **headers: str) -> Answer:
        """A form, as a browser sends it."""
        fields = {"form_token": reader.form_token, **form} if reader else form
        return self.call("POST", path, urlencode(fields).encode(), cookie=reader.cookie if reader else "",
                         content_type="application/x-www-form-urlencoded", **headers)

    def code(self, answer: Answer) -> str:
        """The error's code of an API answer, or ``ok``."""
        return "ok" if answer[0] == 200 else str(json.loads(answer[2])["error"]["code"])

    def reads(self, session: str) -> Reader:
        """A browser that has this session."""
        page = self.call("GET", "/join", cookie=session)[2].decode()
        found = re.search(r'name="form_token" value="([^"]+)"', page)
        assert found, page
        return Reader(session, found[1])


def removed(shop: Shop, name: str) -> str:
    """Somebody who joined and was removed; the token that was good."""
    own = member(shop, name, "owner")
    shop.act(person_remove, name=name)
    return own
