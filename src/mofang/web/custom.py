"""What a customer does about models of the customer's own: send records, ask for the run, and see how far it is.

All show nothing of anybody else: another customer's customisation is as unknown as one that was never ordered.
"""

from __future__ import annotations

import asyncio
from typing import Any, Literal, cast

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


async def status(call: Exchange) -> Reply:
    """How far one of the caller's own customisations is."""
    return await _asked(call, "one")


async def run(call: Exchange) -> Reply:
    """Put the run of one of the caller's own customisations into the queue."""
    return await _asked(call, "run", status=202)


async def cancel(call: Exchange) -> Reply:
    """Take it out of the queue again."""
    return await _asked(call, "cancel")


async def _asked(call: Exchange, what: Literal["one", "run", "cancel"], status: int = 200) -> Reply:
    """What ``OwnModels`` says of a customisation that a path names; unknown where it is another customer's."""
    desk, name = cast(Desk, call.desk), call.params["customisation"]
    if desk.own is None:
        raise MofangError("customise-unknown", name=name, nearest="–")
    check_scope(call.who.key, name)
    told = await asyncio.to_thread(getattr(desk.own, what), call.who.customer, name)
    return Reply(status, orjson.dumps({"request_id": call.request_id, **told}))


FACTS: dict[str, Any] = {"type": "object", "required": ["name", "state", "version", "records"], "properties": {
    "name": {"type": "string"}, "version": {"type": "integer"}, "records": {"type": "integer"}, "may_run": {"type": "boolean"},
    "state": {"enum": ["ordered", "queued", "running", "stopping", "declined", "delivered", "deleting", "deleted"]},
    "place": {"type": "integer"}, "starts_in_s": {"type": "integer"}, "percent": {"type": "integer"},
    "reason": {"type": "object", "properties": {
        "code": {"type": "string"}, "what": {"type": "string"}, "fix": {"type": "string"}}}}}


def _answer(schema: dict[str, Any], status: str = "200", **more: Any) -> dict[str, Any]:
    content = {"application/json": {"schema": schema}}
    return {"responses": {status: {"description": "What is there now.", "content": content}}, **more}


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
    Route("GET", "/v1/customisations/{customisation}", "key", status,
          "One of your own customisations: ordered, queued (with its place and when it is expected to begin), running (percent), "
          "delivered, or declined with the reason.",
          "自己的一项定制：已下单、排队中（含位置和预计开始时间）、训练中（百分比）、已交付或未达标（含原因）。",
          _answer(FACTS)),
    Route("POST", "/v1/customisations/{customisation}/run", "key", run,
          "Ask for the run of your own customisation, where its quote allows that: it waits in the queue and is charged when it "
          "is delivered. Asked twice, it waits once.",
          "在报价允许时申请训练自己的定制：进入队列，交付时收费。重复申请只排一次。",
          _answer(FACTS, status="202")),
    Route("POST", "/v1/customisations/{customisation}/cancel", "key", cancel,
          "Take your own customisation out of the queue; what was set aside is free again.",
          "将自己的定制移出队列；预留金额随即释放。",
          _answer(FACTS)),
)
