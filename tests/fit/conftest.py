"""One shop and one planted snapshot per task for the floor: every model is tiny, torch is imported once."""

from __future__ import annotations

from pathlib import Path

import pytest

from mofang.core.shop import Shop
from mofang.data.snapshot import Snapshot
from tests.fit.planted import ROLES, planted


@pytest.fixture(scope="session")
def fit_shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A shop that all tests of this floor share."""
    return Shop.open(tmp_path_factory.mktemp("fit") / "shop")


@pytest.fixture(scope="session")
def snapshots(fit_shop: Shop) -> dict[str, Snapshot]:
    """A planted snapshot for each task."""
    return {task: fit_shop.run(planted, task=task) for task in ROLES}


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base model folder as transformers writes it: a BERT of 2 x 16 with an English vocabulary."""
    import torch
    from transformers import AutoModel, BertConfig

    from mofang.engine.encode.tokens import TokenEncoder

    folder = tmp_path_factory.mktemp("base")
    texts = [{"text": f"the room number {number} was great lovely awful and broken"} for number in range(50)]
    encoder = TokenEncoder.fit(texts, vocabulary=200, min_count=1)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=encoder.size,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
    )
    AutoModel.from_config(config).save_pretrained(folder)
    (folder / "tokenizer.json").write_text(encoder.tokenizer_json, encoding="utf-8")
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n", encoding="utf-8")
    return folder
