"""What a customer does about models of the customer's own: send records, and see how far they are.

Both show nothing of anybody else: another customer's customisation is as unknown as one that was never ordered.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

import orjson

from mofang.core.errors import MofangError
from mofang.trade.request.desk import Desk, Reply, check_scope
from mofang.web.routes import Exchange, Route

KINDS = {b"text/csv": "csv", b"text/tab-separated-values": "tsv", b"application/x-ndjson": "jsonl", b"application/jsonl": "jsonl",
         b"application/json": "json", b"": "json"}


async def add(call: Exchange) -> Reply:
    """Take a file of the caller's own records into the caller's own room."""
    desk = cast(Desk, call.desk)
    kind = call.headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    data = await call.body()
    if kind not in KINDS:
        raise MofangError("content-type-unknown", type=kind.decode("latin-1")[:100])
    if desk.own is None:
        raise MofangError("customise-unknown", name=call.params["customisation"], nearest="–")
    check_scope(call.who.key, call.params["customisation"])
    told = await asyncio.to_thread(desk.own.add, call.who.customer, call.params["customisation"], data, KINDS[kind])
    return Reply(200, orjson.dumps({"request_id": call.request_id, **told}))


async def own(call: Exchange) -> Reply:
    """The caller's own customisations."""
    desk = cast(Desk, call.desk)
    told = await asyncio.to_thread(desk.own.told, call.who.customer) if desk.own is not None else []
    return Reply(200, orjson.dumps({"request_id": call.request_id, "customisations": told}))


FACTS: dict[str, Any] = {"type": "object", "required": ["name", "state", "version", "records"], "properties": {
    "name": {"type": "string"}, "state": {"type": "string"}, "version": {"type": "integer"}, "records": {"type": "integer"}}}


def _answer(schema: dict[str, Any], **more: Any) -> dict[str, Any]:
    content = {"application/json": {"schema": schema}}
    return {"responses": {"200": {"description": "What is there now.", "content": content}}, **more}


BODY = {"required": True, "content": {"text/csv": {"schema": {"type": "string"}},
                                      "application/x-ndjson": {"schema": {"type": "string"}},
                                      "application/json": {"schema": {"type": "object"}}}}

ROUTES = (
    Route("POST", "/v1/customisations/{customisation}/records", "key", add,
          "Send a file of your own records for a model of your own: CSV, or JSON lines, with the base's columns and the label. "
          "The same file again is taken once.",
          "为自己的定制模型上传一份记录：CSV 或 JSON Lines，含基础模型的列和标签。同一文件重复上传只计一次。",
          _answer(FACTS, requestBody=BODY)),
    Route("GET", "/v1/customisations", "key", own, "Your own customisations: base, state, version, records.",
          "自己的定制：基础模型、状态、版本、记录数。",
          _answer({"type": "object", "required": ["customisations"], "properties": {
              "customisations": {"type": "array", "items": FACTS}}})),
)
