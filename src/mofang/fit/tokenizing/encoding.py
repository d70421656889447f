"""Texts to ids by the fastest way that gives the ids of tokenizer.json: tiktoken for merged bytes, tables for bytes and
characters, `tokenizers` for the rest.

Whatever a text holds, it never becomes a special token: somebody who writes ``[EOS]`` in a review writes five signs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import orjson

from mofang.engine.arrays import Array
from mofang.fit.tokenizing.signs import CODE_POINTS, SPLIT, Kind, Normalise, byte_letters, forms


@dataclass(frozen=True)
class Ids:
    """Ids of several texts end to end: ``flat`` uint32 [T], ``counts`` int64 [N] of each text."""

    flat: Array
    counts: Array


class Encode(Protocol):
    """Turns texts into ids, without special tokens round them."""

    def __call__(self, texts: Sequence[str]) -> Ids: ...


class Normalised:
    """A text as the vocabulary sees it, by the same code as tokenizer.json; plain ASCII needs none of it."""

    def __init__(self, normalise: Normalise, lower: bool) -> None:
        from tokenizers import normalizers

        steps = forms(normalise)
        self._chain = normalizers.Sequence([*steps, normalizers.Lowercase()] if lower else steps) if steps or lower else None
        self._lower = lower

    def __call__(self, text: str) -> str:
        if self._chain is None:
            return text
        if text.isascii():
            return text.lower() if self._lower else text
        changed: str = self._chain.normalize_str(text)
        return changed


def encoder_of(tokenizer_json: str, kind: Kind) -> Encode:
    """The fastest encoder for a vocabulary that `learn` made; any other is left to `tokenizers`."""
    told = orjson.loads(tokenizer_json)
    makers: dict[str, Callable[[dict[str, Any]], Encode]] = {"bpe": _Merging, "byte": _Bytes, "char": _Characters}
    if kind in makers and _plain(told):
        return makers[kind](told)
    return _Library(tokenizer_json)


def _plain(told: dict[str, Any]) -> bool:
    """True if the vocabulary cuts and normalises texts as `learn` says; a foreign tokenizer.json may not."""
    known = {None, "NFC", "NFKC", "Lowercase"}
    cuts = [one["pattern"] for one in _steps(told["pre_tokenizer"], "pretokenizers") if one["type"] == "Split"]
    return {step["type"] for step in _steps(told["normalizer"], "normalizers")} <= known and cuts in ([], [{"Regex": SPLIT}])


def _steps(told: dict[str, Any] | None, inside: str) -> list[dict[str, Any]]:
    return [] if told is None else told[inside] if told["type"] == "Sequence" else [told]


def _normalised(told: dict[str, Any]) -> Normalised:
    steps = [one["type"] for one in _steps(told["normalizer"], "normalizers")]
    form: Normalise = "nfkc" if "NFKC" in steps else "nfc" if "NFC" in steps else "none"
    return Normalised(form, "Lowercase" in steps)


def _joined(found: list[Array]) -> Ids:
    counts = np.array([len(one) for one in found], np.int64)
    return Ids(np.concatenate(found) if found else np.zeros(0, np.uint32), counts)


class _Merging:
    """Byte-pair merges by tiktoken, which gives buffers instead of lists of Python numbers."""

    def __init__(self, told: dict[str, Any]) -> None:
        import tiktoken

        values = {ord(letter): value for value, letter in enumerate(byte_letters())}
        added = {one["content"] for one in told["added_tokens"]}
        ranks = {piece.translate(values).encode("latin-1"): number
                 for piece, number in told["model"]["vocab"].items() if piece not in added}
        # tiktoken looks for special tokens in every text; without any it tries each place, with one that is not there none.
        never = {"\0 never \0": 1 + max(ranks.values())}
        self._encoding = tiktoken.Encoding("mofang", pat_str=SPLIT, mergeable_ranks=ranks, special_tokens=never)
        self._normalised = _normalised(told)

    def __call__(self, texts: Sequence[str]) -> Ids:
        encode = self._encoding.encode_to_numpy
        return _joined([encode(self._normalised(text), disallowed_special=()) for text in texts])


class _Bytes:
    """One id for each byte of UTF-8."""

    def __init__(self, told: dict[str, Any]) -> None:
        self._table = np.array([told["model"]["vocab"][letter] for letter in byte_letters()], np.uint32)
        self._normalised = _normalised(told)

    def __call__(self, texts: Sequence[str]) -> Ids:
        return _joined([self._table[np.frombuffer(self._normalised(text).encode(), np.uint8)] for text in texts])


class _Characters:
    """One id for each character, by a table of all code points."""

    def __init__(self, told: dict[str, Any]) -> None:
        vocabulary = told["model"]["vocab"]
        self._table = np.full(CODE_POINTS, vocabulary["[UNK]"], np.uint32)
        for piece, number in vocabulary.items():
            if len(piece) == 1:
                self._table[ord(piece)] = number
        self._normalised = _normalised(told)

    def __call__(self, texts: Sequence[str]) -> Ids:
        return _joined([self._table[np.frombuffer(self._normalised(text).encode("utf-32-le"), np.uint32)] for text in texts])


class _Library:
    """Any other vocabulary, by `tokenizers` itself."""

    def __init__(self, tokenizer_json: str) -> None:
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_str(tokenizer_json)
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._tokenizer.encode_special_tokens = True  # as ordinary signs

    def __call__(self, texts: Sequence[str]) -> Ids:
        found = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return _joined([np.array(one.ids, np.uint32) for one in found])
