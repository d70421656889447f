"""The half of each task that proposes families: one module per task, which holds ``candidates(size)``."""

from __future__ import annotations

from importlib import import_module

from mofang.core.errors import MofangError
from mofang.core.nearest import nearest
from mofang.engine.task import TASKS
from mofang.fit.family import Family
from mofang.fit.size import Size


def candidates(task: str, size: Size) -> tuple[Family, ...]:
    """The families worth trying for a task and a size of data; ``select`` orders them by their estimates."""
    if task not in TASKS:
        raise MofangError("task-unknown", name=task, nearest=nearest(task, TASKS), known=", ".join(TASKS))
    found: tuple[Family, ...] = import_module(f"mofang.fit.tasks.{task}").candidates(size)
    return found
