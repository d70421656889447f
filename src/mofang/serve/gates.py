"""Whether a release may be sold, grow or must go back: pure functions over evidence, with their significance tests.

Evidence is counted (``Seen``): requests, errors, latencies in steps of five per cent, answers as the other release gives
them, answers that somebody has judged, and of what writes the lengths of its answers. A canary is looked at when its
requests have doubled since the last look, and the looks share one chance of a false alarm (an alpha-spending rule: look k
gets alpha / (k (k + 1)), which sums to alpha), so that looking often does not take back a good release.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from mofang.serve.routing import Rule

FIRST_LOOK = 10  # requests of the new release
SHORTEST_S, STEP, BUCKETS = 50e-6, 1.05, 290  # as in web/statistics.py: up to a minute
TAIL = 0.05
SLOWER_FROM = 50  # answers: the first ones of a release that has just been opened are slow in every release
SLACK_TOKENS = 4  # an answer longer or shorter by less is no reason
SLACK_MS = 10.0   # a tail longer by less is no reason, whatever the factor: few requests meet colder caches

Decision = Literal["promote", "rollback", "wait"]


@dataclass
class Seen:
    """What was seen of one release: counts, requests by step of latency, written answers by step of their tokens."""

    requests: int = 0
    errors: int = 0
    compared: int = 0
    same: int = 0
    judged: int = 0
    right: int = 0
    latency: dict[int, int] = field(default_factory=dict)
    written: dict[int, int] = field(default_factory=dict)

    @property
    def answers(self) -> int:
        """Answers whose tokens were counted."""
        return sum(self.written.values())

    def tokens(self, share: float) -> float | None:
        """The tokens below which this share of the written answers lies; None where nothing was written."""
        return _quantile(self.written, share, tokens_of)

    def beyond(self, least: float, most: float) -> tuple[int, int]:
        """Written answers that are shorter than the one, and longer than the other."""
        return (sum(count for step, count in self.written.items() if tokens_of(step) < least),
                sum(count for step, count in self.written.items() if tokens_of(step) > most))

    def quantile_ms(self, share: float) -> float | None:
        """The latency below which this share of the answers lies; None where nothing was answered."""
        return _quantile(self.latency, share, ms_of)

    def slower_than(self, milliseconds: float) -> int:
        """Answers that took longer."""
        return sum(count for step, count in self.latency.items() if ms_of(step) > milliseconds)


@dataclass(frozen=True)
class Verdict:
    """What should be done with a canary, why in stable words, and the figures behind it."""

    decision: Decision
    reasons: tuple[str, ...]
    figures: dict[str, Any]


def step_of(seconds: float) -> int:
    """The step of a latency."""
    return min(BUCKETS - 1, int(math.log(max(seconds, SHORTEST_S) / SHORTEST_S) / math.log(STEP)))


def ms_of(step: int) -> float:
    """The upper end of a step in milliseconds."""
    return SHORTEST_S * STEP ** (step + 1) * 1000


def step_of_tokens(tokens: int) -> int:
    """The step of an answer's length: 0 of none, then five per cent each."""
    return 0 if tokens < 1 else 1 + round(math.log(tokens) / math.log(STEP))


def tokens_of(step: int) -> float:
    """The tokens of a step."""
    return round(STEP ** (step - 1), 1) if step else 0.0


def _quantile(counts: Mapping[int, int], share: float, value: Callable[[int], float]) -> float | None:
    total, sum_ = sum(counts.values()), 0
    for step, count in sorted(counts.items()):
        sum_ += count
        if sum_ >= share * total:
            return round(value(step), 3)
    return None


def lengths(old: Seen, new: Seen, longer: float) -> float:
    """The chance of so many answers outside the old release's span of lengths, widened by a factor; two sides.

    The span holds nine tenths of the old release's answers; what writes nothing, or without an end, falls outside.
    """
    low, high = old.tokens(TAIL), old.tokens(1 - TAIL)
    assert low is not None and high is not None
    short, long = new.beyond(min(low / longer, low - SLACK_TOKENS), max(high * longer, high + SLACK_TOKENS))
    return min(1.0, 2 * min(binomial(short, new.answers, TAIL), binomial(long, new.answers, TAIL)))


def fisher(more: int, of: int, than: int, among: int) -> float:
    """Fisher's exact test, one side: the chance of ``more`` or more of ``of`` if both came from one rate."""
    hits, total = more + than, of + among
    if of == 0 or among == 0 or hits == 0:
        return 1.0
    whole = _choose(total, hits)
    found = [_choose(of, k) + _choose(among, hits - k) - whole for k in range(more, min(of, hits) + 1)]
    return min(1.0, math.fsum(map(math.exp, found)))


def binomial(more: int, of: int, rate: float) -> float:
    """The chance of ``more`` or more of ``of`` at this rate."""
    if more <= 0:
        return 1.0
    if rate <= 0:
        return 0.0
    if rate >= 1:
        return 1.0
    return min(1.0, math.fsum(math.exp(_choose(of, k) + k * math.log(rate) + (of - k) * math.log1p(-rate))
                              for k in range(more, of + 1)))


