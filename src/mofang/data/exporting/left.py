"""What left the shop: a ledger entry for each copy of records written outside, so that an erasure can name it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mofang.core.artifact import Artifact
from mofang.core.shop import Shop


def note_left(shop: Shop, artifacts: Sequence[Artifact], place: Path, sha256: str = "") -> None:
    """Write down that records of these artifacts were written to a file or folder; only its own name is kept."""
    body = {"decision": "export", "inputs": [one.reference() for one in artifacts], "file": place.name, "sha256": sha256}
    shop.ledger.append("decision", f"export:{artifacts[0].entry}", shop.actor, body)
