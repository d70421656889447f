"""What a person may hand to ``predict``: texts, JSON objects, files in any encoding, standard input."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from mofang.core.errors import MofangError
from mofang.engine.intake import records_from
from mofang.engine.task import Signature

TEXT: Signature = {"task": "text_classification", "inputs": [{"name": "评论", "role": "text"}], "labels": ["好", "差"]}
TABLE: Signature = {
    "task": "table_classification",
    "inputs": [{"name": "age", "role": "number"}, {"name": "city", "role": "category"}],
    "labels": ["a", "b"],
}


def given(signature: Signature, what: str, stdin: bytes = b"") -> list[dict[str, Any]]:
    stream = io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8")
    return [record for batch in records_from(signature, what, stream) for record in batch]


def code(signature: Signature, what: str, stdin: bytes = b"") -> str:
    with pytest.raises(MofangError) as caught:
        given(signature, what, stdin)
    return caught.value.code


def test_texts_and_objects_say_the_same() -> None:
    wanted = [{"评论": "很好"}]
    for what in ("很好", '{"评论": "很好"}', '{"text": "很好"}', '{"评论": "很好", "id": 3}'):
        assert given(TEXT, what) == wanted
    assert given(TEXT, "-", "很好\n\n".encode()) == given(TEXT, "-", "很好\n".encode("gb18030")) == wanted
    assert given(TEXT, "{not json") == [{"评论": "{not json"}]


def test_files_in_any_encoding(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("书很好看\n质量太差\n".encode("gb18030"))
    assert given(TEXT, str(tmp_path / "a.txt")) == [{"评论": "书很好看"}, {"评论": "质量太差"}]
    (tmp_path / "a.csv").write_text("age,city,more\n30,北京,x\n,,y\n1.5,NA,z\n", encoding="utf-8-sig")
    assert given(TABLE, str(tmp_path / "a.csv")) == [
        {"age": 30.0, "city": "北京"}, {"age": None, "city": None}, {"age": 1.5, "city": "NA"},
    ]


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    assert code(TEXT, "  ") == "text-empty"
    assert code(TEXT, '{"txt": "x"}') == "input-unknown"
    assert code(TEXT, "reviews.csv") == "source-missing"
    assert code(TEXT, str(tmp_path)) == "source-empty"
    assert code(TABLE, "hello") == "input-not-readable"
    assert code(TABLE, "{bad") == "body-not-json"
    assert code(TABLE, '{"age": "abc", "city": null}') == "value-wrong-type"
    assert code(TABLE, "-", b'{"age": 3}\n') == "value-missing"
    (tmp_path / "a.csv").write_text("age,city\n3,x\nabc,y\n")
    assert code(TABLE, str(tmp_path / "a.csv")) == "row-unreadable"
    (tmp_path / "b.csv").write_text("alter,city\n3,x\n4,y\n")
    assert code(TABLE, str(tmp_path / "b.csv")) == "input-column-missing"
    (tmp_path / "c.csv").write_text("评论;n\n很好;1\n;2\n")
    assert code(TEXT, str(tmp_path / "c.csv")) == "row-unreadable"
