"""Rewards: small named functions that say how good an answer is, from 0 to 1."""

from __future__ import annotations

import unicodedata
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from mofang.core.errors import MofangError
from mofang.core.variant import Variant
from mofang.data.cleaning.watching import compiled
from mofang.engine.arrays import Array

if TYPE_CHECKING:
    from mofang.engine.predictor import Predictor


class Reward(Variant):
    """The choice of what is rewarded."""

    asks: ClassVar[bool] = False  # whether it asks another model

    @abstractmethod
    def of(self, answers: Sequence[str], records: Sequence[Mapping[str, Any]], judge: Predictor | None) -> Array:
        """Rewards float32 [N] of answers, each to the record beside it."""

    def wanted(self) -> str:
        """The column of the records that is looked at; "" for none."""
        return ""

    def require(self, judge: Predictor | None) -> None:
        """Refuse settings that cannot work, before the first answer."""


@dataclass(frozen=True, kw_only=True)
class Length(Reward):
    """1 for an answer of ``least`` to ``most`` characters, less the further it is outside."""

    tag: ClassVar[str] = "length"
    least: Annotated[int, Field(ge=0)] = 1
    most: Annotated[int, Field(ge=1)] = 200

    def of(self, answers: Sequence[str], records: Sequence[Mapping[str, Any]], judge: Predictor | None) -> Array:
        """Falls from 1 to 0 over another ``most`` characters beyond, and to 0 at no character at all."""
        counts = np.array([len(one.strip()) for one in answers], np.float32)
        short = counts / max(self.least, 1)
        long = 1 - (counts - self.most) / self.most
        return np.clip(np.minimum(short, long), 0, 1).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class Form(Reward):
    r"""1 for an answer that a pattern describes as a whole (``\d`` is "exactly one digit"), by RE2."""

    tag: ClassVar[str] = "format"
    pattern: str = r".+"

    def of(self, answers: Sequence[str], records: Sequence[Mapping[str, Any]], judge: Predictor | None) -> Array:
        """Blanks around an answer do not count."""
        pattern = compiled("reward", self.pattern)
        return np.array([pattern.fullmatch(one.strip()) is not None for one in answers], np.float32)

    def require(self, judge: Predictor | None) -> None:
        """The pattern must be one that RE2 takes."""
        compiled("reward", self.pattern)


@dataclass(frozen=True, kw_only=True)
class Exact(Reward):
    """1 for the answer that stands in the column ``answer``; width, case and blanks around it do not count."""

    tag: ClassVar[str] = "exact"
    answer: str = "answer"

    def of(self, answers: Sequence[str], records: Sequence[Mapping[str, Any]], judge: Predictor | None) -> Array:
        """Compared after NFKC."""
        pairs = zip(answers, records, strict=True)
        return np.array([_plain(said) == _plain(str(one.get(self.answer) or "")) for said, one in pairs], np.float32)

    def wanted(self) -> str:
        """The column with the answers."""
        return self.answer


@dataclass(frozen=True, kw_only=True)
class Model(Reward):
    """The probability that another model of texts gives to ``label``."""

    tag: ClassVar[str] = "model"
    asks: ClassVar[bool] = True
    label: str = ""

    def of(self, answers: Sequence[str], records: Sequence[Mapping[str, Any]], judge: Predictor | None) -> Array:
        """An answer without any word gets nothing."""
        assert judge is not None
        column = judge.signature["inputs"][0]["name"]
        found = judge.outputs([{column: one or " "} for one in answers])["probabilities"]
        said = np.array([bool(one.strip()) for one in answers])
        return np.where(said, found[:, judge.labels.index(self.label)], 0.0).astype(np.float32)

    def require(self, judge: Predictor | None) -> None:
        """There must be a model of one text, and it must know the label."""
        if judge is None or judge.task.name != "text_classification" or len(judge.signature["inputs"]) != 1:
            raise MofangError("reward-without-model", reward=self.tag)
        if self.label not in judge.labels:
            raise MofangError("test-labels", unknown=self.label or "-", labels=", ".join(judge.labels))


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text).strip().casefold()
