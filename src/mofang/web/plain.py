"""The house's own protocol: ``POST /v1/predict/{model}`` and ``GET /health``.

A body is plain JSON, one record or many; or one record as ``multipart/form-data``, a part for each column; or, where a model
has one input, that input alone: the bytes of an image with their content type, or ``text/plain``.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import orjson

from mofang.core.errors import MofangError
from mofang.engine.encode import Record
from mofang.engine.request import decode_body
from mofang.trade.request.desk import Call, Reply
from mofang.trade.request.model import Model
from mofang.web.routes import Exchange, Route

PARTS_MAX = 1_000
JSON_TYPES = {b"", b"application/json", b"text/json", b"application/x-www-form-urlencoded"}  # the last is what curl -d says
BOUNDARY = re.compile(rb'boundary="?([0-9A-Za-z\'()+_,./:=? -]{1,70})"?')
NAME = re.compile(rb'[;\s]name="([^"\r\n]{1,200})"')
Read = Callable[[Model, bytes], tuple[list[Record], bool]]


async def predict(call: Exchange) -> Reply:
    """Answer one record or many, and charge them."""
    asked = Call(call.request_id, call.params["model"], await call.body(), call.retry_key,
                 call.headers.get(b"mofang-arrays") == b"1", call.gone, reader(call.headers.get(b"content-type", b"")),
                 deadline_ms=deadline_ms(call))
    return await call.desk.predict(call.who, asked)


def reader(content_type: bytes) -> Read | None:
    """How a body of this type is read; None for JSON, which the desk reads by itself."""
    if content_type == b"application/json":
        return None
    kind = content_type.partition(b";")[0].strip().lower()
    if kind in JSON_TYPES or kind.endswith(b"+json"):
        return None
    if kind == b"multipart/form-data":
        boundary = BOUNDARY.search(content_type)
        if boundary is None:
            raise MofangError("multipart-unreadable", reason="its content type names no boundary")
        return partial(read_parts, boundary[1].rstrip())
    if kind == b"text/plain":
        return partial(read_alone, "text", "text/plain")
    if kind.startswith(b"image/") or kind == b"application/octet-stream":
        return partial(read_alone, "image", kind.decode("latin-1"))
    raise MofangError("content-type-unknown", type=kind.decode("latin-1")[:100])


def inputs_of(model: Any) -> list[dict[str, str]]:
    """The columns that a model's requests give."""
    found: list[dict[str, str]] = model.signature["inputs"]
    return found


def read_alone(role: str, kind: str, model: Model, body: bytes) -> tuple[list[Record], bool]:
    """The one input of a model, by itself."""
    inputs = inputs_of(model)
    if len(inputs) != 1 or inputs[0]["role"] != role:
        raise MofangError("content-type-unfit", type=kind, inputs=", ".join(f"{one['name']} ({one['role']})" for one in inputs))
    return model.parse({inputs[0]["name"]: value_of(role, body, inputs[0]["name"])})


def read_parts(boundary: bytes, model: Model, body: bytes) -> tuple[list[Record], bool]:
    """One record of a form, a part for each column; unknown and missing ones are refused like those of a JSON body."""
    roles = {one["name"]: one["role"] for one in inputs_of(model)}
    if len(roles) == 1:
        (only,) = roles
        roles.setdefault(roles[only], roles[only])
    pieces = (b"\r\n" + body).split(b"\r\n--" + boundary, PARTS_MAX + 2)
    if len(pieces) < 3 or pieces[0].strip() or not pieces[-1].startswith(b"--") or len(pieces) > PARTS_MAX + 2:
        raise MofangError("multipart-unreadable", reason=f"it does not consist of 1 to {PARTS_MAX} whole parts")
    record: dict[str, Any] = {}
    for piece in pieces[1:-1]:
        head, blank, value = piece.partition(b"\r\n\r\n")
        named = NAME.search(head)
        if not blank or named is None:
            raise MofangError("multipart-unreadable", reason="a part has no name")
        name = named[1].decode("utf-8", "replace")
        if name in record:
            raise MofangError("multipart-unreadable", reason=f"{name!r} comes twice")
        record[name] = value_of(roles.get(name, "text"), value, name)
    return model.parse(record)


def value_of(role: str, data: bytes, name: str) -> Any:
    """A part's bytes as plain JSON would write them."""
    if role == "image":
        return base64.b64encode(data).decode()
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise MofangError("multipart-unreadable", reason=f"{name!r} is no UTF-8 text") from error
    if role == "number":
        return decode_body(data) if text.strip() else None
    return text


def deadline_ms(call: Exchange) -> float:
    """How long the caller will wait, from the header Mofang-Deadline-Ms; 0 where it says nothing."""
    given = call.headers.get(b"mofang-deadline-ms")
    if given is None:
        return 0
    if not (given.isdigit() and len(given) < 9 and int(given)):
        raise MofangError("deadline-unreadable", text=given.decode("latin-1")[:40], most=10**8 - 1)
    return float(given)


async def health(call: Exchange) -> Reply:
    """Whether requests are answered."""
    well, told = call.desk.health()
    return Reply(200 if well else 503, orjson.dumps(told))


BODY = {"requestBody": {"required": True, "content": {
    "application/json": {"schema": {"type": "object"}}, "multipart/form-data": {"schema": {"type": "object"}},
    "text/plain": {"schema": {"type": "string"}}, "image/*": {"schema": {"type": "string", "contentMediaType": "image/*"}}}}}
ANSWER = {"type": "object", "required": ["request_id", "model", "units", "price", "currency", "test"], "properties": {
    "request_id": {"type": "string"}, "model": {"type": "string"}, "units": {"type": "integer", "minimum": 1},
    "price": {"type": "string"}, "currency": {"type": "string"}, "test": {"type": "boolean"},
    "answer": {"type": "object"}, "answers": {"type": "array"}}}
HEALTH = {"type": "object", "required": ["status", "models"],
          "properties": {"status": {"type": "string"}, "models": {"type": "array", "items": {"type": "string"}}}}


def answered(schema: dict[str, Any], **more: Any) -> dict[str, Any]:
    """An operation's answer for the OpenAPI document."""
    return {"responses": {"200": {"description": "The answer.", "content": {"application/json": {"schema": schema}}}, **more}}


ROUTES = (
    Route("POST", "/v1/predict/{model}", "key", predict,
          "Answer one record (`{\"text\": …}`, column names as keys) or many (`{\"records\": [{…}, …]}`). `model` is `reviews` "
          "(newest) or `reviews@1`.", "回答一条记录或多条记录；模型写 `reviews`（最新）或 `reviews@1`。", BODY | answered(ANSWER)),
    Route("GET", "/health", "open", health,
          "200 and the models' names while requests are answered; 503 otherwise.", "可以应答时返回 200 和模型名称，否则 503。",
          answered(HEALTH, **{"503": {"description": "Not now.", "content": {"application/json": {"schema": HEALTH}}}})),
)
