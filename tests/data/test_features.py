"""Features: fitted on the training part alone, the same for one request and for all rows, and never from the future."""

from __future__ import annotations

import csv
import json
import math
import random
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mofang.core.errors import MofangError
from mofang.core.shop import Shop
from mofang.data.featuring.categories import CrossFit, fit_encodings, fold_of
from mofang.data.featuring.history import earlier, parse_aggregates
from mofang.data.featuring.numbers import fit_missing, fit_outliers, fit_scales
from mofang.data.featuring.selection import score, select_features
from mofang.data.featuring.workbench import Workbench
from mofang.data.featuring.written import decimal_of, order_of
from mofang.data.operators import OPERATORS, apply_operators, apply_to_columns, operator_of
from mofang.data.operators.dates import date_of
from mofang.data.operators.quantities import quantity_of
from mofang.data.records import RecordReader

MOMENTS = st.datetimes(datetime(1950, 1, 1), datetime(2069, 12, 31))


def bench(columns: dict[str, list[Any]], roles: dict[str, str], labels: list[str] | None = None) -> Workbench:
    rows = len(next(iter(columns.values())))
    return Workbench(dict(columns), dict(roles), [f"{number:032x}" for number in range(rows)], labels or ["a"] * rows,
                     frozenset(columns))


# Written dates and quantities


@given(MOMENTS)
def test_every_writing_of_a_date_is_read_alike(moment: datetime) -> None:
    day = datetime(moment.year, moment.month, moment.day)
    minute = day.replace(hour=moment.hour, minute=moment.minute)
    late = "下午" if moment.hour > 12 else "上午"
    hour = moment.hour - 12 if moment.hour > 12 else moment.hour
    for text in (day.date().isoformat(), f"{day:%Y/%m/%d}", f"{day.year}年{day.month}月{day.day}日", f"{day:%Y%m%d}",
                 f"{day:%b %d, %Y}", f"{day:%d %B %Y}", f"{day.year}.{day.month}.{day.day}", f"　{day.year}年{day.month}月{day.day}日　"):
        assert date_of(text) == day, text
    for text in (minute.isoformat(), f"{minute:%Y-%m-%d %H:%M}", f"{day.year}年{day.month}月{day.day}日 {late}{hour}点{minute.minute}分",
                 f"{minute:%Y-%m-%dT%H:%M}Z"):
        assert date_of(text) == minute, text
    assert date_of(f"{day:%d/%m/%Y}", "dmy") == day == date_of(f"{day:%m/%d/%Y}", "mdy")


@given(st.text(max_size=70) | st.none() | st.floats() | st.integers())
def test_nothing_breaks_the_reading_of_dates_and_quantities(value: Any) -> None:
    found = date_of(value)
    assert found is None or isinstance(found, datetime)
    for decimal in ".,":
        amount = quantity_of(value, decimal)
        assert amount is None or math.isfinite(amount[0])


@pytest.mark.parametrize("text", ["2026-13-01", "2026-02-30", "3/4/2024", "1.2.3", "hello", "", "2026", "99999999", "二〇二六年"])
def test_what_names_no_day_or_two_is_no_date(text: str) -> None:
    assert date_of(text) is None


@pytest.mark.parametrize(("text", "expected"), [
    ("二〇二六年五月一日", (2026, 5, 1, 0)), ("2026年5月", (2026, 5, 1, 0)), ("2026-05-01 10:00:00+08:00", (2026, 5, 1, 2)),
    ("2026年5月1日 星期五 15:30", (2026, 5, 1, 15)), ("Mon, 4 May 2026", (2026, 5, 4, 0)), ("1-May-26", (2026, 5, 1, 0)),
    ("13/4/2024", (2024, 4, 13, 0)), ("May 4th, 2026 3:05 PM", (2026, 5, 4, 15)), ("２０２６年５月１日", (2026, 5, 1, 0))])
def test_written_dates(text: str, expected: tuple[int, ...]) -> None:
    found = date_of(text)
    assert found is not None and (found.year, found.month, found.day, found.hour) == expected


@pytest.mark.parametrize(("text", "expected"), [
    ("3.5kg", (3.5, "kg")), ("3500 g", (3.5, "kg")), ("5斤", (2.5, "kg")), ("1.2万", (12000, "")), ("￥1,234.50", (1234.5, "cny")),
    ("12,5%", (0.125, "share")), ("1.2万元", (12000, "cny")), ("$5", (5, "usd")), ("１２．５％", (0.125, "share")), ("-3 km", (-3000, "m")),
    ("1.234.567,89", (1234567.89, "")), ("100㎡", (100, "m2")), ("1 234", (1234, "")), (7, (7, "")), ("1.5小时", (5400, "s")),
    ("5-6kg", None), ("kg", None), ("七", None), ("$5元", None), ("3 parsecs", None), (None, None), (True, None)])
