"""One answer, looked into: keyed digests that prove later what was asked and what was said, without keeping either.

The digest of a request is over its records as the model reads them, so the same request written with other spaces or in
another order of keys is the same; without the shop's secret a digest says nothing, and cannot be guessed at.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from mofang.core.errors import MofangError
from mofang.core.shop import Shop
from mofang.serve.same import said
from mofang.trade.accounts.customers import Customer
from mofang.trade.kept import Cabinet
from mofang.trade.request.commit import Charge

SECRET = "inputs"
DIGEST_BYTES = 16
WRITTEN = orjson.OPT_SORT_KEYS | orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS


@dataclass(frozen=True)
class Answered:
    """One charged request as the journal has it."""

    request_id: str
    account: str
    model: str
    package: str
    at_us: int
    units: int
    input: str
    said: str


class Marks:
    """What a server writes of each answer beside its charge: two digests, and the content where the plan keeps it.

    ``days_of`` says for how many days a customer's texts are kept (0: not at all).
    """

    def __init__(self, secret: bytes, cabinet: Cabinet | None = None, days_of: Callable[[str], int] = lambda account: 0) -> None:
        self.secret = secret
        self._begun: dict[bytes, Any] = {}
        self.cabinet = cabinet
        self.days_of = days_of

    def put(self, charge: Charge, customer: Customer, records: Sequence[dict[str, Any]],
            answers: Sequence[dict[str, Any]]) -> None:
        """Mark one charge."""
        charge.marks = {"input": self.of_records(records), "said": self.of_answers(answers)}
        days = self.days_of(customer.id)
        if days and self.cabinet is not None:
            content = orjson.dumps({"records": list(records), "answers": list(answers)}, default=_plain, option=WRITTEN)
            charge.kept = self.cabinet.seal(charge.request_id, customer.id, days, content)

    def of_records(self, records: Sequence[dict[str, Any]]) -> str:
        """The digest of what was asked."""
        return self._digest(b"asked", orjson.dumps(list(records), default=_plain, option=WRITTEN))

    def of_answers(self, answers: Sequence[dict[str, Any]]) -> str:
        """The digest of what was said, apart from how sure the model was."""
        return self._digest(b"said", orjson.dumps(said(list(answers)), default=_plain, option=WRITTEN))

    def _digest(self, what: bytes, content: bytes) -> str:
        begun = self._begun.get(what)
        if begun is None:
            begun = self._begun[what] = hashlib.blake2b(key=self.secret, digest_size=DIGEST_BYTES, person=what)
        mixed = begun.copy()  # the secret is mixed in once, not for each digest
        mixed.update(content)
        return mixed.hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode()
    raise TypeError(type(value).__name__)


def answered(shop: Shop, request: str) -> Answered:
    """One charged request by its id, or the unique beginning of it. Raises ``request-unknown``."""
    sql = "select id, account, at_us, body from journal where journal='usage' and kind='use' and id>=? and id<? limit 2"
    found = shop.control.rows(sql, (request, request + "~"))
    if len(found) != 1:
        raise MofangError("request-unknown", request=request)
    id, account, at_us, text = found[0]
    body = json.loads(text)
    return Answered(id, account, body["model"], body["package"], at_us, body["units"], body.get("input", ""),
                    body.get("said", ""))
