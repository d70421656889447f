"""A generator that classifies without learning: the label whose words it finds likeliest behind a prompt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from mofang.core.canonical import digest_of, file_digest
from mofang.core.errors import MofangError
from mofang.core.stage import OnDisk
from mofang.engine.arrays import Array, Arrays
from mofang.engine.encode import texts
from mofang.fit.families.pretrained import (
    COVERAGE_ROWS,
    NEEDED,
    TOKENS_PER_CHARACTER,
    base_config,
    base_folder,
    base_licences,
    require_coverage,
)
from mofang.fit.family import Conditions, Estimate, Family, Fitted
from mofang.fit.material import Material
from mofang.fit.size import Size
from mofang.fit.verdict import fitted_rows

if TYPE_CHECKING:
    from mofang.engine.encode.prompts import PromptEncoder

TEXT, LABEL = "{text}", "{label}"
CENTRED_ROWS = 512  # training texts, without their labels, of which the centre of each label's score is taken
SHARPNESS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
BETWEEN = "\n\n"
SHARE_MOST = 0.75  # of the context, that examples may fill


@dataclass(frozen=True, kw_only=True)
class Prompted(Family):
    """The likelihood of each label's words behind a prompt, by a generator that is left as it is (zero-shot), with ``shots``
    examples of each label in the prompt (few-shot).

    ``base`` is a folder of a GPT-2, Llama, Mistral or Qwen type model; left out, a base that ``pretrain`` made is given.
    ``ask`` is the prompt, with ``{text}`` and at its end ``{label}``; ``words`` are what stands for the labels, in their order
    (left out: the labels). ``calibrate`` takes off what each label gets on training texts, whatever their labels.
    """

    tag: ClassVar[str] = "prompted"
    loops: ClassVar[bool] = False
    tasks: ClassVar[tuple[str, ...]] = ("text_classification",)
    takes_base: ClassVar[bool] = True

    base: Annotated[str, OnDisk()] = ""
    ask: str = "{text}\n→ {label}"
    words: tuple[str, ...] = ()
    shots: Annotated[int, Field(ge=0, le=64)] = 0
    calibrate: bool = True
    max_length: Annotated[int, Field(ge=16, le=8192)] = 256
    attention: str = "eager"

    def fit(self, material: Material, conditions: Conditions) -> Fitted:
        """Write the prompt, read some training texts for the centre and the validation texts for the verdict."""
        from mofang.fit.loop.arrays import ragged_tokens
        from mofang.fit.loop.start import WEIGHTS, weights_file
        from mofang.fit.networks.generator import from_folder
        from mofang.fit.networks.likely import Likely
        from mofang.fit.reading import read_vectors

        folder, train = self._folder(conditions), material.train.records
        require_coverage(self.base or "the base", folder, texts(train[:COVERAGE_ROWS], material.columns("text")))
        generator, config = from_folder(folder, self.attention)
        encoder, labels, shown = self._prompt(material, folder, config, conditions.seed)
        network = Likely(generator, labels).eval()
        drawn = np.random.default_rng((conditions.seed, 1)).permutation(len(train))[:CENTRED_ROWS]
        with conditions.progress("Reading", "读取中", total=2) as bar:
            validation = ragged_tokens(encoder.ids(material.validation.records), encoder.padding_id)
            scores = read_vectors(network.raw, validation, bar)
            centre = np.zeros(len(labels), np.float32)
            if self.calibrate:
                some = ragged_tokens(encoder.ids([train[int(one)] for one in drawn]), encoder.padding_id)
                centre = read_vectors(network.raw, some, bar).mean(axis=0)
            else:
                bar.advance()
        curves, sharpness = _sharpest(scores - centre, material)
        _set(network, centre, sharpness)
        answers = _shares((scores - centre) * np.float32(sharpness))
        architecture = {"config": config, "words": labels, "prompt": encoder.before[:2000], "target": "class"}
        notes = {"shots": shown, "texts": len(drawn) if self.calibrate else 0, "sharpness": sharpness,
                 "cut_texts": int((validation.lengths >= encoder.max_length).sum())}
        fitted = fitted_rows(encoder, {WEIGHTS: weights_file(network)}, architecture, answers, material, curves, notes)
        if conditions.base is not None:
            return fitted
        return replace(fitted, licences=base_licences(self.base, folder), base_model=self.base)

    def graph(self, weights: Mapping[str, bytes], architecture: Mapping[str, Any], sample: Arrays) -> bytes:
        """The generator with the labels' words inside as ONNX: prompts in, probabilities out."""
        from mofang.fit.loop.rowwise import finished_graph
        from mofang.fit.loop.start import WEIGHTS, restored
        from mofang.fit.networks.generator import from_config
        from mofang.fit.networks.likely import Likely

        network = Likely(from_config(architecture["config"], self.attention), architecture["words"])
        return finished_graph(restored(network, weights[WEIGHTS]), sample, architecture)

    def base_digest(self) -> str:
        """The content of the base model's files; "" where there is none."""
        try:
            folder = base_folder(self.base) if self.base else None
        except MofangError:
            folder = None
        return digest_of({name: file_digest(folder / name) for name in NEEDED}) if folder else ""

    def estimate(self, size: Size) -> Estimate:
        """Each text is read once, 2 operations a weight and token."""
        config = base_config(self.base) if self.base else {}
        width, layers = config.get("hidden_size", config.get("n_embd", 256)), config.get("num_hidden_layers", config.get("n_layer", 4))
        tokens = min(size.length * TOKENS_PER_CHARACTER.get(size.language, 1.0) * (1 + self.shots * size.classes) + 16, self.max_length)
        per_token = 2 * 12 * width**2 * layers + config.get("vocab_size", 8000) * width / max(tokens, 1)
        return Estimate(8.0, 2 * per_token * tokens * (CENTRED_ROWS + size.rows / 8))

    def _folder(self, conditions: Conditions) -> Path:
        if conditions.base is None and not self.base:
            raise MofangError("prompt-without-base")
        return conditions.base or base_folder(self.base)

    def _prompt(self, material: Material, folder: Path, config: dict[str, Any], seed: int
                ) -> tuple[PromptEncoder, list[list[int]], int]:
        """The encoder with its examples, the token ids of each label's words, and how many examples found room."""
        from mofang.engine.encode.prompts import PromptEncoder
        from mofang.fit.generation.fitting import encoder_of

        head, between, lead = self._parts()
        words = self.words or material.labels
        if len(words) != len(material.labels) or len(set(words)) != len(words) or not all(one.strip() for one in words):
            raise MofangError("prompt-words", words=", ".join(words), labels=", ".join(material.labels))
        chat = encoder_of(folder, config, material.columns("text"), self.max_length, "")
        start = chat.tokenizer.token_to_id(chat.bos_token) if chat.bos_token else None
        encoder = PromptEncoder(material.columns("text"), chat.max_length, chat.tokenizer_json, head, between,
                                () if start is None else (start,), chat.padding_id)
        labels = [encoder.pieces(lead + one) for one in words]
        encoder = replace(encoder, max_length=chat.max_length - max(map(len, labels)))
        room = int(SHARE_MOST * encoder.max_length)
        kept: list[str] = []
        for turn in self._examples(material, seed):  # one of each label, or none
            told = [f"{head}{text}{between}{lead}{words[label]}{BETWEEN}" for text, label in turn]
            if len(encoder.pieces("".join([*kept, *told]))) <= room:
                kept += told
        encoder = replace(encoder, before="".join([*kept, head]))
        if encoder.room < 1:
            raise MofangError("prompt-too-long-for-context", tokens=sum(map(len, encoder.around)), most=encoder.max_length)
        return encoder, labels, len(kept)

    def _parts(self) -> tuple[str, str, str]:
        """What stands before the text, between text and label, and the blank that belongs to the label's first word."""
        head, found, rest = self.ask.partition(TEXT)
        between, named, behind = rest.partition(LABEL)
        if not found or not named or behind.strip():
            raise MofangError("prompt-unreadable", prompt=self.ask)
        kept = between.rstrip(" ")
        return head, kept, between[len(kept):]

    def _examples(self, material: Material, seed: int) -> list[list[tuple[str, int]]]:
        """So many turns of one of the shorter training texts of each label, by chance."""
        joined, targets = texts(material.train.records, material.columns("text")), material.train.labels
        lengths = np.array([len(one) for one in joined])
        chance, chosen = np.random.default_rng((seed, 2)), []
        for label in range(len(material.labels)):
            own = np.flatnonzero((targets == label) & (lengths > 0))
            short = own[lengths[own] <= np.median(lengths[own])] if len(own) else own
            chosen.append(chance.permutation(short)[: self.shots])
        return [[(" ".join(joined[int(rows[turn])].split()), label) for label, rows in enumerate(chosen) if turn < len(rows)]
                for turn in range(self.shots)]


def _sharpest(scores: Array, material: Material) -> tuple[list[dict[str, float]], float]:
    """The sharpness with the least log loss on the validation rows; the order of the labels does not depend on it."""
    truth, curves = material.validation.labels, []
    for sharpness in SHARPNESS:
        shares = _shares(scores * np.float32(sharpness))
        loss = float(-np.log(np.maximum(shares[np.arange(len(truth)), truth], 1e-12)).mean())
        curves.append({"sharpness": sharpness, "loss": loss, "validation_score": material.score(shares, truth)})
    return curves, min(curves, key=lambda one: one["loss"])["sharpness"]


def _shares(scores: Array) -> Array:
    raised = np.exp(scores - scores.max(axis=1, keepdims=True))
    found: Array = (raised / raised.sum(axis=1, keepdims=True)).astype(np.float32)
    return found


def _set(network: Any, centre: Array, sharpness: float) -> None:
    import torch

    with torch.no_grad():
        network.centre.copy_(torch.from_numpy(np.ascontiguousarray(centre)))
        network.sharpness.fill_(sharpness)
