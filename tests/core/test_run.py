"""The promises of a run: memo, references, licences, resume, leases, cost, owners; in every database."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from mofang.core import stage as stage_module
from mofang.core.database import SQLite
from mofang.core.errors import MofangError
from mofang.core.history import recent, unfinished
from mofang.core.identity import Actor, now_us
from mofang.core.shop import Shop
from tests.core.kernel_stages import CALLS, Falling, Rising, best, broken, certify, count, split


@pytest.fixture(autouse=True)
def no_calls() -> None:
    CALLS.clear()


def test_a_second_equal_run_reuses_the_bytes_and_writes_its_own_entry(any_shop: Shop) -> None:
    first = any_shop.run(count, upto=3)
    second = any_shop.run(count, upto=3)
    assert CALLS == ["count"]
    assert (first.digest, first.parts) == (second.digest, second.parts)
    assert first.entry != second.entry
    assert any_shop.ledger.get(second.entry).kind == "reuse"
    assert any_shop.verify() == []


def test_a_changed_setting_runs_again_and_a_default_written_out_does_not(any_shop: Shop) -> None:
    any_shop.run(count)
    any_shop.run(count, upto=4)
    assert CALLS == ["count"]
    any_shop.run(count, upto=5)
    assert CALLS == ["count", "count"]


def test_equal_bytes_under_other_licences_stay_apart(any_shop: Shop) -> None:
    opened, closed = any_shop.run(count), any_shop.run(count, licence="proprietary")
    assert opened.digest == closed.digest
    one, other = any_shop.run(split, opened), any_shop.run(split, closed)
    assert CALLS.count("split") == 1, "equal bytes are computed once"
    assert one.licences == ("CC0-1.0",)
    assert other.licences == ("CC0-1.0", "proprietary"), "the nested count brings its own licence"
    assert any_shop.ledger.get(other.entry).references == [closed.entry]


def test_a_stage_whose_bytes_hold_licences_keys_on_references(any_shop: Shop) -> None:
    opened, closed = any_shop.run(count), any_shop.run(count, licence="proprietary")
    assert any_shop.run(certify, opened).read_json("values.json") == ["CC0-1.0"]
    assert any_shop.run(certify, closed).read_json("values.json") == ["proprietary"]
    again = any_shop.run(certify, any_shop.run(count))
    assert CALLS.count("certify") == 2, "the same lineage hits, though its entry is a new one"
    assert again.read_json("values.json") == ["CC0-1.0"]


def test_a_returned_input_keeps_its_bytes_and_names_the_stage_that_chose_it(any_shop: Shop) -> None:
    short, long = any_shop.run(count, upto=1), any_shop.run(count, upto=9)
    chosen = any_shop.run(best, (short, long))
    assert chosen.digest == long.digest
    entry = any_shop.ledger.get(chosen.entry)
    assert entry.body["stage"] == "best" and entry.body["returned"] == long.entry


def test_sub_references_have_their_own_digest_and_kind(any_shop: Shop) -> None:
    halves = any_shop.run(split, any_shop.run(count))
    low = halves / "low"
    assert low.kind == "numbers" and low.entry == halves.entry and low.within == "low"
    loud = any_shop.run(split, any_shop.run(count), mode="loud")
    assert (loud / "low").digest == low.digest and loud.digest != halves.digest
    any_shop.run(certify, low)
    with pytest.raises(MofangError, match="has no part 'middle'"):
        halves / "middle"


def test_variants_by_tag_object_and_instance_are_the_same_run(any_shop: Shop) -> None:
    numbers = any_shop.run(count)
    made = {any_shop.run(split, numbers, order=order).digest
            for order in (Falling(stride=2), {"tag": "falling", "stride": 2}, {"tag": "falling", "stride": "2"})}
    assert len(made) == 1 and CALLS.count("split") == 1
    assert any_shop.run(split, numbers, order="fixed").digest not in made


@pytest.mark.parametrize(("settings", "code"), [
    ({"order": "sideways"}, "variant-unknown"),
    ({"order": {"tag": "falling", "strid": 2}}, "setting-unknown"),
    ({"order": 7}, "variant-shape"),
    ({"at": "half"}, "setting-refused"),
    ({"mode": "quiet"}, "setting-refused"),
    ({"att": 0.5}, "setting-unknown"),
])
def test_wrong_settings_are_refused_before_anything_is_written(any_shop: Shop, settings: dict, code: str) -> None:
    numbers = any_shop.run(count)
    before = any_shop.ledger.head()
    with pytest.raises(MofangError) as error:
        any_shop.run(split, numbers, **settings)
    assert error.value.code == code
    assert any_shop.ledger.head() == before


def test_wrong_inputs_are_refused(shop: Shop) -> None:
    numbers = shop.run(count)
    halves = shop.run(split, numbers)
    for given in ((), (halves,), (numbers, numbers, numbers), (None,), ("numbers",)):
        with pytest.raises(MofangError) as error:
            shop.run(split, *given)
        assert error.value.code == "input-wrong"


def test_a_failure_is_written_down_without_content_and_its_parts_are_kept(any_shop: Shop) -> None:
    numbers = any_shop.run(count)
    with pytest.raises(RuntimeError):
        any_shop.run(broken, numbers)
    failed = next(iter(any_shop.ledger.entries("fail")))
    assert failed.body["error"] == "RuntimeError" and "half way" not in str(failed.body)
    assert [one.state for one in recent(any_shop.ledger, 9)] == ["failed", "done"]


def test_cost_is_counted_once(any_shop: Shop) -> None:
    halves = any_shop.run(split, any_shop.run(count), pause_s=0.2)
    cost = any_shop.ledger.get(halves.entry).body["cost"]
    nested = any_shop.ledger.get(any_shop.ledger.get(halves.entry).body["nested"][0]["entry"]).body["cost"]
    assert cost["total"]["wall_s"] >= 0.2
    assert cost["own"]["wall_s"] + nested["total"]["wall_s"] == pytest.approx(cost["total"]["wall_s"], abs=0.01)
    assert cost["total"]["micros"] is None, "no rate is set"
    any_shop.set_rates(machine_hour_micros=3_600_000_000)
    again = any_shop.run(split, any_shop.run(count), pause_s=0.21)
    assert any_shop.ledger.get(again.entry).body["cost"]["total"]["micros"] >= 210_000


def test_a_nested_stage_with_a_new_version_ends_the_hit(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    import dataclasses

    numbers = shop.run(count)
    shop.run(split, numbers)
    monkeypatch.setitem(stage_module.STAGES, "count", dataclasses.replace(count.spec, version=2))
    shop.run(split, numbers)
    assert CALLS.count("split") == 2


def test_a_new_version_of_the_default_variant_ends_the_hit(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = shop.run(count)
    shop.run(split, numbers)
    monkeypatch.setattr(Rising, "version", 2)
    shop.run(split, numbers)
    assert CALLS.count("split") == 2


def test_a_missing_object_ends_the_hit(shop: Shop) -> None:
    numbers = shop.run(count)
    numbers.path("values.json").unlink()
    assert shop.verify() == [f"values.json of {numbers.entry} is missing ({numbers.parts[0].digest[:12]})"]
    shop.run(count)
    assert CALLS == ["count", "count"] and shop.verify() == []


def test_a_flipped_byte_is_found(shop: Shop) -> None:
    path = shop.run(count).path("values.json")
    path.chmod(0o644)
    path.write_bytes(path.read_bytes().replace(b"3", b"4"))
    assert [line for line in shop.verify() if "changed" in line]


def test_names_have_versions_and_the_nearest_is_offered(any_shop: Shop) -> None:
    assert str(any_shop.name("评论", any_shop.run(count))) == "评论@1"
    assert str(any_shop.name("评论", any_shop.run(count))) == "评论@1", "the same thing keeps its version"
    assert str(any_shop.name("评论", any_shop.run(count, upto=9))) == "评论@2"
    assert any_shop.find("评论").read_json("values.json") == list(range(9))
    assert any_shop.find("评论@1").read_json("values.json") == list(range(4))
    any_shop.name("reviews", any_shop.run(count, upto=2))
    with pytest.raises(MofangError, match="nearest is 'reviews'"):
        any_shop.find("reveiws")
    with pytest.raises(MofangError):
        any_shop.name("../up", any_shop.run(count))
    assert any_shop.verify() == []


def test_owners_do_not_share_memo_names_or_ids(any_shop: Shop) -> None:
    numbers = any_shop.run(count)
    any_shop.name("mine", numbers)
    other = Shop(any_shop.path, Actor("eve", owner="eve", roles=frozenset({"everything"})))
    for name in ("mine", numbers.entry):
        with pytest.raises(MofangError):
            other.find(name)
    other.run(count)
    assert CALLS == ["count", "count"], "no memo across owners"


def test_without_permission_nothing_runs(shop: Shop) -> None:
    looker = Shop(shop.path, Actor("li", roles=frozenset({"look"})))
    with pytest.raises(MofangError, match="needs the role 'train'"):
        looker.run(count)
    assert CALLS == []


def test_a_second_caller_waits_and_reuses(any_shop: Shop) -> None:
    numbers = any_shop.run(count)
    made = []

    def run_it() -> None:
        shop = any_shop.again()
        made.append(shop.run(split, shop.find(numbers.entry), pause_s=0.6).digest)

    threads = [threading.Thread(target=run_it) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(made) == 3 and len(set(made)) == 1 and CALLS.count("split") == 1


def kill_while_running(shop: Shop, numbers: object, **settings: object) -> None:
    """A child begins a long run of split and dies in the middle of it."""
    child = os.fork()
    if child == 0:
        Shop(shop.path).run(split, numbers, pause_s=30, **settings)
    while not list((shop.path / "scratch").glob("*/parts.jsonl")):
        time.sleep(0.01)
    time.sleep(0.2)
    os.kill(child, 9)
    os.waitpid(child, 0)


def test_a_killed_run_of_this_machine_is_taken_over_at_once(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = shop.run(count)
    kill_while_running(shop, numbers)
    assert len(shop.ledger.db.rows("select * from lease")) == 1
    monkeypatch.setattr("tests.core.kernel_stages.time", type("Clock", (), {"sleep": staticmethod(lambda _s: None)}))
    began = time.monotonic()
    shop.run(split, numbers, pause_s=30)
    assert time.monotonic() - began < 5


def test_a_lease_held_on_another_machine_runs_out(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = shop.run(count)
    kill_while_running(shop, numbers)
    until_us = now_us() + 1_000_000
    shop.ledger.db.run("update lease set holder='holder_1 elsewhere 1', until_us=?", (until_us,))
    monkeypatch.setattr("tests.core.kernel_stages.time", type("Clock", (), {"sleep": staticmethod(lambda _s: None)}))
    shop.run(split, numbers, pause_s=30)
    assert now_us() > until_us, "it waited for the other machine's lease"


def test_an_abandoned_start_is_shown_until_the_run_is_completed(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = shop.run(count)
    kill_while_running(shop, numbers)
    shop.ledger.db.run("update lease set until_us=0")
    assert [one.body["stage"] for one in unfinished(shop.ledger)] == ["split"]
    monkeypatch.setattr("tests.core.kernel_stages.time", type("Clock", (), {"sleep": staticmethod(lambda _s: None)}))
    shop.run(split, numbers, pause_s=30)
    assert unfinished(shop.ledger) == []


@pytest.mark.cluster
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_kill_at_each_write_loses_nothing(tmp_path: Path, after: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Die at the n-th commit (just before or just after it) for every n; then run to the end in a fresh process."""
    monkeypatch.setattr("mofang.core.run.LEASE_S", 0.05)
    plain = Shop.open(tmp_path / "plain")
    wanted = plain.run(split, plain.run(count), at=0.25).digest
    for nth in range(1, 60):
        place = tmp_path / f"shop-{nth}"
        child = os.fork()
        if child == 0:
            _die_at_commit(nth, after)
            dying = Shop.open(place)
            dying.run(split, dying.run(count), at=0.25)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        shop = Shop.open(place)
        assert shop.run(split, shop.run(count), at=0.25).digest == wanted
        assert shop.verify() == []
        if status == 0:
            assert nth > 10, "the run commits more often than this"
            return
    raise AssertionError("the run never reached its end")


