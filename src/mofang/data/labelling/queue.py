"""The queue: who gets which task next, what people answer, skip, give back and remark.

A task is lent for a while. Everything is decided and written in one transaction, so that however many ask at once, no
task is with more people than the overlap, and nobody gets a task again that they answered or skipped.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from mofang.core.action import Act, action, turn
from mofang.core.database import Database
from mofang.core.errors import MofangError
from mofang.core.identity import Actor, now_us
from mofang.core.journal import NewRow
from mofang.core.rule import Rule
from mofang.data.labelling.bits import BLOCK, bits_from, counts_from, place
from mofang.data.labelling.content import Contents
from mofang.data.labelling.projects import Project, find_project
from mofang.data.labelling.schema import PICTURE
from mofang.data.labelling.sealing import lock_words
from mofang.data.labelling.state import JOURNAL, Block

if TYPE_CHECKING:
    from mofang.core.shop import Shop

SECOND_US = 1_000_000
RETURNED_AT_ONCE = 500
Task = Annotated[int, Rule(ge=0)]
Name = Annotated[str, Rule(min_length=1, max_length=100)]


@dataclass(frozen=True)
class Given:
    """Tasks that a person holds until a time; ``left`` false where nothing more is there for this person now."""

    project: str
    tasks: tuple[int, ...]
    until_us: int

    @property
    def left(self) -> bool:
        """Whether there was anything."""
        return bool(self.tasks)


@dataclass(frozen=True)
class Answered:
    """An answer as it was written down; ``changed`` where the person had answered this task before."""

    project: str
    task: int
    id: str
    answer: dict[str, Any]
    changed: bool


@action(may="label")
def label_next(act: Act, *, project: Name, count: Annotated[int, Rule(ge=1, le=100)] = 1,
               besides: tuple[int, ...] = ()) -> Given:
    """Take the next tasks: those that one holds already and are not in ``besides``, then new ones by the project's order."""
    with turn(act, JOURNAL) as db:
        found = find_project(act.shop, project)
        found.require_open()
        now = now_us()
        _return_expired(act, db, found, now)
        person = act.actor.name
        own = db.rows("select task, until_us from label_lease where project=? and person=? order by task", (found.id, person))
        held = [task for task, _ in own if task not in besides][:count]
        until = min((until for task, until in own if task in held), default=0)
        new = _pick(db, found, person, count - len(held), len(own))
        if new:
            until_new = now + int(found.settings["lease_s"] * SECOND_US)
            body = {"person": person, "tasks": new, "until_us": until_new}
            act.record(JOURNAL, NewRow("give", body, account=found.id))
            until = min(until or until_new, until_new)
    return Given(found.id, (*held, *new), until)


def _return_expired(act: Act, db: Database, project: Project, now: int) -> None:
    sql = f"select task, person from label_lease where project=? and until_us<=? order by until_us, task limit {RETURNED_AT_ONCE}"
    expired = [list(row) for row in db.rows(sql, (project.id, now))]
    if expired:
        act.record(JOURNAL, NewRow("back", {"leases": expired, "why": "expired"}, account=project.id))


def _pick(db: Database, project: Project, person: str, count: int, holding: int) -> list[int]:
    """So many tasks for a person: a gold check when it is due, then by rank, then by number."""
    chosen: list[int] = []
    if count and _gold_due(db, project, person, holding):
        chosen += [task for task in _gold(db, project, person) if task not in chosen][:1]
    for task in _ranked(db, project, person):
        if len(chosen) >= count:
            return chosen
        chosen.append(task)
    for task in _by_number(db, project, person):
        if len(chosen) >= count:
            break
        if task not in chosen:
            chosen.append(task)
    return chosen[:count]


def _gold_due(db: Database, project: Project, person: str, holding: int) -> bool:
    every = int(project.settings["gold_every"])
    if not every or not project.gold:
        return False
    found = db.rows("select answers+skipped from label_person where project=? and person=?", (project.id, person))
    return ((found[0][0] if found else 0) + holding) % every == every - 1


def _gold(db: Database, project: Project, person: str) -> Iterator[int]:
    """Checks that this person has not had, in an order that differs between people."""
    import hashlib

    tasks = [row[0] for row in db.rows("select task from label_gold where project=?", (project.id,))]
    for task in sorted(tasks, key=lambda one: hashlib.sha256(f"{person}/{one}".encode()).digest()):
        number, at = place(task)
        sql = "select seen from label_seen where project=? and person=? and block=?"
        seen = db.rows(sql, (project.id, person, number))
        if not seen or not bits_from(seen[0][0])[at]:
            yield task


def _ranked(db: Database, project: Project, person: str) -> Iterator[int]:
    sql = """select r.task, b.size, b.counts, b.out, b.closed, s.seen from label_rank r
        join label_block b on b.project=r.project and b.block=r.task/1024
        left join label_seen s on s.project=r.project and s.person=? and s.block=b.block
        where r.project=? order by r.rank"""
    assert BLOCK == 1024, "the statement divides by it"
    for page in db.pages(sql, (person, project.id), size=50):
        for task, size, counts, out, closed, seen in page:
            at = task % BLOCK
            block = Block(size, counts_from(counts), counts_from(out), bits_from(closed))
            if block.available(project.overlap)[at] and not bits_from(seen)[at]:
                yield task


def _by_number(db: Database, project: Project, person: str) -> Iterator[int]:
    sql = """select b.block, b.size, b.counts, b.out, b.closed, s.seen from label_block b
        left join label_seen s on s.project=b.project and s.person=? and s.block=b.block
        where b.project=? and b.open>0 order by b.block"""
    for page in db.pages(sql, (person, project.id), size=20):
        for number, size, counts, out, closed, seen in page:
            block = Block(size, counts_from(counts), counts_from(out), bits_from(closed))
            free = block.available(project.overlap) & ~bits_from(seen)
            for at in free.nonzero()[0]:
                yield number * BLOCK + int(at)


