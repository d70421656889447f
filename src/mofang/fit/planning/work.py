"""What fitting a family is made of: libraries to load, plain code, products, steps, and bytes, before a machine is named.

The constants are seconds of one core of the machine on which they were measured (2026-11-22, AMD EPYC, Zen 4); ``ahead``
scales them to the machine at hand, and by what the shop's own ledger says of earlier runs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mofang.core.errors import MofangError
from mofang.fit.family import Family
from mofang.fit.networks.drawn import drawn
from mofang.fit.planning.memory import MB, How, trained_parameters, training_memory
from mofang.fit.planning.modules import BERT_LIKE, Network, count
from mofang.fit.planning.sample import Sample, cut
from mofang.fit.planning.stops import STOPS, terms_of

# CPU seconds and megabytes of what a family imports, and of its first use, once in a process.
LIBRARIES = {"torch": (2.5, 272.0), "transformers": (1.9, 195.0), "xgboost": (1.1, 95.0), "scipy": (0.1, 25.0)}
STEP_S = 0.0027  # of any torch step: batch, loss, clipping, the optimiser's call
LAYER_S = 0.0028  # of each transformer layer and step, beside its products
TOUCHED_S = 0.45e-9  # for each byte that a step's activations hold
HALF_FROM = 2_000_000  # weights from which the loop takes bf16 products where the probe says that they pay
WRITTEN_S = 3e-8              # loading, copying and sealing, for each weight of a transformer
WEIGHT_S = 4.2e-9  # AdamW, clipping and zeroing, for each weight and step
DENSE_SHARE, CONVOLVED_SHARE = 0.62, 0.80  # of the machine's rate that training-shaped products reach


@dataclass(frozen=True)
class Work:
    """``plain_s`` seconds of plain code, ``flops`` in products of which ``share`` of the machine's rate is reached,
    ``parameters`` of the model, and bytes at the peak by component."""

    libraries: tuple[str, ...] = ()
    plain_s: float = 0.0
    flops: float = 0.0
    share: float = DENSE_SHARE
    parameters: float = 0.0
    steps: float = 0.0
    memory: dict[str, float] = field(default_factory=dict)
    network: Network | None = None
    half: bool = False
    seconds: float = 0.0


@dataclass(frozen=True)
class Terms:
    """On what terms a family learns: a base's folder in place of its own, the loop's optimiser, bf16 products, further
    copies of the weights, a limit of steps, how many trainings beside the one (folds), and a limit of seconds."""

    base: Path | None = None
    optimiser: str = "adamw"
    half: bool = False
    copies: int = 1
    steps: int = 0
    folds: int = 0
    seconds: float = 0.0


def work_of(family: Family, sample: Sample, terms: Terms = Terms()) -> Work:
    """What this family will do with such data; a family that is not counted here falls back on its own estimate."""
    counted = COUNTED.get(family.tag)
    if counted is not None:
        return _repeated(counted(family, sample, terms), terms)
    told = family.estimate(sample.size)
    learns = bool(getattr(type(family), "loops", True))
    fixed_s = max(0.3, told.fixed_s - (5.0 if learns else 0.5))  # its libraries are counted apart
    return _repeated(
        Work(
            ("torch",) if learns else ("scipy",),
            fixed_s,
            told.operations,
            1.0,
            memory={"model": (60 if learns else 10) * MB, "data": rows_bytes(sample)},
        ),
        terms,
    )


def _repeated(work: Work, terms: Terms) -> Work:
    """A limit of steps cuts the training short; folds train k times on (k - 1) / k of the rows first."""
    share = min(1.0, terms.steps / work.steps) if terms.steps and work.steps else 1.0
    times = share * (1 + max(0, terms.folds - 1))
    return replace(
        work, plain_s=work.plain_s * times, flops=work.flops * times, steps=work.steps * times, seconds=terms.seconds
    )


def rows_bytes(sample: Sample) -> float:
    """The records in memory: Python objects of some hundred bytes a row, and the texts."""
    rows = sample.size.rows + sample.validation
    return rows * (600.0 + 2.5 * sample.size.length)


def passes_of(family: Any, sample: Sample, steps: float) -> float:
    """How often the data is gone through: as chosen, or until validation stops it, as trainings on real data did."""
    best_steps, most, patience, _, planned, least = STOPS[family.tag]
    if family.epochs:
        return float(family.epochs)
    wanted = max(least, min(10 * least, planned / max(steps, 1.0)))
    return math.ceil(min(wanted, patience + min(max(best_steps / max(steps, 1.0), 3.0), most)))


def _linear(family: Any, sample: Sample, terms: Terms) -> Work:
    from mofang.fit.families.linear import GRAMS

    size = sample.size
    columns = 1 if size.classes == 2 else size.classes
    if not size.language:
        values = size.rows * size.length
        plain = 0.1 + 5e-6 * size.rows + 1.3e-7 * values * columns
        return Work(
            ("scipy",),
            plain,
            parameters=size.length * columns,
            memory={"data": rows_bytes(sample), "matrix": values * 4 * 3},
        )
    told = family.estimate(size)
    found = terms_of(size)
    known = size.rows * size.length * GRAMS[size.language]
    bytes_held = {"data": rows_bytes(sample), "matrix": known * 8 * 2, "weights": found * columns * 8 * 12}
    return Work(("scipy",), max(0.2, told.fixed_s * 1.45 - 0.6), told.operations, 1.0, found * columns, memory=bytes_held)


def _xgboost(family: Any, sample: Sample, terms: Terms) -> Work:
    size = sample.size
    columns = 1 if size.classes == 2 else size.classes
    rounds = min(family.rounds, 9 / family.learning_rate)
    each_s = 0.001 + 1.5e-8 * size.rows * size.length * family.depth / 6
    plain = 0.3 + 4e-6 * size.rows + 0.7 * rounds * columns * each_s
    trees = rounds * columns * 2.0 ** min(family.depth, 7) * 40
    values = (size.rows + sample.validation) * size.length
    return Work(
        ("xgboost",),
        plain,
        parameters=trees / 8,
        memory={"data": rows_bytes(sample), "matrix": values * 16, "trees": trees},
    )


def _mlp(family: Any, sample: Sample, terms: Terms) -> Work:
    size = sample.size
    widths = [size.length, *family.hidden, size.classes]
    weights = sum(before * after + after for before, after in zip(widths, widths[1:], strict=False))
    steps = math.ceil(size.rows / family.batch)
    passed = passes_of(family, sample, steps)
    rows = passed * (size.rows + sample.validation / 3)
    plain = passed * steps * (STEP_S + weights * WEIGHT_S) + 8e-6 * size.rows + 0.3
    values = (size.rows + sample.validation) * size.length
    return Work(
        ("torch",),
        plain,
        6.0 * weights * rows,
        parameters=weights,
        steps=passed * steps,
        memory={"data": rows_bytes(sample) + values * 8, "model": weights * 24.0, "matrix": values * 4},
    )


def _averaged(family: Any, sample: Sample, terms: Terms) -> Work:
    size = sample.size
    terms = min(_terms(sample), family.terms)
    weights = terms * family.width + family.width * family.hidden + family.hidden * size.classes
    steps = math.ceil(size.rows / family.batch)
    passed = passes_of(family, sample, steps)
    grams = size.length * 2.2
    step_s = STEP_S + weights * WEIGHT_S + family.batch * grams * family.width * 1.2e-9
    encoding = 4e-6 if size.language == "zh" else 2e-6
    plain = 0.3 + encoding * size.rows * size.length + passed * steps * step_s
    matrix = (size.rows + sample.validation) * grams * 12
    return Work(
        ("torch",),
        plain,
        parameters=weights,
        steps=passed * steps,
        memory={"data": rows_bytes(sample), "matrix": matrix, "model": weights * 24.0},
    )


def _terms(sample: Sample) -> float:
    """N-grams that the training texts will teach, from how they grow within the sample (Heaps' law)."""
    from mofang.engine.encode.ngrams import NgramEncoder

    records = [{"text": text} for text in sample.texts]
    if len(records) < 100:
        return terms_of(sample.size)
    half, whole = (max(NgramEncoder.fit(some).size, 2) for some in (records[: len(records) // 2], records))
    growth = min(1.0, max(0.2, math.log2(whole / half)))
    return float(whole * (max(sample.size.rows, 1) / len(records)) ** growth)


def _resnet(family: Any, sample: Sample, terms: Terms) -> Work:
    size = sample.size
    channels = 3
    side = family.size or math.sqrt(size.length / channels)
    places = side**2 / (4 if side >= 48 else 1)
    blocks = (family.depth - 2) / 6
    weights = family.width**2 * 9 * (2 * blocks * (1 + 4 + 16) - 10) + 27 * family.width
    products = places * 9 * family.width**2 * 2 * blocks * 3
    steps = math.ceil(size.rows / family.batch)
    passed = passes_of(family, sample, steps)
    rows = passed * (size.rows + sample.validation / 3)
    step_s = STEP_S + (family.depth + 2) * 0.0015 + weights * WEIGHT_S
    activations = family.batch * places * family.width * 4 * (family.depth + 1) * 3.2
    values = (size.rows + sample.validation) * size.length
    plain = 0.3 + 4e-4 * size.rows + passed * steps * (step_s + activations * TOUCHED_S)
    return Work(
        ("torch",),
        plain,
        6.0 * products * rows,
        CONVOLVED_SHARE,
        weights,
        passed * steps,
        {"data": rows_bytes(sample) + values, "matrix": values * 4, "model": weights * 24.0, "activations": activations},
    )


def _encoder(family: Any, sample: Sample, terms: Terms) -> Work:
    vocabulary = vocabulary_of(family, sample)
    config = {
        "model_type": "bert",
        "vocab_size": vocabulary,
        "hidden_size": family.width,
        "num_hidden_layers": family.layers,
        "num_attention_heads": family.heads,
        "intermediate_size": 4 * family.width,
        "max_position_embeddings": family.max_length,
        "hidden_dropout_prob": 0.0,
    }
    return transformer(family, sample, config, terms)


def _pretrained(family: Any, sample: Sample, terms: Terms) -> Work:
    from mofang.fit.families.pretrained import base_folder

    try:
        folder = terms.base or base_folder(family.base)
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return transformer(family, sample, config, terms, _counter(folder / "tokenizer.json"))
    except (MofangError, OSError, ValueError):  # fitting says in words what is missing
        told = family.estimate(sample.size)
        return Work(("torch", "transformers"), max(0.3, told.fixed_s - 5.0), told.operations, 1.0)


def _counter(place: Any) -> Callable[[list[str]], list[int]]:
    """A count of tokens by the model's own tokeniser."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(place))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return lambda texts: [len(one.ids) for one in tokenizer.encode_batch(texts, add_special_tokens=False)]


def transformer(
    family: Any,
    sample: Sample,
    config: Mapping[str, Any],
    terms: Terms,
    counter: Callable[[list[str]], list[int]] | None = None,
) -> Work:
    """An encoder with a head, trained on bucketed batches: its batches are cut here as training will cut them."""
    network = count(config, classes=max(sample.size.classes, 1), head="classes")
    size, adapt = sample.size, str(getattr(family, "adapt", "all") or "all")
    own = getattr(family, "attention", "") == "auto" and network.shape.kind in BERT_LIKE
    half = terms.half and network.parameters >= HALF_FROM
    each = cut(sample.lengths(family.max_length, counter), size.rows, 64, family.tokens)
    passed = passes_of(family, sample, each.steps)
    hows = [
        How(
            rows,
            length,
            adapt="lora" if adapt == "lora" else "head" if adapt == "head" else "all",
            dropout=bool(config.get("hidden_dropout_prob", 0.1)),
            copies=terms.copies,
            optimiser=terms.optimiser,
            precision="bf16" if half else "fp32",
        )
        for rows, length in each.batches
    ]
    training = sum(how.rows * network.training_flops(how.length, adapt=how.adapt) for how in hows) * each.scale
    forward = sum(how.rows * network.forward_flops(how.length) for how in hows) * each.scale
    judged = forward * sample.validation / max(size.rows, 1) * (1 + 1 / passed)
    worst = max((training_memory(network, how) for how in hows), key=lambda one: one.total)
    touched = sum(training_memory(network, how).parts["activations"] for how in hows) * each.scale
    step_s = STEP_S + LAYER_S * network.shape.layers + WEIGHT_S * trained_parameters(network, hows[0])
    plain = 0.5 + WRITTEN_S * network.parameters + 2e-6 * size.rows * size.length
    plain += passed * (each.steps * step_s + touched * TOUCHED_S)
    memory = {**worst.parts, "data": rows_bytes(sample) + each.positions * 8}
    return Work(
        ("torch",) if own else ("torch", "transformers"),
        plain,
        passed * (training + judged) + (merging(network) if adapt == "lora" else 0.0),
        DENSE_SHARE,
        network.parameters,
        passed * each.steps,
        memory,
        network,
        half,
    )


def merging(network: Network) -> float:
    """Operations of asking a network before and after its adapters are merged."""
    rows, lengths = drawn(sum(one.parameters for one in network.modules if one.name != "embeddings"))
    return 2.0 * rows * sum(network.forward_flops(length) for length in lengths)


def vocabulary_of(family: Any, sample: Sample) -> int:
    """Size of the vocabulary that an encoder of one's own learns: few texts do not fill it, and a Chinese sign is a token."""
    if sample.size.language == "zh" and sample.texts:
        signs = len(set("".join(sample.texts)))
        return int(min(family.vocabulary, 150 + signs * (max(sample.size.rows, 1) / len(sample.texts)) ** 0.25))
    return int(min(family.vocabulary, 600 + 9.0 * (sample.size.rows * sample.size.length) ** 0.55))


def pretraining(
    config: Mapping[str, Any],
    *,
    steps: float,
    positions: int,
    context: int,
    judged: float,
    tokens: float,
    named: float = 1.0,
    terms: Terms = Terms(),
) -> Work:
    """Pretraining a network: ``steps`` of ``positions``, ``judged`` validation positions in all, ``tokens`` in memory.

    ``named`` is the share of positions that are asked for (masked ones), for which alone there are logits.
    """
    network = count(config, head="lm")
    half = terms.half and network.parameters >= HALF_FROM
    rows, source = max(1.0, positions / context), float(context) if network.shape.kind in ("t5", "mt5") else 0.0
    how = How(
        rows,
        context,
        source,
        precision="bf16" if half else "fp32",
        optimiser=terms.optimiser,
        copies=terms.copies,
        logits=True,
        fused=network.shape.causal and context >= 256,
    )
    memory = training_memory(network, how, data=tokens * 8).parts
    memory["logits"] = memory.get("logits", 0.0) * named
    spared = (1 - named) * 2.0 * sum(one.multiplied for one in network.modules if one.name.startswith("head"))
    flops = steps * (rows * network.training_flops(context, source) - 3 * spared * positions)
    flops += judged * (network.forward_flops(context, source) / context - spared)
    step_s = STEP_S + LAYER_S * network.shape.layers + WEIGHT_S * network.parameters
    touched = memory.get("activations", 0.0) + memory.get("logits", 0.0)
    return Work(
        ("torch", "transformers"),
        1.0 + steps * (step_s + touched * TOUCHED_S),
        flops,
        DENSE_SHARE,
        network.parameters,
        steps,
        memory,
        network,
        half,
        terms.seconds,
    )


COUNTED: dict[str, Callable[[Any, Sample, Terms], Work]] = {
    "linear": _linear,
    "xgboost": _xgboost,
    "mlp": _mlp,
    "averaged": _averaged,
    "resnet": _resnet,
    "encoder": _encoder,
    "pretrained": _pretrained,
}
