"""Variants while training: exact after a kill, never at validation, refused where a family has no epochs."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mofang.core.errors import MofangError
from mofang.core.progress import progress
from mofang.core.shop import Shop
from mofang.engine.encode.image import ImageEncoder
from mofang.engine.encode.ngrams import NgramEncoder
from mofang.engine.encode.tokens import TokenEncoder
from mofang.fit.families import Averaged, Mlp, Resnet
from mofang.fit.family import Conditions, Variation
from mofang.fit.loop.arrays import encode_dense, encode_ngrams, encode_tokens
from mofang.fit.loop.renewing import Renewal
from mofang.fit.material import Material, Rows
from tests.contract.world import World, make_world


def picture(number: int) -> bytes:
    chance = np.random.default_rng(number)
    pixels = chance.integers(150, 255, (14, 14), dtype=np.uint8)
    pixels[4:10, 1 + 6 * (number % 2): 6 + 6 * (number % 2)] = 20
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def rows(count: int, make: Any, name: str) -> Rows:
    return Rows([f"{number:032x}" for number in range(count)], [{name: make(number)} for number in range(count)],
                np.arange(count) % 2)


@pytest.fixture(scope="module")
def pictures() -> Material:
    inputs = ({"name": "image", "role": "image"},)
    return Material("image_classification", inputs, ("a", "b"), "accuracy", rows(60, picture, "image"), rows(20, picture, "image"))


@pytest.fixture(scope="module")
def reviews() -> Material:
    def text(number: int) -> str:
        return f"第{number}间房间很{'好' if number % 2 else '差'}，服务{'热情' if number % 2 else '冷漠'} the room is {'good' if number % 2 else 'bad'}"

    inputs = ({"name": "text", "role": "text"},)
    return Material("text_classification", inputs, ("a", "b"), "accuracy", rows(60, text, "text"), rows(20, text, "text"))


def test_the_same_epoch_gives_the_same_variants_whatever_the_batch(pictures: Material) -> None:
    encoder = ImageEncoder.fit(pictures.train.records)
    kinds = ("crop", "flip", "rotate", "colour", "cutout", "mixup")
    renewal = Renewal(Variation(kinds, 0.6), encoder, encode_dense(encoder, pictures.train.records), pictures, 5)
    whole = renewal.batch(np.arange(20), 3)["pixels"]
    assert whole.dtype == np.float32 and whole.shape == (20, 1, 14, 14)
    single = np.concatenate([renewal.batch(np.array([row]), 3)["pixels"] for row in range(20)])
    assert (whole == single).all()
    assert (renewal.batch(np.arange(20), 4)["pixels"] != whole).any((1, 2, 3)).all(), "another epoch, another variant"
    assert (encoder.encode(pictures.train.records[:20])["pixels"] != whole).any((1, 2, 3)).all()


def test_undoing_the_standardising_is_exact(pictures: Material) -> None:
    encoder = ImageEncoder.fit(pictures.train.records)
    encoded = encode_dense(encoder, pictures.train.records)
    renewal = Renewal(Variation(("flip",), 0.5), encoder, encoded, pictures, 0)
    for row in range(10):
        found = renewal.batch(np.array([row]), 0)["pixels"][0]
        plain = encoded.arrays["pixels"][row]
        assert (found == plain).all() or (found == plain[:, :, ::-1]).all()


def test_texts_are_encoded_anew(reviews: Material) -> None:
    records = reviews.train.records
    tokens, ngrams = TokenEncoder.fit(records, ("text",), vocabulary=300), NgramEncoder.fit(records, ("text",))
    for encoder, encoded in ((tokens, encode_tokens(tokens, records)), (ngrams, encode_ngrams(ngrams, records))):
        renewal = Renewal(Variation(("swap", "noise"), 1.0), encoder, encoded, reviews, 1)
        one, again, later = renewal.batch(np.arange(6), 0), renewal.batch(np.arange(6), 0), renewal.batch(np.arange(6), 1)
        for name in one:
            assert (one[name] == again[name]).all()
        first = next(iter(one))
        assert one[first].shape != later[first].shape or (one[first] != later[first]).any()


@pytest.mark.parametrize("family", [Mlp(epochs=4), Resnet(epochs=3)], ids=lambda one: one.tag)
def test_a_killed_training_goes_on_with_the_same_variants(family: Any, pictures: Material, tmp_path: Path,
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    from mofang.fit.loop import loop

    def conditions(place: str) -> Conditions:
        (tmp_path / place).mkdir(exist_ok=True)
        return Conditions(3, 0.0, tmp_path / place, lambda en, zh, total=None: progress(en, total), Variation(("crop", "mixup"), 0.5))

    whole = family.fit(pictures, conditions("whole"))
    plain, steps = loop.Loop._checkpoint_when_due, [0]

    def checkpoint(self: Any) -> None:
        steps[0] += 1
        self._save()
        if steps[0] == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(loop.Loop, "_checkpoint_when_due", checkpoint)
    with pytest.raises(KeyboardInterrupt):
        family.fit(pictures, conditions("killed"))
    monkeypatch.setattr(loop.Loop, "_checkpoint_when_due", plain)
    assert family.fit(pictures, conditions("killed")).weights == whole.weights


def test_validation_rows_are_never_varied(reviews: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mofang.data.augmenting import texts

    seen: set[str] = set()
    plain = texts.varied
    monkeypatch.setattr(texts, "varied", lambda text, *rest: seen.add(text) or plain(text, *rest))
    material = Material(reviews.task, reviews.inputs, reviews.labels, reviews.headline, reviews.train,
                        Rows(reviews.validation.ids, [{"text": "只在验证里"}] * 20, reviews.validation.labels))
    Averaged(epochs=2).fit(material, Conditions(0, 0.0, tmp_path, lambda en, zh, total=None: progress(en, total),
                                                Variation(("swap",), 0.5)))
    assert seen and "只在验证里" not in seen


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("varied")
    return make_world("image_classification", folder, Shop.open(folder / "shop"))


def test_train_takes_kinds_and_refuses_what_cannot_be(world: World) -> None:
    from mofang.recipe import train

    data = world.made["snapshot"]
    model = world.shop.run(train, data, family={"tag": "mlp", "epochs": 2}, augment=("flip", "crop"))
    assert model.read_json("about.json")["augment"] == {"kinds": ["flip", "crop"], "strength": 0.5}
    assert model.digest != world.shop.run(train, data, family={"tag": "mlp", "epochs": 2}).digest
    for settings, code in (({"family": "linear", "augment": ("flip",)}, "augment-unsuited"),
                           ({"family": "mlp", "augment": ("synonym",)}, "augment-unknown")):
        with pytest.raises(MofangError) as caught:
            world.shop.run(train, data, **settings)
        assert caught.value.code == code
