"""Which figures suit what a model answers: one module of this floor for each target of a task.

A module holds ``Measured`` (see the protocol) and, where a graph's outputs for the records are not enough, ``ask``, which
then takes the place of ``fit.answers.outputs_of``.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any, Protocol, cast

from mofang.core.artifact import Artifact
from mofang.core.metrics import Floats, Ints
from mofang.core.run import Run
from mofang.data.records import RecordReader, Records
from mofang.engine.arrays import Arrays
from mofang.engine.encode import Record
from mofang.engine.task import Answer, Signature, task_named
from mofang.fit.answers import outputs_of, truth_of

JUDGES = {"spans": "spans", "answer": "answered", "number": "numbers", "classes": "several", "text": "written",
          "positive": "retrieved"}  # "class" is judged by ``evaluate`` and ``figures`` themselves

SIGNED = ("task", "inputs", "labels", "features", "thresholds")

Name = tuple[str, str]  # a figure, and the label that it is of ("": over all)


class Measured(Protocol):
    """One model's answers on labelled records, measured."""

    names: list[Name]          # what ``of`` gives, in order; the first of each figure over all has the label ""
    answers: list[str]         # what the model says for each record, as predictions.parquet holds it
    truth: list[str]           # what it should say, alike

    def of(self, weights: Ints) -> Floats:
        """The figures, each record counted as often as ``weights`` int [N] says."""
        ...

    def mistakes(self) -> list[tuple[int, float]]:
        """Records answered wrongly, the worst first, each with how sure the model was (or how far off)."""
        ...


def judged(run: Run, graphs: Sequence[Artifact], test: Records) -> tuple[list[str], list[Record], list[Measured]]:
    """The test records with what each model answers on them, measured by the module of the task's target."""
    abouts = [one.read_json("about.json") for one in graphs]
    task = task_named(abouts[0]["task"])
    module = import_module(f"mofang.judge.{JUDGES[task.target]}")
    ids, truth = truth_of(test, abouts[0])
    records = records_of(test, abouts[0])
    ask = getattr(module, "ask", outputs_of)
    found = []
    for number, (graph, about) in enumerate(zip(graphs, abouts, strict=True)):
        outputs: Arrays = ask(run, str(number), graph, test, len(ids))
        signature = cast(Signature, {name: about[name] for name in SIGNED if name in about})
        answers: list[Answer] = task.answer(signature, outputs, records)
        found.append(module.Measured(about, records, truth, outputs, answers))
    return ids, records, found


def measured(about: dict[str, Any], truth: Any, records: list[Record], outputs: Arrays) -> Measured | None:
    """One model's outputs on the test records, measured; None where outputs alone do not tell (a text that is written,
    vectors that are compared)."""
    task = task_named(about["task"])
    module = import_module(f"mofang.judge.{JUDGES[task.target]}")
    if hasattr(module, "ask"):
        return None
    signature = cast(Signature, {name: about[name] for name in SIGNED if name in about})
    found: Measured = module.Measured(about, records, truth, outputs, task.answer(signature, outputs, records))
    return found


def records_of(test: Records, about: dict[str, Any]) -> list[Record]:
    """The inputs of all test records; media are left out."""
    names = [one["name"] for one in about["inputs"]]
    return [row for batch in RecordReader(test).batches(media=False, columns=names) for row in batch.rows(names, media=False)]
