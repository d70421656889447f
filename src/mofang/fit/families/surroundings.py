"""Every piece of a text told by what stands around it: the cheap way to find entities, or answers."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from mofang.engine.arrays import Array, Arrays
from mofang.fit.family import Conditions, Estimate, Family, Fitted
from mofang.fit.material import Material, Rows
from mofang.fit.size import Size

if TYPE_CHECKING:
    from mofang.engine.encode.surroundings import SurroundingsEncoder

PIECES = {"zh": 0.9, "en": 0.22, "": 0.5}     # of a character
PIECE_S, VALUE_OPERATIONS = 4e-5, 6000.0
NONE_STEPS = 41


@dataclass(frozen=True, kw_only=True)
class Surroundings(Family):
    """A linear model of each piece (a Chinese character, a word, a sign) by its neighbours and how they are written; for
    questions also by where the question's words stand.

    ``c`` is the inverse strength of the L2 penalty, ``least`` how often a name must be met in training to count.
    """

    tag: ClassVar[str] = "surroundings"
    version: ClassVar[int] = 2
    loops: ClassVar[bool] = False
    tasks: ClassVar[tuple[str, ...]] = ("token_classification", "question_answering")

    c: Annotated[float, Field(gt=0)] = 8.0
    least: Annotated[int, Field(ge=1)] = 2

    def fit(self, material: Material, conditions: Conditions) -> Fitted:
        """One row for each piece, one column of weights for each tag (or for begin and end)."""
        from scipy.sparse import csr_array

        from mofang.data.snapshots.targets import question_and_context
        from mofang.engine.encode.surroundings import SurroundingsEncoder
        from mofang.fit.logistic import Logistic
        from mofang.fit.placed import Asked, chained

        ends = time.monotonic() + conditions.seconds if conditions.seconds else float("inf")
        columns = material.columns("text")
        asks = material.target == "answer"
        question, text = question_and_context(columns) if asks else ("", columns[0])
        train, validation = material.train, material.validation
        with conditions.progress("Fitting", "拟合中", total=2) as bar:
            encoder = SurroundingsEncoder.fit(train.records, text, question, least=self.least)
            arrays = encoder.encode(train.records)
            matrix = _matrix(csr_array, arrays, encoder.size)
            bar.advance()
            wanted, uneven = _wanted(material, train, text, arrays)
            classes = 2 if asks else 1 + 2 * len(material.labels)
            problem = Logistic(matrix, wanted, classes, lambda: time.monotonic() >= ends,
                               wanted=wanted if asks else None, link="sigmoid" if asks else "softmax")
            solution = problem.solve(self.c)
            bar.advance()
        if asks:
            encoder = replace(encoder, none=_none(encoder, solution, material, csr_array))
        run = _runner(solution, encoder, csr_array, asks)
        asked = Asked(material, validation, encoder)
        if asks:
            score = asked.score(run)
        else:
            encoder, score = chained(asked, encoder, run, np.split(wanted, np.cumsum(arrays["@pieces"])[:-1]))
        sample, outputs = _sample(encoder, validation.records, run)
        from safetensors.numpy import save

        tensors = {"weight": np.ascontiguousarray(solution.weights), "bias": np.ascontiguousarray(solution.bias)}
        notes: dict[str, Any] = {
            "pieces": int(matrix.shape[0]), "names": encoder.size - 1, "uneven_spans": uneven,
            "stopped": "finished" if solution.finished else "time limit",
        }
        notes |= {"chain_weight": encoder.chain.weight} if encoder.chain else {}
        return Fitted(encoder, {"weights.safetensors": save(tensors)}, {"asks": asks, "c": self.c}, None, sample,
                      [{"c": self.c, "loss": solution.loss, "validation_score": score}], notes, outputs=outputs, score=score)

    def graph(self, weights: Mapping[str, bytes], architecture: Mapping[str, Any], sample: Arrays) -> bytes:
        """Sum of the rows of W that a piece names, then softmax (or as it is, for begin and end)."""
        from safetensors.numpy import load

        from mofang.engine.graphs import linear_graph

        tensors = load(weights["weights.safetensors"])
        return linear_graph(tensors["weight"], tensors["bias"], "identity" if architecture["asks"] else "softmax")

    def estimate(self, size: Size) -> Estimate:
        """Names in seconds, then passes over them for each tag."""
        rows = size.rows * size.length * PIECES.get(size.language, 0.5)
        return Estimate(0.5 + PIECE_S * rows, VALUE_OPERATIONS * rows * max(2, 1 + 2 * size.classes))


def _matrix(csr_array: Any, arrays: Arrays, size: int) -> Any:
    """Rows of ones at the names' ids, [R, V]; the padding column 0 stays empty."""
    known = arrays["weights"] > 0
    offsets = np.concatenate([[0], np.cumsum(known.sum(axis=1))]).astype(np.int32)
    ids = arrays["ids"][known].astype(np.int32)
    return csr_array((np.ones(len(ids), np.float32), ids, offsets), shape=(len(known), size))


