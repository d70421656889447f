"""How the records should be split: by a group, by time, or by what they say, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mofang.data.columns import Profile
from mofang.data.firstlook.finding import Given, Remark
from mofang.data.firstlook.grouping import IDS, NAMED_GROUPS_LEAST, Kin, groups_in, order_in


@dataclass(frozen=True)
class Split:
    """The column that keeps rows together, or puts them in order; ``why`` is a code for the face; ``times`` are columns
    of dates that cannot be ordered."""

    group: str = ""
    time: str = ""
    why: str = ""
    remarks: tuple[Remark, ...] = ()


def grouping_ids(columns: Mapping[str, Sequence[Any]], found: Mapping[str, Profile]) -> set[str]:
    """Columns named after ids with many values: a patient's number comes again and again, but is no label."""
    return {name for name in columns if IDS.search(name) and found[name].distinct >= NAMED_GROUPS_LEAST}


def choose_split(
    columns: Mapping[str, Sequence[Any]],
    found: Mapping[str, Profile],
    labels: Sequence[str],
    label: str,
    texts: Sequence[str],
    given: Given,
    task: str,
) -> Split:
    """By time where later rows are to be told from earlier ones, else by group where a column shows one, else by time
    where the classes' shares drift, else by content."""
    if given.group or given.time:
        return Split(given.group, "" if given.group else given.time, "asked")
    table = task == "table_classification"
    kin = groups_in(columns, found, labels, [label, *texts, *given.inputs])
    order, unclear = order_in(
        {name: values for name, values in columns.items() if name not in given.inputs}, found, labels, label, table
    )
    remarks = [Remark("times-unclear", {"name": name}) for name in unclear]
    if order and order.why in ("forecast", "series"):
        remarks += [Remark("also-group", {"name": kin[0].name, "groups": kin[0].groups})] if kin else []
        return Split("", order.name, order.why, tuple(remarks))
    if kin:
        remarks += [Remark("also-group", {"name": one.name, "groups": one.groups}) for one in kin[1:2]]
        return Split(kin[0].name, "", _said(kin[0]), tuple(remarks))
    if order and order.why:
        return Split("", order.name, order.why, tuple(remarks))
    if order:
        remarks.append(Remark("time-unused", {"name": order.name}))
    return Split("", "", "", tuple(remarks))


def _said(kin: Kin) -> str:
    """Why a group: rows of one are alike (with how much), or there are simply several rows of each."""
    return f"group-alike {kin.groups}" if kin.alike >= 0.2 else f"group {kin.groups}"
