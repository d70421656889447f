"""Canonical requests: made-up records with the arrays and answers that they must give, replayed wherever the
model could have become another one (at packaging, at every load).

A line of canonical.jsonl is {"request": the record as a request writes it, "arrays": digest of its arrays,
"outputs": {"probabilities": [...]}, "answer": {...}}.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from mofang.core.errors import MofangError
from mofang.engine.arrays import Array, Arrays, arrays_digest
from mofang.engine.encode import Record
from mofang.engine.measure import TOLERANCE, compare
from mofang.engine.request import request_form
from mofang.engine.task import Answer

Line = dict[str, Any]


class Replayable(Protocol):
    """What a replay needs of a predictor."""

    def parse(self, body: object) -> tuple[list[Record], bool]:
        """Read a request body."""
        ...

    def encode(self, records: Sequence[Record]) -> Arrays:
        """Operators, then the encoder."""
        ...

    def outputs(self, records: Sequence[Record]) -> Arrays:
        """The graph's outputs."""
        ...

    def answers(self, outputs: Mapping[str, Array]) -> list[Answer]:
        """What a customer reads."""
        ...


def canonical_lines(predictor: Replayable, records: Sequence[Record], probabilities: Array) -> list[Line]:
    """The lines for made-up records whose reference probabilities, float32 [B, K], are known."""
    answers = predictor.answers({"probabilities": probabilities})
    return [{"request": request_form(record), "arrays": arrays_digest(predictor.encode([record])),
             "outputs": {"probabilities": row}, "answer": answer}
            for record, row, answer in zip(records, probabilities.tolist(), answers, strict=True)]


def replay(predictor: Replayable, lines: Sequence[Line]) -> None:
    """Ask the canonical requests again: arrays bit-equal, probabilities within the tolerance, the same
    labels for the probabilities that are written down (so that a threshold that was lost or changed is seen).

    Raises MofangError parity-mismatch with the request that differs.
    """
    if not lines:
        return
    records = [record for line in lines for record in predictor.parse(line["request"])[0]]
    for number, (record, line) in enumerate(zip(records, lines, strict=True)):
        found = arrays_digest(predictor.encode([record]))
        if found != line["arrays"]:
            raise MofangError("parity-mismatch", where=f"canonical request {number + 1}", what="arrays",
                              found=found[:12], allowed=line["arrays"][:12])
    reference = np.array([line["outputs"]["probabilities"] for line in lines], np.float32)
    parity = compare(predictor.outputs(records)["probabilities"], reference)
    if not parity.passes:
        raise MofangError("parity-mismatch", where=f"{len(lines)} canonical requests", what="probabilities",
                          found=f"{parity.max_abs_difference:.2g}", allowed=f"{TOLERANCE:g}")
    for number, (line, answer) in enumerate(zip(lines, predictor.answers({"probabilities": reference}), strict=True)):
        if answer["label"] != line["answer"]["label"]:
            raise MofangError("parity-mismatch", where=f"canonical request {number + 1}", what="label",
                              found=answer["label"], allowed=line["answer"]["label"])
