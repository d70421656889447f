"""The caller's own invoices: the list, and each as JSON, PDF or CSV."""

from __future__ import annotations

from typing import Any

import orjson

from mofang.trade.billing.papers import TYPES
from mofang.trade.request.desk import Reply
from mofang.web.routes import Exchange, Route


async def invoices(call: Exchange) -> Reply:
    """The list."""
    return Reply(200, orjson.dumps({"object": "list", "data": await call.desk.accounts.invoices(call.who)}))


async def invoice(call: Exchange) -> Reply:
    """The document."""
    return Reply(200, await call.desk.accounts.invoice(call.who, call.params["number"], "json"))


async def file(call: Exchange) -> Reply:
    """The document in another form."""
    kind = call.params["kind"]
    body = await call.desk.accounts.invoice(call.who, call.params["number"], kind)
    name = f"attachment; filename=\"invoice.{kind}\"".encode()
    return Reply(200, body, ((b"content-type", TYPES[kind]), (b"content-disposition", name)))


def _about(schema: dict[str, Any], kind: str = "application/json") -> dict[str, Any]:
    return {"responses": {"200": {"description": "What was asked for.", "content": {kind: {"schema": schema}}}}}


LIST = {"type": "object", "required": ["object", "data"], "properties": {"object": {"const": "list"}, "data": {"type": "array"}}}
ROUTES = (
    Route("GET", "/v1/invoices", "key", invoices, "The caller's own invoices, oldest first.", "调用方自己的账单，从早到晚。", _about(LIST)),
    Route("GET", "/v1/invoices/{number}", "key", invoice, "One of them as the document that its root was made over.",
          "其中一张账单的文档（根哈希所依据的内容）。", _about({"type": "object"})),
    Route("GET", "/v1/invoices/{number}/{kind}", "key", file, "One of them as `pdf`, `csv` or `json`.",
          "其中一张账单的 `pdf`、`csv` 或 `json`。", _about({"type": "string"}, "application/octet-stream")),
)
