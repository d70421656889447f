"""What is on sale and how it does, as facts: routes with what was seen of each release, and A/B tests in figures."""

from __future__ import annotations

from typing import Any

from mofang.core.errors import MofangError
from mofang.core.nearest import nearest
from mofang.core.shop import Shop
from mofang.serve.deploy import JOURNAL, looks_of, seen_of, standing_routes
from mofang.serve.gates import Seen, summary, versus
from mofang.serve.routing import Route


def status_rows(shop: Shop) -> list[dict[str, Any]]:
    """A row for each release of each route; counts are of the time since the route was set."""
    found = []
    for route in standing_routes(shop):
        seen, looks = seen_of(shop.control, route.trial), looks_of(shop.control, route.trial)
        last = _last_decision(shop, route)
        for release in route.releases:
            weight = next((one.weight for one in route.shares if one.release == release), 0)
            role = "shadow" if release == route.shadow else "canary" if release == route.challenger else "stable"
            decision, reasons = last if role == "stable" else ("", [])
            if role == "canary" and looks[0]:
                decision, reasons = looks[1], list(looks[2])
            found.append({"model": route.model, "release": release, "role": role, "share": weight / 100,
                          **summary(seen.get(release, Seen())), "decision": decision, "reasons": reasons,
                          "by": route.by, "why": route.why, "since_us": route.at_us})
    return found


def _last_decision(shop: Shop, route: Route) -> tuple[str, list[str]]:
    """What ended the trial before this route, where a rule did it."""
    if route.by not in ("canary", "rollout"):
        return "", []
    decision, _, reasons = route.why.partition(": ")
    return decision, reasons.split(", ") if reasons else []


def report(shop: Shop, model: str) -> dict[str, Any]:
    """The running (or, of a settled route, the last) trial of a model: arms beside the first, and every look's decision."""
    base = model.partition("@")[0]
    known = {one.model: one for one in standing_routes(shop)}
    if base not in known:
        raise MofangError("route-none", model=base, nearest=nearest(base, known))
    route = _trial(shop, known[base])
    seen = seen_of(shop.control, route.trial)
    first = seen.get(route.stable, Seen())
    arms = [{"release": release, **summary(seen.get(release, Seen())), "versus": versus(first, seen.get(release, Seen()))}
            for release in route.releases if release != route.stable]
    decisions = [{"at_us": row.at_us, **{name: row.body[name] for name in ("decision", "reasons", "figures")}}
                 for row in shop.journals.rows(JOURNAL) if row.kind == "look" and row.body["trial"] == route.trial]
    return {"model": base, "mode": route.mode, "trial": route.trial, "since_us": route.at_us, "first": route.stable,
            "stable": summary(first), "arms": arms, "decisions": decisions}


def _trial(shop: Shop, route: Route) -> Route:
    """The route itself while something is tried, else the newest one before it on which something was."""
    from mofang.serve.routing import route_from

    if len(route.releases) > 1:
        return route
    earlier = [route_from(row.body["route"]) for row in shop.journals.rows(JOURNAL) if row.kind == "route"]
    tried = [one for one in earlier if one.model == route.model and len(one.releases) > 1]
    return tried[-1] if tried else route
