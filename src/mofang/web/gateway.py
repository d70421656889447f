"""Requests of the OpenAI protocols that an engine elsewhere answers: keys, reservation and bill here, the work there.

Whatever the request says goes on as it is, under the model's name there; refusals of the other side come back in its own words. A
caller who hangs up ends the connection to the other side, which ends the work.
"""

from __future__ import annotations

from typing import Any, cast

import orjson

from mofang.core.errors import MofangError
from mofang.serve.upstream import Answer, Upstream
from mofang.trade.elsewhere.remotes import Remote
from mofang.trade.request.desk import Desk, Reply, check_scope, reply_of
from mofang.trade.request.opened import Asked, Opened
from mofang.trade.request.replay import Stored
from mofang.web.openai_told import DONE, EVENTS, NO_CACHE
from mofang.web.routes import JSON, Exchange

BYTES_PER_TOKEN = 4   # where the other side says nothing of what was used
TEMPLATE_TOKENS = 64  # that a template may add to the words of a request
CHOICES_MAX = 128
SLOW = (408, 429, 503)
Body = dict[str, Any]


async def pass_on(call: Exchange, path: str, raw: bytes, body: Body, remote: Remote, upstream: Upstream) -> Reply | None:
    """Have a remote answer ``path`` (below ``/v1``), and charge what it says was used."""
    desk = cast(Desk, call.desk)
    check_scope(call.who.key, remote.name)
    output = desk.directory.output(remote.name)
    asked = Asked(call.request_id, remote.name, remote.row, len(raw) + TEMPLATE_TOKENS + output * _most(body, remote, path),
                  path.encode() + b"\0" + raw, call.retry_key)
    opened = await desk.begin(call.who, asked)
    streamed = body.get("stream") is True
    if isinstance(opened, Stored):
        return await _again(call, opened, streamed, remote)
    counted = False
    if streamed:
        options = body.get("stream_options")
        counted = isinstance(options, dict) and options.get("include_usage") is True
        body["stream_options"] = {**(options if isinstance(options, dict) else {}), "include_usage": True}
    body["model"] = remote.model
    answer: Answer | None = None
    try:
        answer = await upstream.ask(path, orjson.dumps(body), call.gone)
        if answer.status != 200:
            return _refused(remote, answer.status, await answer.read())
        if streamed and answer.headers.get(b"content-type", b"").startswith(b"text/event-stream"):
            await _Passing(call, remote, opened, output, counted, len(raw)).run(answer)
            return None
        data = await answer.read()
        return await _whole(remote, opened, output, data, len(raw), alone=upstream.under_way <= 1)
    finally:
        opened.abandon()
        if answer is not None:
            answer.close()


def _most(body: Body, remote: Remote, path: str) -> int:
    """Tokens that the answer can have."""
    if path == "/embeddings":
        return 0
    asked = body.get("max_completion_tokens", body.get("max_tokens"))
    choices = body.get("n") or 1
    if type(choices) is not int or not 0 < choices <= CHOICES_MAX:
        raise MofangError("parameter-wrong", parameter="n", wanted=f"a whole number from 1 to {CHOICES_MAX}")
    if asked is not None and (type(asked) is not int or asked < 1):
        raise MofangError("parameter-wrong", parameter="max_tokens", wanted="a whole number of at least 1")
    if asked is None:
        body["max_tokens"] = remote.most_tokens  # nobody may write more than was reserved
    return min(asked or remote.most_tokens, 10**9) * choices


async def _whole(remote: Remote, opened: Opened, output: int, data: bytes, sent: int, *, alone: bool) -> Reply:
    try:
        told = orjson.loads(data)
        if not isinstance(told, dict):
            raise ValueError
    except ValueError:
        raise MofangError("remote-broken", reason="its answer is no JSON object") from None
    read, written = _used(told.get("usage"), sent, len(data))
    if "model" in told:
        told["model"] = remote.name
    units = min(read + output * written, opened.asked.units)
    return reply_of(await opened.settle(units, orjson.dumps(told), tokens=(read, written), alone=alone), remote.name)


def _used(usage: Any, sent: int, came: int) -> tuple[int, int]:
    """Tokens read and written, as the other side says, else by the length of what went and came."""
    if isinstance(usage, dict):
        read, written = usage.get("prompt_tokens"), usage.get("completion_tokens", 0)
        if type(read) is int and type(written) is int and read >= 0 and written >= 0:
            return read, written
    return sent // BYTES_PER_TOKEN + 1, came // BYTES_PER_TOKEN + 1


