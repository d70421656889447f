"""A serving process follows the routes: opens what they name, counts what it sees, mirrors requests, and decides.

Four times a second the journal is looked at; a new route holds from the moment all its releases are open here, so that no
request waits for one that loads. Once a second the counts go into the journal. Whoever finds a canary's next look due takes
it, in the transaction that looks again: of several processes one decides, and each decision names its figures.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from math import hypot
from operator import mul
from typing import Any, Protocol

from mofang.core.database import Database
from mofang.core.errors import MofangError
from mofang.core.journal import Journals, NewRow
from mofang.serve.boundary import attempt
from mofang.serve.deploy import JOURNAL, looks_of, route_of, routes, seen_of, settled
from mofang.serve.gates import Seen, look_due, step_of, step_of_tokens, weigh
from mofang.serve.routing import WHOLE, Route, Router, Share
from mofang.serve.same import alike

POLL_S = 0.25
TELL_S = 1.0  # while a trial is on
REST_S = 60.0  # a model that one release answers: its counts are written so often
COSINE = 0.95  # of two vectors of one text
MIRRORED_MOST = 256  # requests of one process that a second release is being asked at once

Answers = list[dict[str, Any]]
Done = Callable[[Answers | MofangError], None]
Deliver = Callable[[Any], None]  # of a piece (``engine.generation.rows.Piece``) or an error
log = logging.getLogger("mofang.rollout")


class Releases(Protocol):
    """What a process has open."""

    def ready(self, release: str) -> None:
        """Open a release if it is not open; MofangError where that cannot be."""

    def ask(self, release: str, records: list[dict[str, Any]], done: Done) -> None:
        """Put records to a release behind everybody else's; MofangError where it is busy."""

    def write(self, release: str, record: dict[str, Any], sampling: Any, deliver: Deliver) -> None:
        """Have a generator write for a record, where nobody waits; MofangError where somebody does."""


