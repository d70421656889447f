"""Models by name whose configurations are published, so that a plan needs no file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mofang.core.errors import MofangError
from mofang.core.nearest import nearest


def _llama(hidden: int, layers: int, heads: int, key_heads: int, inner: int, vocabulary: int) -> dict[str, Any]:
    return {
        "model_type": "llama",
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": key_heads,
        "intermediate_size": inner,
        "vocab_size": vocabulary,
        "max_position_embeddings": 4096,
    }


def _gpt(hidden: int, layers: int, heads: int, positions: int = 1024) -> dict[str, Any]:
    return {
        "model_type": "gpt2",
        "n_embd": hidden,
        "n_layer": layers,
        "n_head": heads,
        "vocab_size": 50257,
        "n_positions": positions,
    }


def _bert(hidden: int, layers: int, heads: int) -> dict[str, Any]:
    return {
        "model_type": "bert",
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": 4 * hidden,
        "vocab_size": 30522,
        "max_position_embeddings": 512,
    }


# Configurations as their authors published them; the parameters that follow from them are checked in the tests.
MODELS: dict[str, dict[str, Any]] = {
    "minilm": _bert(384, 6, 12),
    "bert-base": _bert(768, 12, 12),
    "bert-large": _bert(1024, 24, 16),
    "gpt-2": _gpt(768, 12, 12),
    "gpt-2-xl": _gpt(1600, 48, 25),
    "gpt-3": _gpt(12288, 96, 96, 2048),
    "llama-2-7b": _llama(4096, 32, 32, 32, 11008, 32000),
    "llama-2-13b": _llama(5120, 40, 40, 40, 13824, 32000),
    "llama-2-70b": _llama(8192, 80, 64, 8, 28672, 32000),
    "llama-3.1-8b": _llama(4096, 32, 32, 8, 14336, 128256),
    "llama-3.1-70b": _llama(8192, 80, 64, 8, 28672, 128256),
}


def model_named(name: str) -> dict[str, Any]:
    """A configuration by its name, or ``plan-unknown-size``."""
    if name not in MODELS:
        raise MofangError("plan-unknown-size", name=name, nearest=nearest(name, MODELS), known=", ".join(MODELS))
    return MODELS[name]


def read_config(path: str) -> Mapping[str, Any]:
    """A config.json, or ``plan-config-unreadable``. Nothing of it is executed."""
    try:
        with Path(path).open("rb") as file:
            found = json.loads(file.read(1_000_000))
    except (OSError, ValueError, RecursionError) as error:
        raise MofangError("plan-config-unreadable", path=path, reason=str(error)[:120]) from None
    if not isinstance(found, dict):
        raise MofangError("plan-config-unreadable", path=path, reason="not an object")
    return found