def _wanted(material: Material, rows: Rows, text: str, arrays: Arrays) -> tuple[Array, int]:
    """The tag of each piece, int64 [R], or whether it begins and ends the answer, float32 [R, 2]; and uneven spans."""
    from mofang.engine.decode.spans import tags_of
    from mofang.engine.encode.pieces import pieces

    asks, uneven = material.target == "answer", 0
    found: list[Array] = []
    for record, target in zip(rows.records, rows.targets, strict=True):
        places = pieces(str(record.get(text) or ""))
        spans = ([(*target, 0)] if target[0] >= 0 else []) if asks else target
        tags, missed = tags_of(spans, places)
        uneven += missed
        if asks:
            inside = np.flatnonzero(tags)
            both = np.zeros((len(places), 2), np.float32)
            if len(inside):
                both[inside[0], 0] = both[inside[-1], 1] = 1
            tags = both
        found.append(tags)
    if not (arrays["@record"] >= 0).any():      # the one empty row of an empty part
        return (np.zeros((1, 2), np.float32) if asks else np.zeros(1, np.int64)), uneven
    return np.concatenate(found), uneven


def _runner(solution: Any, encoder: SurroundingsEncoder, csr_array: Any, asks: bool) -> Any:
    """What the graph will compute, of an encoder's arrays."""
    def run(arrays: Arrays) -> Arrays:
        matrix = _matrix(csr_array, arrays, encoder.size)
        if asks:
            return {"number": np.asarray(matrix @ solution.weights + solution.bias, np.float32)}
        return {"probabilities": solution.answers(matrix)}
    return run


def _none(encoder: SurroundingsEncoder, solution: Any, material: Material, csr_array: Any) -> float:
    """The logit of "no answer" that suits the validation rows best; out of reach where every training row has one."""
    from mofang.fit.placed import Asked

    if all(start >= 0 for start, _ in material.train.targets):
        return encoder.none
    run = _runner(solution, encoder, csr_array, True)
    arrays = encoder.encode(material.validation.records)
    logits = run(arrays)["number"]
    tried = np.unique(np.quantile(logits.max(axis=1), np.linspace(0.5, 1, NONE_STEPS)).round(4)).tolist()
    asked = Asked(material, material.validation, encoder)
    scores = [asked.score(run, replace(encoder, none=one)) for one in tried]
    return float(tried[int(np.argmax(scores))])


def _sample(encoder: SurroundingsEncoder, records: Any, run: Any) -> tuple[Arrays, Arrays]:
    """The pieces of the first few records, and what the model gives for them."""
    arrays = encoder.encode(records[:16])
    kept = {name: array for name, array in arrays.items() if name != "@pieces"}
    kept["@record"] = np.maximum(kept["@record"], 0)
    return kept, run(arrays)
