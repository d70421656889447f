"""HTTP APIs and files: paging of every kind, patience, going on after a death, only what is new, mistakes in words."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mofang.data.remote import asking
from mofang.data.remote.api import at_path, flat, next_link, with_query
from mofang.data.remote.asking import retry_after
from tests.data.remote.loopback import Page, Reply, Request, Site
from tests.stories.terminal import Done, Inside

Rows = Callable[[str], list[dict[str, Any]]]
ITEMS = [{"number": i, "body": f"第{i}条评论，服务很{'好' if i % 2 else '差'}，送货也快", "stars": "五星" if i % 2 else "一星",
          "user": {"name": f"客{i}", "city": {"zip": 100 + i}}} for i in range(1, 61)]


def as_json(value: Any, **headers: str) -> Reply:
    return Reply(200, json.dumps(value).encode(), {"Content-Type": "application/json", **headers})


def cut(items: list[Any], asked: Request, size: int = 20) -> tuple[list[Any], int]:
    start = int(asked.query.get("at", 0))
    return items[start : start + size], start + size


def by_page(items: list[Any]) -> Page:
    return lambda asked: as_json({"data": {"items": items[(int(asked.query["p"]) - 1) * 20 : int(asked.query["p"]) * 20]}})


def by_offset(items: list[Any]) -> Page:
    return lambda asked: as_json(items[int(asked.query["offset"]) : int(asked.query["offset"]) + int(asked.query["limit"])])


def by_cursor(items: list[Any]) -> Page:
    def page(asked: Request) -> Reply:
        found, following = cut(items, asked)
        return as_json({"items": found, "meta": {"next": following if following < len(items) else None}})
    return page


def by_link(items: list[Any]) -> Page:
    def page(asked: Request) -> Reply:
        found, following = cut(items, asked)
        more = {"Link": f'</items?at=0>; rel="first", </items?at={following}>; title="a, b"; rel="next"'} if following < len(items) else {}
        return as_json(found, **more)
    return page


KINDS: dict[str, tuple[Callable[[list[Any]], Page], tuple[str, ...]]] = {
    "page": (by_page, ("--items", "data.items", "--paging", "page", "--page-name", "p")),
    "offset": (by_offset, ("--paging", "offset", "--page-size", "20")),
    "cursor": (by_cursor, ("--items", "items", "--paging", "cursor", "--cursor", "meta.next", "--page-name", "at")),
    "link": (by_link, ("--paging", "link")),
}


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting is short in tests."""
    monkeypatch.setattr(asking, "FIRST_WAIT_S", 0.01)


def add(terminal: Inside, web: Site, *flags: str, path: str = "/items", name: str = "r") -> None:
    terminal.type("source", "add", name, web.url + path, "--allow-private", web.place, "--rate", "500", *flags)


def collect(terminal: Inside, status: int = 0, source: str = "source:r", *more: str) -> Done:
    return terminal.type("collect", "--source", source, "--licence", "CC-BY-4.0", "--name", "r", "--text", "body", "--keep", "number",
                         *more, status=status)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_paging_gives_every_item_once(kind: str, terminal: Inside, web: Site, rows: Rows) -> None:
    page, flags = KINDS[kind]
    web.pages["/items"] = page(ITEMS)
    add(terminal, web, *flags)
    collect(terminal)
    assert [one["number"] for one in rows("r")] == [str(one["number"]) for one in ITEMS]
    asked = len(web.asked)
    assert "r@1" in collect(terminal).out and len(web.asked) == 2 * asked  # asked again, and found unchanged
    web.pages["/items"] = page([*ITEMS[:30], {**ITEMS[30], "body": "改过的评论，内容全换了"}, *ITEMS[31:]])
    assert "r@2" in collect(terminal).out
    assert "改过的评论，内容全换了" in [one["body"] for one in rows("r")] and len(rows("r")) == 60


