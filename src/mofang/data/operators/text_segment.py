"""Operators that write a text's words, or their parts of speech, into a new column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True)
class TextSegment:
    """Makes a column of words with blanks between them, as most models of Chinese before transformers need it.

    ``state``: ``makes`` (one new column), ``language`` (zh, en …; zh is the default), ``stop_words`` (false leaves out
    function words).
    """

    name: ClassVar[str] = "text-segment"
    version: ClassVar[int] = 1

    def apply_table(self, columns: Mapping[str, Sequence[Any]], state: Mapping[str, Any]) -> dict[str, list[Any]]:
        """The words of the one column, in order; None stays None."""
        from mofang.data.cleaning.text.segment import words

        (values,) = columns.values()
        cut = words(_texts(values), str(state.get("language", "zh")), stop_words=bool(state.get("stop_words", True)))
        return {str(state["makes"][0]): _where(values, [" ".join(one) for one in cut])}


@dataclass(frozen=True)
class TextTags:
    """Makes a column of parts of speech, one tag for each word: ``["n", "v"]`` as ``n v``.

    ``state``: ``makes`` (one new column), ``language`` (zh or en), ``with_words`` (true writes ``word/tag``).
    """

    name: ClassVar[str] = "text-tags"
    version: ClassVar[int] = 1

    def apply_table(self, columns: Mapping[str, Sequence[Any]], state: Mapping[str, Any]) -> dict[str, list[Any]]:
        """The tags of the one column, in order; None stays None."""
        from mofang.data.cleaning.text.segment import annotate

        (values,) = columns.values()
        found = annotate(_texts(values), str(state.get("language", "zh")))
        form = "{0.text}/{0.tag}" if state.get("with_words") else "{0.tag}"
        return {str(state["makes"][0]): _where(values, [" ".join(map(form.format, one)) for one in found])}


def _texts(values: Sequence[Any]) -> list[str]:
    return [value if isinstance(value, str) else "" for value in values]


def _where(values: Sequence[Any], made: Sequence[str]) -> list[Any]:
    return [one if isinstance(value, str) else None for value, one in zip(values, made, strict=True)]
