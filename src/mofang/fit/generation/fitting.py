"""From a generator and an objective to a fitted model; how a folder of a base says what its conversations look like."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors.torch import save
from torch import nn

from mofang.core.errors import MofangError
from mofang.engine.arrays import Array, Arrays
from mofang.engine.encode import Record
from mofang.engine.encode.chat import END, ChatEncoder
from mofang.engine.encode.template import PLAIN
from mofang.fit.family import Conditions, Fitted
from mofang.fit.loop.loop import Plan
from mofang.fit.loop.objective import Objective
from mofang.fit.loop.start import WEIGHTS, fit_network, notes_of
from mofang.fit.networks.generator import Generator

NEXT = "next"
SAMPLE_ROWS, SAMPLE_CELLS = 32, 2**20
ENDS = (END, "<|endoftext|>", "</s>", "<|im_end|>", "[SEP]")


@dataclass(frozen=True)
class Adapting:
    """What of a generator learns: ``all`` weights, or low-rank additions of ``rank`` (``lora``), merged at the end."""

    kind: Literal["all", "lora", "head"] = "all"
    rank: int = 8

    def ready(self, network: Generator) -> nn.Module:
        """The network with what learns of it."""
        if self.kind == "all":
            return network
        from mofang.fit.networks.adapt import adapt

        return adapt(network, self.kind, rank=self.rank)

    def merged(self, network: nn.Module) -> Generator:
        """The plain network again, with what was learnt inside."""
        if self.kind != "all":
            from mofang.fit.networks.merging import merged

            network = merged(network)
        assert isinstance(network, Generator)
        return network


def fit_generator(
    build: Callable[[], Generator],
    encoder: ChatEncoder,
    objective: Objective,
    sample: Arrays,
    plan: Plan,
    conditions: Conditions,
    architecture: dict[str, Any],
    adapting: Adapting,
) -> Fitted:
    """Teach the generator that ``build`` makes; on ``sample`` a graph must answer as it does."""
    network, outcome = fit_network(lambda: adapting.ready(build()), objective, plan, conditions)
    notes = {**notes_of(network, outcome), **outcome.judged.figures}
    if adapting.kind != "all":
        notes["trained_parameters"] = sum(one.numel() for one in network.parameters() if one.requires_grad)
    plain = adapting.merged(network)
    return Fitted(
        encoder=encoder,
        weights={WEIGHTS: weights_of(plain)},
        architecture=architecture,
        probabilities=None,
        sample=sample,
        curves=outcome.curves,
        notes=notes,
        outputs={NEXT: next_tokens(plain, sample)},
        score=outcome.judged.score,
    )


def weights_of(network: Generator) -> bytes:
    """All weights as one safetensors file."""
    return save({name: value.detach().cpu().contiguous().clone() for name, value in network.state_dict().items()})


def sample_of(encoder: ChatEncoder, records: Sequence[Record]) -> Arrays:
    """The first rows' prompts as arrays: few enough that their log-probabilities stay small."""
    rows = max(1, min(SAMPLE_ROWS, SAMPLE_CELLS // max(1, encoder.size)))
    return encoder.encode(records[:rows])


def next_tokens(network: Generator, sample: Arrays) -> Array:
    """The network's own log-probabilities of the next token, float32 [B, V]."""
    network.eval()
    device = next(network.parameters()).device
    with torch.inference_mode():
        found = network(*(torch.from_numpy(sample[name]).to(device) for name in ("input_ids", "attention_mask")))
    made: Array = found.float().cpu().numpy().astype(np.float32)
    return made


def encoder_of(
    folder: Path, config: dict[str, Any], columns: Sequence[str], max_length: int, template: str
) -> ChatEncoder:
    """The encoder of a base's folder: its tokenizer, its own chat template (or a plain one), its marks of begin and end.

    Raises ``base-without-end`` where nothing says which token ends an answer.
    """
    from tokenizers import Tokenizer

    said = _json(folder / "tokenizer_config.json")
    own = folder / "chat_template.jinja"
    text = template or (own.read_text(encoding="utf-8") if own.is_file() else said.get("chat_template") or PLAIN)
    tokenizer_json = (folder / "tokenizer.json").read_text(encoding="utf-8")
    tokenizer = Tokenizer.from_str(tokenizer_json)
    end = _word(said.get("eos_token")) or next((one for one in ENDS if tokenizer.token_to_id(one) is not None), "")
    named = config.get("eos_token_id")
    if not end and isinstance(named, int):
        end = tokenizer.id_to_token(named) or ""
    if not end or tokenizer.token_to_id(end) is None:
        raise MofangError("base-without-end", base=folder.name)
    most = min(max_length, int(config.get("max_position_embeddings") or config.get("n_positions") or max_length))
    padding = config.get("pad_token_id")
    return ChatEncoder(
        tuple(columns), most, tokenizer_json, str(text), _word(said.get("bos_token")), end,
        padding if isinstance(padding, int) and padding >= 0 else 0,
    )


def _word(token: object) -> str:
    """A token's word, as tokenizer_config.json writes it: plain, or with its settings."""
    if isinstance(token, dict):
        return str(token.get("content") or "")
    return token if isinstance(token, str) else ""


def _json(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found
