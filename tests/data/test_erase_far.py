"""Erasure beyond the artifacts: what was made from them, tables and folders beside them, and retention of shared records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mofang.core.ancestry import ancestry, behind
from mofang.core.errors import MofangError
from mofang.core.identity import now_us
from mofang.core.run import Run
from mofang.core.shop import Shop
from mofang.core.stage import spec_of
from mofang.core.subjects import open_, seal
from mofang.core.sweep import litter, sweep
from mofang.core.trace import ancestors, walk
from mofang.core.uploads import Named, Uploads
from mofang.data.erasure.erase import erase
from mofang.data.erasure.retention import due, erase_due
from mofang.data.records import RecordReader
from mofang.trade.request.replay import Stored, make_table, store_answers, stored_answers
from tests.data.erasing import PERSON, SENTENCE, everything_readable, make, traces, write_source


@pytest.fixture
def stocked(tmp_path: Path) -> tuple[Shop, dict[str, Any]]:
    write_source(tmp_path / "reviews.csv", rows=120)
    shop = Shop.open(tmp_path / "shop")
    made = make(shop, tmp_path / "reviews.csv")
    shop.name("reviews-data", made["snapshot"])
    return shop, made


def test_models_are_listed_trained_again_and_traced(stocked: tuple[Shop, dict[str, Any]]) -> None:
    from mofang.recipe import train

    shop, made = stocked
    model = shop.run(train, made["snapshot"], family="linear")
    shop.name("reviews", model)
    report = shop.act(erase, person=(PERSON,))
    assert [one["names"] for one in report.descent.models] == [["reviews@1"]]
    assert report.descent.again == ["mofang run reviews.py"] and len(report.sources) == 1
    assert PERSON not in json.dumps(report.to_dict()).replace(str(report.sources), "")
    again = shop.run(train, shop.find("reviews-data"), family="linear")
    assert again.entry != model.entry and shop.ledger.get(again.entry).kind == "done", "nothing is made again from memory"
    stages = [node.stage for node in walk(ancestors(shop.ledger, again.entry))]
    assert stages[:2] == ["train", "erase"] and "collect" in stages and shop.verify() == []
    assert shop.ledger.get(made["records"].entry).id in behind(shop.ledger, again.entry)
    ancestry(shop, again, "reviews", {})


def test_stored_answers_uploads_scratch_and_journals_are_cleared(stocked: tuple[Shop, dict[str, Any]], tmp_path: Path) -> None:
    shop, made = stocked
    make_table(shop.control)
    answers = {name: Stored("d", "r", 200, json.dumps({"said": text}).encode())
               for name, text in (("a/1", f"{PERSON} x"), ("a/2", "somebody else"))}
    with shop.control.transaction():
        store_answers(shop.control, answers.items(), now_us())
    uploads = Uploads(shop, "per_1")
    data = f"user,text\n{PERSON},hello\n".encode()
    import hashlib
    digest = hashlib.sha256(data).hexdigest()
    uploads.announce("given.csv", [Named("given.csv", digest, len(data))])
    uploads.add(digest, 0, len(data), data)
    cut_off = Run(shop, "f" * 64, spec_of(__import__("mofang.recipe", fromlist=["clean"]).clean), {}, [], shop.path / "scratch" / ("f" * 64))
    cut_off.write_bytes("half.bin", f"{PERSON} {SENTENCE}".encode())
    (cut_off.scratch / "working.bin").write_bytes(SENTENCE.encode())
    row = next(row for batch in RecordReader(made["records"]).batches() for row in batch.rows() if row["user"] == PERSON)
    note = seal(shop, row["id"], {"label": "坏", "why": SENTENCE})
    assert traces(shop.path, SENTENCE, PERSON) != []
    report = shop.act(erase, person=(PERSON,))
    assert {"sealed journal keys", "stored answers", "unfinished runs", "objects of unfinished runs",
            "uploaded files"} <= report.held.keys()
    assert traces(shop.path, SENTENCE, PERSON) == [] and open_(shop, row["id"], note) is None
    assert SENTENCE.encode() not in everything_readable(shop)
    assert list(stored_answers(shop.control, answers, now_us())) == ["a/2"] and shop.verify() == []


def test_a_run_that_was_at_work_meanwhile_keeps_nothing(stocked: tuple[Shop, dict[str, Any]], tmp_path: Path,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    from mofang.data import snapshot as module
    from mofang.data.erasure import erase as erasing

    shop, made = stocked
    monkeypatch.setattr(erasing, "running", lambda _ledger: [])  # as from another machine whose lease cannot be seen
    plain = module._write

    def meanwhile(*given: Any, **named: Any) -> Any:
        found = plain(*given, **named)
        shop.again().act(erase, person=(PERSON,))
        return found

    monkeypatch.setattr(module, "_write", meanwhile)
    with pytest.raises(MofangError) as told:
        shop.run(module.snapshot, made["cleaned"] / "kept", task="text_classification", label="label", inputs=("text",), seed=9)
    assert told.value.code == "erased-meanwhile" and shop.verify() == []


def test_only_one_with_the_role_may_erase(stocked: tuple[Shop, dict[str, Any]]) -> None:
    from mofang.core.identity import Actor

    shop, _ = stocked
    other = Shop(shop.path, Actor("li", roles=frozenset({"train", "release", "money", "label"})))
    with pytest.raises(MofangError) as told:
        other.act(erase, person=(PERSON,))
    assert told.value.code == "not-permitted"


def test_a_record_that_another_source_holds_within_its_day_stays(tmp_path: Path) -> None:
    from mofang.recipe import clean, collect

    shop = Shop.open(tmp_path / "shop")
    lines = [f"第{number}条独有的内容,{number % 2}" for number in range(40)]
    for name, rows in (("old", lines[:30]), ("new", lines[20:])):
        (tmp_path / f"{name}.csv").write_text("\n".join(["text,label", *rows, ""]), encoding="utf-8")
    made = {name: shop.run(collect, source=str(tmp_path / f"{name}.csv"), licence="own", text=("text",), label="label",
                           retain_until=until) for name, until in (("old", "2020-01-01"), ("new", "2999-01-01"))}
    cleaned = {name: shop.run(clean, one) for name, one in made.items()}
    assert [one.until for one in due(shop)] == ["2020-01-01"]
    report = erase_due(shop)
    assert report.records == 20 and due(shop) == [] and shop.verify() == []

    def rows(artifact: Any) -> int:
        return RecordReader(shop.artifact(shop.ledger.get(artifact.entry))).rows

    assert (rows(made["old"]), rows(made["new"])) == (0, 20)
    now = {name: RecordReader(shop.artifact(shop.ledger.get(one.entry)) / "kept").rows for name, one in cleaned.items()}
    assert now == {"old": 0, "new": 20}


def test_a_sweep_drops_keys_without_objects_and_leaves_the_rest(stocked: tuple[Shop, dict[str, Any]],
                                                                monkeypatch: pytest.MonkeyPatch) -> None:
    from mofang.core import sweep as module

    shop, _ = stocked
    keys = len(shop.store.keys.held())
    lone = "a" * 64
    shop.store.keys.settle(lone, b"k" * 32, "")
    sweep(shop, litter(shop))
    assert len(shop.store.keys.held()) == keys + 1, "it may belong to a file that is being stored"
    monkeypatch.setattr(module, "YOUNG_S", -1.0)
    module._drop_keys(shop, module.mentioned(shop, set()))
    assert shop.store.keys.of_object(lone) is None and len(shop.store.keys.held()) == keys and shop.verify() == []
