"""What whoever manages a project decides: what is asked, of which records, in which order, by how many, and who is right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np

from mofang.core.action import Act, action, turn
from mofang.core.artifact import Artifact
from mofang.core.errors import MofangError
from mofang.core.identity import new_id, now_us
from mofang.core.journal import NewRow
from mofang.core.rule import Rule
from mofang.core.shop import NAME
from mofang.data.labelling.bits import BLOCK, bits_from, counts_from, place
from mofang.data.labelling.content import Contents
from mofang.data.labelling.projects import Project, batches, find_project, ready
from mofang.data.labelling.queue import Task, checked_answer
from mofang.data.labelling.schema import PICTURE, Kind, Schema
from mofang.data.labelling.sealing import lock_words
from mofang.data.labelling.state import JOURNAL, Block
from mofang.data.roles import MEDIA_ROLES, roles_of, with_role

TASKS_A_ROW = 5000
GUIDELINES_CHARS_MOST = 100_000
Overlap = Annotated[int, Rule(ge=1, le=50)]
Lease = Annotated[float, Rule(ge=1, le=30 * 86_400, finite=True)]
Every = Annotated[int, Rule(ge=0, le=1000)]
Text = Annotated[str, Rule(max_length=GUIDELINES_CHARS_MOST)]


@dataclass(frozen=True)
class Added:
    """Tasks that came into a project; ``known`` are records that were in it already."""

    project: Project
    tasks: int
    known: int
    first: int


@action(may="train")
def label_new(
    act: Act,
    *,
    name: str,
    kind: Kind,
    classes: tuple[str, ...] = (),
    lowest: int = 1,
    highest: int = 5,
    column: str = "",
    second: str = "",
    guidelines: Text = "",
    overlap: Overlap = 1,
    lease_s: Lease = 900.0,
    gold_every: Every = 0,
) -> Project:
    """Begin a labelling project: what is asked, how many people answer each task, and how long a task is lent."""
    if not NAME.fullmatch(name):
        raise MofangError("name-invalid", name=name)
    schema = Schema(kind, classes, lowest, highest, column, second).check()
    settings = {"schema": schema.to_dict(), "overlap": overlap, "lease_s": lease_s, "gold_every": gold_every}
    ready(act.shop)
    with turn(act, JOURNAL) as db:
        if db.rows("select 1 from label_project where name=?", (name,)):
            raise MofangError("label-project-exists", name=name)
        id = new_id("lab")
        rows = [NewRow("project", {"name": name, "settings": settings}, account=id)]
        if guidelines:
            rows.append(NewRow("guidelines", {"version": 1, "text": guidelines}, account=id))
        act.record(JOURNAL, *rows)
        return find_project(act.shop, id)


@action(may="train")
def label_add(act: Act, *, project: str, records: str) -> Added:
    """Add records as tasks; those that are in the project already are not added twice."""
    return add_records(act, find_project(act.shop, project), act.shop.find(records, "records"))


def add_records(act: Act, project: Project, records: Artifact) -> Added:
    """The same for records that are at hand."""
    from mofang.data.label import queue_up

    _require_columns(project, records)
    shop = act.shop
    known = batches(shop.control, project.id, "tasks")
    earlier = tuple(shop.artifact(shop.ledger.get(one.entry)) for one in known)
    made = shop.run(queue_up, records, earlier)
    rows = int(made.measures["tasks"])
    with turn(act, JOURNAL) as db:
        now = find_project(shop, project.id)
        if now.tasks != project.tasks or len(batches(db, project.id, "tasks")) != len(known):
            raise MofangError("label-project-changed", name=project.name)
        if rows:
            body = {"entry": made.entry, "records": records.entry, "inside": records.within, "first": now.tasks, "rows": rows}
            act.record(JOURNAL, NewRow("tasks", body, account=project.id))
    return Added(find_project(shop, project.id), rows, int(made.measures["known"]), project.tasks)


def _require_columns(project: Project, records: Artifact) -> None:
    import pyarrow.parquet as pq

    with records.open("values.parquet") as file:
        roles = roles_of(pq.read_schema(file))
    schema = project.schema
    for name in filter(None, (schema.column, schema.second)):
        if name not in roles:
            raise MofangError("label-column-missing", column=name, columns=", ".join(roles))
    media, texts = with_role(roles, MEDIA_ROLES), with_role(roles, "text")
    if schema.kind in PICTURE and not media:
        raise MofangError("label-kind-needs", kind=schema.kind, what="image")
    if schema.kind == "spans" and not (schema.column or texts):
        raise MofangError("label-kind-needs", kind=schema.kind, what="text")


@action(may="train")
def label_guidelines(
    act: Act, *, project: str, text: Annotated[str, Rule(min_length=1, max_length=GUIDELINES_CHARS_MOST)]
) -> int:
    """Write new guidelines; the earlier versions stay, and each answer says by which it was given. The version."""
    with turn(act, JOURNAL):
        found = find_project(act.shop, project)
        version = found.guidelines + 1
        act.record(JOURNAL, NewRow("guidelines", {"version": version, "text": text}, account=found.id))
    return version


@action(may="train")
def label_settings(
    act: Act, *, project: str, overlap: Overlap | None = None, lease_s: Lease | None = None, gold_every: Every | None = None
) -> Project:
    """Change how many people answer each task, how long it is lent, or how often a check comes."""
    given = {"overlap": overlap, "lease_s": lease_s, "gold_every": gold_every}
    changed = {name: value for name, value in given.items() if value is not None}
    with turn(act, JOURNAL):
        found = find_project(act.shop, project)
        act.record(JOURNAL, NewRow("settings", {"settings": changed}, account=found.id))
        return find_project(act.shop, found.id)


@action(may="train")
def label_state(act: Act, *, project: str, state: Literal["open", "paused", "closed"]) -> Project:
    """Open, pause or close a project; what was answered stays."""
    with turn(act, JOURNAL):
        found = find_project(act.shop, project)
        if found.state != state:
            act.record(JOURNAL, NewRow("state", {"state": state}, account=found.id))
        return find_project(act.shop, found.id)


@action(may="train")
def label_assign(
    act: Act,
    *,
    project: str,
    person: Annotated[str, Rule(min_length=1, max_length=100)],
    count: Annotated[int, Rule(ge=1, le=TASKS_A_ROW)],
    days: Annotated[float, Rule(ge=0.01, le=365, finite=True)] = 7,
) -> int:
    """Set the next tasks aside for one person for some days; how many there were."""
    from mofang.data.labelling.queue import _by_number, _ranked

    with turn(act, JOURNAL) as db:
        found = find_project(act.shop, project)
        found.require_open()
        chosen: dict[int, None] = {}
        for source in (_ranked(db, found, person), _by_number(db, found, person)):
            for task in source:
                if len(chosen) >= count:
                    break
                chosen[task] = None
        if chosen:
            body = {"person": person, "tasks": list(chosen), "until_us": now_us() + int(days * 86_400e6)}
            act.record(JOURNAL, NewRow("give", body, account=found.id))
    return len(chosen)


@action(may="train")
def label_gold(act: Act, *, project: str, task: Task, answer: dict[str, Any]) -> None:
    """Make a task with a known answer a check: it is mixed in for everybody, and shows how often each person is right."""
    found = find_project(act.shop, project)
    if found.schema.kind == "text":
        raise MofangError("label-gold-text", name=found.name)
    checked, _, _ = checked_answer(Contents(act.shop, found), task, answer)
    with turn(act, JOURNAL):
        act.record(JOURNAL, NewRow("gold", {"tasks": [[task, checked]]}, account=found.id))


@action(may="train")
def label_adjudicate(
    act: Act, *, project: str, task: Task, answer: dict[str, Any], why: Annotated[str, Rule(max_length=2000)] = ""
) -> dict[str, Any]:
    """Decide what the answer to a task is, whatever people answered; a later decision stands beside it in the journal."""
    found = find_project(act.shop, project)
    contents = Contents(act.shop, found)
    checked, record, _ = checked_answer(contents, task, answer)
    kept = lock_words(act.shop, record, checked) if found.schema.kind == "text" else checked
    body = {"task": task, "answer": kept, **({"why": lock_words(act.shop, record, {"text": why})} if why else {})}
    with turn(act, JOURNAL):
        act.record(JOURNAL, NewRow("decide", body, account=found.id))
    return checked


@action(may="train")
def label_order(act: Act, *, project: str, tasks: tuple[int, ...], how: str = "") -> int:
    """Put tasks at the front of the queue, in this order; an empty list goes back to the order of the records."""
    with turn(act, JOURNAL):
        found = find_project(act.shop, project)
        chosen = list(dict.fromkeys(tasks))
        for task in (min(chosen, default=0), max(chosen, default=0)) if chosen else ():
            found.require_task(task)
        pieces = [chosen[first : first + TASKS_A_ROW] for first in range(0, len(chosen), TASKS_A_ROW)] or [[]]
        rows = [
            NewRow("order", {"first": place_ * TASKS_A_ROW, "tasks": piece, "how": how}, account=found.id)
            for place_, piece in enumerate(pieces)
        ]
        act.record(JOURNAL, *rows)
    return len(chosen)


def open_tasks(act_shop: Any, project: Project) -> np.ndarray[Any, Any]:
    """The tasks that still want an answer, by number."""
    found = []
    sql = "select block, size, counts, out, closed from label_block where project=? and open>0 order by block"
    for number, size, counts, out, closed in act_shop.control.rows(sql, (project.id,)):
        block = Block(size, counts_from(counts), counts_from(out), bits_from(closed))
        found.append(block.available(project.overlap).nonzero()[0] + number * BLOCK)
    return np.concatenate(found) if found else np.zeros(0, np.int64)


__all__ = [
    "Added",
    "add_records",
    "label_add",
    "label_adjudicate",
    "label_assign",
    "label_gold",
    "label_guidelines",
    "label_new",
    "label_order",
    "label_settings",
    "label_state",
    "open_tasks",
    "place",
]
