"""Records: ids that stay, files cut anywhere, the same content digest, and bounded batches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mofang.core.run import Run
from mofang.core.shop import Shop
from mofang.core.stage import stage
from mofang.data import records as module
from mofang.data.occurrences import Occurrences
from mofang.data.records import RecordIds, RecordReader, Records, RecordWriter, content_digest

ROLES = {"image": "image", "text": "text", "label": "label"}


@stage(version=1, memo=False)
def made(run: Run, *, rows: int = 10, cut: int = 3, media_bytes: int = 10) -> Records:
    """Records for the tests, written in batches of ``cut`` rows."""
    with RecordWriter(run, roles=ROLES, about={"licence": "own"}) as writer:
        for start in range(0, rows, cut):
            places = range(start, min(start + cut, rows))
            columns = {
                "id": [f"{i:032x}" for i in places],
                "image": [f"{i}.png" for i in places],
                "text": [f"text {i}" for i in places],
                "label": ["x" if i % 2 else None for i in places],
            }
            writer.write(columns, {"image": [bytes([i % 256]) * media_bytes for i in places]})
    return run.result(Records)


def test_what_is_written_is_read_in_order(shop: Shop) -> None:
    records = shop.run(made, rows=10, cut=4)
    reader = RecordReader(records)
    assert (reader.rows, reader.roles, reader.media_columns) == (10, ROLES, ["image"])
    batches = list(reader.batches(3))
    assert [len(batch) for batch in batches] == [3, 3, 3, 1]
    rows = [row for batch in batches for row in batch.rows(["text", "image"])]
    assert rows[7] == {"text": "text 7", "image": bytes([7]) * 10}
    assert [row["image"] for batch in reader.batches(media=False) for row in batch.rows()][7] == "7.png"
    assert records.read_json("about.json") == {"format": 1, "licence": "own", "columns": ROLES, "rows": 10}
    assert pq.read_schema(records.path("values.parquet")).names == ["id", "image", "text", "label"]


def test_chosen_columns_come_in_the_order_asked_for(shop: Shop) -> None:
    batch = next(RecordReader(shop.run(made)).batches(columns=["label", "text"]))
    assert batch.table.schema.names == ["id", "label", "text"] and batch.media == {}


def test_the_content_digest_ignores_how_files_are_cut(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = content_digest(shop.run(made, rows=50, cut=50))
    monkeypatch.setattr(module, "GROUP_BYTES", 300)
    monkeypatch.setattr(module, "GROUP_ROWS", 7)
    cut = shop.run(made, rows=50, cut=11)
    assert pq.ParquetFile(cut.path("media.parquet")).num_row_groups > 5
    assert content_digest(cut) == whole
    assert content_digest(shop.run(made, rows=49, cut=7)) != whole
    assert [len(batch) for batch in RecordReader(cut).batches()] != [50]


def test_media_are_cut_into_row_groups_by_bytes(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GROUP_BYTES", 10_000)
    records = shop.run(made, rows=40, cut=40, media_bytes=1000)
    file = pq.ParquetFile(records.path("media.parquet"))
    assert all(file.metadata.row_group(i).num_rows <= 10 for i in range(file.num_row_groups))
    assert max(len(batch) for batch in RecordReader(records).batches()) <= 10
    assert sum(len(batch) for batch in RecordReader(records).batches()) == 40


# Ids


def ids_of(tmp_path: Path, texts: list[str], labels: list[str], secret: bytes = b"s" * 32) -> list[str]:
    return RecordIds(secret, {"text": "text", "label": "label"}, tmp_path).ids(
        {"text": texts, "label": labels}, {}, len(texts)
    )


def test_ids_stay_when_a_row_is_added_or_a_label_changes(tmp_path: Path) -> None:
    old = ids_of(tmp_path, ["a", "b", "a"], ["x", "y", "x"])
    new = ids_of(tmp_path, ["new", "a", "b", "a", "a"], ["x", "y", "y", "x", "x"])
    assert len(set(old)) == 3 and new[1:4] == old and len(set(new)) == 5
    assert ids_of(tmp_path, ["a"], ["x"], b"t" * 32) != old[:1]


@settings(deadline=None)
@given(st.lists(st.text(max_size=3), max_size=60))
def test_ids_are_unique_and_do_not_depend_on_batches(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("ids")
    whole = ids_of(folder, texts, [""] * len(texts))
    one = RecordIds(b"s" * 32, {"text": "text"}, folder)
    assert [one.ids({"text": [text]}, {}, 1)[0] for text in texts] == whole
    assert len(set(whole)) == len(texts)


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 40), max_size=30), max_size=12))
def test_occurrences_count_like_a_dictionary(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[int]]
) -> None:
    from mofang.data import occurrences

    before = occurrences.MEMORY_KEYS
    occurrences.MEMORY_KEYS = 8  # so that runs move to files
    try:
        counter, seen = Occurrences(tmp_path_factory.mktemp("keys")), dict[int, int]()
        for batch in batches:
            expected = []
            for key in batch:
                expected.append(seen.get(key, 0))
                seen[key] = seen.get(key, 0) + 1
            assert counter.count(np.array(batch, np.uint64)).tolist() == expected
    finally:
        occurrences.MEMORY_KEYS = before
