"""A customer's model and its base on the same rows: those of the customer's that were set aside and never learnt from.

For labels the rows on which only one of the two is right decide (McNemar's exact test, one side); for everything else the paired
difference in the task's headline figure, with the 95 % interval of resampled rows: bits per byte of wanted words, squared error,
exact spans, ranks. Both are asked as they serve: packages, not the networks that they came from.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mofang.core.artifact import Artifact
from mofang.core.errors import MofangError

if TYPE_CHECKING:
    from mofang.core.metrics import Floats, Ints
    from mofang.judge.figures import Weighed

ALPHA = 0.05  # chance of refusing a model that answers as well as the base
BATCH = 64
RESAMPLES = 1000
BITS = "bits_per_byte"


def beside_base(base: Artifact, made: Artifact, own: Artifact, described: dict[str, Any]) -> dict[str, Any]:
    """Both packages on the customer's test rows, and the verdict: better, as good, worse; ``not compared`` where the base answers
    with other labels, so that none of its answers could be right."""
    from mofang.engine.task import task_named

    target = task_named(described["task"]).target
    if target == "class":
        return _of_labels(base, made, own, described)
    try:
        models = [_asked(one, own, target) for one in (made, base)]
    except MofangError as refusal:
        if refusal.code != "test-labels":
            raise
        return {"verdict": "not compared"}
    return _of_figures(models)


def _of_labels(base: Artifact, made: Artifact, own: Artifact, described: dict[str, Any]) -> dict[str, Any]:
    from mofang.engine.predictor import Predictor
    from mofang.serve.gates import binomial

    about = own.read_json("about.json")
    names = [one["name"] for one in described["inputs"]]
    rows = list(rows_of(own / "test", [about["label"], *names]))
    truth = [str(row.pop(about["label"])) for row in rows]
    right = {}
    for which, package in (("base", base), ("own", made)):
        said: list[Any] = []
        predictor = Predictor(package)
        for begin in range(0, len(rows), BATCH):
            said += predictor.predict(rows[begin:begin + BATCH])
        right[which] = [str(answer["label"]) == wanted for answer, wanted in zip(said, truth, strict=True)]
    only_base = sum(one and not other for one, other in zip(right["base"], right["own"], strict=True))
    only_own = sum(other and not one for one, other in zip(right["base"], right["own"], strict=True))
    apart = only_base + only_own
    verdict = "as good"
    if apart and binomial(only_base, apart, 0.5) < ALPHA:
        verdict = "worse"
    elif apart and binomial(only_own, apart, 0.5) < ALPHA:
        verdict = "better"
    return {"test_rows": len(rows), "base_right": sum(right["base"]), "own_right": sum(right["own"]), "only_base": only_base,
            "only_own": only_own, "verdict": verdict}


@dataclass(frozen=True)
class Asked:
    """What one package answers on the test rows: its figures under any weights, the headline's place and name, how many rows."""

    model: Weighed
    place: int
    metric: str
    rows: int


class Words:
    """How many bits a generator needs for the wanted words, and their bytes."""

    def __init__(self, bits: Floats, letters: Ints) -> None:
        self.bits, self.letters = bits, letters

    def of(self, weights: Ints) -> Floats:
        """Minus the bits per byte: more is better, as with every headline figure."""
        return np.array([-float(weights @ self.bits) / max(1.0, float(weights @ self.letters))])


def _asked(package: Artifact, own: Artifact, target: str) -> Asked:
    from mofang.fit.answers import truth_of
    from mofang.judge.targets import records_of

    described = package.read_json("package.json")
    about = {**described, "label": own.read_json("about.json")["label"]}
    _, truth = truth_of(own / "test", about)  # type: ignore[arg-type]
    records = records_of(own / "test", about)  # type: ignore[arg-type]
    if target == "text":
        return _of_words(package, records, truth)
    from importlib import import_module
    from typing import cast

    from mofang.engine.predictor import Predictor
    from mofang.engine.task import Signature, task_named
    from mofang.judge.targets import JUDGES, SIGNED

    predictor = Predictor(package)
    outputs = predictor.outputs(records)
    if target == "positive":
        from mofang.engine.decode.positives import OUTPUT
        from mofang.judge.retrieved import TEXTS, distinct

        column = about["inputs"][0]["name"]
        outputs = {**outputs, TEXTS: predictor.outputs([{column: text} for text in distinct(truth)])[OUTPUT]}
    signature = cast(Signature, {name: about[name] for name in SIGNED if name in about})
    answers = task_named(about["task"]).answer(signature, outputs, records)
    found = import_module(f"mofang.judge.{JUDGES[target]}").Measured(about, records, truth, outputs, answers)
    names = [name if not label else "" for name, label in found.names]
    return Asked(found, names.index(about["headline"]), about["headline"], len(records))


def _of_words(package: Artifact, records: list[dict[str, Any]], truth: list[str]) -> Asked:
    from mofang.engine.generation.opened import Generator
    from mofang.fit.generation.answers import read_conversations
    from mofang.serve.generators import bits_per_byte

    generator = Generator(package)
    bits, letters = bits_per_byte(generator.decoder, read_conversations(generator.encoder, records, truth))
    return Asked(Words(bits, letters), 0, BITS, len(records))


def _of_figures(models: list[Asked]) -> dict[str, Any]:
    from mofang.judge.figures import intervals

    own, base = models
    figures, paired = intervals([own.model, base.model], own.rows, RESAMPLES, 0)
    difference = paired[own.place].to_dict()
    sign = -1 if own.metric == BITS else 1
    verdict = "better" if difference["low"] > 0 else "worse" if difference["high"] < 0 else "as good"
    return {"test_rows": own.rows, "metric": own.metric, "own": round(sign * figures[0][own.place].to_dict()["value"], 6),
            "base": round(sign * figures[1][base.place].to_dict()["value"], 6),
            "difference": {name: round(value, 6) for name, value in difference.items()}, "verdict": verdict}


def rows_of(records: Artifact, names: list[str]) -> Iterator[dict[str, Any]]:
    """The rows of records with these columns."""
    import pyarrow.parquet as pq

    with records.open("values.parquet") as file, pq.ParquetFile(file) as table:
        for batch in table.iter_batches(8192, columns=names):
            yield from batch.to_pylist()
