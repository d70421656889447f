"""A generator out of an artifact: its network, its encoder and what it says about itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mofang.core.artifact import Artifact
from mofang.core.errors import MofangError
from mofang.data.operators import apply_operators
from mofang.engine.encode import Record, load_encoder
from mofang.engine.encode.chat import ChatEncoder
from mofang.fit.generation.writer import Manner, Written, write
from mofang.fit.loop.start import WEIGHTS
from mofang.fit.networks.generator import Generator, from_config

TASK = "text_generation"


@dataclass(frozen=True)
class Opened:
    """A generator, ready: what it says about itself, its encoder and its network."""

    about: dict[str, Any]
    encoder: ChatEncoder
    network: Generator

    @property
    def context(self) -> int:
        """How many tokens prompt and answer may have together."""
        return self.encoder.max_length

    def prompts(self, records: list[Record]) -> list[list[int]]:
        """Token ids of records, as training saw them: through the model's operators, then its template."""
        operators = self.about.get("operators") or []
        return self.encoder.prompts(list(apply_operators(operators, records)) if operators else records)

    def answer(self, records: list[Record], manner: Manner, tick: Any = lambda _: None) -> list[Written]:
        """What the model writes after each record."""
        return write(
            self.network, self.prompts(records), manner, self.encoder.ends, self.encoder.decode, self.context, tick=tick
        )


def open_generator(model: Artifact) -> Opened:
    """The generator of a model (or of its graph); every part was checked against its digest by the store.

    Raises ``not-a-generator`` for a model of another task.
    """
    about = model.read_json("about.json")
    if about["task"] != TASK:
        raise MofangError("not-a-generator", task=about["task"])
    inside = [part.name for part in model.parts if part.name.startswith("encoder/")]
    files = {name.removeprefix("encoder/"): model.path(name).read_bytes() for name in inside}
    encoder = load_encoder(about["encoder"], files)
    assert isinstance(encoder, ChatEncoder)
    return Opened(about, encoder, build(about, model.path(WEIGHTS).read_bytes()))


def build(about: dict[str, Any], weights: bytes) -> Generator:
    """The network with these weights, in evaluation mode."""
    from safetensors.torch import load

    network = from_config(about["architecture"]["config"])
    network.load_state_dict(load(weights))
    return network.eval()