def test_written_quantities(text: Any, expected: Any) -> None:
    found = quantity_of(text)
    assert found == expected if expected is None else found is not None and (pytest.approx(found[0]), found[1]) == expected


def test_a_column_tells_how_its_dates_and_fractions_are_meant() -> None:
    assert order_of(["3/4/2024", "25/4/2024"]) == "dmy" and order_of(["3/4/2024", "4/25/2024"]) == "mdy"
    assert order_of(["3/4/2024", "5/6/2024"]) == "" == order_of(["25/4/2024", "4/25/2024"])
    assert decimal_of(["12,5", "1,234"]) == "," and decimal_of(["12.5", "1,234"]) == "."


# Operators


@given(st.lists(st.fixed_dictionaries({"x": st.floats() | st.none(), "y": st.floats() | st.none(),
                                       "c": st.sampled_from(["a", "b", "", "new", None, 1.0, True])}), min_size=1, max_size=8))
@settings(max_examples=60)
def test_one_record_and_many_give_the_same_values(records: list[dict[str, Any]]) -> None:
    values = [0.5, 1, 2, 3, 5, 8, 13, None, 21, 34] * 3
    known = bench({"x": values, "y": values[::-1], "c": ["a", "b", "a", "a", "c", "", "b", "a", "a", "b"] * 3},
                  {"x": "number", "y": "number", "c": "category"}, ["p", "q", "q"] * 10)
    fit_missing(known, "median", 0.0)
    fit_outliers(known, "iqr", 0.01)
    fit_scales(known, "quantile")
    fit_encodings(known, "target", ["p", "q"])
    specs = json.loads(json.dumps(known.specs))  # the state travels as JSON
    together = apply_operators(specs, records)
    for one, record in zip(together, records, strict=True):
        alone = apply_operators(specs, [record])[0]
        assert all(repr(alone[name]) == repr(one[name]) for name in one)
        assert all(one[name] is not None and math.isfinite(one[name]) for name in ("x.ready", "y.ready", "c.ready.share"))
    columns = apply_to_columns(specs, {name: [record[name] for record in records] for name in "xyc"})
    assert [repr(one["x.ready"]) for one in together] == [repr(value) for value in columns["x.ready"]]


def test_every_operator_can_be_made_and_says_its_name_and_version() -> None:
    for name, (version, _, _) in OPERATORS.items():
        found = operator_of({"name": name, "version": version})
        assert (found.name, found.version) == (name, version) and (found.__doc__ or "").strip()


@pytest.mark.parametrize(("how", "expected"), [
    ("standard", [-1.5, None, 1.5]), ("min-max", [0.0, None, 1.0]), ("robust", [-1.0, None, 1.0]), ("quantile", [0.0, None, 1.0]),
    ("log", [0.0, None, math.log1p(8)])])
def test_scales(how: Any, expected: list[float | None]) -> None:
    known = bench({"x": [0.0, None, 2, 4, 6, 8]}, {"x": "number"})
    fit_scales(known, how)
    found = apply_operators(known.specs, [{"x": 0.0}, {"x": None}, {"x": 8.0}])
    close = [None if one is None else pytest.approx(one, abs=0.1) for one in expected]
    assert [one["x.ready"] for one in found] == close


def test_media_operators_change_bytes_and_leave_what_they_cannot_read() -> None:
    import io

    import soundfile
    from PIL import Image

    stream = io.BytesIO()
    noisy = np.full((20, 20), 200, np.uint8)
    noisy[3, 3] = noisy[10, 15] = 0
    Image.fromarray(noisy).save(stream, "PNG")
    state = {"size": 3}
    clean, broken = operator_of({"name": "image-denoise", "version": 1}).apply([stream.getvalue(), b"no"], state)
    assert (np.asarray(Image.open(io.BytesIO(clean))) == 200).all() and broken == b"no"
    sound = io.BytesIO()
    quiet = np.concatenate([np.zeros(4000), 0.1 * np.sin(np.arange(8000) / 3), np.zeros(4000)])
    soundfile.write(sound, np.stack([quiet, quiet], 1), 16000, format="WAV", subtype="PCM_16")
    data: Any = sound.getvalue()
    for name, settings_ in (("sound-trim", {"below_db": -50}), ("sound-resample", {"rate": 8000}),
                            ("sound-normalise", {"by": "peak", "to_db": -1})):
        data, rest = operator_of({"name": name, "version": 1}).apply([data, b"no"], settings_)
        assert rest == b"no"
    samples, rate = soundfile.read(io.BytesIO(data), always_2d=True)
    assert rate == 8000 and samples.shape[1] == 1 and 3900 < len(samples) < 4100
    assert np.abs(samples).max() == pytest.approx(10 ** (-1 / 20), abs=0.01)


