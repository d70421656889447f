"""One HTML page: its title, its text, its links, and the licence that it names."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urldefrag, urljoin, urlsplit

LINKS_MOST = 2000
GONE = "script, style, noscript, template, iframe, svg, nav, head"
BLOCKS = ("p, div, section, article, header, footer, main, aside, h1, h2, h3, h4, h5, h6, li, tr, br, hr, pre, blockquote, "
          "dt, dd, figcaption, table, ul, ol, form")


@dataclass
class Page:
    """What a page holds; ``links`` are whole URLs without fragments."""

    title: str = ""
    text: str = ""
    links: list[str] = field(default_factory=list)
    licences: list[str] = field(default_factory=list)


def read_page(html: str, url: str) -> Page:
    """The page of some HTML."""
    from selectolax.lexbor import LexborHTMLParser

    tree = LexborHTMLParser(html)
    title = tree.css_first("title")
    nofollow = any("nofollow" in (one.attributes.get("content") or "").lower() for one in tree.css("meta[name=robots]"))
    links = [] if nofollow else list(dict.fromkeys(filter(None, (_target(one, url) for one in tree.css("a[href]")))))
    licences = [one.attributes.get("href") or "" for one in tree.css("a[rel~=license], link[rel~=license]")]
    return Page(" ".join(title.text().split()) if title else "", text_of(html), links[:LINKS_MOST],
                [urljoin(url, one) for one in licences if one][:5])


def _target(node: Any, url: str) -> str:
    if "nofollow" in (node.attributes.get("rel") or "").lower():
        return ""
    try:
        target = urldefrag(urljoin(url, (node.attributes.get("href") or "").strip())).url
        return target if urlsplit(target).scheme in ("http", "https") else ""
    except ValueError:
        return ""


def text_of(html: str) -> str:
    """The text of a page, a line for each block."""
    from selectolax.lexbor import LexborHTMLParser

    tree = LexborHTMLParser(html)
    for node in tree.css(GONE):
        node.decompose()
    body = tree.body
    if body is None:
        return ""
    for node in body.css(BLOCKS):
        node.insert_before("\n")
        node.insert_after("\n")
    lines = (" ".join(line.split()) for line in body.text().splitlines())
    return "\n".join(line for line in lines if line)
