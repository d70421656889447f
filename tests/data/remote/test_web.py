"""Web pages: as robots.txt allows, within one host, and only what is new."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mofang.core.errors import MofangError
from mofang.core.shop import Shop
from mofang.data.records import Records
from mofang.data.rejected import SCHEMA
from mofang.data.remote import asking
from mofang.data.remote.page import read_page
from mofang.data.remote.robots import fits, read_robots
from mofang.data.remote.sitemap import locations
from tests.data.remote.loopback import Reply, Site
from tests.stories.terminal import Done, Inside

Rows = Callable[[str], list[dict[str, Any]]]
LONG = "这里有足够长的正文，讲述一间安静的旅馆和它的早餐。" * 3


def html(title: str, *links: str, text: str = LONG) -> str:
    return (f"<html><head><title>{title}</title><style>p{{}}</style></head><body><nav>menu</nav><h1>{title}</h1><p>{text}</p><p>second</p>"
            f"<script>alert(1)</script>{''.join(f'<a href={link!r}>more</a>' for link in links)}</body></html>")


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting is short in tests."""
    monkeypatch.setattr(asking, "FIRST_WAIT_S", 0.01)


@pytest.fixture
def pages(web: Site) -> Site:
    """A site of five pages, one of them forbidden, one not a page, and a way to another machine."""
    web.put("/robots.txt", "User-agent: *\nDisallow: /\n\nUser-agent: Mofang\nDisallow: /private\nAllow: /private/open$\n", "text/plain")
    web.put("/", html("起点", "/a", "/b#part", "/private/x", "/private/open", "/photo.png", "http://169.254.169.254/latest", "mailto:a@b.example"),
            etag='"0"')
    web.put("/a", html("第一页", "/", "/deep"), etag='"a"')
    web.put("/b", html("第二页", text=LONG + "乙"), etag='"b"')
    web.put("/deep", html("深处", "/deeper", text=LONG + "深"), etag='"d"')
    web.put("/deeper", html("更深", text=LONG + "更"))
    web.put("/private/x", html("秘密"))
    web.put("/private/open", html("公开", text=LONG + "开"))
    web.put("/photo.png", b"\x89PNG", "image/png")
    return web


def add(terminal: Inside, web: Site, path: str = "/", *flags: str) -> None:
    terminal.type("source", "add", "w", web.url + path, "--allow-private", web.place, "--rate", "500", *flags)


def collect(terminal: Inside, status: int = 0) -> Done:
    return terminal.type("collect", "--source", "source:w", "--licence", "CC-BY-4.0", "--text", "text", "--keep", "title,url", "--name", "w",
                         "--bad-share", "0.6", status=status)


def aside(terminal: Inside) -> dict[str, str]:
    """What was set aside and why, of the newest records."""
    import pyarrow.parquet as pq

    found = Shop.open(terminal.shop).find("w", "records")
    assert isinstance(found, Records)
    with found.open("rejected.parquet") as file:
        table = pq.read_table(file).to_pylist()
    assert set(table[0]) <= set(SCHEMA.names) if table else True
    return {one["file"].split("/", 3)[-1]: one["reason"] for one in table}


def test_a_crawl_stays_on_its_host_within_its_steps_and_obeys(terminal: Inside, pages: Site, rows: Rows) -> None:
    add(terminal, pages, "/", "--pages", "crawl", "--depth", "2")
    collect(terminal)
    found = {one["title"]: one for one in rows("w")}
    assert set(found) == {"起点", "第一页", "第二页", "深处", "公开"}
    assert found["深处"]["url"] == f"{pages.url}/deep" and "menu" not in found["深处"]["text"] and "alert" not in found["深处"]["text"]
    assert found["深处"]["text"].startswith("深处\n") and LONG in found["深处"]["text"]
    assert aside(terminal) == {"private/x": "robots-forbid", "photo.png": "not-a-page"}
    assert "/private/x" not in pages.paths() and "/deeper" not in pages.paths()
    assert [one.path for one in pages.asked].count("/robots.txt") == 1


