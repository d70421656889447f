"""The life of a key: unknown, refused without a price, limited, free for tests, used up, rotated, revoked."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.stories.terminal import Inside, Server, Terminal, eventually

REVOKED_WITHIN_S = 1.0
BODY = {"text": "房间很好"}


@pytest.fixture
def server(terminal: Terminal) -> Iterator[Server]:
    """A shop with one customer and its running server; no price is set."""
    terminal.type("customer", "new", "书店", "--credit", "0.02")
    with Server(terminal) as running:
        yield running


def soon(server: Server, token: str, code: str, answered: list[str] | None = None) -> bool:
    """Whether the running server answers this key so within a second; all codes on the way go into the list."""
    codes = [] if answered is None else answered

    def ask() -> bool:
        codes.append(server.predict("reviews", BODY, token).code)
        return codes[-1] == code

    return eventually(ask, REVOKED_WITHIN_S)


def test_a_key_lives(terminal: Terminal, server: Server) -> None:
    assert server.call("GET", "/health").json["models"] == ["reviews@1"]
    assert server.predict("reviews", BODY, "").code == "key-missing"
    live, test = terminal.token("书店"), terminal.token("书店", "--test")
    assert soon(server, test, "ok"), "a new key is known within a second"
    answer = server.predict("reviews", BODY, live)
    assert (answer.status, answer.code) == (403, "price-missing"), "nothing is sold at a guessed price"
    unknown = live[:-38] + ("A" if live[-38] != "A" else "B") + live[-37:]
    refused = server.predict("reviews", BODY, unknown)
    assert (refused.status, refused.code) == (401, "key-mistyped") and refused.headers["www-authenticate"] == "Bearer"
    terminal.type("price", "set", "reviews", "5.00/1000")
    codes: list[str] = []
    assert soon(server, live, "ok", codes), "a new price holds within a second"
    codes += [server.predict("reviews", BODY, live).code for _ in range(5)]
    assert codes[-6:] == ["ok"] * 4 + ["credit-used-up"] * 2, "0.02 of credit are four answers at 0.005, and never a fifth"
    assert server.predict("reviews", BODY, test).code == "ok", "test keys are free"
    terminal.type("customer", "top-up", "书店", "1", "--reference", "transfer 7")
    assert "already booked" in terminal.type("customer", "top-up", "书店", "1", "--reference", "transfer 7").out
    assert soon(server, live, "ok", codes)
    terminal.type("key", "revoke", live.split("_")[2], "--yes")
    began = time.monotonic()
    assert soon(server, live, "key-revoked", codes), "revoked within a second on the running server"
    assert time.monotonic() - began < REVOKED_WITHIN_S + 0.5
    assert server.predict("reviews", BODY, test).code == "ok"
    document = terminal.type("invoice", "书店", "--early", "--json").json
    line = document["lines"][0]
    billed = codes.count("ok")
    assert line["requests"] == billed and float(line["exact_micros"]) == billed * 5_000, "test requests are on no invoice"
    assert document["total_micros"] == round(billed / 2) * 10_000, "rounded once for each line, half to even"


def test_a_key_of_another_shop_is_unknown(terminal: Terminal, server: Server) -> None:
    other = Inside(terminal.folder / "elsewhere")
    other.type("--shop", "shop", "customer", "new", "somebody")
    shown = other.type("--shop", "shop", "key", "new", "somebody", "--test").out
    token = next(word for word in shown.split() if word.startswith("mf_"))
    assert server.predict("reviews", BODY, token).code == "key-unknown"


def test_limited_and_rotated_keys(terminal: Terminal, server: Server) -> None:
    limited = terminal.token("书店", "--test", "--model", "another")
    old = terminal.token("书店", "--test", "--label", "old")
    shown = terminal.type("key", "rotate", old.split("_")[2], "--overlap-days", "0").out
    new = next(word for word in shown.split() if word.startswith("mf_"))
    assert soon(server, new, "ok")
    assert server.predict("reviews", BODY, old).code == "key-expired"
    refused = server.predict("reviews", BODY, limited)
    assert (refused.status, refused.code) == (403, "key-scope")


def test_only_test_keys_were_used_so_there_is_no_invoice(terminal: Terminal, server: Server) -> None:
    test = terminal.token("书店", "--test")
    assert soon(server, test, "ok")
    assert terminal.type("invoice", "书店", "--early", status=1).code == "usage-none"
    assert terminal.type("invoice", "--json").json == [], "a refused invoice takes no number"
    terminal.type("customer", "new", "tester", "--test")
    assert terminal.type("key", "new", "tester", status=1).code == "key-live-refused"
