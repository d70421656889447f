"""Every call as a plan without any input or output: it yields what is to be sent or waited for, and is given what came back.

``clients`` drives these plans, once with a blocking connection and once with asyncio, so that retries, deadlines and the
reading of answers are written once. The rules: one Idempotency-Key for all attempts of a call; what may be repeated is
repeated until the deadline, after the pause that the server names, or a random one that doubles.
"""

from __future__ import annotations

import json
import random
import time
import uuid
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from mofang.client.answers import (
    Account,
    Answer,
    Bucket,
    Invoice,
    Written,
    account_of,
    answer_of,
    buckets_of,
    invoice_of,
    written_of,
)
from mofang.client.faults import Refused, Unreachable, refusal_of

Data = dict[str, Any]
Record = Mapping[str, Any]
T = TypeVar("T")
AGAIN = frozenset({408, 429, 500, 502, 503, 504})
IN_PROGRESS = "retry-in-progress"  # the first attempt is still at work
TIMEOUT_LEAST_S = 0.05
PAGES_MOST = 1_000
USAGE_FILE = "/v1/usage.csv"


@dataclass(frozen=True)
class Retry:
    """How patient a call is: until ``deadline_s`` in all, with pauses of up to ``first_s``, doubling up to ``longest_s``."""

    deadline_s: float = 60.0
    first_s: float = 0.1
    longest_s: float = 8.0


@dataclass(frozen=True)
class Send:
    """One attempt. ``stream`` leaves the body of a 200 unread."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes | None
    timeout_s: float
    stream: bool = False


@dataclass(frozen=True)
class Wait:
    """A pause before the next attempt."""

    seconds: float


@dataclass(frozen=True)
class Came:
    """What came back. ``live`` is the open response of a stream, whose body is still to come."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    live: Any = None


@dataclass(frozen=True)
class Lost:
    """Nothing came back; nobody knows whether the request arrived."""

    reason: str


Steps = Generator[Send | Wait, Came | Lost | None, T]


def new_key() -> str:
    """An Idempotency-Key that nobody else makes."""
    return str(uuid.uuid4())


