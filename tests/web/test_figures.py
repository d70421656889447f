"""The figures of several processes as one page: counters never go back, gauges are of the living, nothing is counted twice."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from mofang.web.figures import Figures, added, clear_old, group_name
from mofang.web.metrics import family, histogram
from mofang.web.statistics import Histogram
from mofang.web.window import Window


def page(asked: int, waiting: int, took: tuple[float, ...] = ()) -> str:
    found = Histogram((0.1, 1.0))
    found.add_all(took)
    lines = [*family("mofang_info", "gauge", "Version.", [({"version": "1"}, 1)]),
             *family("mofang_refused_total", "counter", "Refused, by code.", [({"code": 'a "b" {c}'}, asked)]),
             *family("mofang_queue_records", "gauge", "Waiting.", [({"model": "m@1"}, waiting)]),
             *histogram("mofang_request_seconds", "Time.", [({"model": "m@1"}, found)])]
    return "\n".join(lines) + "\n"


def values(text: str) -> dict[str, float]:
    return {key: float(value) for key, _, value in (line.rpartition(" ") for line in text.splitlines() if line[0] != "#")}


def test_counters_and_histograms_are_added_and_gauges_of_the_dead_left_out() -> None:
    told = values(added([(page(3, 5, (0.05, 0.5)), True), (page(4, 7, (2.0,)), True), (page(10, 100, (0.05,)), False)]))
    assert told['mofang_refused_total{code="a \\"b\\" {c}"}'] == 17 and told['mofang_queue_records{model="m@1"}'] == 12
    assert [told[f'mofang_request_seconds_bucket{{model="m@1",le="{edge}"}}'] for edge in ("0.1", "1.0", "+Inf")] == [2, 3, 4]
    assert told['mofang_request_seconds_sum{model="m@1"}'] == pytest.approx(2.6) and told['mofang_info{version="1"}'] == 1
    assert told["mofang_processes"] == 2
    text = added([(page(1, 1), True), (page(1, 1), True)])
    assert text.count("# TYPE mofang_refused_total counter") == 1 and "mofang_refused_total{code=" in text


def test_what_has_ended_stays_in_the_sum(tmp_path: Path) -> None:
    figures = Figures(tmp_path / "scratch", "7-a")
    for who, asked in (("1", 3), ("2", 4), ("3", 5)):
        figures.write(page(asked, 1, (0.05,)), who)
    sums = []
    for who in ("1", "2", "2", "9"):  # one is told twice, one never wrote
        figures.bury(who)
        sums.append(values(figures.page())['mofang_refused_total{code="a \\"b\\" {c}"}'])
    told = values(figures.page())
    assert sums == [12] * 4 and told["mofang_processes"] == 1 and told['mofang_request_seconds_count{model="m@1"}'] == 3
    os.utime(figures.path("3"), (0, 0))  # it hangs
    assert values(figures.page())["mofang_processes"] == 0
    Figures(tmp_path / "scratch", "8-b").write(page(1, 1))
    figures.clear()
    assert [path.name.split("-")[1] for path in (tmp_path / "scratch").iterdir()] == ["8"]


def test_what_a_killed_group_left_is_swept(tmp_path: Path) -> None:
    own = Figures(tmp_path, group_name())
    own.write(page(1, 1))
    Figures(tmp_path, f"{2**22 + 5}-x").write(page(1, 1))
    (tmp_path / "serving-x.json").write_text("{}")
    clear_old(tmp_path)
    assert sorted(path.name.split("-")[0] for path in tmp_path.iterdir()) == ["figures", "serving"]
    assert values(own.page())["mofang_processes"] == 1


def test_the_window_shows_figures_and_nothing_else(tmp_path: Path) -> None:
    figures = Figures(tmp_path, "7-a")
    figures.write(page(3, 1))
    with Window(figures, 0) as window:
        at = window.shown["admin"]
        assert at.startswith("http://127.0.0.1:")
        assert "mofang_refused_total" in urllib.request.urlopen(f"{at}/metrics", timeout=5).read().decode()
        with pytest.raises(urllib.error.HTTPError) as missing:
            urllib.request.urlopen(f"{at}/v1/models", timeout=5)
        assert missing.value.code == 404
    with Window(figures, None) as none:
        assert none.shown == {}