def _refused(remote: Remote, status: int, data: bytes) -> Reply:
    """A refusal of the other side: about the request in its own words, about us in ours."""
    if status in SLOW:
        raise MofangError("remote-busy", name=remote.name)
    if status in (400, 413, 422):
        try:
            told = orjson.loads(data)
        except ValueError:
            told = None
        said = told.get("error", told.get("detail")) if isinstance(told, dict) else None
        message = said.get("message") if isinstance(said, dict) else said
        param = said.get("param") if isinstance(said, dict) else None
        error = {"message": str(message or "The engine refused the request.")[:2000], "type": "invalid_request_error",
                 "param": param if isinstance(param, str) else None,
                 "code": said.get("code") if isinstance(said, dict) and isinstance(said.get("code"), str) else "remote-refused"}
        return Reply(400, orjson.dumps({"error": error}), (JSON,))
    raise MofangError("remote-failed", name=remote.name, status=status)


async def _again(call: Exchange, stored: Stored, streamed: bool, remote: Remote) -> Reply | None:
    if not streamed:
        return reply_of(stored, remote.name)
    stream = await call.stream(200, (EVENTS, NO_CACHE, (b"idempotent-replayed", b"true")))
    await stream.send(stored.body)
    return None


class _Passing:
    """A stream on its way through: events go on as they come, the last ones after the answer was charged."""

    def __init__(self, call: Exchange, remote: Remote, opened: Opened, output: int, counted: bool, sent: int) -> None:
        self.call, self.remote, self.opened, self.output, self.counted, self.sent = call, remote, opened, output, counted, sent
        self.usage: Any = None
        self.made = self.delivered = 0
        self.whole: list[bytes] = []
        self.held = b""
        self.over = False

    async def run(self, answer: Answer) -> None:
        """Pass everything on."""
        stream = await self.call.stream(200, (EVENTS, NO_CACHE))
        rest = b""
        try:
            async for piece in answer.pieces():
                *events, rest = (rest + piece).replace(b"\r\n", b"\n").split(b"\n\n")
                now = b"".join(map(self._event, events))
                if now and not await stream.send(now):
                    await self._break_off()
                    return
                self.delivered = self.made
                if self.over:
                    break
        except MofangError:
            await self._break_off()
            raise
        if not self.over:
            await self._break_off()
            raise MofangError("remote-broken", reason="its stream ended before [DONE]")
        read, written = _used(self.usage, self.sent, self.made * BYTES_PER_TOKEN)
        units = min(read + self.output * written, self.opened.asked.units)
        self.call.model = self.remote.name
        await self.opened.settle(units, b"".join([*self.whole, self.held]), tokens=(read, written))
        await stream.send(self.held)

    def _event(self, event: bytes) -> bytes:
        """One event as it goes on; what must wait for the charge is held back."""
        if not event.startswith(b"data:"):
            return b""
        data = event[5:].strip()
        if data == b"[DONE]":
            self.over, self.held = True, self.held + DONE
            return b""
        try:
            told = orjson.loads(data)
        except ValueError:
            raise MofangError("remote-broken", reason="an event is no JSON") from None
        if not isinstance(told, dict):
            raise MofangError("remote-broken", reason="an event is no JSON object")
        told["model"] = self.remote.name
        last = isinstance(told.get("usage"), dict)
        if last:
            self.usage = told["usage"]
        choices = told.get("choices") or []
        if not self.counted:
            told.pop("usage", None)
            if last and not choices:
                return b""
        self.made += any(one.get("text") or (one.get("delta") or {}).get("content") for one in choices if isinstance(one, dict))
        made = b"data: " + orjson.dumps(told) + b"\n\n"
        if self.held or last or any(one.get("finish_reason") for one in choices if isinstance(one, dict)):
            self.held += made
            return b""
        self.whole.append(made)
        return made

    async def _break_off(self) -> None:
        """Charge what was delivered: an event counts as a token where nobody says more."""
        if self.delivered:
            read = self.sent // BYTES_PER_TOKEN + 1
            units = min(read + self.output * self.delivered, self.opened.asked.units)
            await self.opened.settle(units, b"", tokens=(read, self.delivered), keep=False)
