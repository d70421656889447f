"""Variants of texts, Chinese and English: other words, another order, a word less, a slip of the pen (after Wei and Zou 2019)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from mofang.core.errors import MofangError
from mofang.data.augmenting.words import NEGATIONS, alike, synonyms

HAN = re.compile(r"[\u3400-\u9fff]")
PIECES = re.compile(r"[\u3400-\u9fff]+|[A-Za-z]+(?:['\u2019-][A-Za-z]+)*|\s+|.", re.DOTALL)
SHARE = 0.2  # of the words, at strength 1
TRANSLATORS: dict[str, Callable[[Sequence[str]], Sequence[str]]] = {}


def register_translator(name: str, function: Callable[[Sequence[str]], Sequence[str]]) -> None:
    """Give ``back-translate`` its translator: texts in, the same texts there and back out, one for one.

    Its name stands in the ledger, so give another translator another name (``mt-1``, ``mt-2``).
    """
    TRANSLATORS[name] = function


@cache
def _segmenter() -> Any:
    try:
        import jieba
    except ImportError as error:
        raise MofangError("augment-library-missing", library="jieba", reason=str(error)) from error
    jieba.setLogLevel(60)
    jieba.initialize()
    return jieba


def pieces(text: str) -> list[str]:
    """Words, blanks and signs, in order; together they are the text."""
    found: list[str] = []
    for one in PIECES.findall(text):
        found += _segmenter().lcut(one) if HAN.match(one) and len(one) > 1 else [one]
    return found


def _is_word(piece: str) -> bool:
    return piece[:1].isalnum()


def _count(words: int, chance: Any, strength: float) -> int:
    return max(1, round(words * SHARE * strength * float(chance.uniform(0.5, 1))))


def synonym(text: str, chance: Any, strength: float) -> str:
    """Some words replaced by others that mean about the same."""
    found, table = pieces(text), synonyms()
    places = [place for place, one in enumerate(found) if one.lower() in table]
    words = sum(map(_is_word, found))
    for place in chance.permutation(len(places))[: _count(words, chance, strength)]:
        old = found[places[place]]
        others = table[old.lower()]
        new = others[int(chance.integers(0, len(others)))]
        found[places[place]] = new.capitalize() if old[:1].isupper() else new
    return "".join(found)


def swap(text: str, chance: Any, strength: float) -> str:
    """Some neighbouring words change places; a negation stays where it is."""
    found = pieces(text)
    words = [place for place, one in enumerate(found) if _is_word(one)]
    pairs = [(one, other) for one, other in zip(words, words[1:], strict=False)
             if other - one <= 2 and found[one].lower() not in NEGATIONS and found[other].lower() not in NEGATIONS]
    for place in chance.permutation(len(pairs))[: _count(len(words), chance, strength)] if pairs else []:
        one, other = pairs[place]
        found[one], found[other] = found[other], found[one]
    return "".join(found)


def delete(text: str, chance: Any, strength: float) -> str:
    """Some words left out: never a negation, and never most of them."""
    found = pieces(text)
    words = [place for place, one in enumerate(found) if _is_word(one)]
    free = [place for place in words if found[place].lower() not in NEGATIONS and not found[place].lower().endswith("n't")]
    most = min(_count(len(words), chance, strength), len(words) // 2)
    gone = {free[place] for place in chance.permutation(len(free))[:most]}
    kept = [one for place, one in enumerate(found) if place not in gone]
    return re.sub(r"[ \t]{2,}", " ", "".join(kept)).strip()


def noise(text: str, chance: Any, strength: float) -> str:
    """Slips as people make them: Chinese characters that sound or look alike, neighbouring keys for letters."""
    signs, table = list(text), alike()
    places = [place for place, sign in enumerate(signs) if sign.lower() in table]
    for place in chance.permutation(len(places))[: _count(len(places), chance, strength / 2)] if places else []:
        old = signs[places[place]]
        near = table[old.lower()]
        new = near[int(chance.integers(0, len(near)))]
        signs[places[place]] = new.upper() if old.isupper() else new
    return "".join(signs)


KINDS: dict[str, Callable[[str, Any, float], str]] = {"synonym": synonym, "swap": swap, "delete": delete, "noise": noise}


def varied(text: str, kinds: Sequence[str], chance: Any, strength: float, translator: str = "") -> str:
    """One of the kinds, chosen by chance; where it finds nothing to change, the next. The text itself if none does."""
    for place in chance.permutation(len(kinds)):
        kind = kinds[int(place)]
        found = _translated(text, translator) if kind == "back-translate" else KINDS[kind](text, chance, strength)
        if found.strip() and found != text:
            return found
    return text


def _translated(text: str, translator: str) -> str:
    if translator not in TRANSLATORS:
        raise MofangError("translator-missing", translator=translator or "-", known=", ".join(TRANSLATORS) or "-")
    return TRANSLATORS[translator]([text])[0]
