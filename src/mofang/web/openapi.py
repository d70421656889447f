"""``GET /openapi.json``: the OpenAPI 3.1 document of the prediction server, made from its table of routes.

Every route is an operation here, with what its row says of itself, but pages and those of the admin listener. What a body
must hold depends on the model: its names and types stand at ``GET /v2/models/{model}``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

import mofang
from mofang.trade.request.desk import Reply
from mofang.web.routes import Exchange, Route

FAULTS = {"400": "The request cannot be read.", "401": "No key, or none that is good.", "402": "The account's money is used up.",
          "403": "The key may not use this.", "404": "Nothing of that name.", "405": "Another method is served here.",
          "408": "The request came too slowly.", "409": "The first request with this Idempotency-Key is still being answered.",
          "413": "The body is too large.", "415": "This type of content is not read here.",
          "422": "The body does not fit the model.",
          "429": "More than may wait for you at once; see Retry-After.", "499": "The caller hung up.",
          "500": "The server's own fault; nothing was charged.", "503": "Busy or ending; see Retry-After.",
          "507": "The model does not fit into memory."}
ERROR = {"type": "object", "required": ["error"], "properties": {"error": {
    "type": "object", "required": ["code", "what", "fix", "request_id"], "additionalProperties": False,
    "properties": {name: {"type": "string"} for name in ("code", "what", "fix", "request_id")}}}}


def document(routes: Iterable[Route]) -> dict[str, Any]:
    """The whole document."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        if is_api(route):
            paths.setdefault(route.path, {})[route.method.lower()] = operation(route)
    return {"openapi": "3.1.0",
            "info": {"title": "Mofang", "version": mofang.__version__,
                     "description": "Predictions behind keys, every answer metered. 模坊：凭密钥调用，逐次计量。"},
            "paths": paths,
            "components": {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}, "schemas": {"Error": ERROR}}}


def is_api(route: Route) -> bool:
    """Whether a route is for programs of customers: no page for browsers, and not the admin listener's."""
    return route.scope in ("open", "key") and not route.path.startswith("/account")


def operation(route: Route) -> dict[str, Any]:
    """One route as an OpenAPI operation."""
    about = dict(route.about)
    answers = about.pop("responses", {"200": {"description": "The answer.", "content": {"application/json": {"schema": {}}}}})
    fault = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"} if route.error is None else route.error}}
    name = f"{route.method.lower()}{route.path.replace('/', '_').replace('{', '').replace('}', '')}"
    named = [{"name": one, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}} for one in route.named]
    return {"operationId": name, "summary": route.en, "description": route.zh,
            "security": [{"key": []}] if route.scope == "key" else [],
            "parameters": [*named, *about.pop("parameters", [])],
            "responses": {**answers, **{code: {"description": words, "content": fault} for code, words in FAULTS.items()
                                        if code not in answers}},
            **about}


async def openapi(call: Exchange) -> Reply:
    """The document of every route that this server answers."""
    return Reply(200, orjson.dumps(document(call.table)))


ROUTES = (Route("GET", "/openapi.json", "open", openapi, "This document: every route as OpenAPI 3.1.", "本文档：所有路由（OpenAPI 3.1）。"),)
