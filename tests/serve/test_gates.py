"""Releases as pure functions: who is drawn for which, what evidence decides, and how often a good canary is taken back."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from mofang.serve.gates import Seen, binomial, difference, doubts, fisher, look_due, step_of, versus, weigh
from mofang.serve.routing import Route, Router, Rule, Share, route_from
from mofang.serve.same import alike, said

CANARY = Route("m", (Share("m@1", 9000), Share("m@2", 1000)), "canary", trial="t")


def drawn(route: Route, count: int = 20_000) -> Counter[str]:
    router = Router([route])
    return Counter(router.choose("m", f"cus_{number % 400}", f"req_{number}") for number in range(count))


def test_shares_are_kept_and_a_request_meets_one_release() -> None:
    found = drawn(CANARY)
    assert abs(found["m@2"] / 20_000 - 0.1) < 0.01
    router = Router([CANARY])
    assert len({router.choose("m", "cus_1", "retry-key") for _ in range(50)}) == 1
    assert router.choose("m@1", "c", "r") == "m@1" and router.choose("other", "c", "r") == "other"


def test_a_customer_stays_with_its_release_while_the_canary_grows() -> None:
    one = Route("m", CANARY.shares, "canary", "customer")
    more = Route("m", (Share("m@1", 5000), Share("m@2", 5000)), "canary", "customer")
    before, after = Router([one]), Router([more])
    customers = [f"cus_{number}" for number in range(500)]
    chosen = [name for name in customers if before.choose("m", name, "x") == "m@2"]
    assert 20 < len(chosen) < 90
    assert all(after.choose("m", name, "y") == "m@2" for name in chosen)


def test_three_arms_and_the_way_through_the_journal() -> None:
    route = Route("m", (Share("m@1", 2000), Share("m@2", 3000), Share("m@3", 5000)), "ab", "request", "m@4", "t", 3, ("m@0",))
    assert route_from(route.to_dict()) == route and route.releases == ("m@1", "m@2", "m@3", "m@4")
    found = drawn(route)
    assert [round(found[f"m@{n}"] / 20_000, 1) for n in (1, 2, 3)] == [0.2, 0.3, 0.5]


def test_exact_tests_agree_with_tables() -> None:
    assert fisher(3, 4, 1, 4) == pytest.approx(0.242857, abs=1e-6)  # Fisher's tea
    assert fisher(0, 10, 5, 10) == pytest.approx(1.0) and fisher(5, 10, 0, 0) == 1.0
    assert binomial(8, 10, 0.5) == pytest.approx(56 / 1024) and binomial(1, 10, 0.0) == 0.0 and binomial(0, 5, 0.3) == 1.0
    apart, low, high = difference(56, 70, 48, 80)  # Newcombe's own example
    assert (round(apart, 2), round(low, 4), round(high, 4)) == (0.2, 0.0524, 0.3339)


def seen(requests: int, errors: int = 0, ms: float = 10.0, same: int | None = None) -> Seen:
    return Seen(requests, errors, requests, requests if same is None else same, latency={step_of(ms / 1000): requests})


def test_a_canary_goes_back_on_errors_latency_answers_and_judgements() -> None:
    old, rule = seen(5000), Rule()
    assert weigh(old, seen(600), rule, 5).decision == "promote"
    assert weigh(old, seen(4, errors=6), rule, 0).reasons == ("errors",)
    assert weigh(old, seen(100, ms=40.0), rule, 2).reasons == ("latency",)
    assert weigh(old, seen(40, ms=40.0), rule, 2).decision == "wait", "the first answers of what was just opened"
    assert weigh(seen(5000, ms=1.0), seen(600, ms=9.0), rule, 5).decision == "promote", "ten milliseconds are no reason"
    assert weigh(old, seen(200, same=100), rule, 3).reasons == ("agreement",)
    old.judged, old.right = 100, 95
    new = seen(200, same=100)  # it may say something else where it is more often right
    new.judged, new.right = 60, 58
    assert weigh(old, new, rule, 3).decision == "wait"
    new.right = 30
    assert weigh(old, new, rule, 3).reasons == ("quality",)


def test_a_canary_waits_for_requests_and_for_evidence() -> None:
    assert weigh(seen(1000), seen(100), Rule(), 3).reasons == ("requests", "errors-not-excluded")
    blind = seen(600)
    blind.compared = blind.same = 0
    assert weigh(seen(5000), blind, Rule(), 5).reasons == ("no-quality-evidence",)


def test_looks_double_and_share_one_chance_of_a_false_alarm() -> None:
    assert [look_due(Seen(requests=count), looks) for count, looks in ((9, 0), (10, 0), (10, 1), (20, 1), (39, 2))] == [
        False, True, False, True, False]
    chance, wrongly = random.Random(3), 0
    for _ in range(120):  # two releases of one error rate, looked at until the canary is promoted
        old, new, looks = Seen(latency={}), Seen(latency={}), 0
        while looks < 8:
            for one, share in ((old, 9), (new, 1)):
                for _ in range(10 * 2**looks * share // (1 if looks == 0 else 2)):
                    failed = chance.random() < 0.05
                    one.errors += failed
                    one.requests += not failed
            verdict = weigh(old, new, Rule(after=10**6), looks)
            if verdict.decision == "rollback":
                wrongly += 1
                break
            looks += 1
    assert wrongly <= 4  # of 120 at one per cent: more than 4 has a chance of 0.8 %


def test_an_ab_report_has_differences_and_their_chance() -> None:
    first, other = Seen(1000, 10, judged=200, right=150), Seen(1000, 60, judged=200, right=180)
    found = versus(first, other)
    assert found["errors"]["p"] < 1e-6 and found["errors"]["low"] > 0
    assert found["right"]["low"] > 0 and found["right"]["p"] < 0.001
    assert versus(first, Seen()) == {}


def test_a_package_without_evidence_is_doubted() -> None:
    good = {"evaluation": {"rows": 10, "headline": "accuracy", "metrics": {"accuracy": {"value": 0.9, "low": 0.8, "high": 1.0}}}}
    assert doubts(good, None) == [] and doubts(good, {"verdict": "better"}) == []
    assert doubts({}, None) == ["no-evaluation"] and doubts(good, {"verdict": "worse"}) == ["worse"]


def test_what_is_said_is_told_from_how_sure_it_is() -> None:
    one, other = {"label": "a", "scores": {"a": 0.9, "b": 0.1}}, {"label": "a", "scores": {"a": 0.6, "b": 0.4}}
    assert alike(one, other) and said(one) == {"label": "a"} and not alike(one, {**other, "label": "b"})
    assert alike({"value": 10.0}, {"value": 10.2}) and not alike({"value": 10.0}, {"value": 12.0})
    assert alike({"scores": {"a": 1.0}}, {"scores": {"a": 0.99}}) and not alike({"scores": {"a": 1.0}}, {"scores": {"b": 1.0}})
    assert not alike({"spans": [{"start": 0, "score": 0.5}]}, {"spans": []})
