"""What a person says of a remote source: its address, what to ask for, how to page, which secret by its name."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from mofang.core.errors import MofangError
from mofang.data.remote.scheme import HUB, SCHEME, shown

NAME = re.compile(r"[^\W_][\w.-]{0,63}")
SECRETS_IN_QUERY = re.compile(
    r"(?i:[?&;](password|passwd|pwd|token|access_token|api_?key|key|secret|sig|signature|x-amz-signature)=)"
)
SQL_SCHEMES = ("sqlite", "postgresql", "postgres", "mysql", "mariadb", "mssql", "oracle", "duckdb")
STORE_SCHEMES = ("s3", "s3a", "gs", "gcs", "hdfs", "abfs", "abfss", "az", "memory", "webhdfs", "oss")
API_SETTINGS = ("items", "paging", "cursor", "since", "page_name", "size_name", "page_size", "newer_than", "growing")

Kind = Literal["", "file", "api", "web", "sql", "cassandra", "hub", "store"]
Paging = Literal["", "link", "page", "offset", "cursor"]
Pages = Literal["", "one", "list", "sitemap", "crawl"]


@dataclass(frozen=True)
class Definition:
    """One remote source. ``secret`` is a name; ``headers`` and ``options`` may hold ``{secret}``, never its value.

    ``query`` or ``table`` for databases; ``newer_than`` the ordered column (or item field) by which only new rows are
    taken; ``items`` the path to an API's items, the paging settings beside it; ``pages``, ``depth``, ``limit`` for web
    pages; ``allow_private`` the HOST:PORT of own machines that may be reached.
    """

    url: str
    kind: Kind = ""
    query: str = ""
    table: str = ""
    newer_than: str = ""
    items: str = ""
    paging: Paging = ""
    page_name: str = ""
    size_name: str = ""
    page_size: int = 100
    cursor: str = ""
    since: str = ""
    growing: bool = False
    headers: tuple[str, ...] = ()
    secret: str = ""
    allow_private: tuple[str, ...] = ()
    rate: float = 0.0
    pages: Pages = ""
    depth: int = 2
    limit: int = 1000
    split: str = ""
    config: str = ""
    options: tuple[str, ...] = ()
    most_mb: int = 8192

    def changed(self) -> dict[str, Any]:
        """What differs from the defaults, as JSON: it is stored, shown and digested."""
        every = asdict(self)
        return {one.name: every[one.name] for one in fields(self) if every[one.name] != one.default}

    @classmethod
    def stored(cls, body: dict[str, Any]) -> Definition:
        """From what ``changed`` gave."""
        given: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in body.items()}
        return cls(**given)

    @property
    def scheme(self) -> str:
        """The URL's scheme without the name of a driver."""
        found = SCHEME.match(self.url)
        return found[1].lower().partition("+")[0] if found else "hub" if self.url.startswith(HUB) else ""

    @property
    def nature(self) -> str:
        """Which kind of source it is: said, or told from the URL. Raises ``source-kind-unknown``."""
        if self.kind:
            return self.kind
        if self.scheme in SQL_SCHEMES:
            return "sql"
        if self.scheme in STORE_SCHEMES:
            return "store"
        if self.scheme in ("hub", "cassandra"):
            return self.scheme
        if self.scheme in ("http", "https"):
            if self.pages:
                return "web"
            defaults = {one.name: one.default for one in fields(self)}
            return "api" if any(getattr(self, name) != defaults[name] for name in API_SETTINGS) else "file"
        raise MofangError("source-kind-unknown", url=shown(self.url))


def require_no_secret(url: str, name: str = "NAME") -> str:
    """The URL, or ``source-with-password`` if a password or a token is typed in it."""
    found = SCHEME.match(url)
    place = re.split(r"[/?#]", url[found.end():], maxsplit=1)[0] if found else ""
    # a password may hold a slash: whatever stands before an @ and has a colon is taken for one
    typed = found and (re.match(r"[^:@]*:[^@]+@", place) or re.match(r"[^/@?#:]*:[^@]+@", url[found.end():]))
    if typed or SECRETS_IN_QUERY.search(url):
        raise MofangError("source-with-password", url=_bare(url), name=name)
    return url


def _bare(url: str) -> str:
    """The URL without its password, as it can be typed again."""
    scheme, slashes, rest = url.partition("://")
    before, at, after = rest.rpartition("@") if "@" in rest else ("", "", rest)
    user = before.partition(":")[0]
    return f"{scheme}{slashes}{user}{at}{after.partition('?')[0]}"[:200]
