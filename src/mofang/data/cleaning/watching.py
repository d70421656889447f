"""What the first pass looks for beside lengths and copies: language, quality, personal data, own rules, sound and pictures.

Whatever is found is a figure in a column; which figure is too much is decided later, and as often as one likes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import pyarrow as pa

from mofang.core.errors import MofangError

Identify = Literal["", "prefix", "full"]
RULE = "rule."
RULE_MEMORY_BYTES = 16 << 20
SOUND = ("seconds", "silent", "clipped")
PICTURE = ("blur", "contrast")


@dataclass(frozen=True)
class Watch:
    """What to look for; picklable."""

    texts: bool = False
    identify: Identify = ""
    prefix: int = 1000
    words: bool = False
    repeats: bool = False
    personal: tuple[str, ...] = ()
    rules: tuple[tuple[str, str], ...] = ()
    pictures: tuple[str, ...] = ()
    sounds: tuple[str, ...] = ()
    max_pixels: int = 50_000_000

    def read(self, texts: Sequence[str]) -> Any:
        """The facts of a batch of texts, all from one tokenisation; None where nobody asks for them."""
        if not self.texts or not texts:
            return None
        from mofang.data.cleaning.text.facts import text_facts

        return text_facts(texts, identify=self.identify, prefix=self.prefix, shingles=self.words, repeats=self.repeats)

    def columns(self, texts: Sequence[str], facts: Any, media: Mapping[str, Sequence[bytes]]) -> dict[str, pa.Array]:
        """The figures of a batch as columns of the statistics."""
        found: dict[str, pa.Array] = {}
        if facts is not None:
            table = facts.table()
            found["language"] = pa.array(table.pop("language").tolist(), pa.string())
            found |= {name: pa.array(values) for name, values in table.items()}
        for name, pattern in self.rules:
            rule = compiled(name, pattern)
            found[f"{RULE}{name}"] = pa.array([rule.search(text) is not None for text in texts], pa.bool_())
        if self.personal:
            found["personal"] = pa.array(_personal(texts, self.personal), pa.int32())
        for name in self.pictures:
            found |= _media(name, media[name], "picture", PICTURE, self.max_pixels)
        for name in self.sounds:
            found |= _media(name, media[name], "sound", (*SOUND, "reason"), 0)
        return found


def _personal(texts: Sequence[str], kinds: Sequence[str]) -> list[int]:
    """How many pieces of personal data stand in each text."""
    from mofang.data.protecting.find import find_all

    return [len(spans) for spans in find_all(texts, frozenset(kinds))]


def _media(name: str, values: Sequence[bytes], what: str, wanted: Sequence[str], max_pixels: int) -> dict[str, pa.Array]:
    from mofang.data.cleaning import media

    look: Any = partial(media.picture_facts, pixels_most=max_pixels) if what == "picture" else media.sound_facts
    facts = [look(value) for value in values]
    return {f"{name}.{one}": pa.array([getattr(fact, one) for fact in facts]) for one in wanted}


def own_rules(given: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """``name=pattern`` as a name and a pattern each, every pattern tried out; ``rule-unreadable``, ``rule-refused``."""
    found: dict[str, str] = {}
    for one in given:
        name, sign, pattern = one.partition("=")
        if not sign or not pattern or not name.strip().replace("-", "").replace("_", "").isalnum() or name.strip() in found:
            raise MofangError("rule-unreadable", rule=one)
        found[name.strip()] = pattern
        compiled(name.strip(), pattern)
    return tuple(found.items())


def compiled(name: str, pattern: str) -> Any:
    """A rule as Google's RE2 runs it: time in proportion to the text whatever the pattern, and no look-arounds."""
    import re2

    options = re2.Options()
    options.max_mem = RULE_MEMORY_BYTES
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0] if error.args else error
        said = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise MofangError("rule-refused", rule=name, pattern=pattern, reason=said) from None
