"""The queue: overlap, leases, skips, checks, order, decisions; however many ask at once; and the journal tells it all."""

from __future__ import annotations

import multiprocessing
import threading
from collections import Counter
from pathlib import Path

import pytest

from mofang.core.errors import MofangError
from mofang.core.shop import Shop
from mofang.data.labelling import desk, queue
from mofang.data.labelling.projects import comments_of, guidelines, workers
from mofang.data.labelling.sealing import open_words
from tests.data.labelling.asking import answer, now, person, project, take, texts


@pytest.fixture
def place(tmp_path: Path) -> Shop:
    return Shop.open(tmp_path / "shop")


def code_of(function: object, *arguments: object, **settings: object) -> str:
    with pytest.raises(MofangError) as error:
        function(*arguments, **settings)  # type: ignore[operator]
    assert error.value.what and error.value.fix
    return error.value.code


def test_each_task_is_answered_by_as_many_as_the_overlap_and_nobody_twice(place: Shop, tmp_path: Path) -> None:
    made = project(place, texts(place, tmp_path, 5), overlap=2)
    seen: Counter[int] = Counter()
    for name in ("甲", "乙", "丙"):
        own = []
        while tasks := take(place, name, made):
            own += tasks
            answer(place, name, made, tasks[0], "好")
        assert len(own) == len(set(own))
        seen.update(own)
    assert seen == dict.fromkeys(range(5), 2), "the third person finds nothing left"
    found = now(place, made)
    assert (found.answers, found.done, found.share) == (10, 5, 1.0)
    assert place.verify() == []


def test_what_one_holds_comes_again_until_it_is_answered_and_can_be_had_ahead(place: Shop, tmp_path: Path) -> None:
    made = project(place, texts(place, tmp_path, 5))
    first = take(place, "a", made)
    assert take(place, "a", made) == first, "a page that is loaded again shows the same task"
    ahead = person(place, "a").act(queue.label_next, project=made.id, count=2, besides=first)
    assert set(ahead.tasks).isdisjoint(first) and len(ahead.tasks) == 2
    assert set(take(place, "b", made, 5)) == set(range(5)) - {*first, *ahead.tasks}
    assert person(place, "a").act(queue.label_back, project=made.id) == 3
    assert len(take(place, "b", made, 5)) == 5 and take(place, "a", made) == ()
    assert place.verify() == []