class Rollout:
    """One per serving process, with a connection and a thread of its own."""

    def __init__(self, db: Database, router: Router, releases: Releases, models: Sequence[str] = (), *,
                 poll_s: float = POLL_S) -> None:
        self.db = db
        self.router = router
        self.releases = releases
        self.models = frozenset(models)  # those whose name follows a route; empty: all
        self.poll_s = poll_s
        self.journals = Journals(db)
        self.refused: dict[str, str] = {}  # models whose newest route could not be followed here, with the reason
        self._at = -1
        self._counts: dict[tuple[str, str], Seen] = {}
        self._lock = threading.Lock()
        self._mirrored = 0
        self._told_s = self._rested_s = time.monotonic()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="rollout", daemon=True)

    def start(self) -> None:
        """Begin to follow; the routes of now hold when this returns."""
        self.look()
        self._thread.start()

    def close(self) -> None:
        """Write what was counted, end the thread and the connection."""
        self._end.set()
        if self._thread.ident is not None:
            self._thread.join()
        attempt(self.tell)
        self.db.close()

    # What requests say

    def around(self, release: str, records: list[dict[str, Any]], done: Done) -> Done:
        """The same ``done``, which also counts the release's answer and puts the request to the other one of a trial."""
        route = self.router.routes.get(release.partition("@")[0])
        if route is None:
            return done
        return partial(self._answered, route, release, records, time.perf_counter(), done)

    def writing(self, release: str, record: dict[str, Any], sampling: Any, deliver: Deliver) -> Deliver:
        """The same ``deliver``, which also counts the answer that a generator writes, its tokens and its time, and has the
        shadow of a trial write too. A canary's answers are not compared: two generators that are good say it differently."""
        route = self.router.routes.get(release.partition("@")[0])
        if route is None:
            return deliver
        if route.shadow and route.shadow != release:
            self._mirror_written(route, record, sampling)
        return partial(self._delivered, route, release, time.perf_counter(), [0], deliver)

    def _delivered(self, route: Route, release: str, began_s: float, tokens: list[int], deliver: Deliver, piece: Any) -> None:
        deliver(piece)
        if isinstance(piece, MofangError):
            if fault_of(piece):
                self._count(route, release, errors=1)
            return
        tokens[0] += piece.finish != "end"  # each piece is a token, but for the mark of the end
        if piece.finish:
            self._count(route, release, requests=1, step=step_of(time.perf_counter() - began_s), written=tokens)

    def _mirror_written(self, route: Route, record: dict[str, Any], sampling: Any) -> None:
        if self._mirrored >= MIRRORED_MOST:
            return
        with self._lock:
            self._mirrored += 1
        deliver = partial(self._delivered, route, route.shadow, time.perf_counter(), [0], self._mirror_ends)
        if attempt(partial(self.releases.write, route.shadow, record, sampling, deliver)) is not None:
            self._finished()

    def _mirror_ends(self, piece: Any) -> None:
        if isinstance(piece, MofangError) or piece.finish:
            self._finished()

    def _answered(self, route: Route, release: str, records: list[dict[str, Any]], began_s: float, done: Done,
                  outcome: Answers | MofangError) -> None:
        took_s = time.perf_counter() - began_s
        done(outcome)
        if isinstance(outcome, MofangError):
            if fault_of(outcome):
                self._count(route, release, errors=1)
            return
        written = tokens_in(outcome)
        self._count(route, release, requests=1, step=step_of(took_s), written=written)
        other = route.shadow or (route.stable if release == route.challenger and not written else "")
        if other and other != release:
            self._mirror(route, release, other, records, outcome)

    def _mirror(self, route: Route, release: str, other: str, records: list[dict[str, Any]], answers: Answers) -> None:
        """Ask the other release the same, for nobody: never answered with, never charged, left out where it is busy."""
        if self._mirrored >= MIRRORED_MOST:
            return
        with self._lock:
            self._mirrored += 1
        ask = partial(self.releases.ask, other, records,
                      partial(self._compared, route, release, other, answers, time.perf_counter()))
        if attempt(ask) is not None:
            self._finished()

    def _compared(self, route: Route, release: str, other: str, answers: Answers, began_s: float,
                  outcome: Answers | MofangError) -> None:
        self._finished()
        shadowed = other == route.shadow
        if isinstance(outcome, MofangError):
            if shadowed and fault_of(outcome):
                self._count(route, other, errors=1)
            return
        if shadowed:
            self._count(route, other, requests=1, step=step_of(time.perf_counter() - began_s), written=tokens_in(outcome))
        same = len(outcome) == len(answers) and all(agrees(one, two) for one, two in zip(answers, outcome, strict=True))
        self._count(route, other if shadowed else release, compared=1, same=int(same))

    def _finished(self) -> None:
        with self._lock:
            self._mirrored -= 1

    def _count(self, route: Route, release: str, *, step: int | None = None, written: Sequence[int] = (), **more: int) -> None:
        with self._lock:
            seen = self._counts.setdefault((route.trial, release), Seen())
            for name, count in more.items():
                setattr(seen, name, getattr(seen, name) + count)
            if step is not None:
                seen.latency[step] = seen.latency.get(step, 0) + 1
            for length in map(step_of_tokens, written):
                seen.written[length] = seen.written.get(length, 0) + 1

    # What the journal says

    def look(self) -> None:
        """Follow the journal once: routes that changed, counts that are due, canaries to be looked at."""
        at = self._head()
        if at != self._at:
            self._follow([one for one in routes(self.db) if not self.models or one.model in self.models])
            self._at = at
        now = time.monotonic()
        trials = any(len(one.shares) > 1 or one.shadow for one in self.router.routes.values())
        if (trials and now > self._told_s + TELL_S) or now > self._rested_s + REST_S:
            self._told_s = self._rested_s = now
            self.tell()
            for route in list(self.router.routes.values()):
                if route.challenger:
                    decide(self.journals, route.model)

    def _follow(self, wanted: list[Route]) -> None:
        """Open what the routes name, then let requests go by them; a route that cannot be opened stays as it was."""
        told = []
        for route in wanted:
            fault = attempt(partial(self._open, route))
            if fault is None:
                told.append(route)
                continue
            code = fault.code if isinstance(fault, MofangError) else type(fault).__name__
            log.error("a release of %s cannot be opened, so its route stays as it was: %s", route.model, fault)
            self.refused[route.model] = code
            give_up(self.journals, route, code)
            standing = self.router.routes.get(route.model)
            if standing is not None:
                told.append(standing)
            elif attempt(partial(self.releases.ready, route.stable)) is None:
                told.append(replace(route, shares=(Share(route.stable, WHOLE),), mode="plain", shadow=""))
        self.router.tell(told)

    def _open(self, route: Route) -> None:
        for release in route.releases:
            self.releases.ready(release)

    def tell(self) -> None:
        """Write what was counted since the last time into the journal."""
        with self._lock:
            counts, self._counts = self._counts, {}
        rows = [NewRow("seen", {"trial": trial, "release": release, "requests": seen.requests, "errors": seen.errors,
                                "compared": seen.compared, "same": seen.same,
                                "latency": {str(step): count for step, count in sorted(seen.latency.items())},
                                **({"written": {str(step): count for step, count in sorted(seen.written.items())}}
                                   if seen.written else {})})
                for (trial, release), seen in sorted(counts.items())]
        if rows:
            fault = attempt(partial(self._record, rows))
            if fault is not None:
                self.journals.forget_heads()
                raise fault

    def _record(self, rows: list[NewRow]) -> None:
        self.journals.record(JOURNAL, rows, "")

    def _head(self) -> int:
        """The newest row that a person or a decision has written."""
        found = self.db.rows("select coalesce(max(seq), 0) from journal where journal=? and writer='hand'", (JOURNAL,))
        return int(found[0][0])

    def _watch(self) -> None:
        while not self._end.wait(self.poll_s):
            fault = attempt(self.look)
            if fault is not None:
                log.error("the routes cannot be followed: %s: %s", type(fault).__name__, fault)
                attempt(self._reopen)

    def _reopen(self) -> None:
        self.db = self.db.again()
        self.journals = Journals(self.db)


