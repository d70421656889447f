"""Private: a count, a mean, a histogram or a table of many counts, with noise (differential privacy), on one budget.

The noise is the discrete Laplace mechanism of OpenDP, drawn from the operating system and recorded nowhere; so the same
question asked of another shop has another answer. In one shop a question is answered once: asked again, the same answer
comes back and costs nothing. Sums are taken over whole numbers, so that no rounding tells what the noise hides.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from mofang.core.artifact import Artifact
from mofang.core.errors import MofangError
from mofang.core.run import Run
from mofang.core.stage import stage
from mofang.data.protecting.budget import Epsilon, charge, datasets_of, micros_of
from mofang.data.protecting.noise import ask, question_of
from mofang.data.records import Records

COMPOSITION = "sequential: the epsilons of all answers about this data set add up"


class Private(Artifact):
    """A private answer: ``answer.json``, and for a release ``release.parquet``."""

    kind = "private"


@stage(version=1)
def private(
    run: Run,
    records: tuple[Records, ...],
    *,
    what: Literal["count", "mean", "histogram", "release"] = "count",
    column: str = "",
    epsilon: Epsilon,
    bounds: tuple[float, ...] = (),
    cells: tuple[str, ...] = (),
    where: str = "",
    contributions: Annotated[int, Field(ge=1, le=1000)] = 1,
) -> Private:
    """Answer one question about records with noise, and take epsilon off the data set's privacy budget.

    ``mean`` clamps the column to ``bounds`` (lo,hi); ``histogram`` and ``release`` count in ``cells`` that are named
    beforehand (``city=上海|北京``, ``age=0:100:10`` from, to, number of bins); ``where`` (city=上海) counts some records
    only. Where a column has the role person, at most ``contributions`` records of each person are used, and the answer
    protects persons; elsewhere it protects single records.
    """
    question = question_of(records, what=what, column=column, bounds=bounds, cells=cells, where=where)
    datasets = datasets_of(run.shop, records)
    asked = {"what": what, "column": column, "where": where, "cells": list(cells), "epsilon": epsilon, "run": run.key[:16]}
    charged = run.once("charge", lambda: charge(run.shop, datasets, micros_of(epsilon), asked))
    told = False
    try:
        if not run.has("answer.json"):
            answer, table = ask(run, records, question, epsilon, contributions)
            about: dict[str, Any] = {"what": what, "column": column, "where": where, "epsilon": epsilon,
                                     "composition": COMPOSITION, "budget": {"limit": charged["limit"], "left": charged["left"]}}
            if table is not None:
                import pyarrow.parquet as pq

                with run.part("release.parquet") as path:
                    pq.write_table(table, path, compression="zstd")
            run.write_json("answer.json", about | answer)
        told = True
    except MofangError as error:
        raise MofangError("private-failed", reason=error, epsilon=epsilon) from error
    finally:
        if not told:
            run.announce("Nothing was answered; the epsilon {epsilon} stays charged, and the same question asked again uses it.",
                         "没有给出回答；已扣的 ε={epsilon} 不退还，再问同一个问题时直接使用。", epsilon=epsilon)
    return run.result(Private)
