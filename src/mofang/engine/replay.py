"""Canonical requests: made-up records with the arrays and answers that they must give, replayed wherever the
model could have become another one (at packaging, at every load).

A line of canonical.jsonl is {"request": the record as a request writes it, "arrays": digest of its arrays,
"outputs": {"probabilities": [...]} (or what else the graph gives), "answer": {...}}.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from mofang.core.errors import MofangError
from mofang.engine.agreement import borders_of
from mofang.engine.arrays import Array, Arrays, arrays_digest
from mofang.engine.encode import Record
from mofang.engine.measure import AGREEMENT_MIN, INT8_LABEL_TOLERANCE, TOLERANCE, compare_outputs
from mofang.engine.outputs import read_rows, rows_of
from mofang.engine.request import request_form
from mofang.engine.task import Answer

Line = dict[str, Any]
SCORE_TOLERANCE = 1e-6     # of two scores that were rounded alike
SHOWN = 60


class Replayable(Protocol):
    """What a replay needs of a predictor."""

    tolerance: float  # how far its engine may be from the reference
    loose: bool       # whether a few of its labels may be others, as those of int8
    about: dict[str, Any]

    def parse(self, body: object) -> tuple[list[Record], bool]:
        """Read a request body."""
        ...

    def encode(self, records: Sequence[Record]) -> Arrays:
        """Operators, then the encoder."""
        ...

    def outputs(self, records: Sequence[Record]) -> Arrays:
        """The graph's outputs."""
        ...

    def answers(self, outputs: Mapping[str, Array], records: Sequence[Record]) -> list[Answer]:
        """What a customer reads."""
        ...


def canonical_lines(predictor: Replayable, records: Sequence[Record], outputs: Mapping[str, Array]) -> list[Line]:
    """The lines for made-up records whose reference outputs (probabilities float32 [B, K], …) are known."""
    answers = predictor.answers(outputs, records)
    return [{"request": request_form(record), "arrays": arrays_digest(predictor.encode([record])),
             "outputs": rows_of(outputs, row), "answer": answer}
            for row, (record, answer) in enumerate(zip(records, answers, strict=True))]


def replay(predictor: Replayable, lines: Sequence[Line]) -> None:
    """Ask the canonical requests again: arrays bit-equal, outputs within the tolerance, the same labels (or
    whole answers) for the outputs that are written down, so that a threshold that was lost or changed is seen.

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
    reference = read_rows([line["outputs"] for line in lines])
    allowed = predictor.tolerance
    near = INT8_LABEL_TOLERANCE if predictor.loose else 2 * allowed if allowed > TOLERANCE else allowed
    parity = compare_outputs(predictor.outputs(records), reference, near, borders_of(predictor.about))
    changed = round((1 - parity.label_agreement) * len(lines))
    if parity.max_abs_difference > allowed or changed > _changes(len(lines)) * predictor.loose:
        raise MofangError("parity-mismatch", where=f"{len(lines)} canonical requests", what="probabilities",
                          found=f"{parity.max_abs_difference:.2g}", allowed=f"{allowed:g}")
    for number, (line, answer) in enumerate(zip(lines, predictor.answers(reference, records), strict=True), 1):
        said, wanted = (one["label"] if "label" in line["answer"] else one for one in (answer, line["answer"]))
        if not same(said, wanted):
            raise MofangError("parity-mismatch", where=f"canonical request {number}", what="label",
                              found=str(said)[:SHOWN], allowed=str(wanted)[:SHOWN])


def _changes(requests: int) -> int:
    """How many of so many requests int8 may answer with another label: one, or twice the share that packaging let pass."""
    return max(1, int(2 * (1 - AGREEMENT_MIN) * requests))


def same(one: Any, other: Any) -> bool:
    """Whether two answers say the same, their numbers within the tolerance of scores."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and isinstance(other, int | float):
        return abs(one - other) <= SCORE_TOLERANCE * max(1.0, abs(other))
    return bool(one == other)
