"""One HTML page: its title, its text, its links, and the licence that it names."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urldefrag, urljoin, urlsplit

from mofang.data.cleaning.text.html import to_text

LINKS_MOST = 2000


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
    return Page(" ".join(title.text().split()) if title else "", to_text(html), links[:LINKS_MOST],
                [urljoin(url, one) for one in licences if one][:5])


def _target(node: Any, url: str) -> str:
    if "nofollow" in (node.attributes.get("rel") or "").lower():
        return ""
    try:
        target = urldefrag(urljoin(url, (node.attributes.get("href") or "").strip())).url
        return target if urlsplit(target).scheme in ("http", "https") else ""
    except ValueError:
        return ""
