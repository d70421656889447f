"""One person is erased through everything: nothing of theirs is left, nothing of others is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mofang.core.errors import MofangError
from mofang.core.shop import Shop
from mofang.data.erasure.erase import erase
from mofang.data.records import RecordReader
from tests.data.erasing import PERSON, SENTENCE, everything_readable, make, traces, write_source


@pytest.fixture
def stocked(tmp_path: Path) -> tuple[Shop, dict[str, Any]]:
    write_source(tmp_path / "reviews.csv")
    shop = Shop.open(tmp_path / "shop")
    made = make(shop, tmp_path / "reviews.csv")
    shop.name("reviews", made["snapshot"])
    return shop, made


def rows_of(artifact: Any) -> list[dict[str, Any]]:
    return [row for batch in RecordReader(artifact).batches() for row in batch.rows()]


def test_nothing_planted_lies_in_plain_anywhere_in_the_shop(stocked: tuple[Shop, dict[str, Any]]) -> None:
    shop, made = stocked
    assert SENTENCE.encode() in everything_readable(shop), "it is there"
    assert len(rows_of(made["records"])) == 200 and traces(shop.path, SENTENCE, PERSON) == []
    assert shop.verify() == []


def test_an_erased_person_is_gone_everywhere_and_all_others_stay(stocked: tuple[Shop, dict[str, Any]]) -> None:
    shop, made = stocked
    before = {name: rows_of(made["snapshot"] / name) for name in ("train", "validation", "test")}
    report = shop.act(erase, person=(" ｚhang-san-7788 ",), why="request 12")
    assert report.records == 4 and report.objects > 0
    left = everything_readable(shop)
    assert SENTENCE.encode() not in left and PERSON.encode() not in left and traces(shop.path, SENTENCE, PERSON) == []
    assert shop.verify() == []
    now = shop.find("reviews")
    for name, rows in before.items():
        after = rows_of(now / name)
        assert after == [row for row in rows if SENTENCE not in row["text"]]
        told = now.read_json("about.json")["counts"][name]
        assert told["rows"] == len(after) == (now / name).read_json("about.json")["rows"] == sum(told["classes"].values())
    records = shop.artifact(shop.ledger.get(made["records"].entry))
    assert [row for row in rows_of(records) if row["user"] == PERSON] == [] and len(rows_of(records)) == 196
    with records.open("rejected.parquet") as file:
        assert pq.read_table(file)["value"].to_pylist() == ["many"], "of what could not be read, what names the person goes"
    with pytest.raises(MofangError) as told_error:
        made["records"].open("values.parquet")
    assert told_error.value.code == "object-missing"


def test_collecting_the_source_again_leaves_the_person_out(stocked: tuple[Shop, dict[str, Any]], tmp_path: Path) -> None:
    shop, made = stocked
    shop.act(erase, person=(PERSON,))
    again = make(shop, tmp_path / "reviews.csv")
    assert again["records"].entry != made["records"].entry and len(rows_of(again["records"])) == 196
    assert again["records"].measures["rejected"] == {"erased": 4, "not-a-number": 2}
    with (tmp_path / "reviews.csv").open("a", encoding="utf-8") as file:
        file.write(f"{PERSON},又来了一次的新内容,好,3\n")
    grown = make(shop, tmp_path / "reviews.csv")
    assert grown["records"].measures["rejected"]["erased"] == 5
    left = everything_readable(shop)
    assert SENTENCE.encode() not in left and PERSON.encode() not in left, "also not among what could not be read"


def test_one_record_is_erased_by_its_id(stocked: tuple[Shop, dict[str, Any]]) -> None:
    shop, made = stocked
    id = next(row["id"] for row in rows_of(made["cleaned"] / "kept") if SENTENCE in row["text"])
    report = shop.act(erase, record=(id,))
    assert report.records == 1
    left = [row["text"] for row in rows_of(shop.artifact(shop.ledger.get(made["records"].entry))) if SENTENCE in row["text"]]
    assert len(left) == 3 and shop.verify() == []


def test_a_dry_run_changes_nothing_and_a_stranger_is_refused(stocked: tuple[Shop, dict[str, Any]]) -> None:
    shop, _ = stocked
    head = shop.ledger.head()
    looked = shop.act(erase, person=(PERSON,), dry_run=True)
    assert looked.records == 4 and looked.rows > 4 and shop.ledger.head() == head
    for said, code in (({"person": ("nobody",)}, "erase-nobody"), ({}, "erase-whom"), ({"record": ("0" * 32,)}, "erase-nobody"),
                       ({"person": (PERSON,), "why": f"because {PERSON} asked"}, "erase-why")):
        with pytest.raises(MofangError) as told:
            shop.act(erase, **said)
        assert told.value.code == code and shop.ledger.head() == head


def test_erasing_twice_is_no_mistake_and_does_nothing(stocked: tuple[Shop, dict[str, Any]]) -> None:
    shop, _ = stocked
    shop.act(erase, person=(PERSON,))
    held = shop.store.held()
    again = shop.act(erase, person=(PERSON,))
    assert again.records == 0 and again.artifacts == [] and shop.store.held() == held and shop.verify() == []


def test_an_erased_object_that_comes_back_is_a_fault(stocked: tuple[Shop, dict[str, Any]]) -> None:
    shop, made = stocked
    part = made["records"].part("values.parquet")
    kept = shop.store.path(part.digest).read_bytes()
    shop.act(erase, person=(PERSON,))
    shop.store.path(part.digest).write_bytes(kept)
    assert shop.verify() == [f"object {part.digest[:12]} was erased and is still there"]
