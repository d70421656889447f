"""Which language texts are in, told from their script and their commonest words; good enough to say on a
screen."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

SCRIPTS = {
    "ja": re.compile("[\u3040-\u30ff]"),
    "ko": re.compile("[\uac00-\ud7af]"),
    "zh": re.compile("[\u4e00-\u9fff]"),
    "ru": re.compile("[\u0400-\u04ff]"),
    "ar": re.compile("[\u0600-\u06ff]"),
    "th": re.compile("[\u0e00-\u0e7f]"),
    "hi": re.compile("[\u0900-\u097f]"),
    "el": re.compile("[\u0370-\u03ff]"),
    "he": re.compile("[\u0590-\u05ff]"),
}
LATIN = re.compile("[A-Za-z\u00c0-\u024f]")
WORDS = {
    "en": "the of and to in is it that was for on with this my not you are have can what how",
    "de": "der die und das ist nicht ich ein zu mit den auf es sich für eine auch dem war aber",
    "fr": "le la les et des est une que pas pour dans je qui du sur ce avec très mais sont",
    "es": "el la los de que es una por con para no muy como pero las del lo se mi está",
    "it": "il che di è la per non una con sono del le si ma molto della anche questo gli mi",
    "pt": "o que de não uma com para os do da em é um muito mas por se na eu foi",
    "nl": "de het een van en is niet dat op te voor met zijn maar ook ik er die aan heb",
}
NAMES = {
    "zh": ("Chinese", "中文"),
    "en": ("English", "英文"),
    "ja": ("Japanese", "日文"),
    "ko": ("Korean", "韩文"),
    "de": ("German", "德文"),
    "fr": ("French", "法文"),
    "es": ("Spanish", "西班牙文"),
    "it": ("Italian", "意大利文"),
    "pt": ("Portuguese", "葡萄牙文"),
    "nl": ("Dutch", "荷兰文"),
    "ru": ("Russian", "俄文"),
    "ar": ("Arabic", "阿拉伯文"),
    "th": ("Thai", "泰文"),
    "hi": ("Hindi", "印地文"),
    "el": ("Greek", "希腊文"),
    "he": ("Hebrew", "希伯来文"),
    "other": ("another language", "其他语言"),
}
_KNOWN = {
    word: [language for language, words in WORDS.items() if word in words.split()]
    for word in {word for words in WORDS.values() for word in words.split()}
}


def language_of_texts(texts: Iterable[str], limit: int = 1000) -> tuple[str, ...]:
    """The languages of at least a fifth of the texts, the commonest first; ``other`` where none can be
    told."""
    found = Counter(
        language for _, text in zip(range(limit), texts, strict=False) if (language := language_of(text))
    )
    total = found.total()
    return tuple(language for language, count in found.most_common() if count >= 0.2 * total) or ("other",)


def language_of(text: str) -> str:
    """The language of one text; empty where nothing tells, ``other`` where it is none of those known here."""
    text = text[:1000]
    letters = {language: len(rule.findall(text)) for language, rule in SCRIPTS.items()}
    latin = len(LATIN.findall(text))
    if letters["ja"] and letters["ja"] >= 0.1 * (letters["zh"] + letters["ja"]):
        return "ja"
    best = max(letters, key=lambda language: letters[language])
    if letters[best] * 3 > latin:  # one Chinese character says about as much as a short word
        return best if letters[best] else ""
    votes: Counter[str] = Counter()
    for word in text.lower().split():
        for language in _KNOWN.get(word.strip(".,!?;:\"'()"), ()):
            votes[language] += 1
    return (
        votes.most_common(1)[0][0]
        if votes
        else "en"
        if text.isascii() and latin
        else "other"
        if latin
        else ""
    )