# What is fitted, and on what


def test_cross_fitting_tells_no_row_its_own_label() -> None:
    """Every row a level of its own: without cross-fitting its encoding would be its label."""
    ids, labels = [f"{number:032x}" for number in range(400)], [["a", "b"][number % 2] for number in range(400)]
    levels = [f"customer {number}" for number in range(400)]
    fit = CrossFit("c", ["c.share"], ["b"])
    fit.learn(ids, levels, labels)
    state, average = fit.state()
    naive = np.array([state[level][0] for level in levels])
    own = np.array([row[0] for row in fit.own(ids, levels, [[0.0]] * 400)])
    truth = np.array([label == "b" for label in labels])
    assert ((naive > average[0]) == truth).mean() == 1.0, "the leak that is to be avoided"
    assert 0.3 < np.mean((own > np.median(own)) == truth) < 0.7
    assert fit.own(["never seen"], ["customer 3"], [[0.25]]) == [[0.25]]
    assert {fold_of(id) for id in ids} == {0, 1, 2, 3, 4}


def test_selection_finds_what_tells_and_drops_copies() -> None:
    chance = np.random.default_rng(0)
    labels = chance.integers(0, 2, 600)
    columns: dict[str, list[Any]] = {f"noise {place}": chance.normal(size=600).tolist() for place in range(6)}
    columns["told"] = (labels + chance.normal(0, 0.5, 600)).tolist()
    columns["copy"] = [3 - 2 * one for one in columns["told"]]
    columns["always"] = [1.0] * 600
    columns["kind"] = [["x", "y"][one] if chance.random() < 0.9 else "z" for one in labels]
    roles = dict.fromkeys(columns, "number") | {"kind": "category"}
    for by in ("mutual-information", "chi-square"):
        known = bench(columns, roles, [str(one) for one in labels])
        select_features(known, 0.999, 2, by, 0)  # type: ignore[arg-type]
        assert set(known.features) == {"told", "kind"}, by
        assert known.notes["dropped"]["copy"] == "as told" and known.notes["dropped"]["always"] == "constant"
    assert all(0 <= one <= 1 for one in score(bench(columns, roles, [str(one) for one in labels]), "chi-square", 0).values())


# History


ROWS = st.lists(st.tuples(st.sampled_from(["a", "b", None]), st.integers(0, 12) | st.none(), st.floats(-100, 100) | st.none()),
                min_size=1, max_size=25)
KINDS = ["count", "mean", "sum", "min", "max", "last", "since"]


@given(ROWS, st.data(), st.sampled_from([0.0, 3.0]))
def test_a_later_row_never_changes_an_earlier_one(rows: list[tuple[Any, Any, Any]], data: st.DataObject, window: float) -> None:
    place = data.draw(st.integers(0, len(rows) - 1))
    changed = list(rows)
    moment = rows[place][1]
    later = data.draw(st.integers(0, 12)) if moment is None else data.draw(st.integers(moment, 14))
    changed[place] = (data.draw(st.sampled_from(["a", "b"])), later, data.draw(st.floats(-100, 100)))
    before, after = (earlier(*zip(*one, strict=True), KINDS, window) for one in (rows, changed))
    limit = later if moment is None else min(moment, later)
    for row, (_, at, _) in enumerate(rows):
        if row != place and at is not None and at <= limit:
            assert all(before[kind][row] == after[kind][row] for kind in KINDS)


@given(ROWS, st.sampled_from([0.0, 3.0]))
def test_aggregates_are_what_a_plain_reckoning_gives(rows: list[tuple[Any, Any, Any]], window: float) -> None:
    found = earlier(*zip(*rows, strict=True), KINDS, window)
    for row, (entity, at, _) in enumerate(rows):
        if entity is None or at is None:
            assert all(found[kind][row] is None for kind in KINDS)
            continue
        past = [(when, value) for other, when, value in rows if other == entity and when is not None and when < at
                and (not window or when >= at - window)]
        values = [value for _, value in past if value is not None]
        assert found["count"][row] == len(values)
        if values:
            assert found["mean"][row] == pytest.approx(sum(values) / len(values), abs=1e-9)
            assert (found["min"][row], found["max"][row]) == (min(values), max(values))
            newest = max(when for when, value in past if value is not None)
            assert found["last"][row] in [value for when, value in past if when == newest]
        else:
            assert found["mean"][row] is None and found["last"][row] is None


