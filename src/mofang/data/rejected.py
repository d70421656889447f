"""What could not be used: every row or file with its reason, counted, and kept beside the result."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import pyarrow as pa
import pyarrow.parquet as pq

from mofang.core.errors import MofangError
from mofang.core.tombstones import Tombstones

SCHEMA = pa.schema(
    [
        ("file", pa.string()),
        ("row", pa.int64()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("value", pa.string()),
    ]
)
VALUE_CHARS = 4000
DETAIL_CHARS = 400
FLUSH_ROWS = 2000
ERASED = "erased"


class RejectedFile:
    """Writes ``rejected.parquet`` of a collecting run and counts by reason; ``add`` is what readers call
    ``reject``."""

    def __init__(self, path: Path) -> None:
        self.counts: Counter[str] = Counter()
        self.first = ""
        self.erased: Tombstones | None = None
        self._writer = pq.ParquetWriter(path, SCHEMA, compression="zstd")
        self._waiting: list[dict[str, Any]] = []

    def add(self, file: str, row: int, reason: str, detail: str = "", value: str = "") -> None:
        """Note one rejected row (counted from 1) or file (row 0)."""
        self.counts[reason] += 1
        if self.erased and (self.erased.mentioned(value) or self.erased.mentioned(detail)):
            value = detail = ""
        if not self.first:
            self.first = f"{file}:{row} {reason} {detail[:80]}".strip()
        self._waiting.append(
            {
                "file": file,
                "row": row,
                "reason": reason,
                "detail": shown(detail, "detail"),
                "value": shown(value, "value"),
            }
        )
        if len(self._waiting) >= FLUSH_ROWS:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            self._writer.write_table(pa.Table.from_pylist(self._waiting, SCHEMA))
            self._waiting = []

    @property
    def total(self) -> int:
        """How many rows and files were rejected."""
        return self.counts.total()

    def require_share(self, kept: int, bad_share: float) -> None:
        """Stop the run with ``too-many-rejected`` if more than this share could not be used; the erased count for nothing."""
        bad = self.total - self.counts[ERASED]
        total = kept + bad
        if bad > bad_share * total:
            reasons = ", ".join(f"{reason} {count}" for reason, count in self.counts.most_common())
            raise MofangError(
                "too-many-rejected",
                rejected=bad,
                total=total,
                share=f"{bad / total:.1%}",
                bad_share=f"{bad_share:.1%}",
                reasons=reasons,
                first=_whole(self.first),
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._flush()
        self._writer.close()


def shown(text: str, column: Literal["detail", "value"]) -> str:
    """As much of a text as is kept in this column, storable."""
    return _whole(text[: VALUE_CHARS if column == "value" else DETAIL_CHARS])


def _whole(text: str) -> str:
    """The text with its undecodable bytes shown as question marks, so that it can be stored."""
    return text.encode("utf-8", "replace").decode()
