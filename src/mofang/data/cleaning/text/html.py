"""Markup to text: what a reader would see, with a line break where a block ends.

Scripts, styles and navigation are left out, entities become characters. Parsing is Lexbor's; markup nested so deeply
that a parser's time would grow with its square is stripped tag by tag in place of that.
"""

from __future__ import annotations

import html
import re

HEAD_CHARS = 600  # a page says within these that it is one
FRAGMENT_CHARS = 20_000  # where markup without an html element is looked for
DEEPEST = 1_000  # elements within each other
MANY_TAGS = 10_000  # fewer cannot take long, however they are nested
LONG_TAG = 20_000  # a tag with more characters may hold so many attributes that comparing them takes long
LEFT_OUT = ("script", "style", "nav")

_BLOCK = r"</(?=(?:p|h[1-6]|ul|ol|dl|table|pre|blockquote|section|article)>)"
_LINE = r"<(?=/(?:div|li|tr|dt|dd|caption|option|title)>|[bh]r[\s/>])"
_ENDS = re.compile(_BLOCK), re.compile(_LINE)
_CAPITAL_ENDS = re.compile(_BLOCK, re.IGNORECASE), re.compile(_LINE, re.IGNORECASE)
_CAPITALS = re.compile(r"</[A-Z]|<BR")
_KNOWN = (
    "a|abbr|article|aside|b|blockquote|body|br|button|center|code|dd|div|dl|dt|em|figure|font|footer|form|h[1-6]|head|header|"
    "hr|i|iframe|img|input|label|li|link|main|meta|nav|ol|option|p|pre|script|section|select|small|span|strong|style|sub|sup|"
    "table|tbody|td|th|thead|title|tr|tt|u|ul|video"
)
_TAG = re.compile(rf"<(?:/(?:{_KNOWN})\s*|(?:{_KNOWN})(?:\s[^<>]*)?/?)>", re.IGNORECASE)
_OPENING = re.compile(r"<(/?)(?!(?i:br|hr|img|input|link|meta|p|li|td|tr|th|dt|dd|col|option|wbr|area|source)\b)[A-Za-z]")
_WITHOUT_TEXT = re.compile(r"<!--.*?(?:-->|\Z)|<(script|style|nav)\b.*?(?:</\1\s*>|\Z)", re.IGNORECASE | re.DOTALL)
_LONG = re.compile(rf"<[A-Za-z][^>]{{{LONG_TAG}}}[^>]*")
_ANY_TAG = re.compile(r"<[/!?A-Za-z][^<>]*>?")


def looks_like_html(text: str) -> bool:
    """Whether a text is markup: it says so at its beginning, or it is a fragment with tags that HTML has.

    A text that only mentions a tag or two (``<b>`` in a sentence about markup) is none: a fragment begins with a tag, or
    has a tag for each 100 characters and three at least.
    """
    if "<" not in text:
        return False
    head = text[:HEAD_CHARS].lower()
    if "<html" in head or "<!doctype html" in head:
        return True
    part = text[:FRAGMENT_CHARS]
    if part.count(">") < 2:
        return False
    tags = 0
    for found in _TAG.finditer(part):
        tags += 1
        if tags == 2 and part[:64].lstrip().startswith("<") and _TAG.match(part[:FRAGMENT_CHARS].lstrip()):
            return True
        if tags >= 3 and tags * 100 >= min(len(part), found.end()) and tags * 100 >= len(part):
            return True
    return tags >= 3 and tags * 100 >= len(part)


def to_text(text: str) -> str:
    """The visible text of markup, a line break after each block; a text that is no markup is given back as it is."""
    if not looks_like_html(text):
        return text
    if _takes_long(text):
        return _stripped(text)
    from selectolax.lexbor import LexborHTMLParser

    page = LexborHTMLParser(_with_breaks(text))
    for node in page.css(",".join(LEFT_OUT)):
        node.decompose()
    return str(page.body.text(separator=" ")) if page.body is not None else ""


def _with_breaks(text: str) -> str:
    """The markup with a line break before the end of a line's element, and an empty line before that of a block's."""
    block, line = _CAPITAL_ENDS if _CAPITALS.search(text) else _ENDS
    return line.sub("\n<", block.sub("\n\n</", text))


def _takes_long(text: str) -> bool:
    """Whether parsing could take time that grows with the square of the length."""
    if text.count("<") > MANY_TAGS and _depth(text) > DEEPEST:
        return True
    half = LONG_TAG // 2  # a long tag covers one of these stretches, which then holds no end of a tag
    if all(text.find(">", start, start + half) >= 0 for start in range(0, len(text) - half, half)):
        return False
    return any(len(found[0].split()) > 1000 for found in _LONG.finditer(text))


def _depth(text: str) -> int:
    """How deep elements lie within each other, counting those that need an end tag."""
    deepest = depth = 0
    for found in _OPENING.finditer(text):
        depth += -1 if found[1] else 1
        deepest = max(deepest, depth)
    return deepest


def _stripped(text: str) -> str:
    """The text without its tags, in one pass that no nesting slows down."""
    return html.unescape(_ANY_TAG.sub(" ", _with_breaks(_WITHOUT_TEXT.sub(" ", text))))
