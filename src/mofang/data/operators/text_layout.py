"""Operators for documents, whose lines and paragraphs mean something: one spelling, markup to text, noise mended."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from mofang.core.errors import MofangError
from mofang.data.operators.normalise import spelling

_PARAGRAPH = re.compile("\u2029")
_EMPTY = re.compile(r"\n{3,}")


def layout(text: str) -> str:
    """One spelling for what reads alike, as ``normalise`` gives it, but line breaks stay.

    Blanks within a line become one, none stands at its ends, and of several empty lines one stays. Applying it twice
    changes nothing.
    """
    lines = _PARAGRAPH.sub("\n\n", text).splitlines()
    lines = spelling("\n".join(lines), lines=True).split("\n")
    return _EMPTY.sub("\n\n", "\n".join([" ".join(line.split()) for line in lines])).strip("\n")


@dataclass(frozen=True)
class TextLayout:
    """Brings documents into one spelling and keeps their lines and paragraphs (see ``layout``)."""

    name: ClassVar[str] = "text-layout"
    version: ClassVar[int] = 1

    def apply(self, values: Sequence[Any], state: Mapping[str, Any]) -> list[Any]:
        """The documents laid out; a value that is no text stays as it is."""
        return [layout(value) if isinstance(value, str) else value for value in values]


@dataclass(frozen=True)
class TextHtml:
    """Turns markup into the text that a reader sees, laid out; a value that is no markup stays as it is."""

    name: ClassVar[str] = "text-html"
    version: ClassVar[int] = 1

    def apply(self, values: Sequence[Any], state: Mapping[str, Any]) -> list[Any]:
        """The visible texts."""
        from mofang.data.cleaning.text.html import looks_like_html, to_text

        return [
            layout(to_text(value)) if isinstance(value, str) and looks_like_html(value) else value for value in values
        ]


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