def fault_of(error: MofangError) -> bool:
    """Whether a refusal speaks against the release: its own failure, not a full queue or a server that ends."""
    return error.status >= 500 and error.code not in ("busy", "closing")


def tokens_in(answers: Answers) -> list[int]:
    """The tokens of each answer that was written; nothing of other answers."""
    return [one["tokens"] for one in answers if isinstance(one.get("tokens"), int) and "text" in one]


def agrees(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two answers say the same; vectors do where they point the same way (a cosine of 0.95 and more), because what
    was indexed with the old ones must still be found."""
    first, second = one.get("embedding"), other.get("embedding")
    if first is None or second is None:
        return alike(one, other)
    if len(first) != len(second):
        return False
    product, lengths = sum(map(mul, first, second)), hypot(*first) * hypot(*second)
    return bool(product >= COSINE * lengths) if lengths else not any(first) and not any(second)


def decide(journals: Journals, model: str) -> str:
    """Look at a canary if its next look is due, and promote it, take it back, or wait; what was decided ("" if nothing was).

    Everything is read and written in one transaction in which nobody else changes routes.
    """
    db = journals.db
    first = route_of(db, model)
    if first is None or not first.challenger:
        return ""
    if not look_due(seen_of(db, first.trial).get(first.challenger, Seen()), looks_of(db, first.trial)[0]):
        return ""
    with db.transaction():
        journals.append(JOURNAL, [], "hand")
        route = route_of(db, model)
        if route is None or not route.challenger:
            return ""
        seen, looks = seen_of(db, route.trial), looks_of(db, route.trial)[0]
        new = seen.get(route.challenger, Seen())
        if not look_due(new, looks):
            return ""
        verdict = weigh(seen.get(route.stable, Seen()), new, route.rule, looks)
        asked = new.requests + new.errors
        while look_due(replace(new, requests=asked, errors=0), looks):
            looks += 1
        body = {"trial": route.trial, "looks": looks, "decision": verdict.decision, "reasons": list(verdict.reasons),
                "figures": verdict.figures}
        rows = [NewRow("look", body)]
        if verdict.decision != "wait":
            release = route.challenger if verdict.decision == "promote" else route.stable
            after = settled(route, release, "canary", f"{verdict.decision}: {', '.join(verdict.reasons)}",
                            history=None if verdict.decision == "promote" else route.history)
            rows.append(NewRow("route", {"route": after.to_dict(), "forced": False, "by": "canary"}))
        journals.append(JOURNAL, rows, "hand")
    return verdict.decision


def give_up(journals: Journals, route: Route, code: str) -> bool:
    """Take back a route that names a release which cannot be opened, if there is one to go back to; True if it was.

    One server that cannot open it is enough: a release that only some can answer with is none.
    """
    trial = len(route.shares) > 1 or bool(route.shadow)
    if not trial and not route.history:
        return False
    with journals.db.transaction():
        journals.append(JOURNAL, [], "hand")
        now = route_of(journals.db, route.model)
        if now is None or now.trial != route.trial:
            return False
        why = f"rollback: {code}"
        back = settled(route, route.stable, "rollout", why, history=route.history) if trial else settled(
            route, route.history[-1], "rollout", why, history=route.history[:-1])
        rows = [NewRow("look", {"trial": route.trial, "looks": 0, "decision": "rollback", "reasons": [code], "figures": {}}),
                NewRow("route", {"route": back.to_dict(), "forced": False, "by": "rollout"})]
        journals.append(JOURNAL, rows, "hand")
    return True