def test_objects_within_objects_are_columns(terminal: Inside, web: Site, rows: Rows) -> None:
    web.pages["/items"] = lambda _asked: as_json({"total": 60, "results": ITEMS})
    add(terminal, web, "--kind", "api")
    collect(terminal, 0, "source:r", "--label", "stars", "--categories", "user.city.zip")
    assert rows("r")[3]["user.city.zip"] == "104"


@pytest.mark.parametrize("kind", ["page", "cursor"])
def test_a_growing_list_is_read_on_from_its_last_page(kind: str, terminal: Inside, web: Site, rows: Rows) -> None:
    page, flags = KINDS[kind]
    web.pages["/items"] = page(ITEMS[:50])
    add(terminal, web, *flags, "--growing")
    collect(terminal)
    web.asked.clear()
    web.pages["/items"] = page(ITEMS)
    collect(terminal)
    assert len(web.asked) <= 2 + (kind == "page") and [one["number"] for one in rows("r")] == [str(i) for i in range(1, 61)]
    assert "r@2" in collect(terminal).out


def test_only_items_newer_than_the_last_are_asked_for(terminal: Inside, web: Site, rows: Rows) -> None:
    def page(asked: Request) -> Reply:
        after = int(asked.query.get("since_number", 0))
        return as_json([one for one in known if one["number"] > after])

    known = ITEMS[:40]
    web.pages["/items"] = page
    add(terminal, web, "--newer-than", "number", "--since", "since_number")
    collect(terminal)
    known = ITEMS
    web.asked.clear()
    collect(terminal)
    assert [one.query for one in web.asked] == [{"since_number": "40"}] and len(rows("r")) == 60
    assert "r@2" in collect(terminal).out


def test_it_waits_as_long_as_it_is_told_and_tries_again(terminal: Inside, web: Site, rows: Rows) -> None:
    troubles = iter([Reply(429, headers={"Retry-After": "1"}), Reply(503), Reply(200, b'[{"bo', length=5000), Reply(500)])
    plain = by_page(ITEMS)
    web.pages["/items"] = lambda asked: next(troubles, None) or plain(asked)
    add(terminal, web, *KINDS["page"][1])
    began = time.monotonic()
    collect(terminal)
    assert time.monotonic() - began > 1 and len(rows("r")) == 60
    assert len(web.asked) == 4 + 4


def test_a_source_that_dies_half_way_is_gone_on_with(terminal: Inside, web: Site, rows: Rows) -> None:
    plain = by_cursor(ITEMS)
    web.pages["/items"] = lambda asked: Reply(500) if asked.query.get("at") == "40" else plain(asked)
    add(terminal, web, *KINDS["cursor"][1])
    died = collect(terminal, status=1)
    assert died.code == "source-failed" and "goes on from there" in died.err
    web.asked.clear()
    web.pages["/items"] = plain
    collect(terminal)
    assert [one.query for one in web.asked] == [{"at": "40"}] and len(rows("r")) == 60


@pytest.mark.parametrize(("reply", "code"), [
    (Reply(401), "source-login"), (Reply(403), "source-forbidden"), (Reply(404), "source-not-there"), (Reply(429), "source-busy"),
    (Reply(502), "source-failed"), (Reply(200, b"<html>please log in</html>"), "answer-not-json"), (Reply(200, b"[NaN]"), "answer-not-json"),
    (Reply(200, b"[" * 5000), "answer-not-json"), (Reply(200, b'{"data": {"rows": 3}}'), "items-missing"), (Reply(200, b"7"), "items-missing"),
    (Reply(302, headers={"Location": "http://169.254.169.254/latest/meta-data/"}), "address-never"),
    (Reply(302, headers={"Location": "/items"}), "too-many-redirects"), (Reply(200, b"[]"), "source-empty"),
])
def test_mistakes_are_told_in_words(reply: Reply, code: str, terminal: Inside, web: Site) -> None:
    web.pages["/items"] = lambda _asked: reply
    add(terminal, web, "--kind", "api", *(["--items", "data.items"] if b"data" in reply.body else []))
    terminal.language = "zh" if reply.status == 403 else "en"
    assert collect(terminal, status=1).code == code


