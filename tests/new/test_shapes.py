"""``mofang new`` typed on files in more than twenty shapes: right or honestly unsure on all, never confidently wrong."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from mofang.cli.group import run
from tests.new.shapes20 import SHAPES, Expected


def new(source: Path, at: Path, *flags: str) -> int:
    return run(["new", str(source), "--out", str(at / "made" / "r.py"), "--json", *flags])


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The probe of the machine is remembered for the whole session, and nowhere else."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.mark.parametrize("seed", [1])
@pytest.mark.parametrize("shape", SHAPES)
def test_right_or_honestly_unsure(shape: str, seed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make, expected = SHAPES[shape]
    source = make(tmp_path, random.Random(seed))
    status = new(source, tmp_path)
    said = json.loads(capsys.readouterr().out)
    if expected.code:
        assert (status, said.get("error", {}).get("code")) == (1, expected.code), said
        if not expected.flag:
            return
        assert new(source, tmp_path, *expected.flag) == 0
        said = json.loads(capsys.readouterr().out)
    require(said, expected)
    compile((tmp_path / "made" / "r.py").read_text(encoding="utf-8"), "r.py", "exec")


def require(said: dict[str, Any], expected: Expected) -> None:
    """What was found is what was expected."""
    assert "error" not in said, said
    assert (said["task"], said["label"], tuple(name for name, _ in said["inputs"])) == (expected.task, expected.label, expected.inputs), said
    assert (said["group"], said["time"], len(said["classes"])) == (expected.group, expected.time, expected.classes), said
    assert {name: reason for name, reason in said["left_out"] if name in expected.left} == expected.left
    assert not expected.map or said["map"] == expected.map
    assert set(expected.said) <= {remark["code"] for remark in said["remarks"]}, said["remarks"]
    assert {name: said[name] for name in expected.more} == expected.more
    assert said["estimate"]["seconds"] > 0