def test_only_new_and_changed_pages_are_taken(terminal: Inside, pages: Site, rows: Rows) -> None:
    add(terminal, pages, "/", "--pages", "crawl", "--depth", "3")
    collect(terminal)
    assert "w@1" in collect(terminal).out
    conditional = {one.path: one.headers.get("if-none-match") for one in pages.asked[-6:]}
    assert conditional["/a"] == '"a"' and conditional["/deep"] == '"d"'
    pages.put("/b", html("第二页", "/new", text="换了内容，" + LONG), etag='"b2"')
    pages.put("/new", html("新页", text="全新，" + LONG))
    del pages.pages["/deeper"]
    assert "w@2" in collect(terminal).out
    found = {one["title"]: one["text"] for one in rows("w")}
    assert set(found) == {"起点", "第一页", "第二页", "深处", "公开", "新页"} and "换了内容" in found["第二页"]
    assert aside(terminal)["deeper"] == "source-not-there"
    done = terminal.type("runs", "--json").json
    assert len([one for one in done if one["stage"] == "collect"]) == 3


def test_lists_sitemaps_and_single_pages(terminal: Inside, pages: Site, rows: Rows) -> None:
    packed = gzip.compress(f"<urlset><url><loc>{pages.url}/b</loc></url></urlset>".encode())
    pages.put("/more.xml.gz", packed, "application/gzip")
    pages.put("/sitemap.xml", f"""<?xml version="1.0"?><sitemapindex xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">
        <sitemap><loc>{pages.url}/more.xml.gz</loc></sitemap><sitemap><loc>{pages.url}/first.xml</loc></sitemap></sitemapindex>""", "application/xml")
    pages.put("/first.xml", f"<urlset><url><loc>{pages.url}/a</loc></url><url><loc>{pages.url}/gone</loc></url></urlset>", "application/xml")
    add(terminal, pages, "/sitemap.xml", "--pages", "sitemap")
    collect(terminal)
    assert {one["title"] for one in rows("w")} == {"第一页", "第二页"} and aside(terminal) == {"gone": "source-not-there"}
    (terminal.folder / "pages.txt").write_text(f"# mine\n{pages.url}/deep\n\n{pages.url}/a\n", encoding="utf-8")
    terminal.type("source", "add", "w", "pages.txt", "--kind", "web", "--pages", "list", "--allow-private", pages.place, "--rate", "500")
    collect(terminal)
    assert {one["title"] for one in rows("w")} == {"第一页", "深处"}
    add(terminal, pages, "/b", "--kind", "web")
    collect(terminal)
    assert [one["title"] for one in rows("w")] == ["第二页"]


def test_a_limit_is_kept_and_what_is_left_is_named(terminal: Inside, pages: Site, rows: Rows) -> None:
    add(terminal, pages, "/", "--pages", "crawl", "--limit", "3")
    collect(terminal)
    assert len(rows("w")) <= 3 and "page-limit" in aside(terminal).values()


def test_a_site_that_forbids_all_and_one_whose_rules_cannot_be_read(terminal: Inside, web: Site) -> None:
    web.put("/x", html("x"))
    web.put("/robots.txt", "User-agent: *\nDisallow: /", "text/plain")
    add(terminal, web, "/x", "--kind", "web")
    assert collect(terminal, 1).code == "robots-forbid" and web.paths() == []
    web.pages["/robots.txt"] = lambda _asked: Reply(503)
    assert collect(terminal, 1).code == "robots-forbid" and web.paths() == []
    del web.pages["/robots.txt"]
    collect(terminal)


def test_a_page_that_is_sent_to_a_private_address_is_not_followed(terminal: Inside, web: Site) -> None:
    web.pages["/x"] = lambda _asked: Reply(302, headers={"Location": "http://169.254.169.254/latest/meta-data/"})
    add(terminal, web, "/x", "--kind", "web")
    assert collect(terminal, 1).code == "address-never"


