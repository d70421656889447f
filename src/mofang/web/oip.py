"""The Open Inference Protocol, version 2 (kserve.github.io), over HTTP, with its extension for binary tensors.

``/v2/health/live`` and ``/v2/health/ready``, ``/v2``, ``/v2/models/{model}[/versions/{version}]`` with ``/ready`` and
``/infer``: what Triton's and KServe's clients speak. The key goes into the header Authorization, as everywhere, and every
answer is charged in the same way; what was charged stands in the answer's parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from json import JSONDecoder
from typing import Any

import orjson

import mofang
from mofang.core.errors import MofangError
from mofang.engine.encode import Record
from mofang.engine.request import decode_body
from mofang.trade.request.desk import Call, Reply
from mofang.trade.request.model import Model, Served
from mofang.web.plain import deadline_ms
from mofang.web.routes import Exchange, Method, Route, Scope, refusal_headers
from mofang.web.tensors import (
    DATATYPES,
    Tensor,
    body_of,
    checked,
    from_binary,
    inputs_of,
    outputs_of,
    size_of,
    tensors_of,
    to_binary,
    wrong,
)

LENGTH = b"inference-header-content-length"
BINARY = (b"content-type", b"application/octet-stream")
ERROR = {"type": "object", "required": ["error"],
         "properties": {name: {"type": "string"} for name in ("error", "code", "request_id")}}
TENSOR = {"type": "object", "required": ["name", "datatype", "shape", "data"], "properties": {
    "name": {"type": "string"}, "datatype": {"enum": list(DATATYPES)},
    "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
    "data": {"type": "array"}, "parameters": {"type": "object"}}}
INFER = {"requestBody": {"required": True, "content": {"application/json": {"schema": {
    "type": "object", "required": ["inputs"], "properties": {
        "id": {"type": "string"}, "inputs": {"type": "array", "minItems": 1, "items": TENSOR},
        "outputs": {"type": "array", "items": {
            "type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}}}}}}}}
BYTES_OF_JSON = "binary_data_size"


def refuse(error: MofangError, call: Exchange) -> Reply:
    """An error as the protocol words it: one sentence, with our code beside it."""
    what, fix = error.worded(call.language)
    return Reply(error.status, orjson.dumps({"error": f"{what} {fix}", "code": error.code, "request_id": call.request_id}),
                 refusal_headers(error))


def release_of(model: str, version: str) -> str:
    """The name that the house gives to a model and a version."""
    return f"{model}@{version}" if version else model


def describe(served: Served, names: Sequence[str]) -> dict[str, Any]:
    """A model's metadata: versions, platform, inputs and outputs."""
    signature: Any = getattr(served.model, "signature", {"inputs": []})
    task: Any = getattr(served.model, "task", None)
    engine = getattr(served.model, "engine", None) or {}
    versions = sorted((name.partition("@")[2] for name in {*names, served.name} if name.partition("@")[0] == served.base),
                      key=lambda v: int(v or 0))
    return {"name": served.base, "versions": versions, "platform": f"mofang_{engine.get('engine', 'engine')}",
            "inputs": inputs_of(signature), "outputs": outputs_of(task.answer_schema(signature) if task else {})}


async def live(call: Exchange) -> Reply:
    """The process runs."""
    return Reply(200, orjson.dumps({"live": True}))


async def ready(call: Exchange) -> Reply:
    """Requests are answered."""
    well, _ = call.desk.health()
    return Reply(200 if well else 503, orjson.dumps({"ready": well}))


async def server(call: Exchange) -> Reply:
    """What this server is."""
    return Reply(200, orjson.dumps({"name": "mofang", "version": mofang.__version__, "extensions": ["binary_tensor_data"]}))


async def model(call: Exchange) -> Reply:
    """What a model takes and gives."""
    served = await call.desk.find(call.who, release_of(call.params["model"], call.params.get("version", "")))
    return Reply(200, orjson.dumps(describe(served, call.desk.served.names())))


async def model_ready(call: Exchange) -> Reply:
    """Whether a model answers; one that is put away is opened."""
    served = await call.desk.find(call.who, release_of(call.params["model"], call.params.get("version", "")))
    return Reply(200, orjson.dumps({"name": served.base, "ready": True}))


async def infer(call: Exchange) -> Reply:
    """Answer tensors with tensors, and charge them."""
    body = await call.body()
    asked = Asked(call.headers.get(LENGTH))
    name = release_of(call.params["model"], call.params.get("version", ""))
    reply = await call.desk.predict(call.who, Call(
        call.request_id, name, body, call.retry_key, False, call.gone, asked.records, partial(write_json, asked),
        deadline_ms(call)))
    length = header_length(reply.body)
    if length == len(reply.body):
        return reply
    return Reply(reply.status, reply.body, (*reply.headers, BINARY, (LENGTH, b"%d" % length)), reply.model)


