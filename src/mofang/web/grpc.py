"""The Open Inference Protocol over gRPC: the same models, keys and charges as over HTTP, on a port of its own.

The key goes into the call's metadata as ``authorization: Bearer …``, an ``idempotency-key`` beside it; a call's deadline is
the caller's own. Refusals carry our code and the request's id in the trailing metadata.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import mofang
from mofang.core.errors import MofangError
from mofang.core.identity import new_id
from mofang.core.language import language_of
from mofang.engine.encode import Record
from mofang.engine.runtimes import missing_package
from mofang.serve.boundary import attempt, attempt_async
from mofang.trade.request.desk import Call
from mofang.trade.request.model import Model
from mofang.web.messages import METHODS, SERVICE, messages
from mofang.web.oip import describe, release_of, schema_of, written
from mofang.web.predict import BODY_BYTES_MAX, bearer
from mofang.web.routes import REPLAYED
from mofang.web.tensors import Tensor, body_of, checked, from_binary, outputs_of, to_binary, wrong

CALLS_MAX = 4096
STATUS = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 402: "RESOURCE_EXHAUSTED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND",
          409: "ABORTED", 413: "INVALID_ARGUMENT", 415: "INVALID_ARGUMENT", 422: "INVALID_ARGUMENT", 429: "RESOURCE_EXHAUSTED",
          499: "CANCELLED", 503: "UNAVAILABLE", 507: "RESOURCE_EXHAUSTED"}
CONTENTS = {"BOOL": "bool_contents", "INT8": "int_contents", "INT16": "int_contents", "INT32": "int_contents",
            "INT64": "int64_contents", "UINT8": "uint_contents", "UINT16": "uint_contents", "UINT32": "uint_contents",
            "UINT64": "uint64_contents", "FP32": "fp32_contents", "FP64": "fp64_contents", "BYTES": "bytes_contents"}

log = logging.getLogger("mofang.grpc")


class GrpcDoor:
    """A gRPC server over a desk, on the event loop that serves HTTP; ``port`` 0 takes a free one, known once it is open.

    ``shared``: other processes of this account serve on the same port, and the system deals out connections among them.
    """

    def __init__(self, desk: Any, statistics: Any, host: str, port: int, *, certificate: Path | None = None,
                 private_key: Path | None = None, body_bytes_max: int = BODY_BYTES_MAX, shared: bool = False) -> None:
        missing = missing_package("grpc", "grpcio") or missing_package("google.protobuf", "protobuf")
        if missing:
            raise MofangError("grpc-missing", reason=missing)
        self.desk = desk
        self.statistics = statistics
        self.host = f"[{host}]" if ":" in host else host
        self.port = port
        self.certificate = certificate
        self.private_key = private_key
        self.body_bytes_max = body_bytes_max
        self.shared = shared
        self._server: Any = None

    async def open(self) -> None:
        """Begin to answer."""
        import grpc

        options = [("grpc.max_receive_message_length", self.body_bytes_max), ("grpc.so_reuseport", int(self.shared))]
        self._server = grpc.aio.server(options=options, maximum_concurrent_rpcs=CALLS_MAX)
        handlers = {name: grpc.unary_unary_rpc_method_handler(partial(self._answer, name)) for name in METHODS}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        place, wanted = f"{self.host}:{self.port}", self.port
        if self.certificate is not None and self.private_key is not None:
            credentials = grpc.ssl_server_credentials([(self.private_key.read_bytes(), self.certificate.read_bytes())])
            fault = attempt(lambda: setattr(self, "port", self._server.add_secure_port(place, credentials)))
        else:
            fault = attempt(lambda: setattr(self, "port", self._server.add_insecure_port(place)))
        if fault is not None or not self.port:
            raise MofangError("address-taken", host=self.host, port=wanted, reason="gRPC cannot bind it")
        await self._server.start()

    async def close(self) -> None:
        """Finish what has begun and end."""
        if self._server is not None:
            await self._server.stop(10.0)

    async def _answer(self, method: str, data: bytes, context: Any) -> bytes:
        """One call: the answer's bytes, or a status with our code beside it."""
        import grpc

        told = dict(context.invocation_metadata() or ())
        request_id = new_id("req")
        outcome = await attempt_async(self._handle(method, data, context, told, request_id))
        if isinstance(outcome, bytes):
            context.set_trailing_metadata((("mofang-request-id", request_id),))
            return outcome
        error = outcome if isinstance(outcome, MofangError) else MofangError("server-fault", request=request_id)
        if error is not outcome:
            self.statistics.fault(request_id, outcome)
        self.statistics.refuse(error.code, error.status)
        what, fix = error.worded(language_of(str(told.get("accept-language", ""))))
        name = "DEADLINE_EXCEEDED" if error.code == "too-late" else STATUS.get(error.status, "INTERNAL")
        await context.abort(getattr(grpc.StatusCode, name), f"{what} {fix}",
                            (("mofang-code", error.code), ("mofang-request-id", request_id)))
        raise AssertionError("abort raises")

    async def _handle(self, method: str, data: bytes, context: Any, told: dict[str, Any], request_id: str) -> bytes:
        made = messages()
        request = made[f"{method}Request"]()
        if attempt(partial(request.ParseFromString, data)) is not None:
            raise wrong("the message", f"it is no {method}Request")
        if method in ("ServerLive", "ServerReady", "ServerMetadata"):
            well = method == "ServerLive" or self.desk.health()[0]
            answer = made["ServerMetadataResponse"](name="mofang", version=mofang.__version__) \
                if method == "ServerMetadata" else made[f"{method}Response"](**{method.removeprefix("Server").lower(): well})
            return _bytes(answer)
        who = self.desk.admit(bearer(str(told.get("authorization", "")).encode("latin-1", "replace")))
        if method == "ModelInfer":
            return await self._infer(who, request, data, context, told, request_id)
        served = await self.desk.find(who, release_of(request.name, request.version))
        if method == "ModelReady":
            return _bytes(made["ModelReadyResponse"](ready=True))
        about = describe(served, self.desk.served.names())
        found = made["ModelMetadataResponse"](name=about["name"], versions=about["versions"], platform=about["platform"])
        for side in ("inputs", "outputs"):
            for one in about[side]:
                getattr(found, side).add(name=one["name"], datatype=one["datatype"], shape=one["shape"])
        return _bytes(found)

    async def _infer(self, who: Any, request: Any, data: bytes, context: Any, told: dict[str, Any], request_id: str) -> bytes:
        asked = Asked(request)
        retry_key = told.get("idempotency-key")
        left_s = context.time_remaining()
        call = Call(request_id, release_of(request.model_name, request.model_version), data,
                    None if retry_key is None else str(retry_key), False, context.done, asked.records,
                    partial(write, asked), max(1.0, min(left_s, 3600.0) * 1000) if left_s is not None else 0)
        reply = await _timed(self.statistics, self.desk.predict(who, call), request_id)
        return bytes(reply.body)


