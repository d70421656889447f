"""Texts that come from pages: markup, paragraphs, noise."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from mofang.data.operators.normalise import paragraphs

RUNS = re.compile(r"([^\w\s])\1{3,}")  # of one sign that is no letter
LAUGHS = re.compile(r"(\w)\1{5,}|(\w{2})\2{4,}")  # 哈哈哈哈哈哈, hahahahaha
SHOWN = 3


@dataclass(frozen=True)
class TextHtml:
    """The words of HTML: ``state["mode"]`` is ``yes`` for every text, ``auto`` for those that look like a page."""

    name: ClassVar[str] = "text-html"
    version: ClassVar[int] = 1

    def apply(self, values: Sequence[Any], state: Mapping[str, Any]) -> list[Any]:
        """The texts without markup; a value that is no text stays as it is."""
        from mofang.data.cleaning.text.html import looks_like_html, to_text

        always = state.get("mode") == "yes"
        return _each(values, lambda text: to_text(text if looks_like_html(text) or not always else f"<html>{text}"))


@dataclass(frozen=True)
class TextParagraphs:
    """One spelling for what reads alike, with the lines where they are: blank lines at the ends and doubled ones go."""

    name: ClassVar[str] = "text-paragraphs"
    version: ClassVar[int] = 1

    def apply(self, values: Sequence[Any], state: Mapping[str, Any]) -> list[Any]:
        """The texts, each line normalised by itself; a value that is no text stays as it is."""
        return _each(values, paragraphs)


@dataclass(frozen=True)
class TextNoise:
    """Noise of keyboards: of a sign repeated four times and more, or a laugh of six, three stay."""

    name: ClassVar[str] = "text-noise"
    version: ClassVar[int] = 1

    def apply(self, values: Sequence[Any], state: Mapping[str, Any]) -> list[Any]:
        """The texts with short runs; digits stay as they are, and so does a value that is no text."""
        return _each(values, _quiet)


def _each(values: Sequence[Any], change: Callable[[str], str]) -> list[Any]:
    return [change(value) if isinstance(value, str) else value for value in values]


def _quiet(text: str) -> str:
    return LAUGHS.sub(_shortened, RUNS.sub(lambda found: found[1] * SHOWN, text))


def _shortened(found: re.Match[str]) -> str:
    piece = found[1] or found[2]
    return found[0] if piece.isdecimal() else piece * SHOWN
