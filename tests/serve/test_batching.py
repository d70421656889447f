"""The batcher: each caller gets its own answer, the queue is bounded, and one bad record harms nobody else."""

import threading
import time

import pytest

from mofang.core.errors import MofangError
from mofang.serve.batching import HIGH, LOW, NORMAL, Batcher

SOON = 60.0


class Box:
    """Collects outcomes by caller and waits for all of them."""

    def __init__(self, expected):
        self.outcomes, self.expected, self.full, self.lock = {}, expected, threading.Event(), threading.Lock()

    def of(self, name):
        def done(outcome):
            with self.lock:
                assert name not in self.outcomes, "answered twice"
                self.outcomes[name] = outcome
                if len(self.outcomes) == self.expected:
                    self.full.set()

        return done

    def wait(self):
        assert self.full.wait(SOON)
        return self.outcomes


def doubled(records):
    return [{"answer": record["n"] * 2} for record in records]


@pytest.fixture
def make():
    made = []

    def build(predict, **settings):
        made.append(Batcher(predict, **settings))
        return made[-1]

    yield build
    for batcher in made:
        batcher.close(1.0)


def by_and_by():
    return time.monotonic() + SOON


def test_ten_thousand_callers_each_get_their_own_answer(make):
    """Batched answers handed to the wrong caller: lessons.md."""
    batcher = make(doubled, streams=3, batch_max=17, queue_max=100_000, wait_max_s=SOON)
    box = Box(10_000)

    def call(start):
        for n in range(start, 10_000, 8):
            batcher.submit([{"n": n}] * (1 + n % 3), box.of(n), deadline_s=by_and_by())

    threads = [threading.Thread(target=call, args=(start,)) for start in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    outcomes = box.wait()
    assert all(outcomes[n] == [{"answer": 2 * n}] * (1 + n % 3) for n in range(10_000))


def test_batches_take_what_waits_and_never_more_than_the_limit(make):
    sizes, gate = [], threading.Event()

    def predict(records):
        gate.wait(SOON)
        sizes.append(len(records))
        return doubled(records)

    batcher = make(predict, batch_max=8)
    box = Box(20)
    for n in range(20):
        batcher.submit([{"n": n}], box.of(n), deadline_s=by_and_by())
    gate.set()
    box.wait()
    assert max(sizes) == 8 and sum(sizes) == 20 and len(sizes) <= 4


def test_one_caller_with_more_records_than_a_batch_is_served_in_pieces(make):
    sizes = []

    def predict(records):
        sizes.append(len(records))
        return doubled(records)

    batcher = make(predict, batch_max=8, queue_max=10)
    box = Box(1)
    batcher.submit([{"n": n} for n in range(30)], box.of("all"), deadline_s=by_and_by())
    assert box.wait()["all"] == [{"answer": 2 * n} for n in range(30)]
    assert sizes == [8, 8, 8, 6]


def test_a_full_queue_refuses_at_once(make):
    gate = threading.Event()
    batcher = make(lambda records: gate.wait(SOON) and doubled(records), batch_max=1, queue_max=4)
    box = Box(5)
    batcher.submit([{"n": 0}], box.of(0), deadline_s=by_and_by())
    while batcher.waiting:
        time.sleep(0.001)
    for n in range(1, 5):
        batcher.submit([{"n": n}], box.of(n), deadline_s=by_and_by())
    with pytest.raises(MofangError) as caught:
        batcher.submit([{"n": 5}], box.of(5), deadline_s=by_and_by())
    assert caught.value.code == "busy" and caught.value.status == 503
    gate.set()
    assert len(box.wait()) == 5


def test_gone_and_late_callers_are_dropped_before_the_batch(make):
    gate, seen = threading.Event(), []

    def predict(records):
        gate.wait(SOON)
        seen.extend(record["n"] for record in records)
        return doubled(records)

    batcher = make(predict)
    box = Box(4)
    batcher.submit([{"n": 0}], box.of("first"), deadline_s=by_and_by())
    while batcher.waiting:
        time.sleep(0.001)
    batcher.submit([{"n": 1}], box.of("gone"), deadline_s=by_and_by(), gone=lambda: True)
    batcher.submit([{"n": 2}], box.of("late"), deadline_s=time.monotonic())
    batcher.submit([{"n": 3}], box.of("kept"), deadline_s=by_and_by())
    gate.set()
    outcomes = box.wait()
    assert outcomes["gone"].code == "caller-gone" and outcomes["late"].code == "too-late"
    assert seen == [0, 3] and outcomes["kept"] == [{"answer": 6}]


def test_a_ticket_decided_from_outside_is_answered_at_once_and_left_out(make):
    gate, seen = threading.Event(), []
    batcher = make(lambda records: gate.wait(SOON) and seen.extend(records) or doubled(records), batch_max=1)
    box = Box(2)
    running = batcher.submit([{"n": 0}], box.of("running"), deadline_s=by_and_by())
    while batcher.waiting:
        time.sleep(0.001)
    batcher.submit([{"n": 1}], box.of("queued"), deadline_s=by_and_by()).finish(MofangError("too-late"))
    running.finish(MofangError("too-late"))
    assert {one.code for one in box.wait().values()} == {"too-late"}
    gate.set()
    batcher.close(SOON)
    assert seen == [{"n": 0}]


@pytest.mark.parametrize("fault", [MofangError("too-late"), ZeroDivisionError("boom")])
def test_one_poisoned_record_fails_alone(make, fault):
    gate = threading.Event()

    def predict(records):
        gate.wait(SOON)
        if any(record["n"] == 3 for record in records):
            raise fault
        return doubled(records)

    batcher = make(predict)
    box = Box(6)
    for n in range(6):
        batcher.submit([{"n": n}], box.of(n), deadline_s=by_and_by())
    gate.set()
    outcomes = box.wait()
    bad = outcomes.pop(3)
    assert bad.code == (fault.code if isinstance(fault, MofangError) else "engine-failed")
    assert all(outcomes[n] == [{"answer": 2 * n}] for n in outcomes)


def test_closing_drains_and_then_refuses(make):
    batcher = make(lambda records: time.sleep(0.02) or doubled(records), batch_max=2)
    box = Box(10)
    for n in range(10):
        batcher.submit([{"n": n}], box.of(n), deadline_s=by_and_by())
    batcher.close(SOON)
    assert all(outcome == [{"answer": 2 * n}] for n, outcome in box.wait().items())
    with pytest.raises(MofangError) as caught:
        batcher.submit([{"n": 1}], box.of("after"), deadline_s=by_and_by())
    assert caught.value.code == "closing"


def held(make, **settings):
    """A batcher whose engine stands still until the gate opens, and its pace is known: a hundredth of a second a record."""
    gate, seen = threading.Event(), []

    def predict(records):
        gate.wait(SOON)
        seen.extend(record["n"] for record in records)
        return doubled(records)

    batcher = make(predict, **settings)
    batcher._record_s = 0.01
    return batcher, gate, seen


def fill(batcher, box, count, account="", **more):
    """Queue single records until one is refused; how many were taken, and the refusal."""
    for n in range(count):
        try:
            batcher.submit([{"n": n}], box.of((account, n, len(box.outcomes), id(object()))), deadline_s=by_and_by(), account=account, **more)
        except MofangError as error:
            return n, error
    return count, None


def test_who_holds_most_of_a_long_queue_is_refused_and_others_are_not(make):
    """Ten times what can be answered: the queue stays as short as the time that anybody may wait."""
    batcher, gate, _ = held(make, batch_max=4, wait_max_s=1.0)
    box = Box(10**9)
    taken, refusal = fill(batcher, box, 1000, "loud")
    assert 95 <= taken <= 110 and (refusal.code, refusal.status) == ("waiting-too-many", 429)
    assert fill(batcher, box, 5, "quiet") == (5, None), "a small customer is served while a loud one is refused"
    with pytest.raises(MofangError):
        batcher.check("loud", by_and_by())
    batcher.check("quiet", by_and_by())
    assert batcher.refused["waiting-too-many"] == 2 and 0.9 < batcher.wait_s < 1.3
    gate.set()
    while batcher.waiting:
        time.sleep(0.001)
    assert fill(batcher, box, 1, "loud") == (1, None)


def test_some_records_may_always_wait_however_slow_the_model(make):
    batcher, gate, _ = held(make, batch_max=8, streams=1)
    batcher._record_s = 0.5
    assert 65 <= fill(batcher, Box(10**9), 100)[0] <= 73, "64 and one more in the queue, a batch or none with the engine"
    gate.set()


def test_who_cannot_be_answered_in_time_is_told_at_once(make):
    batcher, gate, _ = held(make, batch_max=4)
    fill(batcher, Box(10**9), 20)
    with pytest.raises(MofangError) as caught:
        batcher.submit([{"n": 1}], lambda outcome: None, deadline_s=time.monotonic() + 0.01)
    assert caught.value.code == "too-late"
    gate.set()


def test_high_goes_before_normal_before_low_and_low_does_not_starve(make):
    batcher, gate, seen = held(make, batch_max=1, wait_max_s=SOON)
    box = Box(10**9)
    batcher.submit([{"n": "first"}], box.of("first"), deadline_s=by_and_by())
    while batcher.waiting:
        time.sleep(0.001)
    for line, name in ((LOW, "low"), (NORMAL, "normal"), (HIGH, "high")):
        for n in range(16):
            batcher.submit([{"n": name}], box.of((name, n)), deadline_s=by_and_by(), priority=line)
    gate.set()
    batcher.close(SOON)
    assert len(seen) == 49 and seen[1:7] == ["high"] * 6
    assert 1 <= seen[:24].count("low") <= 4 and seen[-6:] == ["low"] * 6
    assert max(at for at, name in enumerate(seen) if name == "high") < max(at for at, name in enumerate(seen) if name == "normal")


def test_a_queue_that_stands_is_kept_shorter_than_a_burst(make, monkeypatch):
    batcher = make(doubled, streams=2, batch_max=32, wait_max_s=0.35)
    batcher._record_s = 0.005
    clock = [100.0]
    monkeypatch.setattr("mofang.serve.batching.time.monotonic", lambda: clock[0])
    assert batcher._bound_s(100) == 0.35, "a burst"
    clock[0] += 1.5
    assert batcher._bound_s(100) == 0.12, "half a second of work, for more than a second"
    assert batcher._bound_s(3) == 0.35 == batcher._bound_s(100), "it was short in between"
