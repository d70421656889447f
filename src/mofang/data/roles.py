"""What a column is for: its role travels with it from the source to the model's signature."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, get_args

import pyarrow as pa

Role = Literal[
    "text", "label", "image", "audio", "number", "category", "time", "person", "group", "id", "other"
]
ROLES: tuple[str, ...] = get_args(Role)
INPUT_ROLES = ("text", "image", "audio", "number", "category")
MEDIA_ROLES = ("image", "audio")
ID = "id"

ARROW_TYPES: dict[str, pa.DataType] = {"number": pa.float64()}


def field(name: str, role: str) -> pa.Field:
    """An Arrow field that says its role; numbers are float64, everything else is a string."""
    assert role in ROLES, role
    return pa.field(name, ARROW_TYPES.get(role, pa.string()), metadata={b"role": role.encode()})


def record_schema(roles: Mapping[str, str]) -> pa.Schema:
    """The schema of records with these columns; the record id stands first."""
    return pa.schema([field(ID, "id"), *(field(name, role) for name, role in roles.items() if name != ID)])


def roles_of(schema: pa.Schema) -> dict[str, str]:
    """Column name to role, in order, without the record id."""
    found = {}
    for one in schema:
        role = (one.metadata or {}).get(b"role", b"other").decode()
        if one.name != ID:
            found[one.name] = role
    return found


def with_role(roles: Mapping[str, str], wanted: str | Iterable[str]) -> list[str]:
    """The columns that have one of these roles, in order."""
    names = {wanted} if isinstance(wanted, str) else set(wanted)
    return [name for name, role in roles.items() if role in names]