def _choose(n: int, k: int) -> float:
    """The logarithm of the binomial coefficient."""
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def wilson(hits: int, of: int, z: float = 1.959964) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson, 1927); (0, 1) of nothing."""
    if of == 0:
        return 0.0, 1.0
    share, square = hits / of, z * z
    middle = (share + square / (2 * of)) / (1 + square / of)
    half = z * math.sqrt(share * (1 - share) / of + square / (4 * of * of)) / (1 + square / of)
    return max(0.0, middle - half), min(1.0, middle + half)


def difference(hits: int, of: int, other: int, among: int) -> tuple[float, float, float]:
    """Share less the other's share, with its 95 % interval (Newcombe, 1998, method 10)."""
    if of == 0 or among == 0:
        return 0.0, -1.0, 1.0
    share, beside = hits / of, other / among
    (low, high), (low2, high2) = wilson(hits, of), wilson(other, among)
    apart = share - beside
    return (apart, apart - math.hypot(share - low, high2 - beside), apart + math.hypot(high - share, beside - low2))


def look_due(seen: Seen, looks: int) -> bool:
    """True if a canary has doubled its requests since the last of so many looks."""
    return bool(seen.requests + seen.errors >= FIRST_LOOK << looks)


def weigh(old: Seen, new: Seen, rule: Rule, looks: int) -> Verdict:
    """What to do with a canary at its look number ``looks`` (from 0)."""
    alpha = rule.alpha / ((looks + 1) * (looks + 2))
    asked, asked_old = new.requests + new.errors, old.requests + old.errors
    failing = fisher(new.errors, asked, old.errors, asked_old) if asked_old else binomial(new.errors, asked, rule.errors)
    tests = {"errors": failing}
    before = old.quantile_ms(1 - TAIL)
    if before is not None and new.requests >= SLOWER_FROM:
        tests["latency"] = binomial(new.slower_than(max(before * rule.slower, before + SLACK_MS)), new.requests, TAIL)
    writes = min(new.answers, old.answers) >= SLOWER_FROM
    if writes:
        tests["tokens"] = lengths(old, new, rule.longer)
    if new.judged and old.judged:
        tests["quality"] = fisher(new.judged - new.right, new.judged, old.judged - old.right, old.judged)
    else:
        tests["agreement"] = binomial(new.compared - new.same, new.compared, 1 - rule.agree)
    bad = tuple(name for name, p in tests.items() if p < alpha)
    figures = {"look": looks + 1, "alpha": alpha, "p": {name: float(f"{p:.3g}") for name, p in tests.items()},
               "new": summary(new), "old": summary(old)}
    if bad:
        return Verdict("rollback", bad, figures)
    waits = []
    if asked < rule.after:
        waits.append("requests")
    excess = difference(new.errors, asked, old.errors, asked_old)[2] if asked_old else wilson(new.errors, asked)[1]
    if excess > rule.errors:
        waits.append("errors-not-excluded")
    if not (new.judged and old.judged) and not new.compared and not writes:
        waits.append("no-quality-evidence")
    return Verdict("wait", tuple(waits), figures) if waits else Verdict("promote", ("as-good",), figures)


def summary(seen: Seen) -> dict[str, Any]:
    """The counts of a release, as journals and reports show them."""
    return {"requests": seen.requests, "errors": seen.errors, "p50_ms": seen.quantile_ms(0.5),
            "p95_ms": seen.quantile_ms(0.95), "p99_ms": seen.quantile_ms(0.99), "same": seen.same,
            "compared": seen.compared, "right": seen.right, "judged": seen.judged,
            **({"tokens_p50": seen.tokens(0.5), "tokens_p95": seen.tokens(0.95)} if seen.written else {})}


def versus(first: Seen, other: Seen) -> dict[str, Any]:
    """Two arms of an A/B test beside each other: errors and quality, each with its difference, interval and p-value."""
    found: dict[str, Any] = {}
    pairs = {"errors": (other.errors, other.requests + other.errors, first.errors, first.requests + first.errors),
             "right": (other.right, other.judged, first.right, first.judged)}
    for name, (hits, of, hits_first, among) in pairs.items():
        if of and among:
            apart, low, high = difference(hits, of, hits_first, among)
            p = min(1.0, 2 * min(fisher(hits, of, hits_first, among), fisher(hits_first, among, hits, of)))
            found[name] = {"difference": round(apart, 6), "low": round(low, 6), "high": round(high, 6), "p": float(f"{p:.3g}")}
    return found


def doubts(described: Mapping[str, Any], comparison: Mapping[str, Any] | None) -> list[str]:
    """What speaks against selling a package, as stable words: no evaluation, no headline figure, found worse than before.

    ``described`` is its package.json, ``comparison`` the newest comparison with the release before it, if there is one.
    """
    evaluation = described.get("evaluation") or {}
    figures = evaluation.get("metrics", {}).get(evaluation.get("headline", ""), {})
    found = []
    if not evaluation.get("rows") or figures.get("value") is None:
        found.append("no-evaluation")
    if figures and figures.get("low") is None:
        found.append("no-interval")
    if comparison is not None and comparison.get("verdict") == "worse":
        found.append("worse")
    return found
