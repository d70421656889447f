"""Releases on sale: which release answers to a model's name, who decided it, and the way back.

Every change is a row of the journal ``deploy`` by the shared writer ``hand``; what servers saw of each release is written
there too, by each server as itself. The tables are folded from both. A release without evidence is refused unless somebody
says why it is sold all the same (``docs/deploy.md``, ``docs/decisions/030``).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

from mofang.core.action import Act, action, turn
from mofang.core.canonical import canonical
from mofang.core.database import Database
from mofang.core.errors import MofangError
from mofang.core.identity import new_id, now_us
from mofang.core.journal import NewRow, Row, fold
from mofang.core.rule import Rule as Bounds
from mofang.core.shop import Named, Shop
from mofang.core.tables import tables_of
from mofang.serve.gates import Seen, doubts
from mofang.serve.routing import WHOLE, Mode, Route, Rule, Share, route_from

JOURNAL = "deploy"
HISTORY_MOST = 50
COUNTS = ("requests", "errors", "compared", "same", "judged", "right_ones")

TABLES = (
    "create table if not exists deploy_route(model text primary key, trial text not null, body text not null)",
    """create table if not exists deploy_seen(trial text not null, release text not null, requests bigint not null,
        errors bigint not null, compared bigint not null, same bigint not null, judged bigint not null,
        right_ones bigint not null, primary key(trial, release))""",
    """create table if not exists deploy_latency(trial text not null, release text not null, step integer not null,
        requests bigint not null, primary key(trial, release, step))""",
    """create table if not exists deploy_written(trial text not null, release text not null, step integer not null,
        answers bigint not null, primary key(trial, release, step))""",
    """create table if not exists deploy_look(trial text primary key, looks integer not null, decision text not null,
        reasons text not null)""",
)


@fold(JOURNAL, tables=TABLES)
def fold_deploy(db: Database, rows: list[Row]) -> None:
    """Routes as last set; sums of what servers saw; how often a canary was looked at."""
    for row in rows:
        body = row.body
        if row.kind == "route":
            db.run("""insert into deploy_route values(?,?,?) on conflict(model) do update set trial=excluded.trial,
                body=excluded.body""", (body["route"]["model"], body["route"]["trial"], canonical(body["route"]).decode()))
        elif row.kind == "look":
            db.run("""insert into deploy_look values(?,?,?,?) on conflict(trial) do update set looks=excluded.looks,
                decision=excluded.decision, reasons=excluded.reasons""",
                   (body["trial"], body["looks"], body["decision"], " ".join(body["reasons"])))
        elif row.kind == "seen":
            added = ", ".join(f"{name}=deploy_seen.{name}+excluded.{name}" for name in COUNTS)
            db.run(f"""insert into deploy_seen values(?,?,?,?,?,?,?,?) on conflict(trial, release) do update set {added}""",
                   (body["trial"], body["release"], *(body.get(name, 0) for name in COUNTS)))
            db.many("""insert into deploy_latency values(?,?,?,?) on conflict(trial, release, step) do update set
                requests=deploy_latency.requests+excluded.requests""",
                    [(body["trial"], body["release"], int(step), count)
                     for step, count in sorted(body.get("latency", {}).items())])
            db.many("""insert into deploy_written values(?,?,?,?) on conflict(trial, release, step) do update set
                answers=deploy_written.answers+excluded.answers""",
                    [(body["trial"], body["release"], int(step), count)
                     for step, count in sorted(body.get("written", {}).items())])


def routes(db: Database) -> list[Route]:
    """All routes as they stand, by the model's name."""
    return [route_from(json.loads(row[0])) for row in db.rows("select body from deploy_route order by model")]


def route_of(db: Database, model: str) -> Route | None:
    """One model's route; None where its name still leads to its newest version."""
    found = db.rows("select body from deploy_route where model=?", (model,))
    return route_from(json.loads(found[0][0])) if found else None


def standing_routes(shop: Shop) -> list[Route]:
    """The same of a shop that may never have released anything."""
    return routes(shop.control) if "deploy_route" in tables_of(shop.control) else []


