"""Settings that several stages share, and those of several pieces: each is a flag, a JSON field and part of the key."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import click
import pytest
from pydantic import Field

from mofang.cli.stages import _option
from mofang.core.artifact import Artifact
from mofang.core.errors import MofangError
from mofang.core.run import Run
from mofang.core.shop import Shop
from mofang.core.stage import STAGES, NotInKey, OnDisk, Settings, spec_of, stage
from mofang.core.variant import Variant


class Shape(Variant):
    """A choice."""


@dataclass(frozen=True, kw_only=True)
class Polygon(Shape):
    """A kind with a setting of several pieces."""

    tag: ClassVar[str] = "polygon"

    sides: tuple[Annotated[int, Field(ge=1)], ...] = (3, 4)
    name: str = "a,b"


@dataclass(frozen=True, kw_only=True)
class Shared(Settings):
    """What two stages share."""

    shape: Shape = Polygon()
    share: Annotated[float, Field(ge=0, lt=1)] | None = None
    steps: int = 0
    folder: Annotated[str, OnDisk()] = ""


class Told(Artifact):
    """What a stage was told."""

    kind = "told"


@pytest.fixture
def told() -> object:
    @stage(version=1)
    def tell(run: Run, *, first: int = 1, shared: Shared = Shared(steps=5)) -> Told:
        """Write down what reached the stage."""
        run.write_json("told.json", [first, shared.shape.to_dict(), shared.share, shared.steps])
        return run.result(Told)

    yield tell
    STAGES.pop("tell")


def test_each_field_is_a_setting_of_its_own(told: object) -> None:
    spec = spec_of(told)
    assert [one.name for one in spec.settings] == ["first", "shape", "share", "steps", "folder"]
    assert spec.places(spec.check({"folder": "/somewhere"})) == {"folder": "/somewhere"}
    assert set(spec.json_schema()["properties"]) == {"first", "shape", "share", "steps", "folder"}
    flags = {one.name: _option(one) for one in spec.settings}
    assert isinstance(flags["share"], click.Option) and flags["share"].metavar == "NUMBER"


def test_they_reach_the_stage_together_and_decide_its_key(told: object, tmp_path: Path) -> None:
    shop = Shop.open(tmp_path / "shop")
    plain = shop.run(told)
    assert plain.read_json("told.json") == [1, {"tag": "polygon", "version": 1}, None, 5], "the stage's own default"
    chosen = shop.run(told, shape={"tag": "polygon", "sides": "5, 6"}, share="0.25")
    assert chosen.read_json("told.json") == [1, {"tag": "polygon", "version": 1, "sides": [5, 6]}, 0.25, 5]
    assert shop.run(told, share=0.25, shape=Polygon(sides=(5, 6))).digest == chosen.digest
    body = shop.ledger.get(chosen.entry).body
    assert set(body["settings"]) == {"shape", "share"}, "only what is not the default"


def test_a_setting_that_changes_no_byte_is_in_the_ledger_and_not_in_the_key(tmp_path: Path) -> None:
    from mofang.fit.train import train

    silent = {one.name for one in spec_of(train).settings if not one.in_key}
    assert silent == {"checkpoint_s", "checkpoint_steps", "tensorboard"}

    @stage(version=1)
    def tell_often(run: Run, *, often: Annotated[int, Field(ge=1), NotInKey()] = 1, much: int = 1) -> Told:
        """Write down one of two settings."""
        run.write_json("told.json", much)
        return run.result(Told)

    try:
        shop = Shop.open(tmp_path / "shop")
        first = shop.run(tell_often, often=3)
        assert shop.ledger.get(first.entry).body["settings"] == {"often": 3}
        entries = [shop.ledger.get(shop.run(tell_often, often=often, much=much).entry)
                   for often, much in ((1, 1), (7, 1), (3, 2))]
        assert [one.kind for one in entries] == ["reuse", "reuse", "done"]
        with pytest.raises(MofangError, match="often"):
            shop.run(tell_often, often=0)
    finally:
        STAGES.pop("tell_often")


def test_a_stages_own_setting_stands_in_for_the_groups(tmp_path: Path) -> None:
    @stage(version=1)
    def tell_own(run: Run, *, steps: str = "own", shared: Shared = Shared()) -> Told:
        """Write down what reached the stage."""
        run.write_json("told.json", [steps, shared.steps])
        return run.result(Told)

    try:
        names = [one.name for one in spec_of(tell_own).settings]
        assert names == ["steps", "shape", "share", "folder"]
        assert Shop.open(tmp_path / "shop").run(tell_own, steps="mine").read_json("told.json") == ["mine", 0]
    finally:
        STAGES.pop("tell_own")


def test_pieces_are_typed_with_commas_and_texts_are_left_whole() -> None:
    assert Shape.parse({"tag": "polygon", "sides": "7,8", "name": "x,y"}) == Polygon(sides=(7, 8), name="x,y")
    assert Shape.parse({"tag": "polygon", "sides": ""}) == Polygon(sides=())


@pytest.mark.parametrize("given", [{"share": 1.0}, {"share": "much"}, {"shape": {"tag": "polygon", "sides": "3,none"}}])
def test_what_cannot_be_is_refused(told: object, tmp_path: Path, given: dict[str, object]) -> None:
    with pytest.raises(MofangError) as caught:
        Shop.open(tmp_path / "shop").run(told, **given)
    assert caught.value.code == "setting-refused"