class Asked:
    """A request of the protocol: its tensors, its own id, and which outputs it wants, in binary or not.

    It is read once it is known that the caller may use the model.
    """

    def __init__(self, length: bytes | None) -> None:
        self.length = length
        self.id = ""
        self.rest = b""
        self.tensors: list[Tensor] = []
        self.all_binary = False
        self.outputs: dict[str, bool] | None = None

    def records(self, model: Model, body: bytes) -> tuple[list[Record], bool]:
        """The records, and that they are many."""
        self._read(body)
        names = {each["name"] for each in outputs_of(schema_of(model))}
        for name in self.outputs or {}:
            if name not in names:
                raise wrong(f"outputs: {name}", f"this model gives {', '.join(sorted(names))}")
        return model.parse(body_of(getattr(model, "signature", {"inputs": []}), self.tensors))[0], True

    def _read(self, body: bytes) -> None:
        head, length = body, self.length
        if length is not None:
            if not length.isdigit() or int(length) > len(body):
                raise wrong("Inference-Header-Content-Length", "it says more bytes than the body has, or no number")
            head, self.rest = body[: int(length)], body[int(length) :]
        given = decode_body(head)
        if not isinstance(given, dict) or not isinstance(given.get("inputs"), list):
            raise wrong("inputs", "the body must be an object with a list of inputs")
        self.id = str(given.get("id") or "")[:200]
        self.tensors = [self._tensor(one, f"inputs[{number}]") for number, one in enumerate(given["inputs"])]
        if self.rest:
            raise wrong("the body", f"{len(self.rest)} bytes at its end belong to no input")
        self.all_binary = _flag(given, "binary_data_output")
        wanted = given.get("outputs")
        if isinstance(wanted, list) and wanted:
            self.outputs = {}
            for number, one in enumerate(wanted):
                if not isinstance(one, dict) or not isinstance(one.get("name"), str):
                    raise wrong(f"outputs[{number}]", "each must be an object with a name")
                self.outputs[one["name"]] = _flag(one, "binary_data")

    def _tensor(self, given: Any, at: str) -> Tensor:
        if not isinstance(given, dict) or not isinstance(given.get("name"), str) or not isinstance(given.get("shape"), list):
            raise wrong(at, "each must be an object with name, datatype, shape and data")
        datatype, shape = str(given.get("datatype")), given["shape"]
        parameters = given.get("parameters")
        size = parameters.get(BYTES_OF_JSON) if isinstance(parameters, dict) else None
        if size is not None:
            if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= len(self.rest):
                raise wrong(at, "its binary_data_size is more than what follows the JSON")
            data, self.rest = self.rest[:size], self.rest[size:]
            return from_binary(given["name"], datatype, shape, data, at)
        size_of(shape, at)
        return checked(Tensor(given["name"], datatype, shape, flat(given.get("data"), len(shape), at)), at)


def flat(data: Any, depth: int, at: str) -> list[Any]:
    """The values of nested lists in row order; a list that is flat already stays."""
    if not isinstance(data, list):
        raise wrong(at, "its data must be a list")
    while depth > 1 and data and all(isinstance(one, list) for one in data):
        data = [value for row in data for value in row]
        depth -= 1
    found: list[Any] = data
    return found


def schema_of(model: Any) -> dict[str, Any]:
    """The JSON Schema of a model's answers."""
    task = getattr(model, "task", None)
    schema: dict[str, Any] = task.answer_schema(model.signature) if task else {}
    return schema


def written(asked_outputs: dict[str, bool] | None, schema: dict[str, Any], answers: Sequence[dict[str, Any]]) -> list[Tensor]:
    """The outputs that were asked for, or all, in order."""
    found = tensors_of(schema, answers)
    return found if asked_outputs is None else [one for one in found if one.name in asked_outputs]


def write_json(asked: Asked, told: dict[str, Any], model: Any) -> bytes:
    """The answer: JSON, then the bytes of those tensors that were asked for in binary."""
    outputs, tail = [], []
    for tensor in written(asked.outputs, schema_of(model), told["answers"]):
        about: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape}
        if (asked.outputs or {}).get(tensor.name, asked.all_binary):
            tail.append(to_binary(tensor))
            about["parameters"] = {**tensor.parameters, BYTES_OF_JSON: len(tail[-1])}
        else:
            about |= ({"parameters": tensor.parameters} if tensor.parameters else {}) | {"data": tensor.data}
        outputs.append(about)
    base, _, version = told["model"].partition("@")
    said = {name: told[name] for name in ("request_id", "units", "price", "currency", "test")}
    head = {"model_name": base, "model_version": version, "id": asked.id or told["request_id"], "parameters": said,
            "outputs": outputs}
    return orjson.dumps(head) + b"".join(tail)


def header_length(body: bytes) -> int:
    """Where the JSON of an answer ends and the binary tensors begin."""
    if body.endswith(b"}") and b'"binary_data_size"' not in body:
        return len(body)
    return JSONDecoder().raw_decode(body.decode("latin-1"))[1]


def _flag(given: dict[str, Any], name: str) -> bool:
    parameters = given.get("parameters")
    return isinstance(parameters, dict) and parameters.get(name) is True


def _routes() -> tuple[Route, ...]:
    path = "/v2/models/{model}"
    rows: list[tuple[Method, str, Scope, Callable[[Exchange], Any], str, str]] = [
        ("GET", "/v2/health/live", "open", live, "200 while the process runs.", "进程在运行时返回 200。"),
        ("GET", "/v2/health/ready", "open", ready, "200 while requests are answered; 503 otherwise.", "可以应答时返回 200，否则 503。"),
        ("GET", "/v2", "open", server, "Name and version of the server.", "服务的名称与版本。")]
    for place in (path, path + "/versions/{version}"):
        rows += [("GET", place, "key", model, "What a model takes and gives.", "模型的输入与输出。"),
                 ("GET", f"{place}/ready", "key", model_ready, "200 where the model answers.", "模型可以应答时返回 200。"),
                 ("POST", f"{place}/infer", "key", infer,
                  "Answer tensors with tensors (Open Inference Protocol v2, JSON or binary).", "以张量应答（开放推理协议 v2，JSON 或二进制）。")]
    return tuple(Route(method, place, scope, handler, en, zh, refuse=refuse, error=ERROR,
                       about=INFER if handler is infer else {})
                 for method, place, scope, handler, en, zh in rows)


ROUTES = _routes()
