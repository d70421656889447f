"""What comes back, typed. ``raw`` always holds the whole of what the server said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

Data = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """A prediction. ``answers`` holds one for each record; ``price`` is exact, in ``currency``, and 0 for test keys.

    ``replayed`` where an earlier request with the same Idempotency-Key was charged and this one is not.
    """

    answers: tuple[Data, ...]
    request_id: str
    model: str
    units: int
    price: Decimal
    currency: str
    test: bool
    replayed: bool
    idempotency_key: str
    raw: Data = field(repr=False)

    @property
    def answer(self) -> Data:
        """The answer to the first record, or to the only one."""
        return self.answers[0]


@dataclass(frozen=True)
class Written:
    """What a generator wrote: ``finish`` is ``stop`` or ``length``, ``read`` and ``written`` are tokens."""

    text: str
    finish: str
    model: str
    read: int
    written: int
    request_id: str
    idempotency_key: str
    raw: Data = field(repr=False)


@dataclass(frozen=True)
class Account:
    """The running month: what was spent, and what may still be spent, in ``currency``."""

    customer: str
    month: str
    currency: str
    spent: Decimal
    credit: Decimal
    prepaid: Decimal
    available: Decimal
    usage: tuple[Data, ...]
    raw: Data = field(repr=False)


@dataclass(frozen=True)
class Bucket:
    """Use or cost within a stretch of time (seconds since 1970), a row for each group."""

    start_s: int
    end_s: int
    results: tuple[Data, ...]


@dataclass(frozen=True)
class Invoice:
    """One invoice of the caller's own account: its number, its month, and what is owed, exact."""

    number: str
    period: str
    currency: str
    total: Decimal
    raw: Data = field(repr=False)


def answer_of(told: Data, headers: Mapping[str, str], idempotency_key: str) -> Answer:
    """Read a prediction."""
    answers = tuple(told["answers"]) if "answers" in told else (told["answer"],)
    replayed = headers.get("idempotent-replayed") == "true"
    return Answer(answers, told["request_id"], told["model"], told["units"], Decimal(told["price"]), told["currency"],
                  told["test"], replayed, idempotency_key, told)


def written_of(told: Data, headers: Mapping[str, str], idempotency_key: str) -> Written:
    """Read a whole answer of a generator."""
    choice, used = told["choices"][0], told.get("usage") or {}
    return Written(choice["message"]["content"] or "", choice["finish_reason"] or "", told["model"],
                   used.get("prompt_tokens", 0), used.get("completion_tokens", 0),
                   headers.get("mofang-request-id", ""), idempotency_key, told)


def account_of(told: Data) -> Account:
    """Read the running month."""
    return Account(told["customer"], told["month"], told["currency"], Decimal(told["spent"]), Decimal(told["credit"]),
                   Decimal(told["prepaid"]), Decimal(told["available"]), tuple(told["usage"]), told)


def buckets_of(told: Data) -> list[Bucket]:
    """Read one page of use or costs."""
    return [Bucket(one["start_time"], one["end_time"], tuple(one["results"])) for one in told["data"]]


def invoice_of(told: Data) -> Invoice:
    """Read one line of the list of invoices."""
    return Invoice(told["number"], told["period"], told["currency"], Decimal(told["total"]), told)
