"""Sitemaps (sitemaps.org): the pages that a site lists, also through an index of sitemaps and packed ones."""

from __future__ import annotations

import gzip
import zlib
from typing import TYPE_CHECKING

from mofang.core.errors import MofangError
from mofang.data.remote.fetch import Caps
from mofang.data.remote.scheme import shown

if TYPE_CHECKING:
    from mofang.data.remote.asking import Asking

BYTES_MOST = 64 * 2**20  # the standard allows 50 MB
SITEMAPS_MOST = 1000


def pages_of(asking: Asking, url: str, most: int) -> list[str]:
    """The URLs of a sitemap and of those that it names, at most so many. Raises ``sitemap-unreadable``."""
    found: list[str] = []
    waiting, seen = [url], {url}
    while waiting and len(found) < most and len(seen) <= SITEMAPS_MOST:
        place = waiting.pop(0)
        _, body = asking.read(place, caps=Caps(BYTES_MOST, 300.0))
        pages, below = locations(body, place)
        found += pages
        waiting += [one for one in below if one not in seen]
        seen.update(below)
    return found[:most]


def locations(body: bytes, url: str) -> tuple[list[str], list[str]]:
    """(pages, further sitemaps) of one sitemap: XML, or a text with one URL a line."""
    try:
        from defusedxml.common import DefusedXmlException  # type: ignore[import-untyped, unused-ignore]
        from defusedxml.ElementTree import ParseError, fromstring  # type: ignore[import-untyped, unused-ignore]
    except ImportError:
        raise MofangError("source-package-missing", kind="sitemap", package="mofang[data]") from None
    try:
        if body[:2] == b"\x1f\x8b":
            body = zlib.decompressobj(16 + zlib.MAX_WBITS).decompress(body, BYTES_MOST)
        if not body.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
            return [line.strip() for line in body.decode("utf-8", "replace").splitlines() if "://" in line], []
        root = fromstring(body)
    except (ParseError, DefusedXmlException, zlib.error, gzip.BadGzipFile, ValueError):
        raise MofangError("sitemap-unreadable", url=shown(url)) from None
    found = [(one.text or "").strip() for one in root.iter() if str(one.tag).rpartition("}")[2] == "loc"]
    found = [one for one in found if one.startswith(("http://", "https://"))]
    return ([], found) if str(root.tag).rpartition("}")[2] == "sitemapindex" else (found, [])