class Calls:
    """The calls of a server, as plans. ``clock`` (seconds) and ``chance`` (0…1) can be replaced in tests."""

    def __init__(self, headers: Mapping[str, str], retry: Retry, *, clock: Callable[[], float] = time.monotonic,
                 chance: Callable[[], float] = random.random) -> None:
        self.headers = dict(headers)
        self.retry = retry
        self.clock, self.chance = clock, chance

    def exchange(self, method: str, path: str, body: bytes | None = None, *, key: str = "", deadline_s: float | None = None,
                 stream: bool = False) -> Steps[Came]:
        """Send until it is answered. Raises the refusal that stands, or ``Unreachable``."""
        headers = {**self.headers, **({"idempotency-key": key} if key else {}),
                   **({"content-type": "application/json"} if body is not None else {})}
        until = self.clock() + (self.retry.deadline_s if deadline_s is None else deadline_s)
        pause = self.retry.first_s
        while True:
            left = max(TIMEOUT_LEAST_S, until - self.clock())
            came = yield Send(method, path, headers, body, left, stream)
            assert came is not None
            fault: Refused | Unreachable
            if isinstance(came, Lost):
                fault, wanted = Unreachable(came.reason, key), 0.0
            elif came.status < 400:
                return came
            else:
                fault = refusal_of(came.status, came.headers, came.body, key)
                if came.status not in AGAIN and fault.code != IN_PROGRESS:
                    raise fault
                wanted = fault.retry_after_s
            seconds = wanted + pause * self.chance()  # never sooner than asked, and not all clients at once
            if self.clock() + seconds >= until:
                raise fault
            yield Wait(seconds)
            pause = min(2 * pause, self.retry.longest_s)

    # Answers

    def predict(self, model: str, record: Record | Sequence[Record], *, idempotency_key: str = "",
                deadline_s: float | None = None) -> Steps[Answer]:
        """Ask a model about a record such as ``{"text": "…"}``, or about a list of them.

        ``idempotency_key`` is made where none is given; give your own to find an answer again after your program ended.
        """
        key = idempotency_key or new_key()
        body = dict(record) if isinstance(record, Mapping) else {"records": [dict(one) for one in record]}
        came = yield from self.exchange("POST", f"/v1/predict/{quote(model, safe='@')}", encoded(body), key=key,
                                        deadline_s=deadline_s)
        return answer_of(json.loads(came.body), came.headers, key)

    def chat(self, /, model: str, messages: str | Sequence[Record], *, idempotency_key: str = "", deadline_s: float | None = None,
             **parameters: Any) -> Steps[Written]:
        """The next message of a conversation or of one question; ``parameters`` are OpenAI's, such as ``max_tokens``."""
        key = idempotency_key or new_key()
        body = conversation(model, messages, parameters)
        came = yield from self.exchange("POST", "/v1/chat/completions", encoded(body), key=key, deadline_s=deadline_s)
        return written_of(json.loads(came.body), came.headers, key)

    def stream(self, /, model: str, messages: str | Sequence[Record], *, idempotency_key: str = "",
               deadline_s: float | None = None, **parameters: Any) -> Steps[Came]:
        """The same, word by word: iterate over what this gives. It is repeated only as long as no word has come."""
        body = conversation(model, messages, {**parameters, "stream": True, "stream_options": {"include_usage": True}})
        return (yield from self.exchange("POST", "/v1/chat/completions", encoded(body), key=idempotency_key or new_key(),
                                         deadline_s=deadline_s, stream=True))

    def models(self) -> Steps[list[str]]:
        """The names of the models that this key may ask."""
        came = yield from self.exchange("GET", "/v1/models")
        return [one["id"] for one in json.loads(came.body)["data"]]

    # The own account

    def usage(self) -> Steps[Account]:
        """The running month of the own account."""
        came = yield from self.exchange("GET", "/v1/usage")
        return account_of(json.loads(came.body))

    def usage_between(self, start_s: int, end_s: int = 0, *, width: str = "1d", by: Sequence[str] = ()) -> Steps[list[Bucket]]:
        """Use in buckets of ``1m``, ``1h`` or ``1d``, apart by ``model`` and ``api_key_id`` where asked for."""
        return (yield from self._pages("/v1/organization/usage/completions", start_s, end_s, {"bucket_width": width}, by))

    def costs_between(self, start_s: int, end_s: int = 0, *, by: Sequence[str] = ()) -> Steps[list[Bucket]]:
        """What each day cost, apart by ``line_item`` (the model) where asked for."""
        return (yield from self._pages("/v1/organization/costs", start_s, end_s, {}, by))

    def usage_file(self, month: str = "", *, from_day: str = "", until_day: str = "") -> Steps[bytes]:
        """Use by day, key and model, as CSV, the seller's own file: of a month (``2026-11``; else the running one), or of days.

        ``from_day`` and ``until_day`` are both counted with it (``2026-11-03``).
        """
        asked = {name: value for name, value in (("month", month), ("from", from_day), ("until", until_day)) if value}
        came = yield from self.exchange("GET", USAGE_FILE + (f"?{urlencode(asked)}" if asked else ""))
        return came.body

    def invoices(self) -> Steps[list[Invoice]]:
        """The own invoices, oldest first."""
        came = yield from self.exchange("GET", "/v1/invoices")
        return [invoice_of(one) for one in json.loads(came.body)["data"]]

    def invoice(self, number: str) -> Steps[Data]:
        """One invoice as the document that it is: lines, sums, root."""
        came = yield from self.exchange("GET", f"/v1/invoices/{quote(number, safe='')}")
        found: Data = json.loads(came.body)
        return found

    def invoice_file(self, number: str, kind: str = "pdf") -> Steps[bytes]:
        """One invoice as a file: ``pdf`` or ``csv``."""
        came = yield from self.exchange("GET", f"/v1/invoices/{quote(number, safe='')}/{quote(kind, safe='')}")
        return came.body

    def _pages(self, path: str, start_s: int, end_s: int, more: dict[str, str], by: Sequence[str]) -> Steps[list[Bucket]]:
        asked = {"start_time": str(start_s), **({"end_time": str(end_s)} if end_s else {}), **more,
                 **({"group_by": ",".join(by)} if by else {})}
        found: list[Bucket] = []
        for _ in range(PAGES_MOST):
            came = yield from self.exchange("GET", f"{path}?{urlencode(asked)}")
            told = json.loads(came.body)
            found += buckets_of(told)
            if not told["has_more"]:
                break
            asked["page"] = told["next_page"]
        return found


def encoded(body: Data) -> bytes:
    """A body as it is sent: the same bytes in every attempt, since the server compares them."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def conversation(model: str, messages: str | Sequence[Record], parameters: Data) -> Data:
    """A request for the next message; a plain text is one question."""
    said = [{"role": "user", "content": messages}] if isinstance(messages, str) else [dict(one) for one in messages]
    return {"model": model, "messages": said, **parameters}
