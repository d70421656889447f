"""Answers to questions by a transformer that reads question and context together; long contexts in windows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from mofang.data.snapshots.targets import question_and_context
from mofang.engine.arrays import Arrays
from mofang.fit.body import Bodied
from mofang.fit.family import Conditions, Fitted
from mofang.fit.material import Material


@dataclass(frozen=True, kw_only=True)
class Placed(Bodied):
    """What the labeller of spans and the reader of answers share: windows of tokens, and an answer for each."""

    @property
    def outside_counts(self) -> float:
        """What a token outside of all spans counts in the loss."""
        return 1.0

    @property
    def teaches_chain(self) -> bool:
        """Whether the chain of tags is taught with the network."""
        return False

    def fit(self, material: Material, conditions: Conditions) -> Fitted:
        """Learn a vocabulary where there is no base, then all weights."""
        from mofang.engine.encode.places import PlaceEncoder
        from mofang.fit.loop.chaining import first_steps
        from mofang.fit.loop.placewise import Windows, fit_places, placed_plan
        from mofang.fit.loop.plan import Plan
        from mofang.fit.networks.heads import headed

        asks, columns = material.target == "answer", material.columns("text")
        question, text = question_and_context(columns) if asks else ("", columns[0])
        body = self.body(material.train.records, columns, conditions)
        encoder = PlaceEncoder(text, body.tokenizer_json, question, body.max_length, body.padding_id, body.types)
        windows = Windows(encoder, material, material.train)
        outputs = 2 if asks else 1 + 2 * len(material.labels)
        architecture: dict[str, Any] = {"config": body.config, "outputs": outputs, "asks": asks}
        if self.teaches_chain:
            architecture["chain"] = "taught"
        started, lengths = body.folder is not None, windows.rows.lengths

        def build() -> Any:
            network, architecture["config"] = headed(body.config, body.folder, outputs, self.dropout, self.attention, True)
            if self.teaches_chain:
                network.steps = first_steps(windows.wanted, outputs)
            return network

        plan = Plan(
            self.passes(len(lengths), float(lengths.mean()), started), self.rate(started), rows=64, positions=self.tokens,
            patience=2 if started else 4, seed=conditions.seed, seconds=conditions.seconds,
        )
        plan = placed_plan(plan, windows, outputs, self.outside_counts)
        fitted = fit_places(build, encoder, material, plan, conditions, architecture, windows)
        return replace(fitted, licences=body.licences, base_model=body.base_model)

    def graph(self, weights: Mapping[str, bytes], architecture: Mapping[str, Any], sample: Arrays) -> bytes:
        """The transformer with its head as ONNX: probabilities of tags, or logits of begin and end, for each token."""
        from mofang.fit.loop.chaining import first_steps
        from mofang.fit.loop.start import WEIGHTS, restored
        from mofang.fit.networks.graph import network_graph
        from mofang.fit.networks.heads import headed

        network, _ = headed(architecture["config"], None, architecture["outputs"], self.dropout, self.attention, True)
        if architecture.get("chain"):
            network.steps = first_steps((), architecture["outputs"])  # the encoder answers by them, the graph does not
        end = "identity" if architecture["asks"] else "softmax"
        return network_graph(restored(network, weights[WEIGHTS]), sample, end, each=True)  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True)
class Reader(Placed):
    """A transformer that says where an answer begins and ends, or that there is none: a pretrained ``base``, or layers of
    its own.
    """

    tag: ClassVar[str] = "reader"
    version: ClassVar[int] = 3
    tasks: ClassVar[tuple[str, ...]] = ("question_answering",)