def _die_at_commit(nth: int, after: bool) -> None:
    seen, plain = [0], SQLite.run

    def run(self: SQLite, sql: str, params: tuple = ()) -> int:
        if sql == "commit":
            seen[0] += 1
            if seen[0] == nth and not after:
                os.kill(os.getpid(), 9)
        done = plain(self, sql, params)
        if sql == "commit" and seen[0] == nth:
            os.kill(os.getpid(), 9)
        return done

    SQLite.run = run  # type: ignore[method-assign]


def test_a_killed_run_continues_at_the_next_part_with_the_same_choice(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = shop.run(count)
    kill_while_running(shop, numbers, at=0.75)
    chosen = shop.ledger.db.rows("select value from once")
    CALLS.clear()
    monkeypatch.setattr("tests.core.kernel_stages.time", type("Clock", (), {"sleep": staticmethod(lambda _s: None)}))
    halves = shop.run(split, numbers, pause_s=30, at=0.75)
    assert "low" not in CALLS, "the sealed part was not made again"
    assert shop.ledger.get(halves.entry).body["choices"] == {"cut": int(chosen[0][0])}
    assert shop.ledger.db.rows("select * from once") == []


def test_links_of_a_killed_process_are_laid_anew(shop: Shop, tmp_path: Path) -> None:
    """Of an encrypted object a process links a plain copy of its own, which goes with it; then the run is taken up again."""
    made = shop.run(count, upto=3)
    left, folder = tmp_path / "plain-of-another", tmp_path / "laid"
    folder.mkdir()
    for there in (False, True):
        left.write_bytes(b"[9]") if there else left.unlink(missing_ok=True)
        (folder / "values.json").unlink(missing_ok=True)
        (folder / "values.json").symlink_to(left)
        made.lay_out(folder)
        assert (folder / "values.json").read_bytes() == made.path("values.json").read_bytes() != b"[9]"
