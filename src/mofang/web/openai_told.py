"""Answers, events and errors in the form that clients of the OpenAI protocols read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import orjson

from mofang.core.errors import MofangError
from mofang.engine.generation.sampling import Told
from mofang.trade.request.desk import Reply
from mofang.web.routes import Exchange, refusal_headers

FINISH = {"end": "stop", "stop": "stop", "length": "length"}
EVENTS = (b"content-type", b"text/event-stream; charset=utf-8")
NO_CACHE = (b"cache-control", b"no-cache")
DONE = b"data: [DONE]\n\n"
CODES = {"model-unknown": "model_not_found", "model-other-task": "model_not_found", "prompt-too-long": "context_length_exceeded",
         "parameter-unsupported": "unsupported_parameter", "parameter-unknown": "unknown_parameter",
         "parameter-wrong": "invalid_value", "credit-used-up": "insufficient_quota",
         "budget-used-up": "insufficient_quota", "rate-limited": "rate_limit_exceeded"}
TYPES = {401: "authentication_error", 402: "insufficient_quota", 403: "permission_error", 429: "rate_limit_error"}
Data = dict[str, Any]
Decode = Callable[[Sequence[int]], str]


def event(data: Data) -> bytes:
    """One server-sent event."""
    return b"data: " + orjson.dumps(data) + b"\n\n"


def refuse(error: MofangError, call: Exchange) -> Reply:
    """An error as the stock client reads it; what the house calls it stands beside."""
    status = 400 if error.status == 422 else error.status
    return Reply(status, orjson.dumps(error_body(error, call)), refusal_headers(error))


def error_body(error: MofangError, call: Exchange) -> Data:
    """``{"error": {"message", "type", "param", "code", …}}``."""
    what, fix = error.worded(call.language)
    status = 400 if error.status == 422 else error.status
    kind = TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    code = "invalid_api_key" if status == 401 else CODES.get(error.code, error.code)
    param = error.values.get("parameter") or ("model" if code == "model_not_found" else None)
    return {"error": {"message": f"{what} {fix}", "type": kind, "param": param, "code": code, "mofang_code": error.code,
                      "request_id": call.request_id}}


def usage(read: int, written: int) -> Data:
    """The usage block."""
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


class Form:
    """One kind of answer: whole, or as a line of events."""

    def __init__(self, call_id: str, model: str, created: int, chat: bool, counted: bool) -> None:
        self.chat, self.counted = chat, counted
        kind = "chat.completion" if chat else "text_completion"
        self._head = {"id": f"{'chatcmpl' if chat else 'cmpl'}-{call_id}", "created": created, "model": model}
        self._kind = kind

    def whole(self, text: str, finish: str, told: list[Data] | None, used: Data) -> bytes:
        """The answer in one piece."""
        choice: Data = {"index": 0, "finish_reason": FINISH[finish],
                        "logprobs": {"content": told, "refusal": None} if told else None}
        choice |= {"message": {"role": "assistant", "content": text, "refusal": None}} if self.chat else {"text": text}
        return orjson.dumps({**self._head, "object": self._kind, "choices": [choice], "usage": used})

    def first(self) -> bytes:
        """The event before the first word."""
        return self._event({"role": "assistant", "content": ""}, None, None) if self.chat else b""

    def words(self, text: str, told: list[Data] | None = None) -> bytes:
        """Some words."""
        return self._event({"content": text}, None, told) if text or told else b""

    def last(self, finish: str, used: Data) -> bytes:
        """Why it ended, what was used, and that it is over."""
        counted = event({**self._head, "object": self._object, "choices": [], "usage": used}) if self.counted else b""
        return self._event({"content": ""} if not self.chat else {}, FINISH[finish], None) + counted + DONE

    def replayed(self, stored: bytes) -> bytes:
        """A whole answer that was given before, as events."""
        told = orjson.loads(stored)
        choice = told["choices"][0]
        self._head = {name: told[name] for name in ("id", "created", "model")}
        text = choice["message"]["content"] if self.chat else choice["text"]
        shown = (choice.get("logprobs") or {}).get("content")
        finish = "length" if choice["finish_reason"] == "length" else "end"
        return self.first() + self.words(text, shown) + self.last(finish, told["usage"])

    @property
    def _object(self) -> str:
        return "chat.completion.chunk" if self.chat else self._kind

    def _event(self, delta: Data, finish: str | None, told: list[Data] | None) -> bytes:
        choice: Data = {"index": 0, "finish_reason": finish, "logprobs": {"content": told, "refusal": None} if told else None}
        choice |= {"delta": delta} if self.chat else {"text": delta.get("content", "")}
        return event({**self._head, "object": self._object, "choices": [choice], **({"usage": None} if self.counted else {})})


def told_tokens(told: Sequence[Told], decode: Decode) -> list[Data]:
    """Log-probabilities, token by token."""
    def one(token: int, value: float) -> Data:
        text = decode([token])
        return {"token": text, "logprob": round(max(value, -9999.0), 6), "bytes": list(text.encode())}

    return [{**one(each.token, each.logprob), "top_logprobs": [one(*pair) for pair in each.likeliest]} for each in told]