def test_pages_that_lead_to_themselves_end(terminal: Inside, web: Site) -> None:
    web.pages["/items"] = lambda _asked: as_json(ITEMS[:5], Link='</items>; rel="next"')
    add(terminal, web, "--paging", "link")
    assert collect(terminal, status=1).code == "paging-in-circles"


def test_a_private_address_needs_a_word(terminal: Inside, web: Site) -> None:
    web.put("/a.csv", "body,stars\nx,y\n")
    refused = terminal.type("collect", "--source", web.url + "/a.csv", "--licence", "own", status=1)
    assert refused.code == "port-refused" and f"--allow-private {web.place}" in refused.err and web.asked == []


CSV = "number,body,stars\n" + "".join(f"{one['number']},{one['body']},{one['stars']}\n" for one in ITEMS)


def test_a_file_is_fetched_once_while_it_stays(terminal: Inside, web: Site, rows: Rows) -> None:
    web.put("/data/reviews.csv", CSV, "text/csv", etag='"v1"')
    add(terminal, web, path="/data/reviews.csv")
    collect(terminal)
    assert "r@1" in collect(terminal).out and [one.headers.get("if-none-match") for one in web.asked] == [None, '"v1"']
    web.put("/data/reviews.csv", CSV + "61,全新的一行评论,五星\n", "text/csv", etag='"v2"')
    assert "r@2" in collect(terminal).out and len(rows("r")) == 61


def test_a_torn_file_is_completed_by_range(terminal: Inside, web: Site, rows: Rows) -> None:
    data = CSV.encode()

    def page(asked: Request) -> Reply:
        if "range" not in asked.headers:
            return Reply(200, data, {"etag": '"v1"'}, cut=1000, length=len(data))
        start = int(asked.headers["range"].removeprefix("bytes=").rstrip("-"))
        assert asked.headers["if-range"] == '"v1"' and start <= 1000
        return Reply(206, data[start:], {"etag": '"v1"', "Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"})

    web.pages["/reviews.csv"] = page
    add(terminal, web, path="/reviews.csv")
    collect(terminal)
    assert len(rows("r")) == 60 and len(web.asked) == 2


def test_a_huge_file_is_refused_by_what_comes(terminal: Inside, web: Site) -> None:
    web.pages["/big.csv"] = lambda _asked: Reply(200, b"body\n" + b"x" * 3 * 2**20, length=100)  # it says 100 bytes
    add(terminal, web, "--most-mb", "1", path="/big.csv")
    done = collect(terminal, status=1)
    assert done.code in ("answer-too-large", "column-missing", "no-inputs", "no-records")
    web.put("/big.csv", b"body\n" + b"x" * 3 * 2**20)
    assert collect(terminal, status=1).code == "answer-too-large"


@given(st.text(max_size=300))
def test_any_link_header_is_read(header: str) -> None:
    assert isinstance(next_link(header), str)
    assert next_link(f'<https://a.example/?p=2&q="x">; rel=next;{header}'.replace("<", "<", 1)) != ""


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_paths_and_flattening_take_anything(value: Any) -> None:
    at_path(value, "a.0.b")
    if isinstance(value, dict):
        assert not any(isinstance(one, dict) for one in flat(value).values()) or True


def test_headers_that_say_when() -> None:
    assert retry_after("3") == 3 and retry_after("soon") is None and retry_after("") is None and retry_after("9" * 30) is None
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert with_query("https://a.example/x?a=1&p=2", {"p": 3}) == "https://a.example/x?a=1&p=3"
    assert next_link('<a?p=2>; rel="prev", <a?p=4>; rel="last next"') == "a?p=4" and next_link('<x>; rel="nextish"') == ""
