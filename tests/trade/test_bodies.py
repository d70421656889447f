"""Rows counted in columns: the same groups, roots and refusals as a walk row by row, whatever stands in the rows."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mofang.core.canonical import canonical
from mofang.trade.billing import bodies as columns
from mofang.trade.billing import tally

NAMES = st.sampled_from(["fault@1", "fault@2", "故障@1", 'a"b@1', "tab\t@3"])
WHOLE = st.one_of(st.integers(0, 99), st.integers(0, 10**8), st.integers(0, 10**18), st.just(10**25))
MORE = {
    "budgets": st.lists(st.sampled_from(["acc_1/*", "acc_1/k"]), min_size=0, max_size=2),
    "day": st.just("2026-10-31"),
    "repeat": st.booleans(),
    "tokens_in": st.integers(0, 10**6),
    "input": st.sampled_from(["d41d8", 'said "units":3,', {"units": 7, "model": ["x"]}, [1, 2], [], {}]),
}


@st.composite
def bodies(draw: st.DrawFn) -> str:
    """What a meter writes, and some that it does not."""
    units, rate = draw(WHOLE), draw(st.sampled_from([0, 5_000_000_000, 33_700_000, 1]))
    body = {"request_id": "req_1", "key": draw(st.sampled_from(["k1", "k2"])), "model": draw(NAMES), "package": "run_p",
            "price": draw(st.sampled_from([None, 1, 2])), "rate": rate, "test": draw(st.booleans()), "units": units,
            "micros": units * rate // 1_000_000 + draw(st.sampled_from([0, 0, 0, 1, 2, -1]))}
    more = draw(st.sampled_from([(), ("repeat",), ("day", "tokens_in"), ("budgets", "repeat"), ("input",), tuple(MORE)]))
    if units >= 2**63:  # more than the product's own JSON holds
        return json.dumps(body, sort_keys=True)
    return canonical(body | {name: draw(MORE[name]) for name in more}).decode()


IDS, TIMES = st.sampled_from(["req_1", "req_2", 'q"1', "é"]), st.integers(1_790_000_000_000_000, 1_800_000_000_000_000)
KINDS = st.sampled_from(["use", "use", "use", "draw"])
ROWS = st.lists(st.tuples(IDS, TIMES, st.sampled_from(["acc_1", "acc_2"]), KINDS, bodies()), min_size=1, max_size=30)
BODY = {"key": "k", "micros": 5, "model": "m@1", "package": "p", "price": 1, "rate": 5_000_000, "request_id": "r", "test": False, "units": 1}


def counted(rows: list[tuple[str, int, str, str, str]]) -> tally.Groups:
    """In columns, as a seal is."""
    found: tally.Groups = {}
    columns = dict(zip(tally.COLUMNS, (pa.array(values) for values in zip(*rows, strict=True)), strict=True))
    coded = {name: columns[name].dictionary_encode() for name in ("account", "kind")}
    tally._add_batch(found, pa.record_batch(columns | coded), "+08:00")
    return tally.close(found)


def walked(rows: list[tuple[str, int, str, str, str]]) -> tally.Groups:
    found: tally.Groups = {}
    tally.add_rows(found, rows, "+08:00")
    return tally.close(found)


@given(rows=ROWS)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_columns_count_what_a_walk_counts(rows: list[tuple[str, int, str, str, str]]) -> None:
    by_columns, by_rows = counted(rows), walked(rows)
    assert {account: {key: one for key, one in groups.items() if not one.wrong} for account, groups in by_columns.items()} == {
        account: {key: one for key, one in groups.items() if not one.wrong} for account, groups in by_rows.items()}
    assert {(account, key) for account, groups in by_columns.items() for key, one in groups.items() if one.wrong} == {
        (account, key) for account, groups in by_rows.items() for key, one in groups.items() if one.wrong}


def test_the_wrong_charge_that_is_named_is_the_first() -> None:
    rows = [(f"req_{at}", 1_790_000_000_000_000 + at, "acc", "use", canonical(BODY | more).decode())
            for at, more in enumerate([{}, {"micros": 6}, {"micros": 7}, {"rate": 1_000_000}, {"micros": 4}])]
    key = tally.GroupKey("m@1", "p", 1, False, "2026-09")
    assert counted(rows)["acc"][key].wrong == walked(rows)["acc"][key].wrong == ("req_2", 7, 5)
    assert counted(rows[:2] + rows[3:])["acc"][key].wrong == ("req_3", 5, 1) == walked(rows[:2] + rows[3:])["acc"][key].wrong


def test_sums_beyond_64_bits_are_whole() -> None:
    big = 9_000_000_000_000_000_000
    body = BODY | {"micros": big, "rate": 1_000_000, "units": big}
    rows = [(f"req_{at}", 1_790_000_000_000_000 + at, "acc", "use", canonical(body).decode()) for at in range(9)]
    (group,) = counted(rows)["acc"].values()
    assert (group.units, group.micros, group.wrong) == (9 * big, 9 * big, None)


@pytest.mark.parametrize("body", ["", "{}", "[]", "null", '{"units":1}', '{"model":"m","package":"p","price":1,"rate":1}',
                                  '{"model":"m","package":"p","price":1,"rate":1,"test":nope,"units":1,"micros":2}',
                                  '{"micros":1.0,"model":"m","package":"p","price":1,"rate":1,"test":true,"units":1}',
                                  '{"micros":1,"model":"m","package":"p","price":1,"rate":1,"test":true,"units":1} ',
                                  '{"micros":1,"model":"m","package":"p","price":1,"rate":1,"test":true,"units":}'])
def test_what_no_meter_writes_is_not_read_in_columns(body: str) -> None:
    assert columns.read_bodies(pa.array([body] * 3)) is None


def test_rows_of_many_forms_are_all_read() -> None:
    more = [{}, {"repeat": True}, {"budgets": ["a/*", "a/k"]}, {"day": "2026-01-01"}, {"tokens_in": 7, "tokens_out": 123_456_789_012},
            {"price": None, "test": True}, {"input": "x" * 32, "said": "y"}]
    forms = [BODY | {"units": at} | one for at, one in enumerate(more)]
    rows = [canonical(forms[at * at % len(forms)] | {"micros": at * 977}).decode() for at in range(9_000)]
    found = columns.read_bodies(pa.array(rows))
    assert found is not None
    read = [json.loads(one) for one in rows]
    assert found.micros.tolist() == [one["micros"] for one in read] and found.units.tolist() == [one["units"] for one in read]
    assert [found.terms[code] for code in found.codes] == [(one["model"], one["package"], one["price"], one["rate"]) for one in read]
    assert found.repeat.tolist() == [bool(one.get("repeat")) for one in read] and found.test.tolist() == [one["test"] for one in read]
