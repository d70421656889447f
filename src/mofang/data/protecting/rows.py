"""One batch of records protected by itself, wherever the shop's executor runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mofang.core.executor import Executor
from mofang.data.protecting.anonymity import STAR
from mofang.data.protecting.find import finder
from mofang.data.protecting.plan import Plan
from mofang.data.protecting.spans import Span
from mofang.data.records import Batch
from mofang.data.roles import ID, roles_of

Below = Literal["suppress", "generalise"]
Finding = tuple[int, str, str, int]  # row, column, kind, count


@dataclass(frozen=True)
class Protect:
    """A protected batch: its columns, its media, what was found where, and from how many files tags were taken."""

    columns: dict[str, Sequence[Any]]
    media: dict[str, list[bytes]]
    found: list[Finding]
    tags: int


class Found:
    """Counts of what was found, over all batches."""

    def __init__(self) -> None:
        self.spans: Counter[str] = Counter()
        self.records: Counter[str] = Counter()
        self.by_column: dict[str, Counter[str]] = {}

    def add(self, found: Iterable[Finding]) -> None:
        """The findings of the next batch."""
        for _, column, kind, count in found:
            self.spans[kind] += count
            self.records[kind] += 1
            self.by_column.setdefault(column, Counter())[kind] += count

    def told(self) -> dict[str, Any]:
        """The counts for the report."""
        return {"found": dict(sorted(self.spans.items())), "records_with": dict(sorted(self.records.items())),
                "by_column": {name: dict(sorted(counts.items())) for name, counts in sorted(self.by_column.items())}}


@dataclass(frozen=True)
class Protector:
    """Protects batches by a plan; picklable, so that it runs in this process, in several, or on a cluster."""

    plan: Plan

    def map(self, executor: Executor, batches: Iterable[Batch]) -> Iterator[tuple[Batch, Protect]]:
        """Each batch with what became of it, in order."""
        yield from executor.map(self.both, batches)

    def both(self, batch: Batch) -> tuple[Batch, Protect]:
        """A batch without its media, beside the protected one."""
        return Batch(batch.table, {}), self(batch)

    def __call__(self, batch: Batch) -> Protect:
        plan = self.plan
        names = [name for name in batch.table.schema.names if name not in plan.drop]
        columns: dict[str, Sequence[Any]] = plan.coarsened({name: batch.column(name) for name in names})
        found: list[Finding] = []
        for name in plan.texts:
            columns[name] = self._texts(name, columns[name], found)
        media, tags = self._media(batch)
        return Protect(columns, media, sorted(found), tags)

    def _texts(self, name: str, values: Sequence[Any], found: list[Finding]) -> list[Any]:
        places = [row for row, value in enumerate(values) if isinstance(value, str) and value]
        texts = [values[row] for row in places]
        changed = list(values)
        for row, text, spans in zip(places, texts, self._found(texts), strict=True):
            if spans:
                changed[row] = self.plan.change.one(text, spans)
                found += [(row, name, kind, count) for kind, count in Counter(one.kind for one in spans).items()]
        return changed

    def _found(self, texts: list[str]) -> list[list[Span]]:
        return finder(self.plan.engine)(texts, self.plan.change.kinds)

    def _media(self, batch: Batch) -> tuple[dict[str, list[bytes]], int]:
        kept = {name: values for name, values in batch.media.items() if name not in self.plan.drop}
        if not self.plan.media or not kept:
            return kept, 0
        from mofang.data.protecting.tags import without_tags

        stripped = {name: [without_tags(value) for value in values] for name, values in kept.items()}
        tags = sum(one != other for name, values in kept.items() for one, other in zip(values, stripped[name], strict=True))
        return stripped, tags

    def starred(self, batch: Batch, rows: npt.NDArray[np.bool_]) -> Batch:
        """The batch with a star (nothing, for numbers) for the quasi-identifiers of these records."""
        if not rows.any():
            return batch
        roles, mask = roles_of(batch.table.schema), pa.array(rows)
        arrays = []
        for one in batch.table.schema:
            column = batch.table.column(one.name)
            if one.name in self.plan.quasi and one.name != ID:
                put = pa.scalar(None if roles[one.name] == "number" else STAR, one.type)
                column = pc.if_else(mask, put, column)
            arrays.append(column)
        return Batch(pa.RecordBatch.from_arrays(arrays, schema=batch.table.schema), batch.media)
