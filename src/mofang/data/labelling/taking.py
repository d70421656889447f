"""What a file brought in is taken into a project: its records as tasks, its answers and proposals by reference.

The journal gets a row for the artifact and one for every 65,536 tasks that were answered, in which each person's tasks
are bits; the table is folded from these, and what was said stays in the artifact. So the time grows with what is new.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from mofang.core.action import Act, action, turn
from mofang.core.artifact import Artifact
from mofang.core.errors import MofangError
from mofang.core.journal import NewRow
from mofang.data.labelling.content import Contents
from mofang.data.labelling.desk import add_records
from mofang.data.labelling.exchange.bringing import task_bits
from mofang.data.labelling.projects import Project, batches, find_project
from mofang.data.labelling.state import JOURNAL
from mofang.data.roles import ID

PEOPLE_MOST = 1000


@dataclass(frozen=True)
class Taken:
    """What came in: new tasks, records that were known, answers and proposals, and those of records that are no tasks."""

    project: Project
    tasks: int
    known: int
    answers: int
    proposals: int
    unmatched: int


@action(may="train")
def label_take(act: Act, *, project: str, brought: str) -> Taken:
    """Take what a file brought (an artifact of ``bring_labels``) into a project; the same file twice is taken once."""
    found = find_project(act.shop, project)
    artifact = act.shop.find(brought, "brought")
    schema = artifact.read_json("about.json")["schema"]
    if schema["kind"] != found.schema.kind or not set(schema["classes"]) <= set(found.schema.classes):
        raise MofangError("label-schema-differs", name=found.name)
    taken = {one.entry for one in batches(act.shop.control, found.id) if one.kind in ("answered", "proposed")}
    digests = {act.shop.artifact(act.shop.ledger.get(one)).digest for one in taken}
    added = add_records(act, found, artifact / "records") if artifact.has("records/values.parquet") else None
    found = find_project(act.shop, found.id)
    again = artifact.digest in digests
    answers, lost = (0, 0) if again else _answers(act, found, artifact)
    proposals = 0 if again else take_proposals(act, found, artifact)
    return Taken(
        find_project(act.shop, found.id), added.tasks if added else 0, added.known if added else 0, answers, proposals, lost
    )


def _answers(act: Act, project: Project, artifact: Artifact) -> tuple[int, int]:
    """Refer to the answers, and note who answered what; how many, and how many are of no task."""
    contents = Contents(act.shop, project)
    numbers, people = [], defaultdict[str, list[Any]](list)
    rows = 0
    with artifact.open("answers.parquet") as opened, pq.ParquetFile(opened) as file:
        for batch in file.iter_batches(65_536, columns=[ID, "person"]):
            found = contents.numbers(batch.column(ID).to_pylist())
            names = batch.column("person").dictionary_encode()
            codes = names.indices.to_numpy(zero_copy_only=False)
            for place, name in enumerate(names.dictionary.to_pylist()):
                people[name].append((codes == place).nonzero()[0] + rows)
            numbers.append(found)
            rows += len(found)
    if not rows:
        return 0, 0
    if len(people) > PEOPLE_MOST:
        raise MofangError("label-people-many", people=len(people), most=PEOPLE_MOST)
    together = np.concatenate(numbers)
    matched = int((together >= 0).sum())
    bits = task_bits(together, {name: np.concatenate(mine) for name, mine in people.items()})
    with turn(act, JOURNAL):
        act.record(
            JOURNAL,
            NewRow("answered", {"entry": artifact.entry, "rows": matched}, account=project.id),
            *(NewRow("answers", {"entry": artifact.entry, "people": one}, account=project.id) for one in bits),
        )
    return matched, rows - matched


def take_proposals(act: Act, project: Project, artifact: Artifact) -> int:
    """Refer to proposals; they are shown beside the tasks and are nobody's answers."""
    with artifact.open("proposals.parquet") as opened, pq.ParquetFile(opened) as file:
        rows = int(file.metadata.num_rows)
    if rows:
        with turn(act, JOURNAL):
            act.record(JOURNAL, NewRow("proposed", {"entry": artifact.entry, "rows": rows}, account=project.id))
    return rows
