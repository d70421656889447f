"""What labelling keeps of an erased record: its task is withdrawn, and the words written about it cannot be read again.

Choices, positions and times stay: they say nothing of anybody without the record. The words were sealed under the
record's own key, which the erasure destroys; here it is only counted how many those were.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mofang.core.journal import NewRow
from mofang.core.personal import Sought, follows, forgets
from mofang.data.labelling.content import Contents, forget_groups
from mofang.data.labelling.projects import batches, projects
from mofang.data.labelling.state import JOURNAL

if TYPE_CHECKING:
    from mofang.core.shop import Shop

TASKS_A_ROW = 5000


@forgets("labels")
def forget_labels(shop: Shop, sought: Sought) -> dict[str, int]:
    """Withdraw the tasks of erased records; how many those are, and how many answers and remarks in words go with them."""
    found = {"tasks": 0, "words": 0}
    forget_groups()
    for project in projects(shop, everybody=True) if sought.subjects else ():
        numbers = Contents(shop, project).numbers(sought.subjects)
        tasks = sorted({int(one) for one in numbers if one >= 0})
        found["tasks"] += len(tasks)
        for task in tasks:
            for table in ("label_comment", "label_answer", "label_decision"):
                if table == "label_comment" or project.schema.kind == "text":
                    sql = f"select count(*) from {table} where project=? and task=?"
                    found["words"] += int(shop.control.rows(sql, (project.id, task))[0][0])
        for first in range(0, len(tasks) if not sought.dry else 0, TASKS_A_ROW):
            body = {"tasks": tasks[first:first + TASKS_A_ROW], "by": shop.actor.name}
            shop.journals.record(JOURNAL, [NewRow("gone", body, account=project.id, owner=project.owner)])
    return found


@follows("labels")
def projects_of(shop: Shop, entries: set[str]) -> list[str]:
    """Names of the projects whose tasks, answers or proposals descend from these entries."""
    return sorted({one.name for one in projects(shop, everybody=True)
                   if any({batch.entry, batch.records} & entries for batch in batches(shop.control, one.id))})
