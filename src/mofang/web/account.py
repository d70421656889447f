"""The caller's own account: ``GET /v1/usage``, and usage and costs in the shape of OpenAI's organisation pages."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

import orjson

from mofang.core.errors import MofangError
from mofang.trade.request.desk import Reply
from mofang.web.routes import Exchange, Route

FIELDS_MAX = 50
CSV = (b"content-type", b"text/csv; charset=utf-8")


async def usage(call: Exchange) -> Reply:
    """The caller's own account in the running month."""
    return Reply(200, orjson.dumps({"request_id": call.request_id, **await call.desk.accounts.usage(call.who)}))


def asked(call: Exchange) -> dict[str, list[str]]:
    """The query's parameters."""
    try:
        return parse_qs(call.query.decode("latin-1"), keep_blank_values=True, max_num_fields=FIELDS_MAX)
    except ValueError as error:
        raise MofangError("query-wrong", name="?", value=str(error), wanted=f"{FIELDS_MAX}") from error


async def used(call: Exchange) -> Reply:
    """Requests, units and tokens in buckets of time."""
    return Reply(200, orjson.dumps(await call.desk.accounts.query(call.who, "usage", asked(call))))


async def costs(call: Exchange) -> Reply:
    """What each day cost."""
    return Reply(200, orjson.dumps(await call.desk.accounts.query(call.who, "costs", asked(call))))


async def used_file(call: Exchange) -> Reply:
    """Use by day, key and model: the same bytes as the seller's own ``mofang usage CUSTOMER --csv``."""
    found = await call.desk.accounts.query(call.who, "file", asked(call))
    return Reply(200, found["csv"].encode(), (CSV,))


MONTH, DAY = "^20[0-9]{2}-(0[1-9]|1[0-2])$", "^20[0-9]{2}-[01][0-9]-[0-3][0-9]$"
DAYS = {"parameters": [{"name": name, "in": "query", "required": False, "schema": {"type": "string", "pattern": pattern}}
                       for name, pattern in (("month", MONTH), ("from", DAY), ("until", DAY))],
         "responses": {"200": {"description": "CSV with a header.", "content": {"text/csv": {"schema": {"type": "string"}}}}}}


def _about(widths: list[str], groups: list[str]) -> dict[str, Any]:
    second = {"type": "integer", "minimum": 0, "maximum": 1 << 40}
    fields: list[tuple[str, bool, dict[str, Any]]] = [
        ("start_time", True, second), ("end_time", False, second), ("bucket_width", False, {"enum": widths}),
        ("group_by", False, {"type": "array", "items": {"enum": groups}}),
        ("limit", False, {"type": "integer", "minimum": 1}),
        ("page", False, {"type": "string"})]
    page = {"type": "object", "required": ["object", "data", "has_more", "next_page"], "properties": {
        "object": {"const": "page"}, "data": {"type": "array"}, "has_more": {"type": "boolean"},
        "next_page": {"type": ["string", "null"]}}}
    return {"parameters": [{"name": name, "in": "query", "required": needed, "schema": schema}
                           for name, needed, schema in fields],
            "responses": {"200": {"description": "A page of buckets.", "content": {"application/json": {"schema": page}}}}}


ROUTES = (
    Route("GET", "/v1/usage", "key", usage,
          "The caller's running month: use by day and model, credit, what is left.", "调用方本月用量、额度与余额。"),
    Route("GET", "/v1/usage.csv", "key", used_file,
          "The caller's use by day, key and model, as CSV: of a month (`month=2026-11`), or `from` a day `until` another.",
          "调用方的用量，按日、密钥和模型，CSV：某月（`month=2026-11`）或 `from` 至 `until` 的各日。",
          DAYS),
    Route("GET", "/v1/organization/usage/completions", "key", used,
          "The caller's own use in buckets of a minute, an hour or a day (`start_time`, `bucket_width`, `group_by`, `limit`, "
          "`page`).",
          "调用方自己的用量，按分钟、小时或天分组。", _about(["1m", "1h", "1d"], ["model", "api_key_id"])),
    Route("GET", "/v1/organization/costs", "key", costs,
          "What the caller's own use cost, by day (`start_time`, `group_by=line_item`, `limit`, `page`).", "调用方自己的费用，按天。",
          _about(["1d"], ["line_item"])),
)
