"""What one serving process has set aside of its customers' money and budgets, and what its requests have reserved of that."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from dataclasses import dataclass

from mofang.trade.accounts.limits import Budget

Budgets = tuple[Budget, ...]
WANTED_FIRST, WANTED_MOST = 64, 8192  # requests' worth that an allotment is made for


@dataclass(slots=True)
class Purse:
    """One account's allotment in this process: what the database says is left, and what requests have reserved."""

    left: int = 0
    reserved: int = 0
    wanted: int = WANTED_FIRST
    drawn_s: float = 0.0
    used_s: float = 0.0


class Purses:
    """All purses of a process. Reservations come from the server's threads, the truth from each commit."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.by_account: defaultdict[str, Purse] = defaultdict(Purse)

    def reserve(self, account: str, micros: int, budgets: Budgets = ()) -> bool:
        """Reserve in memory, of the balance and of each budget or of none; False where an allotment is too small."""
        if not micros:
            return True
        with self.lock:
            purse = self.by_account[account]
            if purse.left - purse.reserved < micros:
                return False
            for budget in budgets:
                of_budget = self.by_account[budget.scope]
                if of_budget.left - of_budget.reserved < micros:
                    return False
            purse.reserved += micros
            for budget in budgets:
                self.by_account[budget.scope].reserved += micros
            return True

    def release(self, account: str, micros: int, budgets: Budgets = ()) -> None:
        """Give up a reservation."""
        if micros:
            with self.lock:
                self.end(account, micros, budgets)

    def end(self, account: str, micros: int, budgets: Budgets) -> None:
        """A reservation ends; the caller holds the lock."""
        for name in (account, *(one.scope for one in budgets)):
            purse = self.by_account[name]
            purse.reserved -= micros
            assert purse.reserved >= 0, "more was given up or charged than was reserved"

    def idle(self, seconds: float) -> list[str]:
        """Accounts whose allotment nobody has used for so long."""
        before = time.monotonic() - seconds
        with self.lock:
            return [account for account, purse in self.by_account.items()
                    if purse.left and not purse.reserved and purse.used_s < before]
