from __future__ import annotations

import base64
import json
import math
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mofang.core.errors import MofangError
from mofang.engine.request import IMAGE_BYTES_MAX, decode_body, parse_records, request_form, request_schema
from mofang.engine.task import Signature

TEXT: Signature = {
    "task": "text_classification",
    "inputs": [{"name": "review", "role": "text"}],
    "labels": ["a", "b"],
}
ROW: Signature = {
    "task": "table_classification",
    "labels": ["a", "b"],
    "inputs": [{"name": "age", "role": "number"}, {"name": "city", "role": "category"}],
}
PICTURE: Signature = {
    "task": "image_classification",
    "inputs": [{"name": "photo", "role": "image"}],
    "labels": ["a", "b"],
}


def test_one_record_many_records_and_the_role_as_key() -> None:
    assert parse_records(TEXT, {"review": "good"}) == ([{"review": "good"}], False)
    assert parse_records(TEXT, {"text": "good"}) == ([{"review": "good"}], False)
    assert parse_records(TEXT, {"records": [{"review": "好"}, {"text": "b"}]}) == (
        [{"review": "好"}, {"review": "b"}],
        True,
    )
    assert parse_records(ROW, {"age": None, "city": 3}) == ([{"age": None, "city": 3}], False)
    data = base64.b64encode(b"\x89PNG").decode()
    assert parse_records(PICTURE, {"image": "data:image/png;base64," + data}) == (
        [{"photo": b"\x89PNG"}],
        False,
    )


def test_a_column_may_be_called_records() -> None:
    named: Signature = {**TEXT, "inputs": [{"name": "records", "role": "text"}]}
    assert parse_records(named, {"records": "good"}) == ([{"records": "good"}], False)
    assert parse_records(named, {"records": [{"records": "good"}]}) == ([{"records": "good"}], True)


@pytest.mark.parametrize(
    ("signature", "body", "code", "at"),
    [
        (TEXT, None, "body-wrong-shape", "body"),
        (TEXT, [], "body-wrong-shape", "body"),
        (TEXT, "good", "body-wrong-shape", "body"),
        (TEXT, 1.5, "body-wrong-shape", "body"),
        (TEXT, True, "body-wrong-shape", "body"),
        (TEXT, {}, "value-missing", "review"),
        (TEXT, {"records": []}, "records-empty", None),
        (TEXT, {"records": ["good"]}, "body-wrong-shape", "records[0]"),
        (TEXT, {"records": {}}, "input-unknown", "records"),
        (TEXT, {"records": [{"review": "x"}] * 1001}, "records-too-many", None),
        (TEXT, {"review": "x", "reveiw": "y"}, "input-unknown", "reveiw"),
        (TEXT, {"review": "x", "text": "y"}, "input-unknown", "text"),
        (TEXT, {"review": None}, "value-wrong-type", "review"),
        (TEXT, {"review": ["x"]}, "value-wrong-type", "review"),
        (TEXT, {"records": [{"review": "x"}, {"review": 3}]}, "value-wrong-type", "records[1].review"),
        (TEXT, {"review": " \n\t"}, "text-empty", "review"),
        (TEXT, {"review": "x" * 100_001}, "text-too-long", "review"),
        (TEXT, {"records": [{"review": "x" * 100_000}] * 41}, "body-too-long", None),
        (TEXT, {"review": "\ud800"}, "text-not-unicode", "review"),
        (ROW, {"age": 1}, "value-missing", "city"),
        (ROW, {"age": "1", "city": "x"}, "value-wrong-type", "age"),
        (ROW, {"age": True, "city": "x"}, "value-wrong-type", "age"),
        (ROW, {"age": math.nan, "city": "x"}, "number-not-finite", "age"),
        (ROW, {"age": math.inf, "city": "x"}, "number-not-finite", "age"),
        (ROW, {"age": 10**400, "city": "x"}, "number-not-finite", "age"),
        (ROW, {"age": 1, "city": math.nan}, "number-not-finite", "city"),
        (ROW, {"age": 1, "city": ["x"]}, "value-wrong-type", "city"),
        (ROW, {"age": 1, "city": "x" * 1001}, "text-too-long", "city"),
        (ROW, {"age": 1, "city": "\udc00"}, "text-not-unicode", "city"),
        (PICTURE, {"photo": 3}, "value-wrong-type", "photo"),
        (PICTURE, {"photo": "not base64!"}, "image-not-base64", "photo"),
        (PICTURE, {"photo": "图"}, "image-not-base64", "photo"),
        (PICTURE, {"photo": "AAA"}, "image-not-base64", "photo"),
        (PICTURE, {"photo": "A" * (IMAGE_BYTES_MAX * 4 // 3 + 101)}, "image-bytes-too-many", "photo"),
    ],
)
def test_hostile_bodies_are_refused_with_the_place(
    signature: Signature, body: Any, code: str, at: str | None
) -> None:
    with pytest.raises(MofangError) as error:
        parse_records(signature, body)
    assert error.value.code == code and error.value.values.get("at") == at
    assert 400 <= error.value.status < 500
    for language in ("en", "zh"):
        what, fix = error.value.worded(language)
        assert what and fix and len(what) < 1000


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": "\xff"}',
        b"\xef\xbb\xbf{}",
        b"[" * 100_000,
        b'{"a": "\\ud800"}',
        "{'a': 1}".encode("utf-16"),
    ],
)
def test_what_is_not_json_is_refused(body: bytes) -> None:
    with pytest.raises(MofangError) as error:
        decode_body(body)
    assert error.value.code == "body-not-json" and error.value.status == 400


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["records", "review", "text", "age", "city", "photo", "x"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(JSON, st.sampled_from([TEXT, ROW, PICTURE]))
@settings(max_examples=400, deadline=None)
def test_any_json_is_records_or_an_error_in_words(body: Any, signature: Signature) -> None:
    try:
        records, _ = parse_records(signature, body)
    except MofangError as error:
        assert 400 <= error.status < 500 and error.what
    else:
        forms = [request_form(record) for record in records]
        assert parse_records(signature, {"records": forms})[0] == records
        json.dumps(forms, allow_nan=False)


@given(JSON)
@settings(max_examples=300, deadline=None)
def test_the_schema_allows_what_the_parser_takes(body: Any) -> None:
    schema = request_schema(ROW["inputs"])
    try:
        parse_records(ROW, body)
    except MofangError:
        return
    jsonschema.validate(body, schema)