def test_old_encodings_are_read(terminal: Inside, web: Site, rows: Rows) -> None:
    web.put("/gbk", html("国标").encode("gb18030"), "text/html; charset=gbk")
    web.put("/meta", b'<html><head><meta charset="big5"><title>\xb4\xfa\xb8\xd5</title></head><body><p>' + ("測試內容" * 20).encode("big5") + b"</p>", "text/html")
    (terminal.folder / "two.txt").write_text(f"{web.url}/gbk\n{web.url}/meta\n", encoding="utf-8")
    terminal.type("source", "add", "w", "two.txt", "--kind", "web", "--pages", "list", "--allow-private", web.place)
    collect(terminal)
    assert {one["title"] for one in rows("w")} == {"国标", "測試"}


RULES = [
    ("User-agent: *\nDisallow: /a\nAllow: /a/b", "/a/b/c", True), ("User-agent: *\nAllow: /a/b\nDisallow: /a", "/a/x", False),
    ("User-agent: *\nDisallow: /*.pdf$", "/x/y.pdf", False), ("User-agent: *\nDisallow: /*.pdf$", "/x/y.pdf?z", True),
    ("User-agent: *\nDisallow: /a\nAllow: /a", "/a", True), ("User-agent: *\nDisallow:", "/a", True),
    ("User-agent: mofang\nDisallow: /x\n\nUser-agent: *\nDisallow: /", "/y", True),
    ("User-agent: a\nUser-agent: MOFANG\nDisallow: /x", "/x", False), ("User-agent: other\nDisallow: /", "/x", True),
    ("User-agent: *\nDisallow: /caf%C3%A9", "/café", False), ("User-agent: *\nDisallow: /*?*id=", "/p?a=1&id=2", False),
    ("Disallow: /", "/x", True), ("<html>not found</html>", "/x", True), ("User-agent: *\nDisallow: /robots.txt", "/robots.txt", True),
    ("User-agent: mofang\nDisallow: /a\nUser-agent: x\nDisallow: /\nUser-agent: mofang\nDisallow: /b", "/b", False),
]


@pytest.mark.parametrize(("rules", "path", "allowed"), RULES)
def test_robots_as_rfc_9309_has_them(rules: str, path: str, allowed: bool) -> None:
    assert read_robots(rules.encode()).allows(f"https://a.example{path}") is allowed


def test_robots_name_a_pause_and_sitemaps() -> None:
    found = read_robots("Sitemap: https://a.example/s.xml\nUser-agent: *\nCrawl-delay: 2.5\n".encode("utf-8-sig"))
    assert (found.delay_s, found.sitemaps) == (2.5, ["https://a.example/s.xml"])
    assert read_robots(b"User-agent: *\nCrawl-delay: soon").delay_s == 0


@given(st.binary(max_size=400), st.text(max_size=60))
def test_any_robots_are_read(data: bytes, path: str) -> None:
    read_robots(b"User-agent: *\nDisallow: " + data).allows(f"https://a.example/{path}")


def test_hostile_patterns_and_sitemaps_take_no_time() -> None:
    assert not fits("/" + "*a" * 500 + "$", "/" + "a" * 400 + "b" * 4000)
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><urlset><url><loc>http://x.example/&b;</loc></url></urlset>'
    for body in (bomb.encode(), b"<urlset><url>", b"\x1f\x8bxx"):
        with pytest.raises(MofangError, match="no sitemap"):
            locations(body, "https://a.example/s.xml")
    assert locations(b"https://a.example/1\nhttps://a.example/2\n", "x")[0] == ["https://a.example/1", "https://a.example/2"]


@given(st.text(max_size=300))
def test_any_page_is_read(text: str) -> None:
    page = read_page(f"<title>t</title><a href='{text}'>x</a><p>{text}", "https://a.example/")
    assert all(link.startswith(("http://", "https://")) for link in page.links)