def test_aggregates_are_written_as_on_the_command_line() -> None:
    assert [one.name for one in parse_aggregates(["amount:mean", "count", "days:last"])] == [
        "amount.mean.before", "amount.count.before", "days.last.before"]
    for wrong in (["amount"], ["amount:median"], ["count"]):
        with pytest.raises(MofangError) as caught:
            parse_aggregates(wrong)
        assert caught.value.code == "aggregate-wrong"


# The stage


@pytest.fixture
def orders(shop: Shop, tmp_path: Path) -> Any:
    """Orders of customers over time: who spent much before sends less back."""
    from mofang.recipe import clean, collect, snapshot

    chance = random.Random(5)
    spent: dict[str, list[float]] = {}
    with (tmp_path / "orders.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["customer", "day", "amount", "returned"])
        for number in range(500):
            customer, amount = f"c{chance.randrange(60)}", round(chance.uniform(5, 200), 2)
            before = spent.setdefault(customer, [])
            mean = sum(before) / len(before) if before else 100
            writer.writerow([customer, datetime.fromordinal(738000 + number).date(), amount, "yes" if amount > mean else "no"])
            before.append(amount)
    records = shop.run(collect, source=str(tmp_path / "orders.csv"), licence="own", label="returned", numbers=("amount",),
                       categories=("customer", "day"))
    kept = shop.run(clean, records) / "kept"
    return shop.run(snapshot, kept, task="table_classification", label="returned", inputs=("customer", "day", "amount"))


def test_aggregates_are_request_columns_and_look_only_back(shop: Shop, orders: Any) -> None:
    from mofang.recipe import features

    made = shop.run(features, orders, entity="customer", time="day", aggregate=("amount:mean", "count", "since"), encode="keep",
                    differences=("amount-amount.mean.before",))
    about = made.read_json("about.json")
    assert [one["name"] for one in about["inputs"]][-3:] == ["amount.mean.before", "amount.count.before", "amount.since.before"]
    rows = sorted((row for part in ("train", "validation", "test") for batch in RecordReader(made / part).batches() for row in batch.rows()),
                  key=lambda row: row["day"])
    seen: dict[str, list[float]] = {}
    for row in rows:
        past = seen.setdefault(row["customer"], [])
        assert row["amount.count.before"] == len(past)
        assert row["amount.mean.before"] == (pytest.approx(sum(past) / len(past)) if past else None)
        past.append(row["amount"])


@pytest.mark.parametrize(("given_settings", "code"), [
    ({"history": "warehouse"}, "history-not-there"), ({"entity": "nobody"}, "aggregate-column-missing"),
    ({"aggregate": ("returned:count",)}, "aggregate-label")])
def test_aggregates_that_cannot_be_are_refused(shop: Shop, orders: Any, given_settings: dict[str, Any], code: str) -> None:
    from mofang.recipe import features

    with pytest.raises(MofangError) as caught:
        shop.run(features, orders, **({"entity": "customer", "time": "day", "aggregate": ("amount:mean",)} | given_settings))
    assert caught.value.code == code


@pytest.mark.parametrize(("given_settings", "code"), [
    ({"dates": ("customer",)}, "feature-column-unsuited"), ({"ratios": ("amount/nothing",)}, "feature-column-missing"),
    ({"ratios": ("amount",)}, "feature-pair-wrong"), ({"bins": ("amount:x",)}, "feature-bins-wrong"), ({"denoise": 3}, "feature-column-missing"),
    ({"reference": "soon"}, "reference-date-unreadable"), ({"crosses": ("customer",)}, "feature-pair-wrong")])
def test_wrong_settings_are_refused_in_words(shop: Shop, orders: Any, given_settings: dict[str, Any], code: str) -> None:
    from mofang.recipe import features

    with pytest.raises(MofangError) as caught:
        shop.run(features, orders, **given_settings)
    assert caught.value.code == code


def test_what_lies_in_the_test_part_changes_no_fitted_state(shop: Shop, orders: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test rows are made nonsense on their way in: the operators come out the same."""
    from mofang.data import features as module
    from mofang.recipe import features

    wanted: dict[str, Any] = {"scale": "standard", "outliers": "quantile", "missing": "mean", "encode": "target", "dates": ("auto",)}
    plain = shop.run(features, orders, **wanted).read_json("about.json")
    fitted: list[str] = []
    keep = module._bench
    monkeypatch.setattr(module, "_bench", lambda *given: fitted.extend(keep(*given).ids) or keep(*given))
    again = shop.run(features, orders, **wanted, seed=1).read_json("about.json")
    assert again["operators"] == plain["operators"]
    train = {id for batch in RecordReader(orders / "train").batches() for id in batch.column("id")}
    assert set(fitted) == train
