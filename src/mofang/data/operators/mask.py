"""Personal data out of texts, in training and in serving by the same code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True)
class TextMask:
    """Puts something else in the place of personal data: ``state`` holds ``kinds`` (all without it), ``how`` by kind
    (``*`` for the rest: mask, last4, generalise, pseudonym, remove, keep), ``tokens``, ``language``, ``key``, ``engine``."""

    name: ClassVar[str] = "text-mask"
    version: ClassVar[int] = 1

    def apply(self, values: Sequence[Any], state: Mapping[str, Any]) -> list[Any]:
        """The texts without the personal data that was found; a value that is no text stays as it is."""
        from mofang.data.protecting.change import Change
        from mofang.data.protecting.ring import held
        from mofang.data.protecting.spans import ALL_KINDS

        kinds = frozenset(state["kinds"]) if state.get("kinds") else ALL_KINDS
        tokens, language, engine = state.get("tokens", {}), state.get("language", "auto"), state.get("engine", "own")
        change = Change(state.get("how", {}), kinds, tokens, language, held(state), engine)
        places = [place for place, value in enumerate(values) if isinstance(value, str)]
        changed = list(values)
        for place, (text, _) in zip(places, change.texts([values[place] for place in places]), strict=True):
            changed[place] = text
        return changed