def seen_of(db: Database, trial: str) -> dict[str, Seen]:
    """What all servers together saw of each release since a trial began."""
    found: dict[str, Seen] = {}
    sql = "select release, requests, errors, compared, same, judged, right_ones from deploy_seen where trial=?"
    for release, requests, errors, compared, same, judged, right in db.rows(sql, (trial,)):
        found[release] = Seen(int(requests), int(errors), int(compared), int(same), int(judged), int(right))
    for release, step, count in db.rows("select release, step, requests from deploy_latency where trial=?", (trial,)):
        found[release].latency[int(step)] = int(count)
    for release, step, count in db.rows("select release, step, answers from deploy_written where trial=?", (trial,)):
        found[release].written[int(step)] = int(count)
    return found


def looks_of(db: Database, trial: str) -> tuple[int, str, tuple[str, ...]]:
    """How often a canary was looked at, and what the last look said."""
    found = db.rows("select looks, decision, reasons from deploy_look where trial=?", (trial,))
    return (int(found[0][0]), found[0][1], tuple(found[0][2].split())) if found else (0, "wait", ())


def settled(route: Route, release: str, by: str, why: str, *, history: Sequence[str] | None = None) -> Route:
    """The route on which one release answers alone, after this one."""
    earlier = tuple(history) if history is not None else _earlier(route, release)
    return Route(route.model, (Share(release, WHOLE),), trial=new_id("trial"), version=route.version + 1, history=earlier,
                 by=by, why=why, at_us=now_us(), rule=route.rule)


def _earlier(route: Route, release: str) -> tuple[str, ...]:
    """The releases to which a rollback goes, once ``release`` answers alone."""
    kept = [one for one in route.history if one != release]
    if route.stable != release:
        kept = [*(one for one in kept if one != route.stable), route.stable]
    return tuple(kept[-HISTORY_MOST:])


Percent = Annotated[float, Bounds(ge=0, le=100, finite=True)]
Ratio = Annotated[float, Bounds(ge=0, le=1, finite=True)]


@action(may="release")
def deploy_set(
    act: Act, *, releases: tuple[str, ...], weights: tuple[float, ...] = (), mode: Literal["plain", "canary", "ab"] = "plain",
    canary: Percent = 5, shadow: bool = False, sticky: Literal["request", "customer"] = "request",
    after: Annotated[int, Bounds(ge=10, le=10_000_000)] = 500, errors: Ratio = 0.01,
    slower: Annotated[float, Bounds(ge=1, le=100, finite=True)] = 1.5, agree: Ratio = 0.9, force: bool = False,
    longer: Annotated[float, Bounds(ge=1, le=100, finite=True)] = 1.5,
    why: Annotated[str, Bounds(max_length=300)] = "",
) -> Route:
    """Put releases on sale under their model's name: one alone, one beside the old (canary, shadow), or several (A/B).

    Refuses a package without evidence, or found worse than the release before it, unless ``force`` and ``why`` are given.
    """
    shop = act.shop
    named = [shop.named(one, kind="package") for one in releases]
    model = named[0].name
    if others := [str(one) for one in named if one.name != model]:
        raise MofangError("release-other-model", model=model, other=others[0])
    rule = Rule(after, errors, slower, agree, longer=longer)
    with turn(act, JOURNAL) as db:
        before = route_of(db, model) or _first(shop, model, named[0])
        _refuse_doubtful(shop, named, before, force, why)
        changed = _next(before, [str(one) for one in named], weights, mode, canary, shadow)
        route = replace(changed, sticky=sticky, trial=new_id("trial"), version=before.version + 1, rule=rule, why=why,
                        by=act.actor.name, at_us=now_us())
        act.record(JOURNAL, NewRow("route", {"route": route.to_dict(), "forced": force}))
    return route


def _first(shop: Shop, model: str, wanted: Named) -> Route:
    """What a name led to before its first release: its newest version, or the one before where that is wanted now."""
    versions = [one for one in shop.names("package") if one.name == model]
    old = next((one for one in versions if one.version != wanted.version), versions[0])
    return Route(model, (Share(str(old), WHOLE),), history=())


