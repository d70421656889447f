"""A chunk's values as their roles want them, in Arrow columns, each row with the digest that its id is made from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from mofang.core.errors import MofangError
from mofang.core.nearest import nearest
from mofang.data.columns import number_of, text_of
from mofang.data.readers import Chunk, Reject
from mofang.data.records import Media
from mofang.data.roles import ARROW_TYPES, MEDIA_ROLES
from mofang.data.sources.textfile import is_clean

STRIPPED = ("label", "category", "group", "time", "person")
WRITTEN = ("label", "text")      # spans, messages: lists and objects stand there as JSON
BASE = pa.binary(16)
Bad = dict[int, tuple[str, str, str]]
Digests = Callable[[dict[str, list[Any]], Media, int], list[bytes]]


def convert(chunk: Chunk, roles: dict[str, str], reject: Reject, digests: Digests) -> tuple[pa.RecordBatch, Media, list[int]]:
    """The rows of a chunk that fit their roles, as columns with ``base`` (16 bytes of digest) last; their media, and
    their places in the chunk. Rows that do not fit are rejected by name."""
    count = len(chunk.numbers)
    _require_columns(chunk, roles)
    bad: Bad = {}
    columns: dict[str, list[Any]] = {}
    made: dict[str, pa.Array] = {}
    for name, role in roles.items():
        values = chunk.columns.get(name)
        if values is None:
            columns[name] = [None] * count
        elif role == "number":
            columns[name] = _numbers(name, values, bad)
        else:
            columns[name], made[name] = _texts(name, values, role, bad)
    good = [place for place in range(count) if place not in bad] if bad else list(range(count))
    for place, (reason, detail, value) in sorted(bad.items()):
        reject(chunk.names[place] if chunk.names else chunk.file, chunk.numbers[place], reason, detail, value)
    media = {name: values for name, values in chunk.media.items() if name in roles}
    if bad:
        columns = {name: [values[place] for place in good] for name, values in columns.items()}
        media = {name: [values[place] for place in good] for name, values in media.items()}
    made = {} if bad else made
    arrays = [made[name] if name in made else pa.array(columns[name], ARROW_TYPES.get(role, pa.string()))
              for name, role in roles.items()]
    base = digests(columns, media, len(good))
    table = pa.RecordBatch.from_arrays([*arrays, pa.array(base, BASE)], names=[*roles, "base"])
    return table, media, good


def _require_columns(chunk: Chunk, roles: dict[str, str]) -> None:
    missing = [name for name in roles if name not in chunk.columns]
    if missing and (
        chunk.file and len(missing) == len(roles) or any(roles[name] in MEDIA_ROLES for name in missing)
    ):
        raise MofangError(
            "column-missing",
            column=missing[0],
            columns=", ".join(chunk.columns),
            nearest=nearest(missing[0], chunk.columns),
            file=chunk.file,
        )


def _numbers(name: str, values: Sequence[Any], bad: Bad) -> list[float | None]:
    try:
        return _plain_numbers(values)
    except (ValueError, TypeError, OverflowError):  # Arrow's own errors are ValueErrors
        pass
    found: list[float | None] = []
    for place, value in enumerate(values):
        try:
            found.append(number_of(value))
        except (ValueError, TypeError, OverflowError):
            found.append(None)
            bad.setdefault(place, ("not-a-number", name, str(value)))
    return found


def _plain_numbers(values: Sequence[Any]) -> list[float | None]:
    """All values at once where each is a number or nothing; what ``number_of`` would say of each."""
    kinds = set(map(type, values))
    if kinds <= {str}:
        texts = pa.array(values, pa.string())
        if "" in values:
            texts = pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.string()), texts)
        numbers = texts.cast(pa.float64()).to_numpy(zero_copy_only=False)
    elif kinds <= {int, float, type(None), bool}:
        numbers = np.array(values, np.float64)
    else:
        raise TypeError
    found: list[float | None] = numbers.tolist()
    for place in np.nonzero(~np.isfinite(numbers))[0]:
        found[place] = None
    return found


def _texts(name: str, values: Sequence[Any], role: str, bad: Bad) -> tuple[list[str | None], pa.Array]:
    """The texts, and the same in Arrow."""
    found: list[str | None]
    if set(map(type, values)) <= {str, type(None)}:
        found = list(values)
    else:
        found = []
        for place, value in enumerate(values):
            if isinstance(value, dict | list) and role in WRITTEN:
                found.append(orjson.dumps(value).decode())
            elif isinstance(value, dict | list | bytes | set):
                bad.setdefault(place, ("not-a-value", name, str(value)))
                found.append(None)
            else:
                found.append(text_of(value))
    try:
        plain = _stripped(found, role)
        return plain, pa.array(plain, pa.string())
    except UnicodeEncodeError:
        for place, one in enumerate(found):
            if one and not is_clean(one):
                bad.setdefault(place, ("undecodable", name, one))
                found[place] = None
        plain = _stripped(found, role)
        return plain, pa.array(plain, pa.string())


def _stripped(values: list[str | None], role: str) -> list[str | None]:
    return [(one.strip() or None) if one else None for one in values] if role in STRIPPED else values
