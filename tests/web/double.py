"""An engine elsewhere, as small as it can be: it speaks the OpenAI protocols, counts what it is asked, and fails when told to."""

from __future__ import annotations

import asyncio
import json
from typing import Any

WORDS = ["你好", "，", "world", "!"]


class Double:
    """An ASGI application. ``mode`` says how it answers; ``asked`` holds what it was asked, ``ended`` how many streams were cut."""

    def __init__(self) -> None:
        self.mode = ""
        self.asked: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.sent = self.ended = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        raw, more = b"", True
        while more:
            message = await receive()
            raw, more = raw + message.get("body", b""), bool(message.get("more_body"))
        body = json.loads(raw)
        self.asked.append((scope["path"], {key.decode(): value.decode() for key, value in scope["headers"]}, body))
        if self.mode.isdigit():
            said = {"error": {"message": "secret-of-theirs is wrong" if self.mode == "401" else "top_p must be in (0, 1]", "param": "top_p",
                              "code": "their-code"}}
            await _reply(send, int(self.mode), said)
        elif self.mode == "silent":
            await asyncio.sleep(3)
        elif self.mode == "nonsense":
            await _reply(send, 200, ["no object"])
        elif body.get("stream"):
            await self._stream(body, receive, send)
        else:
            await _reply(send, 200, self._whole(scope["path"], body))

    def _whole(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        used = {} if self.mode == "uncounted" else {"usage": {"prompt_tokens": 11, "completion_tokens": 4, "total_tokens": 15}}
        if path.endswith("/embeddings"):
            data = [{"object": "embedding", "index": 0, "embedding": [0.5, 1.0]}]
            return {"object": "list", "model": body["model"], "data": data, "usage": {"prompt_tokens": 3, "total_tokens": 3}}
        message = {"role": "assistant", "content": "".join(WORDS)}
        return {"id": "x", "object": "chat.completion", "created": 1, "model": body["model"], **used,
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}

    async def _stream(self, body: dict[str, Any], receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        head = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": body["model"]}
        gone = asyncio.create_task(receive())
        words = WORDS if self.mode != "endless" else WORDS * 10_000
        for word in words:
            choice = {"index": 0, "delta": {"content": word}, "finish_reason": None}
            await send(_piece({**head, "choices": [choice], "usage": None}))
            self.sent += 1
            if self.mode == "cut" and self.sent >= 2:
                raise RuntimeError("planted")
            if self.mode == "endless":
                await asyncio.sleep(0.003)
                if gone.done():
                    self.ended += 1
                    return
        await send(_piece({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}))
        if (body.get("stream_options") or {}).get("include_usage"):
            await send(_piece({**head, "choices": [], "usage": {"prompt_tokens": 11, "completion_tokens": 4, "total_tokens": 15}}))
        await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})


def _piece(data: dict[str, Any]) -> dict[str, Any]:
    return {"type": "http.response.body", "body": b"data: " + json.dumps(data).encode() + b"\n\n", "more_body": True}


async def _reply(send: Any, status: int, said: Any) -> None:
    body = json.dumps(said).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
