"""What a base release must be to be taught further for a customer, and how long that will take."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mofang.core.ancestry import behind
from mofang.core.artifact import Artifact
from mofang.core.errors import MofangError

if TYPE_CHECKING:
    from mofang.core.shop import Shop

GENERATOR = "generator"  # the family of models that write
ROLES = ("text", "number", "category")
AFTER = ("evaluate", "export", "package", "remeasure", "clean", "collect", "snapshot")  # steps beside the training itself
ALLOWANCE = 2.0  # the plan's estimate times this is the most that is charged
LEAST_S = 10
FORBIDS = re.compile(
    r"(?<![a-z])n[cd](?![a-z])|non-?commercial|research[- ]only|academic[- ]only|evaluation[- ]only|internal[- ]only|"
    r"no-?derivatives|非商业|非营利|[不禁]得?止?(?:商用|演绎|修改)|仅[供限](?:研究|学习|评估|内部)", re.I)


def forbidding(licences: Sequence[str], sources: Sequence[Mapping[str, Any]] = ()) -> list[str]:
    """The licences and terms among these that forbid a model made from it, or selling that."""
    said = [*licences, *(str(one.get("terms", "")) for one in sources)]
    return sorted({one for one in said if one and FORBIDS.search(one)})


def check_base(shop: Shop, package: Artifact) -> dict[str, Any]:
    """The package.json of a base that can be taught further: ``customise-base-unsuited`` or ``customise-forbidden`` with why."""
    described: dict[str, Any] = package.read_json("package.json")
    name = str(described.get("task", ""))
    family = described.get("family") or {}
    writes = any(one.name.startswith("decoder/") for one in package.parts)
    if not family or described.get("adopted") or (writes and family.get("tag") != GENERATOR):
        raise MofangError("customise-base-unsuited", reason=f"{name}: it was not trained by this house from rows and labels")
    if described.get("features"):
        raise MofangError("customise-base-unsuited", reason="it reads features that are made from other rows")
    others = [one["name"] for one in described["inputs"] if one["role"] not in ROLES]
    if others:
        raise MofangError("customise-base-unsuited", reason=f"{', '.join(others)} is neither text, number nor category")
    if writes and shop.ancestor(package.entry, "model") is None:
        raise MofangError("customise-base-unsuited", reason="it writes, and its weights are not in this shop to go on from")
    refused = forbidding([*package.licences, *described.get("licences", ())], described.get("sources", ()))
    if refused:
        raise MofangError("customise-forbidden", terms="; ".join(refused))
    return described


def taught_on(shop: Shop, package: Artifact) -> Artifact | None:
    """The snapshot that a base was taught on, while its rows are in this shop; None for one that came from elsewhere."""
    found = shop.ancestor(package.entry, "snapshot")
    if found is None or not all(shop.store.has(part.digest) for part in found.parts if part.name.startswith("train/")):
        return None
    return found


def estimated_s(shop: Shop, package: Artifact) -> int:
    """The most seconds that a customisation is expected to take: the plan's estimate for the base's family on its rows, and what
    the other steps of the base took, doubled."""
    from mofang.fit.family import Family
    from mofang.fit.planning.ahead import predict
    from mofang.fit.planning.sample import sample_of

    train_s, other_s = _took(shop, package)
    snapshot = taught_on(shop, package)
    if snapshot is not None:
        import mofang.fit.families  # noqa: F401  families announce themselves

        family = Family.parse(package.read_json("package.json")["family"])
        train_s = predict(shop, family, sample_of(snapshot)).wall_s
    return max(LEAST_S, math.ceil(ALLOWANCE * float(train_s + other_s)))


def spent_on(shop: Shop, package: Artifact) -> int:
    """The seconds that the base took to be made: what a run at a fixed price is expected to take, for its place in the queue."""
    return max(LEAST_S, math.ceil(sum(_took(shop, package))))


def _took(shop: Shop, package: Artifact) -> tuple[float, float]:
    """Seconds that the training of a base took, and its other steps."""
    costs = [shop.ledger.get(id).body for id in behind(shop.ledger, package.entry)]
    spent = [(body.get("stage"), float(body["cost"]["own"]["wall_s"])) for body in costs if body.get("cost")]
    return sum(s for stage, s in spent if stage == "train"), sum(s for stage, s in spent if stage in AFTER)
