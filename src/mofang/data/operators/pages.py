"""Texts that come from pages: markup, paragraphs, noise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from mofang.core.errors import MofangError
from mofang.data.operators.normalise import paragraphs


@dataclass(frozen=True)
class TextHtml:
    """The words of HTML: ``state["mode"]`` is ``yes`` for every text, ``auto`` for those that look like a page.

    ``state["spelling"]`` is ``later`` where an operator that follows brings the words into one spelling.
    """

    name: ClassVar[str] = "text-html"
    version: ClassVar[int] = 1

    def apply(self, values: Sequence[Any], state: Mapping[str, Any]) -> list[Any]:
        """The texts without markup; a value that is no text stays as it is."""
        from mofang.data.cleaning.text.html import looks_like_html, to_text

        always, later = state.get("mode") == "yes", state.get("spelling") == "later"

        def words(text: str) -> str:
            page = text if looks_like_html(text) else f"<html>{text}" if always else ""
            if not page:
                return text
            found = to_text(page)
            return found if later else paragraphs(found)

        return _each(values, words)


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
    """Mends noise in texts (see ``mofang.data.cleaning.text.noise``); ``state["steps"]`` names what is mended."""

    name: ClassVar[str] = "text-noise"
    version: ClassVar[int] = 1

    def apply(self, values: Sequence[Any], state: Mapping[str, Any]) -> list[Any]:
        """The mended texts; a value that is no text stays as it is."""
        from mofang.data.cleaning.text.noise import DEFAULT, STEPS, mend

        steps = tuple(state.get("steps", DEFAULT))
        if unknown := [step for step in steps if step not in STEPS]:
            raise MofangError("noise-step-unknown", step=unknown[0], known=", ".join(STEPS))
        return [mend(value, steps).text if isinstance(value, str) else value for value in values]


def _each(values: Sequence[Any], change: Callable[[str], str]) -> list[Any]:
    return [change(value) if isinstance(value, str) else value for value in values]