def _refuse_doubtful(shop: Shop, named: Sequence[Named], before: Route, force: bool, why: str) -> None:
    if force and not why.strip():
        raise MofangError("release-why")
    for one in named:
        if str(one) in (before.stable, *before.history) or force:
            continue
        package = shop.artifact(shop.ledger.get(one.entry))
        described = package.read_json("package.json")
        found = doubts(described, comparison_of(shop, described, before.stable))
        if found:
            raise MofangError("release-doubtful", release=str(one), doubts=", ".join(found))


def comparison_of(shop: Shop, described: dict[str, Any], previous: str) -> dict[str, Any] | None:
    """The newest comparison of a package's graph with that of an earlier release; None if they never were compared."""
    try:
        earlier = shop.artifact(shop.ledger.get(shop.named(previous, "package").entry)).read_json("package.json")
        graph, other = (one["lineage"]["graph"] for one in (described, earlier))
    except (MofangError, KeyError):
        return None
    for id in reversed(shop.ledger.children(graph["entry"])):
        entry = shop.ledger.get(id)
        given = [one["digest"] for one in entry.body.get("inputs", [])][:2]
        if entry.body.get("output", {}).get("kind") == "comparison" and given == [graph["digest"], other["digest"]]:
            found: dict[str, Any] = shop.artifact(entry).read_json("comparison.json")
            return found
    return None


def _next(before: Route, releases: list[str], weights: Sequence[float], mode: Mode, canary: float, shadow: bool) -> Route:
    """The route that was asked for, from the one that stands."""
    first = releases[0]
    if shadow:
        if first == before.stable:
            raise MofangError("release-live-already", release=first)
        return Route(before.model, (Share(before.stable, WHOLE),), shadow=first, history=before.history)
    if mode == "canary":
        if first == before.stable:
            raise MofangError("release-live-already", release=first)
        weight = round(canary * WHOLE / 100)
        return Route(before.model, (Share(before.stable, WHOLE - weight), Share(first, weight)), "canary", history=before.history)
    if mode == "ab":
        if len(releases) < 2 or len(set(releases)) != len(releases) or abs(sum(weights) - 100) > 0.01 or min(weights) < 0:
            given = ", ".join(f"{name}={weight:g}" for name, weight in zip(releases, weights, strict=False))
            raise MofangError("release-weights", given=given)
        counted = [round(one * WHOLE / 100) for one in weights]
        counted[0] += WHOLE - sum(counted)
        shares = tuple(Share(name, weight) for name, weight in zip(releases, counted, strict=True))
        history = before.history if before.stable == first else _earlier(before, first)
        return Route(before.model, shares, "ab", history=history)
    return Route(before.model, (Share(first, WHOLE),), history=_earlier(before, first))


@action(may="release")
def deploy_rollback(act: Act, *, model: str, why: Annotated[str, Bounds(max_length=300)] = "") -> Route:
    """Go back: end a canary, a shadow or an A/B test with the old release alone, or return to the release before."""
    base = model.partition("@")[0]
    with turn(act, JOURNAL) as db:
        route = route_of(db, base)
        if route is None:
            act.shop.named(base, kind="package")
            raise MofangError("rollback-nowhere", model=base)
        if len(route.shares) > 1 or route.shadow:
            back = settled(route, route.stable, act.actor.name, why, history=route.history)
        elif route.history:
            back = settled(route, route.history[-1], act.actor.name, why, history=route.history[:-1])
        else:
            raise MofangError("rollback-nowhere", model=base)
        act.record(JOURNAL, NewRow("route", {"route": back.to_dict(), "forced": False}))
    return back


@action(may="label")
def deploy_judged(act: Act, *, request: str, release: str, right: bool) -> None:
    """Say whether a release's answer to one request was right; canaries and A/B reports count it, each request once."""
    base = release.partition("@")[0]
    with turn(act, JOURNAL) as db:
        route = route_of(db, base)
        id = f"judged/{request}"
        if route is None or db.rows("select 1 from journal where id=?", (id,)):
            return
        body = {"trial": route.trial, "release": release, "judged": 1, "right_ones": int(right)}
        act.record(JOURNAL, NewRow("seen", body, id=id))

