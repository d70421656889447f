"""The language of the screen: English or Chinese, chosen once by the face that a person uses."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Literal

Language = Literal["en", "zh"]

_current: ContextVar[Language] = ContextVar("language", default="en")


def current_language() -> Language:
    """The language in which messages are worded now."""
    return _current.get()


def set_language(language: Language) -> None:
    """Choose the language for this context (a request, or the whole command)."""
    _current.set(language)


def language_of(text: str) -> Language:
    """The language a locale name (``zh_CN.UTF-8``) or an Accept-Language header asks for first."""
    return "zh" if text.strip().lower().startswith("zh") else "en"


def say(en: str, zh: str, **values: object) -> str:
    """One sentence in the current language, with ``{placeholders}`` filled from the values."""
    text = zh if current_language() == "zh" else en
    return text.format(**values) if values else text
