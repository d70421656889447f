"""What a face shows of labelling, as plain facts: a project, a task with everything about it, the next tasks of a person."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from mofang.core.action import Act, act
from mofang.core.artifact import Artifact
from mofang.core.errors import MofangError
from mofang.core.identity import Actor
from mofang.data.labelling import queue
from mofang.data.labelling.consensus import shown
from mofang.data.labelling.content import Contents, records_of
from mofang.data.labelling.exchange.bringing import KINDS
from mofang.data.labelling.projects import (
    Project,
    answers_of,
    batches,
    comments_of,
    decision_of,
    find_project,
    guidelines,
    projects,
    workers,
)
from mofang.data.labelling.schema import PICTURE
from mofang.data.labelling.sealing import open_words
from mofang.data.labelling.taking import Taken, label_take, take_proposals

if TYPE_CHECKING:
    from mofang.core.shop import Shop

TRIES = 20


def told(shop: Shop, name: str) -> dict[str, Any]:
    """A project: what is asked, by which keys, by which guidelines, how far it is, who worked on it."""
    shop.require("label")
    project = find_project(shop, name)
    schema = project.schema
    keys = schema.shortcuts()
    version, text = guidelines(shop.control, project.id)
    people = []
    for one in workers(shop.control, project.id):
        people.append(
            {
                "person": one.person,
                "answers": one.answers,
                "skipped": one.skipped,
                "seconds": round(one.ms / one.timed / 1000, 3) if one.timed else None,
                "checks": one.gold,
                "checks_right": one.gold_right,
                "proposed": one.proposed,
                "accepted": one.accepted,
                "last_us": one.last_us,
            }
        )
    return {
        **_progress(project),
        "schema": schema.to_dict(),
        "keys": keys,
        "answers": project.answers,
        "answers_by_key": {key: schema.of_choice(choice) for key, choice in keys.items()},
        "guidelines": version,
        "guidelines_text": text,
        "people": people,
    }


def _progress(project: Project) -> dict[str, Any]:
    counts = {
        name: getattr(project, name) for name in ("tasks", "answers", "done", "skipped", "comments", "decided", "gold", "gone")
    }
    return {
        "id": project.id,
        "name": project.name,
        "kind": project.schema.kind,
        "state": project.state,
        "overlap": project.overlap,
        "share": round(project.share, 6),
        **counts,
    }


def progress(shop: Shop, actor: Actor, name: str) -> dict[str, Any]:
    """How far a project is, and what this person did in it."""
    project = find_project(shop, name)
    own = [asdict(one) for one in workers(shop.control, project.id) if one.person == actor.name]
    return {**_progress(project), "own": own[0] if own else None}


def next_tasks(shop: Shop, actor: Actor, name: str, count: int = 1, besides: tuple[int, ...] = ()) -> dict[str, Any]:
    """Lend the next tasks to a person and tell everything a page needs to ask them.

    Tasks whose records were erased meanwhile are withdrawn and others taken in their place.
    """
    for _ in range(TRIES):
        given = act(shop, queue.label_next, project=name, count=count, besides=besides)
        project = find_project(shop, given.project)
        contents = Contents(shop, project)
        shown_tasks, gone = [], []
        for task in given.tasks:
            try:
                shown_tasks.append(task_facts(contents, task))
            except MofangError as error:
                if error.code != "label-record-gone":
                    raise
                gone.append(task)
        if not gone:
            break
        withdraw(shop, project, gone)
    schema = project.schema
    keys = schema.shortcuts()
    return {
        "project": project.name,
        "kind": schema.kind,
        "schema": schema.to_dict(),
        "keys": keys,
        "guidelines": project.guidelines,
        "until_us": given.until_us,
        "tasks": shown_tasks,
    }


def withdraw(shop: Shop, project: Project, tasks: list[int]) -> None:
    """Take tasks out of the queue for good."""
    from mofang.core.action import turn
    from mofang.core.journal import NewRow
    from mofang.data.labelling.state import JOURNAL

    with turn(Act(shop, shop.actor), JOURNAL):
        Act(shop, shop.actor).record(JOURNAL, NewRow("gone", {"tasks": tasks}, account=project.id))


def task_facts(contents: Contents, task: int) -> dict[str, Any]:
    """What a page shows of a task; pictures and sounds are asked for by the task's number."""
    content = contents.get(task)
    found: dict[str, Any] = {"task": task, "record": content.record, "values": content.values, "media": list(content.media)}
    proposal = contents.proposal(content.record) if contents.proposals else None
    if proposal:
        found["proposal"] = {**proposal, "shown": shown(contents.project.schema.kind, proposal["answer"])}
    return found


def told_task(shop: Shop, name: str, task: int) -> dict[str, Any]:
    """Everything about one task: content, answers of the queue and of files, remarks, the decision."""
    shop.require("train")
    project = find_project(shop, name)
    contents = Contents(shop, project)
    facts = task_facts(contents, task)
    said = [
        {"person": person, "answer": open_words(shop, answer), "at_us": at_us, "ms": ms}
        for person, _, answer, at_us, ms in answers_of(shop.control, project.id, task)
    ]
    facts["answers"] = said
    facts["answers_brought"] = contents.brought_answers(facts["record"])
    facts["remarks"] = [
        {"person": person, "at_us": at_us, **open_words(shop, text)}
        for person, at_us, text in comments_of(shop.control, project.id, task)
    ]
    decided = decision_of(shop.control, project.id, task)
    facts["decided"] = {"person": decided[0], "answer": open_words(shop, decided[1])} if decided else None
    return facts


def project_records(shop: Shop, project: Project) -> tuple[Artifact, ...]:
    """The records of a project, each set once, in the order in which they were added."""
    found = {(one.records, one.inside): one for one in batches(shop.control, project.id, "tasks")}
    return tuple(records_of(shop, one) for one in found.values())


def bring_file(shop: Shop, name: str, source: str, **settings: Any) -> tuple[Artifact, Taken]:
    """Read a file of another tool, and take what it holds into a project."""
    from mofang.data.label import bring_labels

    shop.require("train")
    project = find_project(shop, name)
    schema = project.schema
    settings = {"format": "jsonl", **settings}
    pictures = schema.kind in PICTURE or settings.get("format") in KINDS and schema.kind != "spans"
    known = project_records(shop, project) if pictures else project_records(shop, project)[:1]
    made = shop.run(
        bring_labels,
        known,
        source=source,
        kind=schema.kind,
        classes=schema.classes,
        column=schema.column,
        lowest=schema.lowest,
        highest=schema.highest,
        **settings,
    )
    taken: Taken = shop.act(label_take, project=project.id, brought=made.entry)
    return made, taken


def bring_model_file(shop: Shop, name: str, source: str, model: str) -> int:
    """Read what a model answered, from a file or an artifact that was read before, as proposals of a project."""
    from mofang.data.label import bring_proposals

    shop.require("train")
    project = find_project(shop, name)
    schema = project.schema
    tasks = tuple(shop.artifact(shop.ledger.get(one.entry)) for one in batches(shop.control, project.id, "tasks"))
    made = shop.run(
        bring_proposals,
        tasks,
        source=source,
        kind=schema.kind,
        classes=schema.classes,
        lowest=schema.lowest,
        highest=schema.highest,
        model=model,
    )
    return take_proposals(Act(shop, shop.actor), project, made)


def all_told(shop: Shop) -> list[dict[str, Any]]:
    """Every project and how far it is."""
    shop.require("label")
    return [_progress(one) for one in projects(shop)]
