"""Where words begin among tokens, so that whole words are hidden: English by the vocabulary's own marks, Chinese by jieba.

A Chinese word is several tokens, and hiding one of them is too easy a question: its neighbours give it away
(whole-word masking, Cui et al. 2019). Tokens are laid out as bytes, because a byte-level token may end inside a sign.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from mofang.engine.arrays import Array

SPACES = ("▁", "Ġ")  # how vocabularies write a space before a word
INSIDE = "##"


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The tokens of a tokenizer as bytes, and which of them begin a word by their own look."""

    tokenizer: Any

    @cached_property
    def pieces(self) -> list[bytes]:
        """The bytes of each token, without marks of the vocabulary; a space before a word is kept as one."""
        level = _byte_level() if self._is_byte_level else None
        return [_bytes_of(self._name(id), level) for id in range(self.size)]

    @property
    def size(self) -> int:
        """How many ids there are."""
        return int(self.tokenizer.get_vocab_size(with_added_tokens=True))

    @cached_property
    def begins(self) -> Array:
        """True where a token begins a word by its own look, bool [V]."""
        names = [self._name(id) for id in range(self.size)]
        if any(name.startswith(INSIDE) for name in names):
            return np.array([not name.startswith(INSIDE) for name in names])
        if any(name.startswith(SPACES) for name in names):
            return np.array([name.startswith((*SPACES, "Ċ")) or not name[:1].isalnum() for name in names])
        return np.ones(len(names), dtype=bool)

    @cached_property
    def foreign(self) -> Array:
        """True where a token holds bytes beyond ASCII, bool [V]: jieba cuts those."""
        return np.array([any(byte >= 0x80 for byte in piece) for piece in self.pieces])

    @cached_property
    def ends(self) -> Array:
        """True where a token ends a sentence, bool [V]."""
        marks = ("。", "！", "？", ".", "!", "?", "\n", "；")
        return np.array([piece.decode("utf-8", "ignore").rstrip(" ").endswith(marks) for piece in self.pieces])

    def word_starts(self, ids: Array) -> Array:
        """True where a word begins, bool [L]; the first token always does."""
        made: Array = self.begins[ids].copy()
        if len(made):
            made[0] = True
        if self.foreign[ids].any():
            pieces = [self.pieces[int(id)] for id in ids]
            places = np.concatenate([[0], np.cumsum([len(piece) for piece in pieces])])[:-1]
            edges = _jieba_edges(b"".join(pieces))
            chinese = self.foreign[ids]
            made[chinese] = np.isin(places, edges)[chinese]
            made[1:] |= chinese[:-1] & ~chinese[1:]
            made[:1] = True
        return made

    def _name(self, id: int) -> str:
        return self.tokenizer.id_to_token(id) or ""

    @cached_property
    def _is_byte_level(self) -> bool:
        return '"ByteLevel"' in self.tokenizer.to_str()


def _bytes_of(name: str, level: dict[str, int] | None) -> bytes:
    if level is not None and all(sign in level for sign in name):
        return bytes(level[sign] for sign in name)
    if name.startswith("<0x") and name.endswith(">"):
        return bytes([int(name[3:-1], 16)])
    return name.removeprefix(INSIDE).replace("▁", " ").encode()


def _byte_level() -> dict[str, int]:
    """GPT-2's signs for bytes: printable ones stand for themselves, the others for 256 and on."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + place): byte for place, byte in enumerate(others)}


def _jieba_edges(text: bytes) -> Array:
    """Byte places at which jieba's words begin."""
    from mofang.data.cleaning.text.segment import chinese_words

    words = chinese_words(text.decode("utf-8", "surrogateescape"))
    lengths = [len(word.encode("utf-8", "surrogateescape")) for word in words]
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def choose_words(starts: Array, share: float, random: np.random.Generator) -> Array:
    """Places of whole words chosen at random until they are about ``share`` of all tokens, at least one, sorted.

    A word that would go over the number wanted is passed over, unless nothing is chosen yet and no other would fit.
    """
    count = len(starts)
    wanted = max(1, round(share * count))
    edges = np.append(np.flatnonzero(starts), count)
    chosen: list[int] = []
    for word in random.permutation(len(edges) - 1):
        places = range(int(edges[word]), int(edges[word + 1]))
        if len(chosen) + len(places) <= wanted:
            chosen += places
        if len(chosen) == wanted:
            break
    if not chosen:  # every word is longer than the number wanted
        word = int(random.integers(len(edges) - 1))
        chosen = list(range(int(edges[word]), int(edges[word + 1])))
    return np.array(sorted(chosen), dtype=np.int64)
