"""The batcher: each caller gets its own answer, the queue is bounded, and one bad record harms nobody else."""

import threading
import time

import pytest

from mofang.core.errors import MofangError
from mofang.serve.batching import Batcher

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
    batcher = make(doubled, streams=3, batch_max=17, queue_max=100_000)
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
