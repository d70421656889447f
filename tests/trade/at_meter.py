"""A meter driven step by step: each call waits for its outcome."""

from __future__ import annotations

import threading
from typing import Any

from mofang.core.database import Database
from mofang.core.errors import MofangError
from mofang.core.identity import new_id
from mofang.trade.pricing.prices import Price
from mofang.trade.request.commit import Charge, Draw, Find, most_for
from mofang.trade.request.meter import Meter
from mofang.trade.request.replay import Stored

WAIT_S = 30.0


class Waiting:
    """An outcome that somebody waits for."""

    def __init__(self) -> None:
        self.outcome: Any = None
        self.come = threading.Event()

    def done(self, outcome: Any) -> None:
        assert not self.come.is_set(), "told twice"
        self.outcome = outcome
        self.come.set()

    def wait(self) -> Any:
        assert self.come.wait(WAIT_S)
        return self.outcome


class Till:
    """One serving process, seen from the request's side."""

    def __init__(self, db: Database, **settings: Any) -> None:
        self.meter = Meter(db, **settings)
        self.meter.start()

    def ask(self, make: Any, *arguments: Any) -> Any:
        waiting = Waiting()
        self.meter.submit(make(*arguments, waiting.done))
        return waiting.wait()

    def reserve(self, account: str, micros: int, budgets: Any = ()) -> MofangError | None:
        return None if self.meter.reserve(account, micros, budgets) else self.ask_draw(account, micros, budgets)

    def ask_draw(self, account: str, micros: int, budgets: Any = ()) -> MofangError | None:
        waiting = Waiting()
        self.meter.submit(Draw(account, micros, waiting.done, budgets))
        refusal: MofangError | None = waiting.wait()
        return refusal

    def charge(self, account: str, units: int, price: Price | None, *, retry_key: str = "", digest: str = "",
               reserved: int | None = None, wait: bool = True, budgets: Any = ()) -> Any:
        """Commit one answer; its reservation must be there."""
        waiting = Waiting()
        request = new_id("req")
        self.meter.submit(Charge(request, account, "key", "reviews@1", "run_x", units, price, price is None,
                                 most_for(units, price) if reserved is None else reserved, request.encode(),
                                 waiting.done, retry_key, digest, budgets=budgets))
        return waiting.wait() if wait else waiting

    def sell(self, account: str, units: int, price: Price | None, *, retry_key: str = "", digest: str = "", budgets: Any = ()) -> Any:
        """The whole of one request: an earlier answer, or reserve and charge; what the caller is told."""
        if retry_key:
            found = self.ask(Find, account, retry_key)
            if isinstance(found, Stored):
                return found if found.digest == digest else MofangError("retry-key-reused", request=found.request_id)
        refusal = self.reserve(account, most_for(units, price), budgets)
        return refusal or self.charge(account, units, price, retry_key=retry_key, digest=digest, budgets=budgets)


