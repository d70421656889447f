"""Encoders: fitted once on the training part, then the same object in training and in serving.

An encoder's state is JSON and .npy bytes; nothing here is ever pickled. Each encoder is one module of
this folder, named as the encoder, with one class that follows the `Encoder` protocol.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any, ClassVar, Protocol, Self, cast

import numpy as np

from mofang.core.errors import MofangError
from mofang.engine.arrays import Arrays

Record = dict[str, Any]
Files = dict[str, bytes]

ENCODERS = {"both": "BothEncoder", "chat": "ChatEncoder", "image": "ImageEncoder", "ngrams": "NgramEncoder",
            "overlap": "OverlapEncoder", "pairs": "PairEncoder",
            "places": "PlaceEncoder", "prompts": "PromptEncoder", "surroundings": "SurroundingsEncoder", "table": "TableEncoder",
            "tokens": "TokenEncoder", "windows": "WindowEncoder"}


class Encoder(Protocol):
    """Records in, named arrays out, batch axis first."""

    name: ClassVar[str]
    version: ClassVar[int]

    def encode(self, records: Sequence[Record]) -> Arrays:
        """Encode records; the rows of a record do not depend on the records beside it, padding apart."""
        ...

    def draw(self, rng: np.random.Generator, count: int) -> list[Record]:
        """Draw records that exercise the fitted state; made up, never rows that were trained on."""
        ...

    def save(self) -> Files:
        """The fitted state as files of JSON and .npy bytes."""
        ...

    @classmethod
    def load(cls, files: Mapping[str, bytes]) -> Self:
        """The encoder that `save` wrote; raises KeyError or ValueError where the files are not its own."""
        ...


def encoder_named(name: str) -> type[Encoder]:
    """Find an encoder's class by its name, importing only that module."""
    if name not in ENCODERS:
        raise MofangError("encoder-unknown", name=name, known=", ".join(sorted(ENCODERS)))
    module = import_module(f"mofang.engine.encode.{name}")
    return cast(type[Encoder], getattr(module, ENCODERS[name]))


def load_encoder(about: Mapping[str, Any], files: Mapping[str, bytes]) -> Encoder:
    """Load the encoder that a model was trained with, or refuse in words.

    `about` is {"name", "version"}. Another version of the encoder would give other arrays than training
    saw, so it is refused rather than tried.
    """
    found = encoder_named(str(about["name"]))
    if int(about["version"]) != found.version:
        raise MofangError("encoder-version", name=found.name, wanted=about["version"], has=found.version)
    try:
        return found.load(files)
    except (KeyError, ValueError, TypeError) as error:
        raise MofangError("encoder-broken", name=found.name, reason=repr(error)) from error


def texts(records: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> list[str]:
    """The text of each record: its text columns, in the model's order, one per line; missing is empty."""
    if len(columns) == 1:
        only = columns[0]
        return [record.get(only) or "" for record in records]
    return ["\n".join(record.get(column) or "" for column in columns) for record in records]
