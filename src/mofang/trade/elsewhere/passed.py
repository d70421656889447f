"""What was asked of an engine elsewhere and what it said, read out of the bytes that passed: for digests, and for texts that a
customer's plan keeps.

The request is marked as it was sent (path and body), the answer by its words, calls of tools and vectors: ids, times and
counts change with every call and say nothing.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import orjson

Data = dict[str, Any]
DATA = b"data:"


def asked_of(path: str, body: Any) -> list[Data]:
    """A request as the one record of its mark."""
    return [{"path": path, "body": body}]


def passed(body: bytes, answer: bytes) -> tuple[list[Data], list[Data]]:
    """The record of ``path\\0body`` and the answers in a JSON answer or in a stream of events."""
    path, _, raw = body.partition(b"\0")
    return asked_of(path.decode(), orjson.loads(raw)), said_in(answer)


def said_in(answer: bytes) -> list[Data]:
    """One entry for each choice or vector of an answer."""
    if answer.lstrip()[:5] == DATA:
        return _streamed(answer)
    found: list[Data] = []
    with suppress(ValueError, AttributeError, TypeError):
        told = orjson.loads(answer)
        found += [_choice(one.get("message") or one) for one in told.get("choices") or []]
        found += [{"embedding": one.get("embedding")} for one in told.get("data") or []]
    return found


def _choice(one: Data) -> Data:
    calls = [call.get("function") for call in one.get("tool_calls") or []]
    return {"text": one.get("content", one.get("text")) or "", **({"calls": calls} if calls else {})}


def _streamed(answer: bytes) -> list[Data]:
    texts: dict[int, str] = {}
    calls: dict[int, dict[int, Data]] = {}
    for line in answer.split(b"\n"):
        if not line.startswith(DATA) or line[5:].strip() == b"[DONE]":
            continue
        with suppress(ValueError, AttributeError, TypeError):
            for one in orjson.loads(line[5:]).get("choices") or []:
                place, delta = int(one.get("index") or 0), one.get("delta") or one
                texts[place] = texts.get(place, "") + (delta.get("content", delta.get("text")) or "")
                for call in delta.get("tool_calls") or []:
                    _joined(calls.setdefault(place, {}).setdefault(int(call.get("index") or 0), {}), call.get("function") or {})
    return [{"text": text, **({"calls": [one for _, one in sorted(calls[place].items())]} if place in calls else {})}
            for place, text in sorted(texts.items())]


def _joined(call: Data, more: Data) -> None:
    """A call of a tool comes in pieces."""
    for name in ("name", "arguments"):
        if more.get(name):
            call[name] = call.get(name, "") + more[name]
