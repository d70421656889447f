"""What a lease's file is, without running it: its licence, who signed it, whether it opens here and is whole."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mofang.core.errors import MofangError
from mofang.core.identity import now_us
from mofang.trade.leases.file import Tick, no_tick, open_lease
from mofang.trade.leases.licence import Licence
from mofang.trade.leases.runner import newest_licence, unlock


@dataclass(frozen=True)
class Checked:
    """A lease's newest licence, who signed it, what is on record here, and why it does not open here (None: it does)."""

    licence: Licence
    fingerprint: str
    requests: int
    units: int
    refusal: MofangError | None

    def told(self) -> dict[str, Any]:
        """The same for programs; times in microseconds since 1970."""
        licence = self.licence
        names = ("id", "sequence", "shop", "customer", "model", "digest", "from_us", "until_us", "ends_us", "instances", "quota")
        return {"fingerprint": self.fingerprint, **{name: getattr(licence, name) for name in names},
                "state": licence.phase(now_us()), "machines": list(licence.machines), "features": list(licence.features),
                "requests": self.requests, "units": self.units, "opens": self.refusal is None,
                "refusal": self.refusal.code if self.refusal else None}


def check(path: Path, code: str = "", tick: Tick = no_tick) -> Checked:
    """Look at a lease's file and, where its key is known here, at every byte behind the licence. Nothing is written but a code
    that was right.

    Raises ``lease-missing``, ``lease-unreadable``, ``lease-edited`` and ``lease-signer``: then there is nothing to be shown.
    """
    known = newest_licence(open_lease(path))
    try:
        opened = unlock(path, code)
        opened.file.require_whole(opened.key, tick)
    except MofangError as refusal:
        return Checked(known.licence, known.fingerprint, 0, 0, refusal)
    total = opened.record.total
    return Checked(known.licence, known.fingerprint, total.requests, total.units, None)
