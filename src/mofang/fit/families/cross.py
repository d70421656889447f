"""Two texts read by a transformer: together, so that it sees every word of one beside every word of the other, or apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from mofang.engine.arrays import Arrays
from mofang.engine.encode import Record
from mofang.fit.body import Bodied
from mofang.fit.family import Conditions, Fitted
from mofang.fit.material import Material

if TYPE_CHECKING:
    from mofang.engine.encode.pairs import PairEncoder
    from mofang.fit.loop.arrays import Ragged

ENCODE_ROWS = 512


@dataclass(frozen=True, kw_only=True)
class Cross(Bodied):
    """A cross-encoder: ``[CLS] first [SEP] second [SEP]`` through a pretrained ``base``, or layers of its own.

    ``balance`` lets all classes count alike, however rare.
    """

    tag: ClassVar[str] = "cross"
    version: ClassVar[int] = 3
    tasks: ClassVar[tuple[str, ...]] = ("pair_classification", "pair_regression")
    marks: ClassVar[bool] = False  # whether the network takes each token's type even where its body has no use for it

    balance: bool = False

    def fit(self, material: Material, conditions: Conditions) -> Fitted:
        """Learn a vocabulary where there is no base, then all weights."""
        from mofang.engine.encode.pairs import PairEncoder
        from mofang.fit.loop.plan import Plan
        from mofang.fit.loop.rowwise import balance_of, fit_rows
        from mofang.fit.scale import outputs_of

        first, second = material.columns("text")
        train = material.train.records
        body = self.body(train, (first, second), conditions)
        tokenizer = typed(body.tokenizer_json) if self.marks else body.tokenizer_json
        encoder = PairEncoder((first, second), tokenizer, body.max_length, body.padding_id, self.marks or body.types)
        encoded = encode_pairs(encoder, train), encode_pairs(encoder, material.validation.records)
        architecture: dict[str, Any] = {"config": body.config, "classes": outputs_of(material)}
        started, lengths = body.folder is not None, encoded[0].lengths

        def build() -> Any:
            network, architecture["config"] = self._network(body.config, body.folder, outputs_of(material))
            return network

        plan = Plan(
            self.passes(len(train), float(lengths.mean()), started), self.rate(started), rows=64, positions=self.tokens,
            patience=2 if started else 4, seed=conditions.seed, seconds=conditions.seconds,
            class_weights=balance_of(material, self.balance),
        )
        fitted = fit_rows(build, encoder, encoded, material, plan, conditions, architecture)
        cut = int((lengths >= body.max_length).sum())
        return replace(fitted, licences=body.licences, base_model=body.base_model,
                       notes=fitted.notes | ({"cut_rows": cut} if cut else {}))

    def graph(self, weights: Mapping[str, bytes], architecture: Mapping[str, Any], sample: Arrays) -> bytes:
        """The transformer with its head as ONNX."""
        from mofang.fit.loop.rowwise import finished_graph
        from mofang.fit.loop.start import WEIGHTS, restored

        network, _ = self._network(architecture["config"], None, architecture["classes"])
        return finished_graph(restored(network, weights[WEIGHTS]), sample, dict(architecture))

    def _network(self, config: dict[str, Any], folder: Path | None, outputs: int) -> tuple[Any, dict[str, Any]]:
        """The network, from a folder of weights or new; and its configuration."""
        from mofang.fit.networks.heads import headed

        return headed(config, folder, outputs, self.dropout, self.attention, False)


@dataclass(frozen=True, kw_only=True)
class Twin(Cross):
    """A bi-encoder: each text is read alone by a pretrained ``base``, or layers of its own, and becomes one vector; a small
    head looks at both vectors, how far they are apart and their product.

    It sees less than a cross-encoder, but a text's vector is the same whatever stands beside it.
    """

    tag: ClassVar[str] = "twin"
    version: ClassVar[int] = 1
    marks: ClassVar[bool] = True

    def _network(self, config: dict[str, Any], folder: Path | None, outputs: int) -> tuple[Any, dict[str, Any]]:
        from mofang.fit.networks.heads import twin

        return twin(config, folder, outputs, self.dropout, self.attention)


def typed(tokenizer_json: str) -> str:
    """A tokenizer whose pairs say by their types which text a token is of; one of the RoBERTa kind gives both type 0."""
    from tokenizers import Tokenizer, processors

    tokenizer = Tokenizer.from_str(tokenizer_json)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    pair, alone = tokenizer.encode("a", "a"), tokenizer.encode("a")
    if 1 in pair.type_ids:
        return tokenizer_json
    marks = {token: id for token, id, owner in zip(pair.tokens, pair.ids, pair.sequence_ids, strict=True) if owner is None}
    second = pair.sequence_ids.index(1)

    def template(found: Any, most: int) -> str:
        pieces: list[str] = []
        for place, (token, owner) in enumerate(zip(found.tokens, found.sequence_ids, strict=True)):
            piece = (token if owner is None else "$" + "AB"[owner]) + (":1" if place >= most else "")
            if owner is None or piece not in pieces:
                pieces.append(piece)
        return " ".join(pieces)

    tokenizer.post_processor = processors.TemplateProcessing(
        single=template(alone, len(alone.ids)), pair=template(pair, second), special_tokens=sorted(marks.items()))
    return str(tokenizer.to_str())


def encode_pairs(encoder: PairEncoder, records: Sequence[Record]) -> Ragged:
    """Every pair as a row of token ids and types."""
    from mofang.fit.loop.arrays import Ragged

    rows = [row for start in range(0, len(records), ENCODE_ROWS) for row in encoder.rows(records[start:start + ENCODE_ROWS])]
    offsets = np.cumsum([0, *(len(ids) for ids, _ in rows)]).astype(np.int64)
    flat = {name: np.fromiter((one for row in rows for one in row[side]), np.int64, int(offsets[-1]))
            for side, name in enumerate(("input_ids", "token_type_ids"))}
    if not encoder.types:
        flat.pop("token_type_ids")
    flat["attention_mask"] = np.ones(int(offsets[-1]), np.int64)
    return Ragged(flat, offsets, {"input_ids": encoder.padding_id})
