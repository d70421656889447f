"""Words and parts of speech: Chinese cut by jieba, English tagged by the pattern tagger of TextBlob.

Both are slow beside the rest of this package (about 1 MB/s and 0.3 MB/s) and are asked for by name only.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

from mofang.core.errors import MofangError
from mofang.data.cleaning.text.stopwords import CHINESE, ENGLISH

LANGUAGES = ("zh", "en")


class Word(NamedTuple):
    """A word and its part of speech: jieba's flags in Chinese (n, v, a …), Penn Treebank's in English (NN, VB, JJ …)."""

    text: str
    tag: str


def words(texts: Sequence[str], language: str, *, stop_words: bool = True) -> list[list[str]]:
    """The words and signs of each text, in order, without blanks; ``stop_words`` False leaves out function words.

    Chinese is cut by jieba's default mode; other languages at blanks and punctuation.
    """
    from mofang.data.cleaning.text.classes import TOKEN

    if language == "zh":
        cut = [[one for one in _jieba().lcut(text) if not one.isspace()] for text in texts]
    else:
        cut = [TOKEN.findall(text) for text in texts]
    if stop_words:
        return cut
    left_out = CHINESE if language == "zh" else ENGLISH
    return [[one for one in found if one.lower() not in left_out] for found in cut]


def annotate(texts: Sequence[str], language: str) -> list[list[Word]]:
    """The words of each text with their parts of speech; ``language`` is zh or en."""
    if language == "zh":
        tagger = _jieba_tagger()
        return [[Word(one.word, one.flag) for one in tagger.lcut(text) if not one.word.isspace()] for text in texts]
    if language != "en":
        raise MofangError("tags-language-unknown", language=language, known=", ".join(LANGUAGES))
    tagger = _pattern_tagger()
    return [[Word(str(word), str(tag)) for word, tag in tagger.tag(text)] if text.strip() else [] for text in texts]


def chinese_words(text: str) -> list[str]:
    """The words of a text by jieba's dictionary, spaces and signs too: joined they are the text again."""
    found: list[str] = _jieba().lcut(text, HMM=False)
    return found


@cache
def _jieba() -> Any:
    """jieba with its own dictionary; its cache would lie readable and writable for all, so it is not kept."""
    import logging

    import jieba

    jieba.setLogLevel(logging.ERROR)
    made = jieba.Tokenizer()
    with tempfile.TemporaryDirectory() as private:
        made.tmp_dir = private
        made.initialize()
    return made


@cache
def _jieba_tagger() -> Any:
    from jieba.posseg import POSTokenizer

    return POSTokenizer(_jieba())


@cache
def _pattern_tagger() -> Any:
    try:
        from textblob.en.taggers import PatternTagger
    except ImportError as missing:
        raise MofangError("tagger-missing") from missing
    return PatternTagger()