async def _timed(statistics: Any, answer: Awaitable[Any], request_id: str) -> Any:
    """The answer, with the time that it took counted."""
    from time import perf_counter

    began_s = perf_counter()
    reply = await answer
    statistics.took(perf_counter() - began_s, reply.model, "" if REPLAYED in reply.headers else request_id)
    return reply


class Asked:
    """A request's tensors and the outputs that it wants."""

    def __init__(self, request: Any) -> None:
        self.id = request.id[:200]
        self.request = request
        self.outputs = dict.fromkeys((one.name for one in request.outputs), True) or None

    def records(self, model: Model, _body: bytes) -> tuple[list[Record], bool]:
        """The records, and that they are many."""
        raw, inputs = list(self.request.raw_input_contents), self.request.inputs
        if raw and len(raw) != len(inputs):
            raise wrong("raw_input_contents", f"it holds {len(raw)} tensors for {len(inputs)} inputs")
        tensors = [_tensor(one, raw[number] if raw else None, f"inputs[{number}]") for number, one in enumerate(inputs)]
        names = {each["name"] for each in outputs_of(schema_of(model))}
        for name in self.outputs or {}:
            if name not in names:
                raise wrong(f"outputs: {name}", f"this model gives {', '.join(sorted(names))}")
        return model.parse(body_of(getattr(model, "signature", {"inputs": []}), tensors))[0], True


def _tensor(given: Any, raw: bytes | None, at: str) -> Tensor:
    shape = list(given.shape)
    if raw is not None:
        return from_binary(given.name, given.datatype, shape, raw, at)
    field = CONTENTS.get(given.datatype)
    if field is None:
        raise wrong(at, f"{given.datatype!r} has no contents; send it raw")
    return checked(Tensor(given.name, given.datatype, shape, list(getattr(given.contents, field))), at)


def write(asked: Asked, told: dict[str, Any], model: Any) -> bytes:
    """The answer as a ModelInferResponse."""
    base, _, version = told["model"].partition("@")
    answer = messages()["ModelInferResponse"](model_name=base, model_version=version, id=asked.id or told["request_id"])
    for name in ("request_id", "price", "currency"):
        answer.parameters[name].string_param = told[name]
    answer.parameters["units"].int64_param = told["units"]
    answer.parameters["test"].bool_param = told["test"]
    tensors: Sequence[Tensor] = written(asked.outputs, schema_of(model), told["answers"])
    for tensor in tensors:
        one = answer.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        for name, value in tensor.parameters.items():
            one.parameters[name].string_param = value
        answer.raw_output_contents.append(to_binary(tensor))
    return _bytes(answer)


def _bytes(message: Any) -> bytes:
    found: bytes = message.SerializeToString()
    return found
