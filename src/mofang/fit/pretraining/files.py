"""The files of a base: a folder that any library for transformers reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mofang.fit.base import CONFIG, TOKENIZER, WEIGHTS
from mofang.fit.pretraining.denoising import SENTINELS
from mofang.fit.tokenizing.signs import FRAMES, SPECIAL

if TYPE_CHECKING:
    from mofang.fit.networks.language import Asked

TOKENIZER_CONFIG = "tokenizer_config.json"
ENDED = ("$A [EOS]", "$A [EOS] $B:1 [EOS]:1")  # as T5 reads a text


def model_files(network: Asked, folder: Path) -> dict[str, bytes]:
    """Configuration and weights."""
    network.files(folder)
    return {name: (folder / name).read_bytes() for name in (CONFIG, WEIGHTS)}


def tokenizer_files(tokenizer_json: str, special: dict[str, int], kind: str, context: int) -> dict[str, bytes]:
    """The tokenizer with what the architecture puts round a text, and T5's sentinels behind its last id."""
    from tokenizers import AddedToken, Tokenizer, processors

    tokenizer = Tokenizer.from_str(tokenizer_json)
    frame = ENDED if kind == "t5" else FRAMES["cls" if kind == "bert" else "none"]
    names = sorted({word.split(":")[0] for word in frame[1].split() if word.startswith("[")})
    if all(tokenizer.token_to_id(name) is not None for name in names):
        known = [(name, tokenizer.token_to_id(name)) for name in names]
        tokenizer.post_processor = processors.TemplateProcessing(single=frame[0], pair=frame[1], special_tokens=known)
    if kind == "t5" and tokenizer.token_to_id("<extra_id_0>") is None:
        tokenizer.add_special_tokens([AddedToken(f"<extra_id_{place}>", special=True, normalized=False)
                                      for place in reversed(range(SENTINELS))])
    told: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": context}
    told |= {f"{name}_token": written for name, written in SPECIAL.items() if name in special}
    return {TOKENIZER: tokenizer.to_str().encode(), TOKENIZER_CONFIG: json.dumps(told, indent=2).encode()}
