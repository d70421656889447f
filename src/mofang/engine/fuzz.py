"""A million characters that break tokenizers, always the same ones: two tokenizers are equal if they cut all of it alike."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import numpy as np

from mofang.engine.encode import Record

CHARACTERS = 1_000_000
PIECE, TEXTS = 100, 250  # characters of a text, texts at once
# Code points by kind: Latin, digits, Chinese, full width, combining marks, Arabic, Devanagari, Hangul, emoji, controls,
# zero-width and direction marks, private use.
RANGES = ((0x20, 0x7F), (0x20, 0x7F), (0x30, 0x3A), (0x4E00, 0x9FA6), (0x4E00, 0x9FA6), (0xFF01, 0xFF5F), (0x3000, 0x3040),
          (0x300, 0x370), (0xC0, 0x250), (0x600, 0x700), (0x900, 0x980), (0xAC00, 0xD7A4), (0x1F300, 0x1F650), (0x01, 0x20),
          (0x2000, 0x2070), (0xE000, 0xE010))


@runtime_checkable
class Tokenises(Protocol):
    """An encoder whose arrays are ids of a tokenizer's pieces."""

    columns: tuple[str, ...]

    def ids(self, records: list[Record]) -> list[list[int]]:
        """The ids of each record's text."""
        ...


@runtime_checkable
class Prompts(Protocol):
    """An encoder that puts texts into a template before they are cut."""

    columns: tuple[str, ...]

    def prompts(self, records: list[Record]) -> list[list[int]]:
        """The ids of each record as something to be answered."""
        ...


def fuzz_texts(characters: int = CHARACTERS) -> list[str]:
    """The texts, of 100 characters each; short runs of one kind, as writing has them."""
    rng = np.random.default_rng(20_250_101)
    lengths = rng.integers(1, 20, characters // 5)
    kinds = np.repeat(rng.integers(0, len(RANGES), len(lengths)), lengths)[:characters]
    low, high = np.array(RANGES, np.int64).T
    codes = rng.integers(low[kinds], high[kinds]).astype("<u4")
    whole = codes.tobytes().decode("utf-32-le")
    return [whole[at:at + PIECE] for at in range(0, len(whole), PIECE)]


def fuzz_digest(encoder: object, characters: int = CHARACTERS) -> str:
    """SHA-256 of the token ids of all texts; "" for an encoder without a tokenizer.

    Of one that reads texts in two ways the second is asked; a template, windows and pairs are part of what is asked.
    """
    encoder = getattr(encoder, "second", encoder)
    ask = _ids(encoder)
    if ask is None:
        return ""
    columns = _columns(encoder)
    digest, waiting = hashlib.sha256(), list[Record]()
    for text in fuzz_texts(characters):
        waiting.append(dict.fromkeys(columns, text))
        if len(waiting) == TEXTS:
            _feed(digest, ask(waiting))
            waiting = []
    _feed(digest, ask(waiting) if waiting else [])
    return digest.hexdigest()


def _ids(encoder: object) -> Callable[[list[Record]], list[list[int]]] | None:
    """What gives the ids of records: the encoder's own ``ids``, a template's ``prompts``, else the rows of its arrays."""
    if isinstance(encoder, Tokenises):
        return encoder.ids
    if isinstance(encoder, Prompts):
        return encoder.prompts
    if not hasattr(encoder, "tokenizer_json") and not hasattr(getattr(encoder, "tokens", None), "tokenizer_json"):
        return None

    def rows(records: list[Record]) -> list[list[int]]:
        arrays = encoder.encode(records)  # type: ignore[attr-defined]
        return [ids[mask > 0].tolist() for ids, mask in zip(arrays["input_ids"], arrays["attention_mask"], strict=True)]

    return rows


def _columns(encoder: object) -> tuple[str, ...]:
    found = getattr(encoder, "columns", None) or getattr(getattr(encoder, "tokens", None), "columns", None)
    return tuple(found or (one for one in (getattr(encoder, "text", ""), getattr(encoder, "question", "")) if one))


def _feed(digest: hashlib._Hash, rows: list[list[int]]) -> None:
    for row in rows:
        digest.update(np.asarray([len(row), *row], np.int64).tobytes())
