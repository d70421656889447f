"""The estimate of a run: from the size of the data and a short probe, by the rules of `select`, without torch."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mofang.data.firstlook.finding import Finding
from mofang.fit.estimate import Machine, estimate_run, machine_speed, search
from mofang.fit.size import Size
from mofang.fit.tasks import text_classification

PLAIN = Machine(rate=1e11, slowness=1.0)


def table(rows: int) -> Finding:
    return Finding(
        source="a.csv", name="a", task="table_classification", format="csv", label="y", inputs=(("x", "number"),), rows=rows, complete=True,
        whole=rows, classes=(("a", rows // 2), ("b", rows - rows // 2)), length=10.0, bytes=rows * 60)


def test_more_rows_take_longer_and_the_steps_add_up(tmp_path: Path) -> None:
    found = [estimate_run(table(rows), budget_s=300, cache=tmp_path) for rows in (300, 30_000, 1_000_000)]
    assert [one.seconds for one in found] == sorted(one.seconds for one in found)
    assert all(abs(sum(one.steps.values()) - one.seconds) < 1e-6 for one in found)


def test_the_budget_bounds_the_search_and_says_so() -> None:
    for task, size in (("text_classification", Size(20_000, 2, 80.0, "zh")), ("image_classification", Size(5_000, 10, 3072.0))):
        for budget in (5.0, 60.0, 300.0):
            seconds, tried, binds = search(task, size, PLAIN, budget)
            assert tried and binds and seconds <= budget * 1.01
    seconds, tried, binds = search("table_classification", Size(300, 2, 10.0), PLAIN, 300.0)
    assert len(tried) == 4 and not binds and seconds < 60


def test_a_pretrained_model_of_english_is_not_counted_for_chinese(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_classification, "is_installed", lambda base: base != text_classification.PACKED)  # that one reads both
    assert "pretrained" not in search("text_classification", Size(800, 2, 70.0, "zh"), PLAIN, 3000.0)[1]


def test_the_probe_is_short_and_remembered(tmp_path: Path) -> None:
    began = time.process_time()
    found = machine_speed(tmp_path)
    assert time.process_time() - began < 2 and found.rate > 1e8
    assert machine_speed(tmp_path) == found
    (tmp_path / "machine.json").write_text("{", encoding="utf-8")
    assert machine_speed(tmp_path).rate > 0 and json.loads((tmp_path / "machine.json").read_text())["rate"] > 0


def test_new_imports_no_torch(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\n" + "".join(f"some words here {i},{'ab'[i % 2]}\n" for i in range(100)), encoding="utf-8")
    script = ("import sys; from mofang.new import write_recipe; from pathlib import Path;"
              "made = write_recipe('a.csv', out='r.py', cache=Path('.')); assert made.estimate['seconds'] > 0;"
              "print({'torch', 'sklearn', 'transformers', 'xgboost'} & set(sys.modules))")
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
