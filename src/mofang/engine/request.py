"""Requests: a decoded JSON body becomes records, or is refused in words with the place that is wrong.

A body is one record, `{"text": "…"}` with the columns' names as keys, or many, `{"records": [{…}, …]}`. A
model with one input also takes that input's role as the key, so that every text model answers `{"text": …}`.
Images are base64. Missing values are `null` and must be said: an absent key is more often a slip.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mofang.core.errors import MofangError
from mofang.core.nearest import nearest
from mofang.engine.encode import Record
from mofang.engine.task import Input, Schema, Signature

RECORDS_MAX = 1_000
TEXT_CHARACTERS_MAX = 100_000      # of one text
BODY_CHARACTERS_MAX = 4_000_000    # of all texts of one body
CATEGORY_CHARACTERS_MAX = 1_000
IMAGE_BYTES_MAX = 10_000_000


def decode_body(body: bytes) -> object:
    """Read JSON (RFC 8259: no NaN, no Infinity, UTF-8 only); raises MofangError body-not-json."""
    import orjson

    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise MofangError("body-not-json", reason=str(error)) from error


def parse_records(signature: Signature, body: object) -> tuple[list[Record], bool]:
    """The records of a body, and whether it held many; raises MofangError with a 4xx status."""
    inputs = signature["inputs"]
    names = {each["name"] for each in inputs}
    if not isinstance(body, dict):
        raise MofangError("body-wrong-shape", at="body", found=_kind(body), names=", ".join(sorted(names)))
    many = isinstance(body.get("records"), list) and len(body) == 1
    rows: list[object] = body["records"] if many else [body]
    if not rows:
        raise MofangError("records-empty")
    if len(rows) > RECORDS_MAX:
        raise MofangError("records-too-many", count=len(rows), most=RECORDS_MAX)
    alias = inputs[0]["role"] if len(inputs) == 1 else ""
    records, characters = [], 0
    for number, row in enumerate(rows):
        at = f"records[{number}]" if many else ""
        if not isinstance(row, dict):
            raise MofangError("body-wrong-shape", at=at, found=_kind(row), names=", ".join(sorted(names)))
        if alias in row and len(row) == 1:
            row = {inputs[0]["name"]: row[alias]}
        record = _parse_record(inputs, names, row, f"{at}." if at else "")
        characters += sum(len(value) for value in record.values() if isinstance(value, str))
        if characters > BODY_CHARACTERS_MAX:
            raise MofangError("body-too-long", most=BODY_CHARACTERS_MAX)
        records.append(record)
    return records, many


def request_form(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record as a request would write it: bytes as base64, the rest as it is."""
    return {name: base64.b64encode(value).decode() if isinstance(value, bytes) else value
            for name, value in record.items()}


def request_schema(inputs: Sequence[Input]) -> Schema:
    """The JSON Schema (2020-12) of a body with these inputs."""
    properties = {each["name"]: dict(_SCHEMAS[each["role"]]) for each in inputs}
    record = {"type": "object", "properties": properties, "required": list(properties),
              "additionalProperties": False}
    records = {"type": "array", "items": {"$ref": "#/$defs/record"}, "minItems": 1, "maxItems": RECORDS_MAX}
    many = {"type": "object", "properties": {"records": records}, "required": ["records"],
            "additionalProperties": False}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$defs": {"record": record},
            "oneOf": [{"$ref": "#/$defs/record"}, many]}


def _parse_record(inputs: Sequence[Input], names: set[str], row: dict[str, Any], at: str) -> Record:
    for name in row:
        if name not in names:
            raise MofangError("input-unknown", at=f"{at}{name}", nearest=nearest(str(name), sorted(names)),
                              names=", ".join(sorted(names)))
    record: Record = {}
    for each in inputs:
        name = each["name"]
        if name not in row:
            raise MofangError("value-missing", at=f"{at}{name}", names=", ".join(sorted(names)))
        record[name] = _PARSERS[each["role"]](row[name], f"{at}{name}")
    return record


def _text(value: object, at: str) -> str:
    if not isinstance(value, str):
        raise MofangError("value-wrong-type", at=at, found=_kind(value), wanted="string")
    if len(value) > TEXT_CHARACTERS_MAX:
        raise MofangError("text-too-long", at=at, characters=len(value), most=TEXT_CHARACTERS_MAX)
    if not value.strip():
        raise MofangError("text-empty", at=at)
    return _unicode(value, at)


def _category(value: object, at: str) -> str | int | float | bool | None:
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return _number(value, at)
    if not isinstance(value, str):
        raise MofangError("value-wrong-type", at=at, found=_kind(value), wanted="string")
    if len(value) > CATEGORY_CHARACTERS_MAX:
        raise MofangError("text-too-long", at=at, characters=len(value), most=CATEGORY_CHARACTERS_MAX)
    return _unicode(value, at)


def _number(value: object, at: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise MofangError("value-wrong-type", at=at, found=_kind(value), wanted="number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise MofangError("number-not-finite", at=at)
    return number


def _image(value: object, at: str) -> bytes:
    if not isinstance(value, str):
        raise MofangError("value-wrong-type", at=at, found=_kind(value), wanted="base64 string")
    if len(value) > IMAGE_BYTES_MAX * 4 // 3 + 100:
        raise MofangError("image-bytes-too-many", at=at, most=IMAGE_BYTES_MAX)
    if value.startswith("data:image/"):
        value = value.partition(",")[2]
    try:
        return base64.b64decode(value.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise MofangError("image-not-base64", at=at, reason=str(error)) from error


def _unicode(value: str, at: str) -> str:
    if not value.isascii():
        try:
            value.encode()  # what cannot be written as UTF-8 holds half of a surrogate pair
        except UnicodeEncodeError:
            raise MofangError("text-not-unicode", at=at) from None
    return value


def _kind(value: object) -> str:
    """The JSON name of a value's type."""
    if value is None:
        return "null"
    names = {bool: "boolean", int: "number", float: "number", str: "string", list: "array", dict: "object"}
    return names.get(type(value), type(value).__name__)


_PARSERS: dict[str, Callable[[object, str], Any]] = {
    "text": _text, "category": _category, "number": _number, "image": _image}
_SCHEMAS: dict[str, Schema] = {
    "text": {"type": "string", "minLength": 1, "maxLength": TEXT_CHARACTERS_MAX},
    "category": {"type": ["string", "number", "boolean", "null"], "maxLength": CATEGORY_CHARACTERS_MAX},
    "number": {"type": ["number", "null"]},
    "image": {"type": "string", "contentEncoding": "base64", "maxLength": IMAGE_BYTES_MAX * 4 // 3 + 100}}
