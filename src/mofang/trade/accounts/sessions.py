"""Sessions: a browser that showed a key once. What it keeps is bound to that key, and ends with it, on every worker at once.

A session is written nowhere: ``ID.END.MAC``, the MAC (HMAC-SHA256) over the key's id, its hash and the end, under the secret
that keys are hashed with. So every process that knows the keys knows it, and a revoked or expired key lets nobody in.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping

from mofang.core.errors import MofangError
from mofang.core.token import Pepper
from mofang.trade.accounts.keys import Key

SESSION_S = 3600
PARTS, LONGEST = 3, 200


def session_of(key: Key, pepper: Pepper, at_us: int) -> str:
    """A new session for who holds this key; it lasts an hour."""
    ends_s = at_us // 1_000_000 + SESSION_S
    return f"{key.id}.{ends_s}.{_mac(key, pepper, ends_s)}"


def key_of(session: str, known: Mapping[str, Key], pepper: Pepper, at_us: int) -> Key:
    """The key that a session belongs to, while both are good; else ``session-over``, whatever is wrong."""
    pieces = session.split(".")
    if len(session) <= LONGEST and session.isascii() and len(pieces) == PARTS and pieces[1].isdigit():
        key, ends_s = known.get(pieces[0]), int(pieces[1])
        good = key is not None and hmac.compare_digest(_mac(key, pepper, ends_s), pieces[2])
        alive = ends_s * 1_000_000 > at_us
        if key is not None and good and alive and not key.revoked_us and not 0 < key.expires_us <= at_us:
            return key
    raise MofangError("session-over")


def form_token(session: str, pepper: Pepper) -> str:
    """What a form of this session must bring along, so that no other page can send one."""
    return pepper.hash(f"form {session}")


def _mac(key: Key, pepper: Pepper, ends_s: int) -> str:
    return pepper.hash(f"session {key.id} {key.hash} {ends_s}")
