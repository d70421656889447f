"""Tagged texts and dictionaries as records: spans stand where the names are, exercises follow from the entries."""

from __future__ import annotations

import json
from pathlib import Path

from mofang.core.shop import Shop
from mofang.data.collect import collect
from mofang.data.readers.tagged import untagged
from mofang.data.records import RecordReader

LINE = "[中国/ns  国际/n  广播/vn  电台/n]nt  记者/n  兰/nr  红光/nr  １日/t  of/IN New/NNP York/NNP 摄/Vg  。/w"
ENTRIES = "".join(f"字{number} 字{number} [zi4] /first meaning {number}/second meaning {number}/\n" for number in range(400))


def rows(shop: Shop, path: Path, format: str, text: tuple[str, ...]) -> tuple[list[dict], dict]:
    made = shop.run(collect, source=str(path), format=format, label="label", text=text, licence="CC0-1.0", origin="tests",
                    bad_share=0.5)
    return [row for batch in RecordReader(made).batches() for row in batch.rows()], made.measures


def test_names_are_spans_in_the_text_without_tags() -> None:
    text, spans = untagged(LINE)
    assert text == "中国国际广播电台记者兰红光１日of New York摄。"
    assert [(text[one["start"]:one["end"]], one["label"]) for one in spans] == [
        ("中国", "place"), ("兰红光", "person"), ("New York", "name")]


def test_a_tagged_file_is_collected_and_lines_without_tags_are_named(shop: Shop, tmp_path: Path) -> None:
    path = tmp_path / "tagged.txt"
    path.write_text(f"{LINE}\n\nno tags here\n今天/t 很/d 好/a\n", encoding="utf-8")
    found, measures = rows(shop, path, "tagged", ("text",))
    assert [row["text"] for row in found] == [untagged(LINE)[0], "今天很好"] and found[1]["label"] == "[]"
    assert measures["rejected"] == {"no-tags": 1} and measures["blank_lines"] == 1


def test_pairs_and_questions_follow_from_a_dictionary(shop: Shop, tmp_path: Path) -> None:
    path = tmp_path / "cedict.txt"
    path.write_text("# head\n" + ENTRIES + "no entry at all\n", encoding="utf-8")
    pairs, measures = rows(shop, path, "dictionary-pairs", ("first", "second"))
    assert measures["rejected"] == {"no-entry": 1} and len(pairs) > 60
    for row in pairs:
        assert (row["label"] == "same") == (row["first"].split()[-1] == row["second"].split()[-1])
    asked, _ = rows(shop, path, "dictionary-questions", ("context", "question"))
    answers = [json.loads(row["label"]) for row in asked]
    assert all(row["context"][one["start"]:one["start"] + len(one["text"])] == one["text"]
               for row, one in zip(asked, answers, strict=True) if one["text"])
    assert 0 < sum(not one["text"] for one in answers) <= len(answers) / 4
    assert any("是什么意思" in row["question"] for row in asked) and any("Which word" in row["question"] for row in asked)
