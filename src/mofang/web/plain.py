"""The house's own protocol: ``POST /v1/predict/{model}`` with plain JSON, ``GET /v1/usage``, ``GET /health``."""

from __future__ import annotations

import orjson

from mofang.core.errors import MofangError
from mofang.trade.desk import Call, Reply
from mofang.web.routes import Exchange, Route


async def predict(call: Exchange) -> Reply:
    """Answer one record or many, and charge them."""
    asked = Call(call.request_id, call.params["model"], await call.body(), call.retry_key,
                 call.headers.get(b"mofang-arrays") == b"1", call.gone, deadline_ms=deadline_ms(call))
    return await call.desk.predict(call.who, asked)


def deadline_ms(call: Exchange) -> float:
    """How long the caller will wait, from the header Mofang-Deadline-Ms; 0 where it says nothing."""
    given = call.headers.get(b"mofang-deadline-ms")
    if given is None:
        return 0
    if not (given.isdigit() and len(given) < 9 and int(given)):
        raise MofangError("deadline-unreadable", text=given.decode("latin-1")[:40], most=10**8 - 1)
    return float(given)


async def usage(call: Exchange) -> Reply:
    """The caller's own account in the running month."""
    return Reply(200, orjson.dumps({"request_id": call.request_id, **await call.desk.usage(call.who)}))


async def health(call: Exchange) -> Reply:
    """Whether requests are answered."""
    well, told = call.desk.health()
    return Reply(200 if well else 503, orjson.dumps(told))


ROUTES = (
    Route("POST", "/v1/predict/{model}", "key", predict,
          "Answer one record (`{\"text\": …}`, column names as keys) or many (`{\"records\": [{…}, …]}`). `model` is `reviews` "
          "(newest) or `reviews@1`.", "回答一条记录或多条记录；模型写 `reviews`（最新）或 `reviews@1`。"),
    Route("GET", "/v1/usage", "key", usage,
          "The caller's running month: use by day and model, credit, what is left.", "调用方本月用量、额度与余额。"),
    Route("GET", "/health", "open", health,
          "200 and the models' names while requests are answered; 503 otherwise.", "可以应答时返回 200 和模型名称，否则 503。"),
)
