"""The composition root: joins what the floors keep apart. Models, keys, prices and the meter become a server here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from mofang.core.errors import MofangError
from mofang.core.shop import Named, Shop

if TYPE_CHECKING:
    from mofang.trade.desk import Desk, Served


def say_nothing(_address: str) -> None:
    """Where nobody wants to know the address."""


def serve(shop: Shop, names: Sequence[str] = (), host: str = "127.0.0.1", port: int = 8000, *,
          ready: Callable[[str], None] = say_nothing, engine: str = "") -> None:
    """Sell predictions of these models (all packages, where none is named) until told to stop.

    Key, quota, prediction, charge: ``trade.desk``. Ends with SIGTERM or Ctrl-C, after what has begun is finished.
    """
    from mofang.web.server import run_server

    run_server(desk_of(shop, names, engine), host, port, ready=ready, folder=shop.path / "scratch")


def desk_of(shop: Shop, names: Sequence[str] = (), engine: str = "") -> Desk:
    """The desk over this shop's customers, keys, prices and meter; every thread gets a connection of its own."""
    from mofang.data.remote.secret import secret_value
    from mofang.trade.accounts import shop_offset
    from mofang.trade.desk import Desk
    from mofang.trade.directory import Directory
    from mofang.trade.gateway import Gateway
    from mofang.trade.meter import Meter
    from mofang.trade.remotes import remotes

    named = [shop.named(name, kind="package") for name in names] or newest_packages(shop)
    shop.journals.make_tables()
    if not named and not remotes(shop.control):
        raise MofangError("nothing-to-serve")
    served = [serve_model(shop, one, engine) for one in named]
    meter = Meter(shop.control.again(), utc_offset=shop_offset(shop))
    directory = Directory(shop.control.again(), shop.secret("keys"))
    desk = Desk(directory, meter, served, shop.control.again())
    desk.gateway = Gateway(directory, partial(secret_value, shop))
    return desk


def newest_packages(shop: Shop) -> list[Named]:
    """The newest version of every named package."""
    newest: dict[str, Named] = {}
    for one in shop.names(kind="package"):
        newest.setdefault(one.name, one)
    return list(newest.values())


def serve_model(shop: Shop, named: Named, engine: str = "") -> Served:
    """Open a package and put it behind a batcher, as its measurements at packaging chose."""
    from mofang.engine.predictor import Predictor
    from mofang.serve.batching import Batcher
    from mofang.serve.remeasure import current
    from mofang.trade.desk import Served

    package = shop.find(str(named), kind="package")
    if any(part.name.startswith("decoder/") for part in package.parts):
        from mofang.engine.generation.opened import Generator
        from mofang.serve.generation import Driver

        generator = Generator(package)
        driver = Driver(generator)
        return Served(str(named), named.entry, generator, driver, driver)
    predictor = Predictor(current(shop, package), engine=engine)
    chosen = predictor.engine
    return Served(str(named), named.entry, predictor, Batcher(predictor.predict, streams=int(chosen["streams"]),
                                                              batch_max=int(chosen["batch"])))
