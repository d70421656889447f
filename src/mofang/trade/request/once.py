"""A request with an Idempotency-Key: answered once, and again with the first answer.

The commit itself finds out whether the key has its answer already (``replay.store_answers``), and nobody is told anything
else. To look before as well spares a model its work, and is right where the model's work is more than the look.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mofang.core.errors import MofangError
from mofang.serve.batching import Batcher
from mofang.trade.request.replay import check_retry_key, request_digest, same_request

if TYPE_CHECKING:
    from mofang.trade.request.desk import Call, Desk, Reply, Who
    from mofang.trade.request.model import Served

CHEAP_BYTES = 4096  # of a body that a light model answers with next to nothing


async def sell_once(desk: Desk, who: Who, served: Served, call: Call, retry_key: str) -> Reply:
    """Answer and charge, or give the earlier answer; ``retry-in-progress`` while the first is on its way."""
    name = (who.customer.id, check_retry_key(retry_key))
    if name in desk.running:
        raise MofangError("retry-in-progress")
    desk.running.add(name)
    try:
        digest = request_digest(call.model, call.body)  # what was asked for, whichever release answers
        if not _cheap(served, call):
            return await _found(desk, served, name, digest) or await desk.sell(who, served, call, digest)
        try:
            return await desk.sell(who, served, call, digest)
        except MofangError:  # of what was answered before nothing is refused: neither for want of money nor of time
            found = await _found(desk, served, name, digest)
            if found is None:
                raise
            return found
    finally:
        desk.running.discard(name)


def _cheap(served: Served, call: Call) -> bool:
    return isinstance(served.batcher, Batcher) and served.batcher.light and len(call.body) <= CHEAP_BYTES


async def _found(desk: Desk, served: Served, name: tuple[str, str], digest: str) -> Reply | None:
    """The earlier answer; raises ``retry-key-reused`` where it answered something else."""
    from mofang.trade.request.desk import reply_of

    found = await desk.stored(*name)
    return None if found is None else reply_of(same_request(found, digest), served.name)
