"""The OpenAI protocols: ``/v1/chat/completions``, ``/v1/completions``, ``/v1/embeddings``, ``/v1/models``, and the door of
``/v1/audio/transcriptions``; the stock ``openai`` client needs a base address and a key of ours, and nothing else.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, cast

import numpy as np
import orjson

from mofang.core.errors import MofangError
from mofang.core.nearest import nearest
from mofang.engine.encode.template import read_messages
from mofang.engine.generation.rows import Piece
from mofang.engine.generation.sampling import Told
from mofang.serve.batching import Done
from mofang.serve.upstream import Upstream
from mofang.trade.elsewhere.remotes import Remote
from mofang.trade.request.desk import Call, Desk, Reply, check_scope, reply_of
from mofang.trade.request.model import Served
from mofang.trade.request.opened import Asked
from mofang.trade.request.replay import Stored
from mofang.trade.request.writing import Writing, begin_writing
from mofang.web.gateway import pass_on
from mofang.web.openai_asked import Generation, read_body, read_chat, read_completion, read_embedding
from mofang.web.openai_told import EVENTS, NO_CACHE, Form, error_body, event, refuse, told_tokens, usage
from mofang.web.routes import Exchange, Route

CREATED = 1_700_000_000  # of a model in a list; when a package was made is nobody's business


async def chat(call: Exchange) -> Reply | None:
    """A conversation's next message."""
    return await _here_or_elsewhere(call, "/chat/completions", read_chat)


async def completions(call: Exchange) -> Reply | None:
    """What follows a prompt."""
    return await _here_or_elsewhere(call, "/completions", read_completion)


async def _here_or_elsewhere(call: Exchange, path: str, read: Callable[[bytes], Generation]) -> Reply | None:
    raw = await call.body()
    found = elsewhere(call, body := read_body(raw))
    return await pass_on(call, path, raw, body, *found) if found else await _generate(call, raw, read(raw))


def elsewhere(call: Exchange, body: dict[str, Any]) -> tuple[Remote, Upstream] | None:
    """The engine elsewhere that the request's model names, if it is one."""
    gateway = cast(Desk, call.desk).gateway
    return gateway.find(str(body.get("model"))) if gateway is not None else None


async def _generate(call: Exchange, raw: bytes, asked: Generation) -> Reply | None:
    desk = cast(Desk, call.desk)
    served = await desk.find(call.who, asked.model, call.retry_key or call.request_id)
    if served.writer is None:
        raise MofangError("model-other-task", model=asked.model, wanted="text_generation")
    generator = served.writer.generator
    if asked.messages:
        read_messages(asked.messages)
        record = generator.conversation(asked.messages)
    else:
        (record,), _ = generator.parse({"prompt": asked.prompt})
    at_desk = Call(call.request_id, asked.model, call.path.encode() + b"\0" + raw, call.retry_key, False, call.gone)
    begun = await begin_writing(desk, call.who, served, at_desk, record, asked.sampling)
    form = Form(call.request_id, served.name, int(time.time()), bool(asked.messages), asked.usage)
    if isinstance(begun, Stored):
        return await _replay(call, served, begun, form if asked.stream else None)
    try:
        if asked.stream:
            call.model = served.name
            await _streamed(call, served, begun, form)
            return None
        return await _whole(served, begun, form)
    finally:
        begun.job.cancel()
        begun.opened.abandon()


async def _replay(call: Exchange, served: Served, stored: Stored, form: Form | None) -> Reply | None:
    """The first answer again; whoever asked for events gets them in one piece."""
    if form is None:
        return reply_of(stored, served.name)
    stream = await call.stream(stored.status, (EVENTS, NO_CACHE, (b"idempotent-replayed", b"true")))
    await stream.send(form.replayed(stored.body))
    return None


