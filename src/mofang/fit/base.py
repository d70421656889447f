"""A base: pretrained weights with what it takes to use them, laid out as any transformers model is.

It is made by ``pretrain`` and taken by ``train`` and by ``pretrain`` again. As an artifact it carries the licences of
the texts it was made of into every model that starts from it (docs/decisions/025).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mofang.core.artifact import Artifact
from mofang.core.personal import holds_personal_data, rewrites

BASE_FORMAT = 1
CONFIG, WEIGHTS, TOKENIZER, SAMPLES = "config.json", "model.safetensors", "tokenizer.json", "sample.json"
FILES = (CONFIG, WEIGHTS, TOKENIZER)
LAID_OUT = "base"


class Base(Artifact):
    """A pretrained model: config.json, model.safetensors, tokenizer.json, tokenizer_config.json, about.json, curves.json,
    and of a generator sample.json.

    Laid out it is a folder that ``from_pretrained`` of transformers reads.
    """

    kind = "base"


holds_personal_data(kind=Base.kind, parts=(SAMPLES,))  # a generator may have learnt a line by heart


@rewrites(Base.kind)
def without_samples(base: Artifact, erased: Callable[[object], bool]) -> dict[str, bytes | None]:
    """A base after an erasure: what it wrote goes as a whole, for nobody can tell whose words it repeats."""
    return {SAMPLES: None} if base.has(SAMPLES) else {}


def folder_of(base: Base, scratch: Path) -> Path:
    """The base as a folder of files that model libraries read, below a run's scratch."""
    folder = scratch / LAID_OUT
    base.lay_out(folder)
    return folder
