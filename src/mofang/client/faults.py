"""What can go wrong, for a program to tell apart.

ClientError
├── Refused            the server said no; ``code`` is stable, ``what`` and ``fix`` are for people
│   ├── KeyRefused     401: no key, a wrong, ended or revoked one
│   ├── MoneyUsedUp    402: the balance, the month's credit or a budget does not cover it
│   ├── NotAllowed     403: this key may not, or the model is not on sale
│   ├── Conflict       409, 422 of the Idempotency-Key: it belongs to another request
│   ├── Busy           429, 503: too much for now, and the deadline came first
│   └── ServerFault    5xx: the server's own mistake
├── Unreachable        nothing came back before the deadline; ``idempotency_key`` asks for the same answer again
└── StreamBroken       a stream ended in the middle; ``text`` is what came
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from mofang.core.language import say


class ClientError(Exception):
    """Anything that this client raises."""


class Refused(ClientError):
    """The server's refusal. ``status`` is HTTP's, ``retry_after_s`` what the server asks to wait (0: it says nothing)."""

    def __init__(self, status: int, code: str, what: str, fix: str = "", request_id: str = "", retry_after_s: float = 0,
                 idempotency_key: str = "") -> None:
        super().__init__(f"{what} {fix}".strip() + f" [{code}]")
        self.status, self.code, self.what, self.fix = status, code, what, fix
        self.request_id, self.retry_after_s, self.idempotency_key = request_id, retry_after_s, idempotency_key


class KeyRefused(Refused):
    """No key, or none that is good."""


class MoneyUsedUp(Refused):
    """Balance, credit or budget do not cover this request; nothing was charged."""


class NotAllowed(Refused):
    """The key may not do this, or the model is not on sale."""


class Conflict(Refused):
    """The Idempotency-Key was used for another request, or the shop is in another state."""


class Busy(Refused):
    """Too much for now. It was repeated until the deadline; the same ``idempotency_key`` may be used again."""


class ServerFault(Refused):
    """The server's own mistake, with the id to ask about."""


class Unreachable(ClientError):
    """Nothing came back before the deadline. The same ``idempotency_key`` gets the answer, if any, and pays once."""

    def __init__(self, reason: str, idempotency_key: str = "") -> None:
        super().__init__(say("No answer came before the deadline: {reason}. Ask again with the same Idempotency-Key.",
                             "在期限内没有收到回答：{reason}。请用相同的 Idempotency-Key 重试。", reason=reason))
        self.reason, self.idempotency_key = reason, idempotency_key


class StreamBroken(ClientError):
    """A stream ended before its end. What was delivered is charged; asking again is a new request."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(say("The answer broke off after {count} signs: {reason}.", "回答在 {count} 个字符后中断：{reason}。",
                             count=len(text), reason=reason))
        self.reason, self.text = reason, text


KINDS: dict[int, type[Refused]] = {401: KeyRefused, 402: MoneyUsedUp, 403: NotAllowed, 409: Conflict, 429: Busy, 503: Busy}


def refusal_of(status: int, headers: Mapping[str, str], body: bytes, idempotency_key: str = "") -> Refused:
    """The refusal that a response holds, in the house's form or OpenAI's; a proxy's page has no code and is quoted."""
    try:
        said = json.loads(body)["error"]
        code = str(said.get("mofang_code") or said.get("code") or f"http-{status}")
        what, fix = str(said.get("what") or said.get("message") or ""), str(said.get("fix") or "")
        request_id = str(said.get("request_id") or "")
    except (ValueError, KeyError, TypeError, AttributeError):
        code, what, fix, request_id = f"http-{status}", body[:200].decode("utf-8", "replace").strip(), "", ""
    kind = KINDS.get(status) or (ServerFault if status >= 500 else Refused)
    if code.startswith("retry-key"):
        kind = Conflict
    return kind(status, code, what or f"HTTP {status}", fix, request_id, retry_after_s(headers), idempotency_key)


def retry_after_s(headers: Mapping[str, str]) -> float:
    """The seconds of a Retry-After header; 0 where there is none. A date is not read: our servers send seconds."""
    text = headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() and len(text) < 7 else 0
