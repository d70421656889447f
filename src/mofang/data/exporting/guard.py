"""Texts that a spreadsheet would run as a formula get an apostrophe in front; reading them back takes it off again.

OWASP, CSV injection: ``= + - @``, tab and carriage return, and their full-width forms.
"""

from __future__ import annotations

TRIGGERS = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")
MARK = "'"


def guarded(text: str) -> str:
    """The text, harmless in a spreadsheet. One that begins so by itself gets one more apostrophe, so nothing is lost."""
    return MARK + text if text.lstrip(MARK).startswith(TRIGGERS) else text


def unguarded(text: str) -> str:
    """The text as it was before ``guarded``."""
    return text[1:] if text.startswith(MARK) and text.lstrip(MARK).startswith(TRIGGERS) else text
