"""Which sources lie on other machines, told from how they are written."""

from __future__ import annotations

import re

SOURCE, HUB = "source:", "hub:"
SCHEME = re.compile(r"([a-z][a-z0-9+.-]+)://", re.I)


def is_remote(source: str) -> bool:
    """True if this source is registered, on a hub, or has a scheme as URLs do; files and packages are not remote."""
    return source.startswith((SOURCE, HUB)) or SCHEME.match(source) is not None


def shown(url: str) -> str:
    """A URL as it may be printed: nothing between the slashes and the @, and no values of its query."""
    head, slashes, rest = url.partition("://")
    if not slashes:
        return url[:200]
    place, _, query = rest.partition("?")
    before, slash, path = place.partition("/")
    host = f"…@{before.rpartition('@')[2]}" if "@" in before else before
    return f"{head}://{host}{slash}{path}"[:200] + ("?…" if query else "")
