"""The half of each task that proposes families: one module per task, which holds ``candidates(size)``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module

from mofang.core.errors import MofangError
from mofang.core.nearest import nearest
from mofang.engine.task import TASKS, task_named
from mofang.fit.families.linear import Linear
from mofang.fit.family import Family
from mofang.fit.size import Size

CHEAP = ("linear", "overlap", "xgboost")


def candidates(task: str, size: Size) -> tuple[Family, ...]:
    """The families worth trying for a task and a size of data; ``select`` orders them by their estimates."""
    if task not in TASKS:
        raise MofangError("task-unknown", name=task, nearest=nearest(task, TASKS), known=", ".join(TASKS))
    found: tuple[Family, ...] = import_module(f"mofang.fit.tasks.{task}").candidates(size)
    return balanced(found) if task_named(task).target == "class" and size.is_uneven else found


def baseline_of(task: str) -> Family:
    """The simple family that the others of a task are compared with: its module's ``BASELINE``, or the linear one."""
    found: Family = getattr(import_module(f"mofang.fit.tasks.{task}"), "BASELINE", Linear())
    return found


def balanced(families: Sequence[Family]) -> tuple[Family, ...]:
    """For a rare class: the cheap families with classes as they are and with all counting alike, the dear ones only so,
    because a network that starts on few examples of a class often never finds it.
    """
    found: list[Family] = []
    for family in families:
        alike = replace(family, balance=True)  # type: ignore[type-var]
        found += [family, alike] if family.tag in CHEAP else [alike]
    return tuple(found)
