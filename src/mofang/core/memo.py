"""Memo keys: which earlier run may stand in for this one.

A key names the owner, the stage and its version, the settings that are not defaults (with the versions of the variants
they choose), the inputs, the source's content, and the machine where the stage says that it matters. Versions are
watched by ``stages.lock`` (lock.py).
"""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Any

from mofang.core import lock
from mofang.core.artifact import Artifact
from mofang.core.canonical import digest_of
from mofang.core.erased import standing
from mofang.core.ledger import Entry
from mofang.core.stage import Spec
from mofang.core.variant import Variant

if TYPE_CHECKING:
    from mofang.core.shop import Shop

MEMO_FORMAT = 1


def identity(shop: Shop, spec: Spec, settings: dict[str, Any], bound: list[list[Artifact]]) -> dict[str, Any]:
    """Everything that decides whether two runs are the same run."""
    by_reference = spec.keyed_on == "references"
    found: dict[str, Any] = {
        "memo": MEMO_FORMAT,
        "owner": shop.actor.owner,
        "stage": spec.name,
        "version": spec.version,
        "code": lock.code_of(spec).get("own", ""),
        "settings": spec.keyed(settings),
        "variants": {name: [value.tag, type(value).version] for name, value in settings.items() if isinstance(value, Variant)},
        "inputs": [[lineage_of(shop, one) if by_reference else one.digest for one in values] for values in bound],
    }
    if spec.source_digest:
        found["source"] = spec.source_digest(shop, settings)
    if spec.depends == "machine":
        found["machine"] = machine()
    return found


def key_of(identity: dict[str, Any]) -> str:
    """The memo key of an identity."""
    return digest_of(identity)


def lineage_of(shop: Shop, artifact: Artifact) -> str:
    """What an artifact was made from, all the way down, as one digest: equal bytes from other sources differ."""
    return digest_of([shop.ledger.get(artifact.entry).body["lineage"], artifact.within])


def lineage(shop: Shop, spec: Spec, settings: dict[str, Any], bound: list[list[Artifact]], licences: tuple[str, ...],
            output: str) -> str:
    """The lineage digest of a run's output."""
    return digest_of({"stage": spec.name, "version": spec.version, "settings": spec.keyed(settings), "output": output,
                      "licences": licences, "inputs": [[lineage_of(shop, one) for one in values] for values in bound]})


def hit(shop: Shop, spec: Spec, key: str) -> Entry | None:
    """An earlier end of the same run whose objects exist and whose nested stages have not changed since."""
    known = shop.ledger.last(key, "done", "reuse")
    if known is None or standing(shop, known.id) != known.id:  # from what somebody was erased, nothing is made again unseen
        return None
    for nested in known.body["nested"]:
        if lock.version_of(nested["stage"]) not in (None, nested["version"]):
            return None
    if not all(shop.store.has(part[2]) for part in known.body["output"]["parts"]):
        return None
    return known


def settled(shop: Shop, spec: Spec, settings: dict[str, Any], bound: list[list[Artifact]]) -> list[list[Artifact]]:
    """The inputs to run on, where the last is what the stage made before.

    A recipe always gives its newest ``previous``. Where that one was itself made of the same inputs, the run would
    only repeat it; so it stands on what that one stood on, the memo finds it, and an unchanged recipe stays
    unchanged however often it is run.
    """
    if not (spec.memo and spec.takes_previous and bound[-1]):
        return bound
    previous = _own(shop, spec, bound[-1][0])
    bound = [*bound[:-1], [previous]]
    given = shop.ledger.get(previous.entry).body.get("inputs", [])
    before = [one for one in given if one["kind"] == previous.kind and not one["within"]]
    earlier = [[shop.artifact(shop.ledger.get(one["entry"])) for one in before[:1]]]
    candidate = [*bound[:-1], *earlier]
    known = hit(shop, spec, key_of(identity(shop, spec, settings, candidate)))
    return candidate if known and known.body["output"]["digest"] == previous.digest else bound


def _own(shop: Shop, spec: Spec, previous: Artifact) -> Artifact:
    """What this stage made, where later stages made another artifact of the same kind of it (a snapshot with features)."""
    while not previous.within:
        body = shop.ledger.get(previous.entry).body
        given = [one for one in body.get("inputs", []) if one["kind"] == previous.kind and not one["within"]]
        if body.get("stage") == spec.name or not given:
            break
        previous = shop.artifact(shop.ledger.get(given[0]["entry"]))
    return previous


def machine() -> dict[str, str]:
    """What of this machine a measurement depends on."""
    import os

    return {"machine": platform.machine(), "processor": _processor(), "cores": str(os.cpu_count())}


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor()
