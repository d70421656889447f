"""robots.txt as RFC 9309 has it: the longest rule decides, ``*`` and ``$`` mean something, Allow wins a tie.

The standard library's parser takes the first rule that fits and knows no wildcards, so it forbids and allows other pages
than the sites' owners mean.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import quote, unquote, urlsplit

TOKEN = "mofang"
BYTES_MOST = 500 * 1024
RULES_MOST = 10_000
DELAY_MOST_S = 60.0


@dataclass
class Robots:
    """What one host lets this product fetch: rules as (path pattern, allowed), and the pause it asks for."""

    rules: list[tuple[str, bool]] = field(default_factory=list)
    delay_s: float = 0.0
    sitemaps: list[str] = field(default_factory=list)

    def allows(self, url: str) -> bool:
        """True if this page may be fetched."""
        parts = urlsplit(url)
        path = _plain(parts.path or "/") + (f"?{_plain(parts.query)}" if parts.query else "")
        if path == "/robots.txt":
            return True
        best, allowed = -1, True
        for pattern, allow in self.rules:
            if len(pattern) < best or (len(pattern) == best and not allow):
                continue
            if fits(pattern, path):
                best, allowed = len(pattern), allow
        return allowed


NOBODY = Robots([("/", False)])


def read_robots(data: bytes, token: str = TOKEN) -> Robots:
    """The rules for this product, or those for everybody; of several groups for one name all rules count."""
    named: dict[str, Robots] = {}
    current: list[str] = []
    in_rules = False
    sitemaps: list[str] = []
    for line in data[:BYTES_MOST].decode("utf-8", "replace").lstrip("\ufeff").splitlines():
        key, colon, value = line.split("#", 1)[0].partition(":")
        key, value = key.strip().lower(), value.strip()
        if not colon:
            continue
        if key == "user-agent":
            if in_rules:
                current, in_rules = [], False
            name = re.match(r"[A-Za-z_-]+|\*", value)
            current.append(name[0].lower() if name else "")
            named.setdefault(current[-1], Robots())
        elif key in ("allow", "disallow", "crawl-delay"):
            in_rules = True
            for one in current:
                _add(named[one], key, value)
        elif key == "sitemap":
            sitemaps.append(value)
    found = named.get(token) or named.get("*") or Robots()
    return Robots(found.rules, found.delay_s, sitemaps[:100])


def _add(robots: Robots, key: str, value: str) -> None:
    if key == "crawl-delay":
        try:
            robots.delay_s = min(max(float(value), 0.0), DELAY_MOST_S)
        except ValueError:  # some write words here
            return
    elif value and len(robots.rules) < RULES_MOST:
        robots.rules.append((_plain(value), key == "allow"))


def fits(pattern: str, path: str) -> bool:
    """True if a rule's pattern fits the beginning of a path; found piece by piece, so no pattern takes long."""
    anchored = pattern.endswith("$")
    first, *rest = pattern.removesuffix("$").split("*")
    if not path.startswith(first):
        return False
    place = len(first)
    for number, piece in enumerate(rest):
        if anchored and number == len(rest) - 1:
            return path.endswith(piece) and len(path) - len(piece) >= place
        found = path.find(piece, place)
        if found < 0:
            return False
        place = found + len(piece)
    return not anchored or place == len(path)


def _plain(path: str) -> str:
    """Percent signs in one form, so that ``%7E`` and ``~`` are one path."""
    return quote(unquote(path, errors="replace"), safe="/~!$&'()*+,;=:@-._?%")
