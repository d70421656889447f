"""Labelling projects as the journal has left them: what is asked, how far it is, who worked on it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mofang.core.database import Database
from mofang.core.errors import MofangError
from mofang.core.nearest import nearest
from mofang.data.labelling.schema import Schema
from mofang.data.labelling.state import JOURNAL, PERSON

if TYPE_CHECKING:
    from mofang.core.shop import Shop

COLUMNS = """id, owner, name, body, state, guidelines, overlap, created_us, tasks, answers, done, skipped, comments,
    decided, gold, gone"""


@dataclass(frozen=True)
class Project:
    """One project. ``done`` tasks have as many answers as ``overlap`` asks for; ``gold`` tasks are checks beside them."""

    id: str
    owner: str
    name: str
    settings: dict[str, Any]
    state: str
    guidelines: int
    overlap: int
    created_us: int
    tasks: int
    answers: int
    done: int
    skipped: int
    comments: int
    decided: int
    gold: int
    gone: int

    @property
    def schema(self) -> Schema:
        """What may be answered."""
        return Schema.of(self.settings["schema"])

    @property
    def share(self) -> float:
        """How much of it is done, 0 to 1."""
        return self.done / max(1, self.tasks - self.gold - self.gone)

    def require_open(self) -> None:
        """Refuse work on a project that is paused or closed."""
        if self.state != "open":
            raise MofangError("label-not-open", name=self.name, state=self.state)

    def require_task(self, task: int) -> None:
        """Refuse a task that is not there."""
        if not 0 <= task < self.tasks:
            raise MofangError("label-task-unknown", task=task, name=self.name, tasks=self.tasks)


@dataclass(frozen=True)
class Batch:
    """Tasks from one set of records (``first`` is the number of the first), or an artifact of answers or proposals."""

    number: int
    kind: str
    entry: str
    records: str
    inside: str
    first: int
    rows: int
    at_us: int


@dataclass(frozen=True)
class Worker:
    """What one person did in a project; ``ms`` over ``timed`` answers, gold checks, proposals shown and taken."""

    person: str
    answers: int
    skipped: int
    ms: int
    timed: int
    gold: int
    gold_right: int
    proposed: int
    accepted: int
    last_us: int


def ready(shop: Shop) -> Database:
    """The shop's control database with the tables of labelling."""
    import mofang.data.labelling.state as _state  # noqa: F401  (declares the tables)

    shop.journals.make_tables()
    return shop.control


def projects(shop: Shop, *, everybody: bool = False) -> list[Project]:
    """All projects of this owner (or of all), oldest first."""
    condition, params = ("", ()) if everybody else (" where owner=?", (shop.actor.owner,))
    sql = f"select {COLUMNS} from label_project{condition} order by created_us, id"
    return [_project(row) for row in ready(shop).rows(sql, params)]


def find_project(shop: Shop, name: str) -> Project:
    """A project by name or id; a wrong name is answered with the nearest."""
    sql = f"select {COLUMNS} from label_project where owner=? and (name=? or id=?)"
    found = ready(shop).rows(sql, (shop.actor.owner, name, name))
    if found:
        return _project(found[0])
    known = [one.name for one in projects(shop)]
    if not known:
        raise MofangError("label-projects-none", name=name)
    raise MofangError("label-project-unknown", name=name, nearest=nearest(name, known))


def _project(row: tuple[Any, ...]) -> Project:
    return Project(row[0], row[1], row[2], json.loads(row[3]), *row[4:])


def batches(db: Database, project: str, kind: str = "") -> list[Batch]:
    """The batches of a project in their order."""
    sql = """select number, kind, entry, records, inside, first, rows, at_us from label_batch where project=?
             order by number"""
    return [one for one in (Batch(*row) for row in db.rows(sql, (project,))) if kind in ("", one.kind)]


def workers(db: Database, project: str) -> list[Worker]:
    """Everybody who answered or skipped something, by name."""
    names = ", ".join(("person", *PERSON, "last_us"))
    return [Worker(*row) for row in db.rows(f"select {names} from label_person where project=? order by person", (project,))]


def guidelines(db: Database, project: str, version: int = 0) -> tuple[int, str]:
    """The newest guidelines, or one version of them; (0, "") where there are none."""
    condition, params = (" and version=?", (project, version)) if version else ("", (project,))
    sql = f"select version, text from label_guidelines where project=?{condition} order by version desc limit 1"
    found = db.rows(sql, params)
    return (found[0][0], found[0][1]) if found else (0, "")


def answers_of(db: Database, project: str, task: int) -> list[tuple[str, str, dict[str, Any], int, int]]:
    """The current answers to one task given in the queue: person, id, answer (words still locked), when, milliseconds."""
    sql = "select person, id, answer, at_us, ms from label_answer where project=? and task=? order by person"
    return [(person, id, json.loads(text), at_us, ms) for person, id, text, at_us, ms in db.rows(sql, (project, task))]


def comments_of(db: Database, project: str, task: int) -> list[tuple[str, int, dict[str, Any]]]:
    """What was said about one task: person, when, words still locked."""
    sql = "select person, at_us, text from label_comment where project=? and task=? order by at_us, id"
    return [(person, at_us, json.loads(text)) for person, at_us, text in db.rows(sql, (project, task))]


def decision_of(db: Database, project: str, task: int) -> tuple[str, dict[str, Any]] | None:
    """Who decided a task and how, if somebody did."""
    found = db.rows("select person, answer from label_decision where project=? and task=?", (project, task))
    return (found[0][0], json.loads(found[0][1])) if found else None


def answered_tasks(db: Database, project: str) -> Iterator[list[tuple[Any, ...]]]:
    """Every current answer of the queue: task, person, answer; by task."""
    yield from db.pages("select task, person, answer from label_answer where project=? order by task, person", (project,))


__all__ = ["JOURNAL", "Batch", "Project", "Worker", "answered_tasks", "answers_of", "batches", "comments_of", "decision_of",
           "find_project", "guidelines", "projects", "ready", "workers"]