async def _whole(served: Served, begun: Writing, form: Form) -> Reply:
    assert served.writer is not None
    text, told, finish = "", list[Told](), ""
    while not finish:
        for piece in await begun.pieces.next():
            if isinstance(piece, MofangError):
                raise piece
            text, finish = text + piece.text, piece.finish
            told += [piece.told] if piece.told else []
    written = len(begun.job.row.ids)
    shown = told_tokens(told, served.writer.generator.encoder.decode)
    body = form.whole(text, finish, shown, usage(begun.prompt, written))
    return reply_of(await begun.opened.settle(begun.units(written), body, tokens=(begun.prompt, written),
                                               records=[begun.record], answers=[{"text": text}]), served.name)


async def _streamed(call: Exchange, served: Served, begun: Writing, form: Form) -> None:
    """Words as they come; the last event waits until the answer is charged. Who hangs up pays for what was sent."""
    assert served.writer is not None
    decode, stream = served.writer.generator.encoder.decode, None
    text, told, made, sent = "", list[Told](), 0, 0
    while True:
        found = await begun.pieces.next()
        fault = next((one for one in found if isinstance(one, MofangError)), None)
        if fault is not None and stream is None:
            raise fault  # nothing was sent: the caller gets a status
        pieces = [one for one in found if isinstance(one, Piece)]
        now = "".join(one.text for one in pieces)
        shown = [one.told for one in pieces if one.told]
        text, told = text + now, told + shown
        left = made + max((place for place, one in enumerate(pieces, 1) if one.text and one.finish != "end"), default=0)
        made += sum(one.finish != "end" for one in pieces)  # each piece is a token, but for the mark of the end
        events = form.words(now, told_tokens(shown, decode))
        if stream is None:
            stream = await call.stream(200, (EVENTS, NO_CACHE))
            events = form.first() + events
        if fault is not None:
            await _break_off(call, begun, sent)
            await stream.send(event(error_body(fault, call)))
            raise fault
        if pieces and pieces[-1].finish:
            finish, written = pieces[-1].finish, len(begun.job.row.ids)
            used = usage(begun.prompt, written)
            whole = form.whole(text, finish, told_tokens(told, decode), used)
            await begun.opened.settle(begun.units(written), whole, tokens=(begun.prompt, written), records=[begun.record],
                                      answers=[{"text": text}])
            await stream.send(events + form.last(finish, used))
            return
        if events and not await stream.send(events):
            await _break_off(call, begun, sent)
            return
        sent = max(sent, left)


async def _break_off(call: Exchange, begun: Writing, sent: int) -> None:
    """Stop the work and charge for what was delivered; a retry is a new request."""
    begun.job.cancel()
    if sent:
        await begun.opened.settle(begun.units(sent), b"", tokens=(begun.prompt, sent), keep=False)


async def embeddings(call: Exchange) -> Reply | None:
    """Vectors of texts."""
    raw = await call.body()
    found = elsewhere(call, body := read_body(raw))
    return await pass_on(call, "/embeddings", raw, body, *found) if found else await _embed(call, raw)


