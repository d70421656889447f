"""Web pages: a list, a sitemap, or everything within one host and some steps, as robots.txt allows; a page that has not
changed since is not fetched again (RFC 9110, conditional requests)."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urldefrag, urlsplit

import orjson

from mofang.core.errors import MofangError
from mofang.data.remote.asking import Asking
from mofang.data.remote.fetch import Caps, checked_url
from mofang.data.remote.file import CONDITIONS, marks
from mofang.data.remote.page import read_page
from mofang.data.remote.robots import BYTES_MOST, NOBODY, Robots, read_robots
from mofang.data.remote.scheme import shown
from mofang.data.remote.sitemap import pages_of
from mofang.data.sources.textfile import encoding_of

if TYPE_CHECKING:
    from mofang.data.remote.bring import Job
    from mofang.data.remote.spool import Piece

PAGE_BYTES = 16 * 2**20
PER_SECOND = 2.0
HTML = ("text/html", "application/xhtml+xml", "text/plain", "")
MISSING = ("source-not-there", "source-forbidden", "source-login", "source-failed", "source-busy", "answer-too-large",
           "answer-cut", "answer-too-slow", "connection-failed", "answer-broken", "too-many-redirects", "host-unknown")


@dataclass
class Walk:
    """One walk over pages: what this fetch had before it was interrupted, and each host's rules."""

    job: Job
    asking: Asking
    had: dict[str, Piece]
    robots: dict[str, Robots] = field(default_factory=dict)
    forbidden: int = 0


def bring(job: Job) -> None:
    """Fetch the pages that are new or changed. Raises ``robots-forbid`` where nothing at all may be fetched."""
    spool = job.spool
    with Asking(job, PER_SECOND) as asking:
        walk = Walk(job, asking, {} if spool.complete else dict(spool.fresh))
        spool.complete = False
        spool.keep_only(_walked(walk))
    if not spool.pieces and walk.forbidden:
        raise MofangError("robots-forbid", url=shown(job.definition.url))


def _walked(walk: Walk) -> Iterator[str]:
    """Visit pages in order; the names of those that are there."""
    one = walk.job.definition
    waiting = deque((url, 0) for url in _begin(walk))
    seen = {url for url, _ in waiting}
    host = urlsplit(one.url).netloc
    visits = 0
    while waiting and visits < one.limit:
        url, depth = waiting.popleft()
        visits += 1
        links = _one(walk, url)
        if links is None:
            continue
        yield name_of(url)
        if one.pages == "crawl" and depth < one.depth:
            for link in links:
                if urlsplit(link).netloc == host and link not in seen and len(seen) < 100 * one.limit:
                    seen.add(link)
                    waiting.append((link, depth + 1))
    for url, _ in waiting:
        walk.job.refuse(url, "page-limit")


def _begin(walk: Walk) -> list[str]:
    """Where the walk begins."""
    one = walk.job.definition
    if one.pages == "list":
        if "://" in one.url:
            _, body = walk.asking.read(one.url, caps=Caps(PAGE_BYTES))
        else:
            body = _local(one.url)
        lines = [line.strip() for line in body.decode("utf-8", "replace").splitlines()]
        found = [line for line in lines if line and not line.startswith("#")]
    elif one.pages == "sitemap":
        found = pages_of(walk.asking, one.url, one.limit * 10)
    else:
        found = [one.url]
    return list(dict.fromkeys(urldefrag(str(checked_url(url))).url for url in found))


def _local(name: str) -> bytes:
    path = Path(name).expanduser()
    if not path.is_file() or path.stat().st_size > PAGE_BYTES:
        raise MofangError("source-missing", source=name, nearest="-")
    return path.read_bytes()


def _one(walk: Walk, url: str) -> list[str] | None:
    """One page into the spool if it is new; its links, or None if there is nothing to take."""
    name, job = name_of(url), walk.job
    if name in walk.had:
        return list(walk.had[name].mark.get("links", []))
    rules = _rules(walk, url)
    if not rules.allows(url):
        walk.forbidden += 1
        job.refuse(url, "robots-forbid")
        return None
    walk.asking.pause_s = max(walk.asking.pause_s, rules.delay_s)
    known = job.spool.fresh.get(name) or job.spool.held.get(name)
    mark = known.mark if known is not None else {}
    asked = {header: mark[one] for header, one in CONDITIONS if mark.get(one)}
    try:
        with walk.asking.get(url, asked, accept=(200, 304), caps=Caps(PAGE_BYTES, 120.0)) as answer:
            if answer.status == 304 and known is not None:
                return list(mark.get("links", []))
            return _take(walk, url, answer)
    except MofangError as error:
        if error.code not in MISSING:
            raise
        job.refuse(url, error.code)
        return None


def _take(walk: Walk, url: str, answer: Any) -> list[str] | None:
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in HTML:
        walk.job.refuse(url, "not-a-page")
        return None
    if not _rules(walk, answer.url).allows(answer.url):  # a redirect leads where other rules hold
        walk.job.refuse(url, "robots-forbid")
        return None
    body = answer.read()
    page = read_page(_decoded(body, answer.headers.get("content-type", "")), answer.url)
    row = orjson.dumps({"url": answer.url, "title": page.title, "text": page.text}) + b"\n"
    found = walk.job.spool.found
    if page.licences:
        found["licences"] = sorted({*found.get("licences", []), *page.licences})[:20]
    links = page.links if walk.job.definition.pages == "crawl" else []
    with walk.job.spool.piece(name_of(url), {**marks(answer.headers), "url": url, "links": links}) as path:
        path.write_bytes(row)
    walk.job.note(shown(url)[-60:])
    return links


def _rules(walk: Walk, url: str) -> Robots:
    """The host's rules, asked for once; unreachable or broken, nothing is allowed (RFC 9309, 2.3.1.4)."""
    parts = urlsplit(url)
    origin = f"{parts.scheme}://{parts.netloc}"
    if origin not in walk.robots:
        try:
            with walk.asking.get(f"{origin}/robots.txt", accept=(200, *range(400, 429), *range(430, 500)),
                                 caps=Caps(4 * BYTES_MOST, 60.0)) as answer:
                walk.robots[origin] = read_robots(answer.read()) if answer.status == 200 else Robots()
        except MofangError as error:
            if error.code not in ("source-failed", "source-busy", "answer-cut", "answer-too-slow", "answer-too-large"):
                raise
            walk.robots[origin] = NOBODY
    return walk.robots[origin]


def _decoded(body: bytes, kind: str) -> str:
    """The page as text: the charset it names if that fits, else the likeliest one."""
    _, _, named = kind.lower().partition("charset=")
    named = named.strip(" \"';").partition(";")[0]
    if not named:
        head = body[:2048].lower()
        _, _, after = head.partition(b"charset=")
        named = after.lstrip(b"\"' ")[:20].split(b'"')[0].split(b"'")[0].split(b">")[0].decode("ascii", "ignore").strip(" /;")
    for name in (named, encoding_of(body[: 2 * 2**20], len(body) <= 2 * 2**20)):
        try:
            return body.decode(name or "utf-8")
        except (LookupError, UnicodeDecodeError):
            continue
    return body.decode("utf-8", "replace")


def name_of(url: str) -> str:
    """What a page's piece is called: its host, and a digest of the rest, since paths could lead anywhere."""
    return f"{urlsplit(url).hostname}/{hashlib.sha256(url.encode()).hexdigest()[:24]}.jsonl"
