"""What a caller sees of its own account: use, costs, invoices. Read on worker threads; never anything of another's."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from mofang.core.database import Database
from mofang.core.errors import MofangError
from mofang.core.identity import now_us
from mofang.trade.accounts.keys import Key
from mofang.trade.billing.balance import usage_report
from mofang.trade.billing.queries import answer_query

if TYPE_CHECKING:
    from mofang.trade.billing.papers import Papers
    from mofang.trade.request.desk import Who


class Own:
    """The window of a desk on its callers' accounts. ``papers`` is brought by whoever has the shop; without it there are none."""

    def __init__(self, reader: Database, utc_offset: str) -> None:
        self.reader, self.utc_offset = reader, utc_offset
        self.papers: Papers | None = None

    async def usage(self, who: Who) -> dict[str, Any]:
        """This month of the caller's own account."""
        check_may(who.key, "usage")
        return await asyncio.to_thread(usage_report, self.reader, who.customer, now_us(), self.utc_offset)

    async def query(self, who: Who, kind: str, given: dict[str, list[str]]) -> dict[str, Any]:
        """The caller's own use (``usage``) or costs (``costs``) in buckets of time, or use by day as CSV (``file``)."""
        check_may(who.key, "usage")
        return await asyncio.to_thread(answer_query, self.reader, who.customer, kind, given, self.utc_offset)

    async def invoices(self, who: Who) -> list[dict[str, Any]]:
        """The caller's own invoices."""
        check_may(who.key, "invoices")
        return await asyncio.to_thread(self.papers.listed, who.customer) if self.papers is not None else []

    async def invoice(self, who: Who, number: str, kind: str) -> bytes:
        """One of the caller's own invoices, as a file."""
        check_may(who.key, "invoices")
        if self.papers is None:
            raise MofangError("invoice-unknown", number=number, last="-")
        return await asyncio.to_thread(self.papers.file, who.customer, number, kind)


def check_may(key: Key, scope: str) -> None:
    """Refuse a key that is good for other things than this."""
    if key.scopes and scope not in key.scopes:
        raise MofangError("key-may-not", key=key.id, scope=scope, scopes=", ".join(key.scopes))
