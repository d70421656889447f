"""Which sources lie on other machines, told from how they are written."""

from __future__ import annotations

import re

SOURCE, HUB = "source:", "hub:"
SCHEME = re.compile(r"([a-z][a-z0-9+.-]+)://", re.I)


def is_remote(source: str) -> bool:
    """True if this source is registered, on a hub, or has a scheme as URLs do; files and packages are not remote."""
    return source.startswith((SOURCE, HUB)) or SCHEME.match(source) is not None