def test_a_lease_that_ran_out_goes_to_somebody_else(place: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = project(place, texts(place, tmp_path, 1), lease_s=60.0)
    assert take(place, "a", made) == (0,) and take(place, "b", made) == ()
    later = queue.now_us() + 61_000_000
    monkeypatch.setattr(queue, "now_us", lambda: later)
    assert take(place, "b", made) == (0,)
    assert code_of(answer, place, "a", made, 0, "好") == "label-not-given"
    answer(place, "b", made, 0, "坏")
    assert now(place, made).done == 1 and place.verify() == []


def test_skipping_changing_and_remarking(place: Shop, tmp_path: Path) -> None:
    made = project(place, texts(place, tmp_path, 2))
    assert take(place, "a", made) == (0,)
    person(place, "a").act(queue.label_skip, project=made.id, task=0, why="不清楚")
    assert take(place, "a", made) == (1,)
    answer(place, "a", made, 0, "坏")  # thought better of it, while it is free
    assert not answer(place, "a", made, 1, "好").changed
    assert answer(place, "a", made, 1, "坏").changed
    assert now(place, made).answers == 2, "a changed answer is one answer"
    person(place, "a").act(queue.label_comment, project=made.id, task=1, text="张三的电话是13800138000")
    (who, _, locked), = comments_of(place.control, made.id, 1)
    assert who == "a" and open_words(place, locked) == {"text": "张三的电话是13800138000"}
    assert b"13800138000" not in (place.path / "meter.db").read_bytes() + (place.path / "meter.db-wal").read_bytes()
    assert [row.kind for row in place.journals.rows("labels")].count("answer") == 3, "the earlier answer stays in the journal"
    assert place.verify() == []


def test_what_is_refused(place: Shop, tmp_path: Path) -> None:
    made = project(place, texts(place, tmp_path, 3))
    take(place, "a", made)
    assert code_of(answer, place, "b", made, 0, "好") == "label-not-given"
    assert code_of(answer, place, "a", made, 7, "好") == "label-task-unknown"
    assert code_of(answer, place, "a", made, 0, "不好") == "label-class-unknown"
    assert code_of(answer, place, "a", made, 0, {"label": ["好"]}) == "label-class-unknown"
    assert code_of(answer, place, "a", made, 0, {"label": "好", "more": 1}) == "label-answer"
    assert code_of(person(place, "a", "look").act, queue.label_next, project=made.id) == "not-permitted"
    assert code_of(person(place, "a").act, desk.label_adjudicate, project=made.id, task=0, answer={"label": "好"}) == "not-permitted"
    assert code_of(person(place, "a").act, desk.label_new, name="x", kind="text") == "not-permitted"
    assert code_of(place.act, desk.label_new, name="reviews", kind="text") == "label-project-exists"
    assert code_of(place.act, desk.label_new, name="x", kind="classes") == "label-classes-missing"
    assert code_of(place.act, queue.label_next, project="reviwes") == "label-project-unknown"
    place.act(desk.label_state, project=made.id, state="paused")
    assert code_of(take, place, "a", made) == code_of(answer, place, "a", made, 0, "好") == "label-not-open"
    place.act(desk.label_state, project=made.id, state="open")
    answer(place, "a", made, 0, "好")
    assert place.verify() == []


def test_checks_are_mixed_in_and_tell_who_is_right(place: Shop, tmp_path: Path) -> None:
    made = project(place, texts(place, tmp_path, 30), gold_every=3, overlap=1)
    for task in (28, 29):
        place.act(desk.label_gold, project=made.id, task=task, answer={"label": "好"})
    orders = {}
    for name, said in (("careful", "好"), ("careless", "坏")):
        got = []
        for _ in range(9):
            task, = take(place, name, made)
            got.append(task)
            answer(place, name, made, task, said, ms=2000)
        orders[name] = got
        assert [place_ for place_, task in enumerate(got) if task >= 28] == [2, 5]
    told = {one.person: one for one in workers(place.control, made.id)}
    assert [(one.gold, one.gold_right) for one in told.values()] == [(2, 2), (2, 0)]
    assert told["careful"].ms // told["careful"].timed == 2000
    found = now(place, made)
    assert found.gold == 2 and found.done == 14, "checks are not counted as done tasks"
    assert place.verify() == []


def test_ranked_tasks_come_first_and_more_overlap_opens_tasks_again(place: Shop, tmp_path: Path) -> None:
    made = project(place, texts(place, tmp_path, 3000))
    place.act(desk.label_order, project=made.id, tasks=(2500, 7, 1024), how="test")
    got = []
    for _ in range(4):
        task, = take(place, "a", made)
        got.append(task)
        answer(place, "a", made, task, "好")
    assert got == [2500, 7, 1024, 0]
    assert take(place, "b", made, 2) == (1, 2)
    place.act(desk.label_settings, project=made.id, overlap=2)
    assert now(place, made).done == 0 and 0 in take(place, "b", made, 3)
    place.act(desk.label_settings, project=made.id, overlap=1)
    assert now(place, made).done == 4
    assert place.act(desk.label_assign, project=made.id, person="c", count=3) == 3
    assert len(take(place, "c", made, 3)) == 3 and place.verify() == []


def test_records_are_added_once_and_later_ones_go_on_in_the_last_block(place: Shop, tmp_path: Path) -> None:
    made = project(place, texts(place, tmp_path, 1500))
    more = place.act(desk.label_add, project=made.id, records=texts(place, tmp_path, 1200, "more", first=1000).entry)
    assert (more.tasks, more.known, more.project.tasks) == (700, 500, 2200)
    assert take(place, "a", made, 100) == tuple(range(100))
    sizes = place.control.rows("select block, size, open from label_block where project=? order by block", (made.id,))
    assert sizes == [(0, 1024, 924), (1, 1024, 1024), (2, 152, 152)]
    assert place.verify() == []


def test_guidelines_have_versions_and_answers_say_by_which(place: Shop, tmp_path: Path) -> None:
    made = project(place, texts(place, tmp_path, 3), guidelines="# 好还是坏")
    take(place, "a", made, 2)
    answer(place, "a", made, 0, "好")
    assert place.act(desk.label_guidelines, project=made.id, text="# 更清楚") == 2
    answer(place, "a", made, 1, "好")
    rows = place.control.rows("select task, guidelines from label_answer where project=? order by task", (made.id,))
    assert rows == [(0, 1), (1, 2)] and guidelines(place.control, made.id, 1) == (1, "# 好还是坏")


def _work(path: Path, name: str, id: str, turns: int, out: object) -> None:
    shop = Shop(path)
    got = []
    for _ in range(turns):
        given = person(shop, name).act(queue.label_next, project=id)
        if not given.tasks:
            break
        got += given.tasks
        person(shop, name).act(queue.label_answer, project=id, task=given.tasks[0], answer={"label": "好"})
    out.append((name, got)) if isinstance(out, list) else out.put((name, got))  # type: ignore[attr-defined]


@pytest.mark.parametrize("how", ["threads", "processes"])
def test_however_many_ask_at_once_no_task_is_with_more_than_the_overlap(place: Shop, tmp_path: Path, how: str) -> None:
    made = project(place, texts(place, tmp_path, 30), overlap=2)
    names = [f"worker {number}" for number in range(6)]
    found: list[tuple[str, list[int]]] = []
    if how == "threads":
        workers_ = [threading.Thread(target=_work, args=(place.path, name, made.id, 40, found)) for name in names]
    else:
        context = multiprocessing.get_context("spawn")
        queue_ = context.Queue()
        workers_ = [context.Process(target=_work, args=(place.path, name, made.id, 40, queue_)) for name in names[:3]]  # type: ignore[misc]
    for one in workers_:
        one.start()
    if how == "processes":
        found = [queue_.get(timeout=60) for _ in workers_]
    for one in workers_:
        one.join(60)
    counts = Counter(task for _, got in found for task in got)
    assert max(counts.values()) <= 2 and sum(counts.values()) == 60
    assert all(len(got) == len(set(got)) for _, got in found)
    assert now(place, made).done == 30 and place.verify() == []


def test_a_changed_table_is_seen(place: Shop, tmp_path: Path) -> None:
    made = project(place, texts(place, tmp_path, 3))
    take(place, "a", made)
    answer(place, "a", made, 0, "好")
    with place.control.transaction():
        place.control.run("""update label_answer set answer='{"label":"坏"}' where project=?""", (made.id,))
    assert any("label_answer" in line for line in place.verify())
