"""What a model is for: the torch-free half of a task, and the registry of tasks.

A task knows its columns, the shape of a request and of an answer, how both are read and written, and the
unit that is billed. Each is one module of `engine/tasks`, named as the task, that holds `TASK`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, NotRequired, Protocol, TypedDict, cast

from mofang.core.errors import MofangError
from mofang.core.nearest import nearest
from mofang.engine.arrays import Array
from mofang.engine.encode import Encoder, Record

Schema = dict[str, Any]
Answer = dict[str, Any]

TASKS = tuple(sorted(path.stem for path in Path(__file__).with_name("tasks").glob("[a-z]*.py")))


class Input(TypedDict):
    """A column that a request gives: its name, and its role (text, image, number, category)."""

    name: str
    role: str


class Decide(TypedDict):
    """When a model of two classes says the one that is looked for: at a probability of ``threshold`` or more.

    ``miss_cost`` is how many false alarms a miss was said to cost when the threshold was chosen; 0 if nobody
    said, in which case the headline metric chose it.
    """

    positive: str
    threshold: float
    miss_cost: float


class Features(TypedDict):
    """What a model reads where it is not the request's own columns.

    ``columns`` are made by the operators from place ``begin`` on; ``draws`` says what made-up requests are drawn from.
    """

    columns: list[Input]
    begin: int
    draws: list[dict[str, Any]]


def read_columns(about: Mapping[str, Any]) -> list[Input]:
    """The columns that a model's encoder reads: its features, or the request's own columns."""
    found: list[Input] = about["features"]["columns"] if "features" in about else about["inputs"]
    return found


class Signature(TypedDict):
    """What a model takes and gives: it stands in the about.json of models, graphs and packages.

    ``labels`` are those that an answer may name, in order; empty for targets that name none.
    """

    task: str
    inputs: list[Input]
    labels: list[str]
    operators: NotRequired[list[dict[str, Any]]]
    decide: NotRequired[Decide]
    thresholds: NotRequired[dict[str, float]]  # of several labels: from which probability on each is answered
    features: NotRequired[Features]


class Task(Protocol):
    """The torch-free half of a task."""

    name: ClassVar[str]
    target: ClassVar[str]                  # what the label column holds: class, classes, number, spans, answer, text, positive
    unit: ClassVar[str]                    # what one billed unit is, as the price list shows it
    input_roles: ClassVar[frozenset[str]]  # roles that its input columns may have

    def headline(self, counts: Mapping[str, int]) -> str:
        """The metric that stands first in reports and chooses between models, given records per label."""
        ...

    def request_schema(self, signature: Signature) -> Schema:
        """The JSON Schema (2020-12) of a request body."""
        ...

    def answer_schema(self, signature: Signature) -> Schema:
        """The JSON Schema (2020-12) of one answer."""
        ...

    def parse(self, signature: Signature, body: object) -> tuple[list[Record], bool]:
        """Read a decoded JSON body: its records, and whether it held many. Raises MofangError (4xx)."""
        ...

    def units(self, record: Record) -> int:
        """Billed units of one record, at least 1."""
        ...

    def canonical(self, signature: Signature, encoder: Encoder, count: int, seed: int) -> list[Record]:
        """Made-up records that a package replays; never rows that were trained on."""
        ...

    def answer(self, signature: Signature, outputs: Mapping[str, Array], records: Sequence[Record]) -> list[Answer]:
        """One answer per record, from the outputs for it; ``records`` are as the request gave them, for answers that
        quote them."""
        ...


@cache
def task_named(name: str) -> Task:
    """Find a task by its name, importing only that module."""
    if name not in TASKS:
        raise MofangError("task-unknown", name=name, nearest=nearest(name, TASKS), known=", ".join(TASKS))
    return cast(Task, import_module(f"mofang.engine.tasks.{name}").TASK)


