"""How a page is made, at the console and at a customer's own account: plain HTML from templates, under one strict policy."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from mofang.core.language import current_language, say
from mofang.core.money import format_micros, format_price
from mofang.core.trace import details, headline

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).with_name("templates")
STYLE = Path(__file__).with_name("style.css")
LANGUAGE_COOKIE = "mofang_language"
SAFE = (
    (b"content-security-policy", (b"default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; "
                                 b"frame-ancestors 'none'; base-uri 'none'")),
    (b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer"), (b"cache-control", b"no-store"),
    (b"cross-origin-opener-policy", b"same-origin"), (b"cross-origin-resource-policy", b"same-origin"),
)
TURNING = dict.fromkeys((0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)))


@cache
def templates() -> Environment:
    """The templates; whatever is printed is escaped, and a name that is missing is our own mistake, not an empty place."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, finalize=upright,
                       extensions=["jinja2.ext.do"], trim_blocks=True, lstrip_blocks=True)


def rendered(template: str, currency: str, /, **values: Any) -> bytes:
    """A page in the current language; amounts are in ``currency`` where a page names no other."""
    def money(micros: int | None, of: str = "") -> str:
        return "–" if micros is None else format_micros(micros, of or currency)

    shared = {"say": say, "language": current_language(), "money": money, "when": when, "link": link, "price": format_price,
              "headline": headline, "details": details}
    return templates().get_template(template).render(**shared, **values).encode()


def upright(value: Any) -> Any:
    """A value as it is printed: without the marks by which a name could turn round what stands beside it."""
    return value.translate(TURNING) if isinstance(value, str) else value


def link(path: str, asked: Mapping[str, str] | None = None, **changes: str) -> str:
    """An address with what was asked for and what is to be asked for instead; empty values are left out."""
    query = {name: value for name, value in {**(asked or {}), **changes}.items() if value}
    return f"{path}?{urlencode(query)}" if query else path


def when(at_us: int) -> str:
    """A moment on this machine's clock."""
    return datetime.fromtimestamp(at_us / 1e6).strftime("%Y-%m-%d %H:%M")
