"""The tasks alone, one line each with the columns of its record: what a model is asked with ``mofang predict``.

Line n is task n - 1, so the row numbers of the answers lead back to the tasks.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import orjson

from mofang.data.labelling.exchange.items import Item
from mofang.data.labelling.schema import Schema


def write(path: Path, items: Iterator[Item], _schema: Schema) -> int:
    """Write tasks; how many. A task whose record was erased stays an empty line, so that the numbers hold."""
    count = at = 0
    with path.open("wb") as file:
        for item in items:
            file.write(b"{}\n" * (item.task - at) + orjson.dumps(item.values) + b"\n")
            at = item.task + 1
            count += 1
    return count
