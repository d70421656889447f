"""Real packages behind one server with memory for one of them: each opens when it is asked for, and nobody is failed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from mofang.core.errors import MofangError
from mofang.core.shop import Shop
from mofang.serve.models import MB
from mofang.trade.accounts.customers import customer_new
from mofang.trade.accounts.keys import key_new
from mofang.web.predict import PredictApp
from mofang.wire import desk_of, offer_of
from tests.engine import made
from tests.serve.test_package import packaged
from tests.web.serving import InThread, Serving


@pytest.fixture(scope="module")
def sold(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    place = tmp_path_factory.mktemp("shelf")
    shop = Shop.open(place / "shop")
    for name, averaged in (("linear", False), ("averaged", True)):
        shop.name(name, packaged(shop, made.text_folder(place / name, averaged=averaged)))
    shop.act(customer_new, name="tester")
    return shop


@pytest.fixture(scope="module")
def key(sold: Shop) -> str:
    token: str = sold.act(key_new, customer="tester", test=True).token
    return token


class Shelf(InThread):
    """A server over a shop's packages."""

    def __init__(self, shop: Shop, memory_mb: int) -> None:
        self.desk = desk_of(shop, memory_mb=memory_mb)
        super().__init__()
        self.begin(PredictApp(self.desk))

    call, predict = Serving.call, Serving.predict


@pytest.fixture
def shelf(sold: Shop) -> Iterator[Shelf]:
    needs = max(offer_of(sold, one).needs_bytes for one in sold.names("package"))
    serving = Shelf(sold, -(-needs // MB))
    yield serving
    serving.stop()


def test_models_take_turns_in_memory_and_nobody_is_failed(shelf: Shelf, key: str) -> None:
    health: Any = shelf.call("GET", "/health").json
    assert health["models"] == ["averaged@1", "linear@1"] and len(shelf.desk.served.values()) == 1
    told = [shelf.predict(key, model=model) for model in ("linear", "averaged@1", "linear@1", "linear")]
    assert [one.json["model"] for one in told] == ["linear@1", "averaged@1", "linear@1", "linear@1"]
    assert shelf.desk.served.unloads >= 1 and len(shelf.desk.served.values()) == 1


def test_a_server_that_could_open_nothing_says_so_at_the_start(sold: Shop) -> None:
    with pytest.raises(MofangError) as caught:
        desk_of(sold, memory_mb=1)
    assert caught.value.code == "model-too-large"