@action(may="label")
def label_answer(act: Act, *, project: Name, task: Task, answer: dict[str, Any],
                 ms: Annotated[int, Rule(ge=0, le=86_400_000)] = 0) -> Answered:
    """Answer a task that one was given, or change one's own answer; the earlier answer stays in the journal."""
    found = find_project(act.shop, project)
    contents = Contents(act.shop, found)
    checked, record, proposed = checked_answer(contents, task, answer)
    kept = lock_words(act.shop, record, checked) if found.schema.kind == "text" else checked
    with turn(act, JOURNAL) as db:
        found = find_project(act.shop, found.id)
        found.require_open()
        changed = _may_answer(db, found, act.actor.name, task)
        body = {"task": task, "answer": kept, "ms": ms, "guidelines": found.guidelines}
        body |= {"proposed": proposed} if proposed is not None else {}
        row = act.record(JOURNAL, NewRow("answer", body, account=found.id))[0]
    return Answered(found.id, task, row.id, checked, changed)


def checked_answer(contents: Contents, task: int, answer: Any) -> tuple[dict[str, Any], str, bool | None]:
    """The answer in its one spelling, the record's id, and whether it is what was proposed (None without a proposal)."""
    schema = contents.project.schema
    content = contents.get(task)
    chars = size = None
    if schema.kind == "spans":
        text = content.text(schema.column)
        chars = len(text) if text is not None else 0
    if schema.kind in PICTURE and content.media:
        size = picture_size(contents.media(task))
    checked = schema.checked(answer, chars=chars, size=size)
    proposal = contents.proposal(content.record) if contents.proposals else None
    return checked, content.record, None if proposal is None else proposal["answer"] == checked


def picture_size(data: bytes) -> tuple[int, int] | None:
    """Width and height; None where they cannot be read, and then only the shape of marks is checked."""
    import io

    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data)) as picture:
            return picture.size
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError):
        return None


def _may_answer(db: Database, project: Project, person: str, task: int) -> bool:
    """Whether the person answered before; refused where the task was never given, or the lease is over and it is taken."""
    number, at = place(task)
    sql = "select seen, answered from label_seen where project=? and person=? and block=?"
    found = db.rows(sql, (project.id, person, number))
    if found and bits_from(found[0][1])[at]:
        return True
    held = db.rows("select until_us from label_lease where project=? and person=? and task=?", (project.id, person, task))
    skipped = bool(found) and bool(bits_from(found[0][0])[at]) and not held
    if held:
        return False
    row = db.rows("select size, counts, out, closed from label_block where project=? and block=?", (project.id, number))
    free = bool(row) and bool(Block(row[0][0], counts_from(row[0][1]), counts_from(row[0][2]),
                                    bits_from(row[0][3])).available(project.overlap)[at])
    if skipped and free:
        return False  # thought better of it
    raise MofangError("label-not-given", task=task, name=project.name)


@action(may="label")
def label_skip(act: Act, *, project: Name, task: Task, why: Annotated[str, Rule(max_length=200)] = "") -> None:
    """Leave a task to others; one is not given it again."""
    with turn(act, JOURNAL) as db:
        found = find_project(act.shop, project)
        _require_held(db, found, act.actor.name, task)
        act.record(JOURNAL, NewRow("skip", {"task": task, "why": why}, account=found.id))


@action(may="label")
def label_back(act: Act, *, project: Name, tasks: tuple[int, ...] = ()) -> int:
    """Give tasks back that one holds (all, if none are named); they are there for everybody again. How many those were."""
    with turn(act, JOURNAL) as db:
        found = find_project(act.shop, project)
        sql = "select task from label_lease where project=? and person=? order by task"
        own = [row[0] for row in db.rows(sql, (found.id, act.actor.name)) if not tasks or row[0] in tasks]
        if own:
            leases = [[task, act.actor.name] for task in own]
            act.record(JOURNAL, NewRow("back", {"leases": leases, "why": "given back"}, account=found.id))
    return len(own)


@action(may="label")
def label_comment(act: Act, *, project: Name, task: Task, text: Annotated[str, Rule(min_length=1, max_length=5000)]) -> str:
    """Remark something about a task; whoever adjudicates reads it."""
    found = find_project(act.shop, project)
    found.require_task(task)
    said = lock_words(act.shop, Contents(act.shop, found).record(task), {"text": text})
    with turn(act, JOURNAL):
        return act.record(JOURNAL, NewRow("comment", {"task": task, "said": said}, account=found.id))[0].id


def _require_held(db: Database, project: Project, person: str, task: int) -> None:
    project.require_task(task)
    if not db.rows("select 1 from label_lease where project=? and person=? and task=?", (project.id, person, task)):
        raise MofangError("label-not-given", task=task, name=project.name)


def own_answer(db: Database, project: Project, person: str, task: int) -> dict[str, Any] | None:
    """What somebody answered to a task, words still locked."""
    found = db.rows("select answer from label_answer where project=? and task=? and person=?", (project.id, task, person))
    return json.loads(found[0][0]) if found else None


def may_look_at(shop: Shop, actor: Actor, project: Project, task: int) -> None:
    """Refuse a task's content to somebody who was never given it; whoever manages projects sees all."""
    project.require_task(task)
    number, at = place(task)
    sql = "select seen from label_seen where project=? and person=? and block=?"
    found = shop.control.rows(sql, (project.id, actor.name, number))
    if not (found and bits_from(found[0][0])[at]) and not shop.permit(actor, "train"):
        raise MofangError("label-not-given", task=task, name=project.name)
