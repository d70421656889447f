"""Ask models that a Mofang server sells, from your own program: ``Client`` for plain code, ``AsyncClient`` for asyncio.

Each request carries an Idempotency-Key, made once and kept for every retry, so that an answer is paid for once however often
it had to be asked for. Both clients are made from the same calls (``calls``), and import no more than httpx.
"""

from __future__ import annotations

from mofang.client.answers import Account, Answer, Bucket, Invoice, Written
from mofang.client.calls import Retry
from mofang.client.clients import AsyncClient, Client
from mofang.client.faults import (
    Busy,
    ClientError,
    Conflict,
    KeyRefused,
    MoneyUsedUp,
    NotAllowed,
    Refused,
    ServerFault,
    StreamBroken,
    Unreachable,
)

__all__ = ["Account", "Answer", "AsyncClient", "Bucket", "Busy", "Client", "ClientError", "Conflict", "Invoice", "KeyRefused",
           "MoneyUsedUp", "NotAllowed", "Refused", "Retry", "ServerFault", "StreamBroken", "Unreachable", "Written"]
