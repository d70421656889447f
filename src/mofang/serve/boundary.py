"""The one place where a server's threads meet faults that nobody foresaw: the fault is kept, the thread goes on.

A thread that dies in silence leaves every later request waiting for ever. Whoever calls ``attempt`` says what the fault
means for those who wait.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


def attempt(step: Callable[[], None]) -> Exception | None:
    """Do something; the fault that ended it, or None."""
    try:
        step()
    except Exception as fault:  # noqa: BLE001 - this is the boundary
        return fault
    return None


async def attempt_async(step: Awaitable[T]) -> T | Exception:
    """Wait for something; what it gives, or the fault that ended it."""
    try:
        return await step
    except Exception as fault:  # noqa: BLE001 - this is the boundary
        return fault
