"""Which operators a cleaning applies to which columns, and what the columns are afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from mofang.core.errors import MofangError
from mofang.core.nearest import nearest
from mofang.data.operators import OPERATORS, ROLES_NORMALISED
from mofang.data.roles import field, with_role

Spec = dict[str, Any]
ORDERS = ("", "dmy", "mdy")
UNCERTAIN = ("name", "address")  # told from their surroundings, and wrongly so now and then


def cleaning_operators(
    roles: Mapping[str, str],
    *,
    html: str = "no",
    layout: str = "line",
    noise: bool = False,
    units: Sequence[str] = (),
    dates: Sequence[str] = (),
    mask: bool = False,
    kinds: Sequence[str] = (),
) -> list[Spec]:
    """The specs of the operators, in the order in which they run when records are cleaned and on every served request."""
    texts = with_role(roles, "text")
    lines = [name for name in with_role(roles, ROLES_NORMALISED) if layout == "line" or name not in texts]
    found = []
    if html != "no":
        found.append(_spec("text-html", texts, {"mode": html, "spelling": "later"}))
    if layout != "line":
        found.append(_spec("text-paragraphs", texts))
    found.append(_spec("text-normalise", lines))
    if noise:
        found.append(_spec("text-noise", texts))
    if units:
        found.append(_units(roles, units))
    if dates:
        found.append(_dates(roles, dates))
    if mask:
        found.append(_spec("text-mask", texts, {"kinds": personal_kinds(kinds)}))
    return [one for one in found if one["columns"]]


def personal_kinds(given: Sequence[str]) -> list[str]:
    """The kinds of personal data meant: those named, or all that have a certain form."""
    from mofang.data.protecting.spans import KINDS

    for kind in given:
        if kind not in KINDS:
            raise MofangError("personal-kind-unknown", kind=kind, nearest=nearest(kind, KINDS), kinds=", ".join(KINDS))
    return sorted(given or (kind for kind in KINDS if kind not in UNCERTAIN))


def _spec(name: str, columns: list[str], state: Mapping[str, Any] | None = None) -> Spec:
    return {"name": name, "version": OPERATORS[name][0], "columns": columns, "state": dict(state or {})}


def _units(roles: Mapping[str, str], given: Sequence[str]) -> Spec:
    from mofang.data.operators.quantities import UNITS

    entries = []
    for one in given:
        name, _, unit = one.partition("=")
        _require(name, roles)
        if unit.lower() not in UNITS:
            raise MofangError("unit-unknown", column=name, unit=unit, nearest=nearest(unit, UNITS))
        entries.append({"from": name, "to": name, "kind": UNITS[unit.lower()][0], "decimal": "."})
    names = [one["from"] for one in entries]
    return _spec("unit-repair", names, {"quantities": entries, "makes": names})


def _dates(roles: Mapping[str, str], given: Sequence[str]) -> Spec:
    entries = []
    for one in given:
        name, _, order = one.partition("=")
        _require(name, roles)
        if order not in ORDERS:
            raise MofangError("date-order-unknown", column=name, order=order)
        entries.append({"from": name, "to": name, "order": order})
    names = [one["from"] for one in entries]
    return _spec("date-repair", names, {"dates": entries, "makes": names})


def _require(name: str, roles: Mapping[str, str]) -> None:
    if name not in roles:
        raise MofangError("column-missing", column=name, columns=", ".join(roles), nearest=nearest(name, roles), file="-")


def schema_after(schema: pa.Schema, specs: Sequence[Spec]) -> pa.Schema:
    """The columns after these operators: a repaired quantity is a number."""
    numbers = {name for one in specs if one["name"] == "unit-repair" for name in one["columns"]}
    return pa.schema([field(one.name, "number") if one.name in numbers else one for one in schema])


def repaired(specs: Sequence[Spec]) -> list[str]:
    """The columns whose values a repair may fail to read."""
    return [name for one in specs if one["name"] in ("unit-repair", "date-repair") for name in one["columns"]]
