"""``--quality``: which texts read well enough to learn from; ``--quality.min-words 20`` and so on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from mofang.core.variant import Variant


class Quality(Variant):
    """Rules for whole texts: ``none``, or ``web`` with thresholds of its own for English and for Chinese."""

    repetition: bool = False

    def decide(self, found: Mapping[str, Any], rows: int) -> list[str]:
        """A reason for each text, or nothing, from the columns of its figures."""
        raise NotImplementedError


@dataclass(frozen=True)
class Anything(Quality):
    """Every text is good enough."""

    tag: ClassVar[str] = "none"

    def decide(self, found: Mapping[str, Any], rows: int) -> list[str]:
        """No reasons."""
        return [""] * rows


@dataclass(frozen=True)
class Web(Quality):
    """Texts of the web and of documentation: Gopher's rules (Rae et al. 2021), with limits of their own for Chinese.

    Shares are of 1; ``stop_words`` is asked of English, ``chinese_signs`` (的, 是, 了 …) of Chinese texts.
    """

    tag: ClassVar[str] = "web"
    min_words: int = 50
    max_words: int = 100_000
    min_word_chars: float = 3
    max_word_chars: float = 10
    stop_words: int = 2
    chinese_signs: int = 1
    letters: float = 0.5
    symbols: float = 0.1
    ellipses: float = 0.1
    bullets: float = 0.9
    ellipsis_lines: float = 0.3
    finished_lines: float = 0.0
    digits: float = 1.0
    repetition: bool = True

    def decide(self, found: Mapping[str, Any], rows: int) -> list[str]:
        """``quality-words``, ``quality-letters`` … from the stored figures; no text is read."""
        from mofang.data.cleaning.text.facts import TextFacts
        from mofang.data.cleaning.text.quality import Limits, QualityRules, Repeats, decide

        plain = Limits(
            words=(self.min_words, self.max_words), hash_share=self.symbols, ellipsis_share=self.ellipses,
            word_letter_share=self.letters, bullet_lines=self.bullets, ellipsis_lines=self.ellipsis_lines,
            finished_lines=self.finished_lines, digit_share=self.digits,
        )  # fmt: skip
        rules = QualityRules(
            english=replace(plain, word_chars=(self.min_word_chars, self.max_word_chars), stop_words=self.stop_words),
            chinese=replace(plain, chinese_signs=self.chinese_signs),
            other=plain,
            repeats=Repeats() if self.repetition else None,
        )
        return [f"quality-{reason}" if reason else "" for reason in decide(TextFacts.from_table(dict(found)), rules)]