async def _embed(call: Exchange, raw: bytes) -> Reply:
    asked, desk = read_embedding(raw), cast(Desk, call.desk)
    served = await desk.find(call.who, asked.model, call.retry_key or call.request_id)
    signature = getattr(served.model, "signature", {})
    if signature.get("task") != "text_embedding":
        raise MofangError("model-other-task", model=asked.model, wanted="text_embedding")
    column = signature["inputs"][0]["name"]
    records, _ = served.model.parse({"records": [{column: one} for one in asked.texts]})
    units = served.model.units(records)
    opened = await desk.begin(call.who, Asked(call.request_id, served.name, served.package, units,
                                              call.path.encode() + b"\0" + raw, call.retry_key))
    if isinstance(opened, Stored):
        return reply_of(opened, served.name)
    try:
        future = desk.outbox.loop.create_future()
        deadline_s = time.monotonic() + desk.deadline_s
        answered: Done = partial(desk.outbox.put, future)
        if desk.rollout is not None:
            answered = desk.rollout.around(served.name, records, answered)
        ticket = served.batcher.submit(records, answered, deadline_s=deadline_s, gone=call.gone,
                                       account=call.who.customer.id)
        answers = await desk.outcome(future, ticket, deadline_s)
        if isinstance(answers, MofangError):
            raise answers
        vectors = [np.asarray(one["embedding"], dtype=np.float32) for one in answers]
        if asked.dimensions and asked.dimensions != len(vectors[0]):
            raise MofangError("parameter-wrong", parameter="dimensions", wanted=str(len(vectors[0])))
        mask = served.model.encode(records).get("attention_mask")
        tokens = units if mask is None else int(mask.sum())  # some models read no tokens
        data = [{"object": "embedding", "index": number, "embedding": _vector(one, asked.base64)}
                for number, one in enumerate(vectors)]
        told = orjson.dumps({"object": "list", "model": served.name, "data": data,
                             "usage": {"prompt_tokens": tokens, "total_tokens": tokens}})
        return reply_of(await opened.settle(units, told, records=records, answers=answers), served.name)
    finally:
        opened.abandon()


def _vector(values: Any, packed: bool) -> Any:
    return base64.b64encode(values.tobytes()).decode() if packed else values.tolist()


async def models(call: Exchange) -> Reply:
    """The models that this key may ask."""
    found = [_about(name) for name in _allowed(call)]
    return Reply(200, orjson.dumps({"object": "list", "data": found}))


async def model(call: Exchange) -> Reply:
    """One model."""
    name = call.params["model"]
    if name not in _allowed(call):
        raise MofangError("model-unknown", model=name, nearest=nearest(name, _allowed(call)))
    return Reply(200, orjson.dumps(_about(name)))


def _allowed(call: Exchange) -> list[str]:
    """The names that this key may ask for: releases, and the plain names of the newest."""
    desk, found = cast(Desk, call.desk), []
    remotes = desk.gateway.names() if desk.gateway is not None else []
    for name in sorted([*desk.served, *remotes]):
        with suppress(MofangError):
            check_scope(call.who.key, desk.served.release(name))
            found.append(name)
    if desk.own is not None:
        found += desk.own.names(call.who.customer.id)
    return found


def _about(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": CREATED, "owned_by": "mofang"}


async def transcriptions(call: Exchange) -> Reply:
    """Speech is not turned into text here yet."""
    raise MofangError("transcription-none")


ERROR = {"type": "object", "required": ["error"], "properties": {"error": {
    "type": "object", "required": ["message", "type", "param", "code"], "properties": {
        "message": {"type": "string"}, "type": {"type": "string"}, "param": {"type": ["string", "null"]},
        "code": {"type": ["string", "null"]}}}}}
BODY = {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}


def _route(method: Any, path: str, handler: Any, en: str, zh: str) -> Route:
    return Route(method, path, "key", handler, en, zh, refuse=refuse, error=ERROR,
                 about={"requestBody": BODY} if method == "POST" else {})


ROUTES = (
    _route("POST", "/v1/chat/completions", chat, "Answer a conversation (OpenAI protocol)", "回答对话（OpenAI 协议）"),
    _route("POST", "/v1/completions", completions, "Continue a prompt (OpenAI protocol)", "续写提示（OpenAI 协议）"),
    _route("POST", "/v1/embeddings", embeddings, "Vectors of texts (OpenAI protocol)", "文本向量（OpenAI 协议）"),
    _route("GET", "/v1/models", models, "The models that the key may ask (OpenAI protocol)", "密钥可用的模型（OpenAI 协议）"),
    _route("GET", "/v1/models/{model}", model, "One model (OpenAI protocol)", "单个模型（OpenAI 协议）"),
    _route("POST", "/v1/audio/transcriptions", transcriptions, "Speech to text: refused, no such model is served yet",
           "语音转文字：暂无此类模型，一律拒绝"),
)
