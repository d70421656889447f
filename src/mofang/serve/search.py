"""Search an index: the texts whose vectors are nearest to that of a few words, exactly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow.parquet as pq

from mofang.core.artifact import Artifact
from mofang.core.errors import MofangError
from mofang.engine.arrays import Array
from mofang.engine.predictor import Predictor
from mofang.serve.index import ABOUT, MODELS, TEXTS, mapped, vectors_of

BLOCK = 16_384


@dataclass(frozen=True)
class Hit:
    """A text that was found: its record, how near it is (1: the same), and its words."""

    id: str
    score: float
    text: str


class Searcher:
    """An index, opened with the model that made it; it may be asked any number of times."""

    def __init__(self, index: Artifact) -> None:
        """Raises ``index-without-model`` where the model is no longer in the shop."""
        self.about = index.read_json(ABOUT)
        self.vectors = mapped(index)
        with index.open(TEXTS) as file:
            table = pq.read_table(file, use_threads=False, pre_buffer=False)
        self.ids, self.texts = (table.column(name).to_pylist() for name in ("id", "text"))
        self.predictor = Predictor(self._model(index))

    def search(self, words: str, top: int = 5) -> list[Hit]:
        """The ``top`` nearest texts, the best first; of equals the one that was indexed first.

        Raises ``text-empty`` for a search for nothing.
        """
        self.predictor.parse({self.predictor.signature["inputs"][0]["name"]: words})
        query = vectors_of(self.predictor, [words], int(self.about["dims"]))[0]
        places, scores = nearest(self.vectors, query, top)
        return [Hit(str(self.ids[place]), round(float(score), 6), str(self.texts[place]))
                for place, score in zip(places.tolist(), scores.tolist(), strict=True)]

    def _model(self, index: Artifact) -> Artifact:
        wanted = self.about["model"]
        for kind in MODELS:
            found = index.shop.ancestor(index.entry, kind)
            if found is not None and found.digest == wanted["digest"]:
                return found
        raise MofangError("index-without-model")


def nearest(vectors: Array, query: Array, top: int) -> tuple[Array, Array]:
    """Places int64 [K] and inner products float32 [K] of the nearest of ``vectors`` [N, D] to ``query`` [D], block by block,
    so that a mapped file is read once and never as a whole."""
    places, scores = np.zeros(0, np.int64), np.zeros(0, np.float32)
    for begin in range(0, len(vectors), BLOCK):
        found = np.asarray(vectors[begin:begin + BLOCK], np.float32) @ query
        places = np.concatenate([places, np.arange(begin, begin + len(found))])
        scores = np.concatenate([scores, found])
        kept = np.lexsort((places, -scores))[:top]
        places, scores = places[kept], scores[kept]
    return places, scores
