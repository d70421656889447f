"""Texts found again: the rank of the text that belongs to each query, among all distinct ones of the test part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mofang.core.artifact import Artifact
from mofang.core.metrics import Floats, Ints
from mofang.core.run import Run
from mofang.data.records import Records
from mofang.engine.arrays import Arrays
from mofang.engine.decode.positives import OUTPUT, ranks, read_positive
from mofang.engine.encode import Record
from mofang.engine.predictor import Predictor
from mofang.engine.task import Answer
from mofang.fit.answers import outputs_of, truth_of

OVERALL = ("mrr", "recall_at_1", "recall_at_10")
TEXTS = "texts"
BATCH_ROWS = 256


def ask(run: Run, name: str, graph: Artifact, test: Records, rows: int) -> Arrays:
    """The vectors of the records, float32 [N, D], and those of the distinct texts that belong to them, in sorted order."""
    about = graph.read_json("about.json")
    column = about["inputs"][0]["name"]
    _, targets = truth_of(test, about)
    texts = distinct(targets)
    predictor = Predictor(graph)
    found = []
    with run.progress("Answering", "作答中", total=len(texts)) as bar:
        for begin in range(0, len(texts), BATCH_ROWS):
            some = [{column: text} for text in texts[begin:begin + BATCH_ROWS]]
            found.append(predictor.outputs(some)[OUTPUT])
            bar.advance(len(some))
    return {OUTPUT: outputs_of(run, name, graph, test, rows)[OUTPUT], TEXTS: np.concatenate(found)}


def distinct(targets: Sequence[str]) -> list[str]:
    """The texts that belong to any record, each once."""
    return sorted({read_positive(one).text for one in targets})


class Measured:
    """One model's vectors of the test records, measured by the rank of what belongs to each."""

    def __init__(
        self, about: dict[str, Any], records: Sequence[Record], truth: list[str], outputs: Arrays, answers: Sequence[Answer]
    ) -> None:
        self.names = [(name, "") for name in OVERALL]
        texts = distinct(truth)
        self.truth = [read_positive(one).text for one in truth]
        places = {text: place for place, text in enumerate(texts)}
        wanted = np.array([places[text] for text in self.truth], np.int64)
        queries, table = outputs[OUTPUT], outputs[TEXTS]
        self.ranks = ranks(queries, table, wanted)
        nearest = (queries @ table.T).argmax(axis=1) if len(queries) else np.zeros(0, np.int64)
        self.answers = [texts[place] for place in nearest]
        scores = [1 / self.ranks, self.ranks <= 1, self.ranks <= 10]
        self.scores = np.stack([np.asarray(one, np.float64) for one in scores], axis=1)

    def of(self, weights: Ints) -> Floats:
        """Means over the records."""
        found: Floats = weights @ self.scores / max(1, weights.sum())
        return found

    def mistakes(self) -> list[tuple[int, float]]:
        """Records whose text stands furthest from the top."""
        wrong = np.flatnonzero(self.ranks > 1).tolist()
        return sorted(((row, float(self.ranks[row])) for row in wrong), key=lambda one: (-one[1], one[0]))
