"""Static embeddings: the mean of a text's token vectors, and a linear model of it.

The vectors are learnt from the task's own texts, or those that a pretrained encoder starts from. Because mean and linear
model are both linear, the trained model is one small table: a row for each token, a column for each answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from mofang.core.stage import OnDisk
from mofang.engine.arrays import Array, Arrays
from mofang.engine.encode import texts
from mofang.fit.family import Conditions, Estimate, Family, Fitted
from mofang.fit.material import Material
from mofang.fit.scale import ENDS
from mofang.fit.size import Size
from mofang.fit.strength import Clock, Search
from mofang.fit.verdict import fitted_rows

STRENGTHS = (0.003, 0.03, 0.3)
RARITY = 1e-3  # of a text's mean a token of frequency p counts a / (a + p) (Arora, Liang and Ma 2017)
TOKENS_PER_CHARACTER = {"zh": 1.0, "en": 0.25}


@dataclass(frozen=True, kw_only=True)
class Static(Family):
    """The mean of token vectors and a linear model.

    ``base`` is a folder or installed package of a pretrained encoder whose input embeddings are taken; left empty, vectors of
    ``width`` are learnt from the task's own texts.
    """

    tag: ClassVar[str] = "static"
    version: ClassVar[int] = 1
    learns_shares: ClassVar[bool] = True
    tasks: ClassVar[tuple[str, ...]] = ("text_classification", "text_regression", "text_multilabel")
    loops: ClassVar[bool] = False

    base: Annotated[str, OnDisk()] = ""
    width: Annotated[int, Field(ge=2)] = 200
    vocabulary: Annotated[int, Field(ge=100)] = 20_000
    max_length: Annotated[int, Field(ge=8)] = 512
    c: Annotated[float, Field(ge=0)] = 0.0
    balance: bool = False

    def fit(self, material: Material, conditions: Conditions) -> Fitted:
        """Learn (or take) the vectors, then one weight for each of their values and answer."""
        from mofang.fit.loop.arrays import encode_tokens

        clock = Clock(conditions.seconds)
        encoder, table, licences = self._table(material, conditions.seed)
        parts = [encode_tokens(encoder, part.records) for part in (material.train, material.validation)]
        table = table * _rarity(parts[0].flat["input_ids"], len(table))[:, None]
        train, validation = (means(table, part.flat["input_ids"], part.offsets) for part in parts)
        centre, spread = train.mean(axis=0), train.std(axis=0) + 1e-6
        search = Search(material, (train - centre) / spread, (validation - centre) / spread, self.balance)
        strengths = (self.c,) if self.c else STRENGTHS
        with conditions.progress("Fitting", "拟合中", total=len(strengths)) as bar:
            search.run(search.rows, strengths, clock, bar)
        solution = search.best.solution
        folded = table @ (solution.weights / spread[:, None])
        bias = solution.bias - (centre / spread) @ solution.weights
        scale = search.scale
        architecture = {"tokens": len(table), "width": table.shape[1], "c": search.best.strength} | scale.to_dict()
        notes = {"stopped": "finished" if solution.finished else "time limit"}
        weights = _saved(folded * scale.spread, bias * scale.spread + scale.centre)
        fitted = fitted_rows(encoder, weights, architecture, search.best.answers, material, search.curves, notes)
        return replace(fitted, licences=licences, base_model=self.base)

    def graph(self, weights: Mapping[str, bytes], architecture: Mapping[str, Any], sample: Arrays) -> bytes:
        """The mean over a text's tokens of their rows, then softmax."""
        from safetensors.numpy import load

        from mofang.engine.graphs import mean_graph

        tensors = load(weights["weights.safetensors"])
        return mean_graph(tensors["table"], tensors["bias"], ENDS[architecture["target"]])

    def base_digest(self) -> str:
        """The content of the encoder whose embeddings are taken."""
        from mofang.fit.families.pretrained import Pretrained

        return Pretrained(base=self.base).base_digest() if self.base else ""

    def estimate(self, size: Size) -> Estimate:
        """Tokenising and counting neighbours, then a small dense regression."""
        characters = size.rows * size.length
        columns = 1 if size.classes == 2 else size.classes
        return Estimate(2.0 + 6e-6 * characters, 3 * 200 * 4 * size.rows * self.width * columns)

    def _table(self, material: Material, seed: int) -> tuple[Any, Array, tuple[str, ...]]:
        """The encoder, its tokens' vectors float32 [V, D] and the licences they come under."""
        from mofang.engine.encode.tokens import TokenEncoder

        columns, records = material.columns("text"), material.train.records
        if not self.base:
            from mofang.fit.cooccurrence import embeddings
            from mofang.fit.loop.arrays import encode_tokens

            encoder = TokenEncoder.fit(records, columns, vocabulary=self.vocabulary, max_length=self.max_length)
            found = encode_tokens(encoder, records)
            return encoder, embeddings(found.flat["input_ids"], found.offsets, encoder.size, self.width, seed), ()
        from safetensors import safe_open

        from mofang.fit.families.pretrained import COVERAGE_ROWS, base_folder, base_licences, require_coverage

        folder = base_folder(self.base)
        require_coverage(self.base, folder, texts(records[:COVERAGE_ROWS], columns))
        encoder = TokenEncoder.wrap(
            (folder / "tokenizer.json").read_text(encoding="utf-8"), columns, max_length=self.max_length
        )
        with safe_open(folder / "model.safetensors", framework="numpy") as file:
            name = next(name for name in file.keys() if name.endswith("word_embeddings.weight"))  # noqa: SIM118
            table = file.get_tensor(name).astype(np.float32)
        return encoder, table, base_licences(self.base, folder)


def means(table: Array, ids: Array, offsets: Array) -> Array:
    """The mean of the rows of ``table`` [V, D] that each text names, float32 [N, D]; an empty text has zeros."""
    from scipy.sparse import csr_array

    lengths = np.diff(offsets)
    shares = np.repeat(1 / np.maximum(lengths, 1), lengths).astype(np.float32)
    return np.asarray(csr_array((shares, ids, offsets), shape=(lengths.size, len(table))) @ table, np.float32)


def _rarity(ids: Array, size: int) -> Array:
    shares = np.bincount(ids, minlength=size) / max(1, ids.size)
    return (RARITY / (RARITY + shares)).astype(np.float32)


def _saved(table: Array, bias: Array) -> dict[str, bytes]:
    from safetensors.numpy import save

    tensors = {"table": np.ascontiguousarray(table, np.float32), "bias": np.ascontiguousarray(bias, np.float32)}
    return {"weights.safetensors": save(tensors)}
