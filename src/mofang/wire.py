"""The composition root: joins what the floors keep apart. Models, keys, prices and the meter become a server here."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mofang.core.errors import MofangError
from mofang.core.shop import Named, Shop

if TYPE_CHECKING:
    from mofang.serve.models import Offer
    from mofang.trade.customs.served import OwnModels
    from mofang.trade.request.desk import Desk
    from mofang.trade.request.model import Served

MIRROR_WAITING_MOST = 32
MIRROR_S = 10.0


def say_nothing(_address: str, **_also: str) -> None:
    """Where nobody wants to know the address."""


def serve(shop: Shop, names: Sequence[str] = (), host: str = "127.0.0.1", port: int = 8000, *,
          ready: Callable[..., None] = say_nothing, engine: str = "", certificate: Path | None = None,
          private_key: Path | None = None, admin_port: int | None = None, admin_host: str = "127.0.0.1",
          grpc_port: int | None = None, memory_mb: int = 0, jobs: bool = False) -> None:
    """Sell predictions of these models (all packages, where none is named) until told to stop.

    Key, quota, prediction, charge: ``trade.desk``. Ends with SIGTERM or Ctrl-C, after what has begun is finished. With
    ``jobs`` a process beside it keeps the shop (``trade/keeping``).
    """
    from mofang.web.keeping import kept
    from mofang.web.server import run_server

    with kept(shop.path, jobs, ready) as begun:
        run_server(desk_of(shop, names, engine, memory_mb), host, port, ready=begun, folder=shop.path / "scratch",
                   certificate=certificate, private_key=private_key, admin_port=admin_port, admin_host=admin_host,
                   grpc_port=grpc_port)


def serve_many(shop: Shop, names: Sequence[str], workers: int, host: str = "127.0.0.1", port: int = 8000, *,
               ready: Callable[..., None] = say_nothing, certificate: Path | None = None,
               private_key: Path | None = None, admin_port: int | None = None, admin_host: str = "127.0.0.1",
               grpc_port: int | None = None, memory_mb: int = 0, jobs: bool = False) -> int:
    """The same by several processes behind one address, watched and replaced by this one; the exit status.

    Each worker is this command again, with the handles by which connections reach it and its part of ``memory_mb``.
    """
    from mofang.web.figures import Figures, clear_old, group_name, told_in
    from mofang.web.handed_words import place_word
    from mofang.web.keeping import kept
    from mofang.web.listening import admin_listener, listen, reserve, shown_address
    from mofang.web.supervisor import supervise

    bound = listen(host, port)
    admin = admin_listener(admin_host, admin_port) if admin_port is not None else None
    grpc = reserve(host, grpc_port) if grpc_port is not None else None
    ports = [one.getsockname()[1] if one is not None else 0 for one in (admin, grpc)]
    address = shown_address(bound, host, tls=certificate is not None)
    given = ["--tls-cert", str(certificate), "--tls-key", str(private_key)] if certificate else []
    given += ["--memory", str(max(1, memory_mb // workers))] if memory_mb else []
    clear_old(shop.path / "scratch")
    figures = Figures(shop.path / "scratch", group_name())
    also = {**({"admin": shown_address(admin, admin_host)} if admin is not None else {}),
            **({"grpc": f"{host}:{ports[1]}"} if grpc is not None else {})}

    def command(channel: int, slots: int) -> list[str]:
        return [sys.executable, "-m", "mofang", "--shop", str(shop.path), "serve", *names, *given,
                "--worker", place_word(channel, slots, *ports, figures.group, host, address)]

    def buried(pid: int) -> None:
        figures.bury(str(pid))
        told_in(shop.path / "scratch", pid).unlink(missing_ok=True)

    try:
        with kept(shop.path, jobs, ready) as begun:
            return supervise(bound, workers, command, tls=certificate is not None, ready=lambda: begun(address, **also),
                             admin=admin, buried=buried)
    finally:
        figures.clear()
        if grpc is not None:
            grpc.close()


def serve_handed(shop: Shop, names: Sequence[str], place: str, *, engine: str = "", certificate: Path | None = None,
                 private_key: Path | None = None, memory_mb: int = 0) -> None:
    """The same as one of several workers: connections come from a supervisor (``web/supervisor.py``) by a channel."""
    from mofang.web.handed import place_of, run_worker

    run_worker(desk_of(shop, names, engine, memory_mb), place_of(place), folder=shop.path / "scratch", certificate=certificate,
               private_key=private_key)


def desk_of(shop: Shop, names: Sequence[str] = (), engine: str = "", memory_mb: int = 0) -> Desk:
    """The desk over this shop's customers, keys, prices, releases and meter; every thread gets a connection of its own.

    A model named with its version is served as it is; a plain name follows what was released (``mofang release``), and is
    the newest version where nothing was. Models that do not fit into ``memory_mb`` (0: most of what is free) open when they
    are asked for.
    """
    from mofang.data.remote.secret import secret_value
    from mofang.serve.deploy import standing_routes
    from mofang.serve.models import MB, Models
    from mofang.serve.rollout import Rollout
    from mofang.serve.routing import Router
    from mofang.trade.accounts.lists import shop_offset
    from mofang.trade.billing.papers import Papers
    from mofang.trade.elsewhere.gateway import Gateway
    from mofang.trade.elsewhere.remotes import remotes
    from mofang.trade.kept import Cabinet
    from mofang.trade.looked import SECRET, Marks
    from mofang.trade.request.desk import Desk
    from mofang.trade.request.directory import Directory
    from mofang.trade.request.meter import Meter
    from mofang.trade.request.pace import Pace

    shop.journals.make_tables()
    elsewhere = {one.name for one in remotes(shop.control)}
    only_elsewhere = bool(names) and elsewhere >= set(names)
    names = [name for name in names if name not in elsewhere]
    followed = {name for name in names if "@" not in name}
    routes = {one.model: one for one in standing_routes(shop)
              if one.model in followed or (not names and "@" not in one.model and not only_elsewhere)}
    named = [shop.named(name, kind="package") for name in names] or ([] if only_elsewhere else newest_packages(shop))
    named = [one for one in named if one.name not in routes or (str(one) in names)]
    released = [shop.named(release, "package") for one in routes.values() for release in one.releases]
    if not named and not released and not elsewhere:
        raise MofangError("nothing-to-serve")
    own = shop.again()  # models are opened on other threads
    offers = [offer_of(own, one, engine) for one in {str(one): one for one in [*named, *released]}.values()]
    models = Models(offers=offers, memory_bytes=memory_mb * MB)
    models.wake_all()
    directory = Directory(shop.control.again(), shop.secret("keys"))
    router = Router(routes.values())
    marks = Marks(shop.secret(SECRET), Cabinet(own), lambda account: directory.picture.keep.get(account, 0))
    desk = Desk(directory, Meter(shop.control.again(), utc_offset=shop_offset(shop)), models, shop.control.again(),
                router=router, marks=marks, pace=Pace(shop.path / "scratch" / "limits"))
    desk.accounts.papers = Papers(shop.again())
    desk.own = own_models(shop, engine)
    desk.own.follow(directory.picture.privates)
    directory.changed = lambda picture: desk.own.follow(picture.privates) if desk.own else None
    desk.gateway = Gateway(directory, partial(secret_value, shop.again()))
    if followed or not (names or only_elsewhere):
        desk.rollout = Rollout(shop.control.again(), router, Opened(own, desk, engine), sorted(followed))
    return desk


def own_models(shop: Shop, engine: str = "") -> OwnModels:
    """The models of customers' own, each opened out of its own room."""
    from mofang.trade.customs.room import room_path
    from mofang.trade.customs.served import OwnModels, Private

    def offer(private: Private) -> Offer:
        from dataclasses import replace

        room = Shop(room_path(shop, private.custom), shop.actor, shop.permit)
        found = offer_of(room, room.named(private.release, "package"), engine)
        return replace(found, open=lambda: replace(found.open(), package=private.entry))

    return OwnModels(shop.again(), offer)


class Opened:
    """The releases that a desk has open; one that a route names is opened before requests go to it."""

    def __init__(self, shop: Shop, desk: Desk, engine: str) -> None:
        self.shop = shop
        self.desk = desk
        self.engine = engine

    def ready(self, release: str) -> None:
        """Open a release if it is not open."""
        from mofang.serve.boundary import attempt

        models = self.desk.served
        if release not in models.offers:
            models.offers[release] = offer_of(self.shop, self.shop.named(release, kind="package"), self.engine)
        fault = attempt(partial(models.wake, release))
        if fault is not None:
            del models.offers[release]
            raise fault

    def ask(self, release: str, records: list[dict[str, Any]], done: Callable[[Any], None]) -> None:
        """Put records to a release, unless customers wait there: a mirrored request is the first to be left out."""
        found = self.desk.served.get(release)
        if found is None:
            raise MofangError("busy", waiting=0)
        batcher = found.batcher
        if batcher.waiting > MIRROR_WAITING_MOST:
            raise MofangError("busy", waiting=batcher.waiting)
        batcher.submit(records, done, deadline_s=time.monotonic() + MIRROR_S)

    def write(self, release: str, record: dict[str, Any], sampling: Any, deliver: Callable[[Any], None]) -> None:
        """Have a generator write for a mirrored request, unless customers wait there."""
        found = self.desk.served.get(release)
        if found is None or found.writer is None or found.batcher.waiting:
            raise MofangError("busy", waiting=0 if found is None else found.batcher.waiting)
        found.writer.ask(found.model.prompt(record), sampling, deliver, begin_s=time.monotonic() + MIRROR_S)


def newest_packages(shop: Shop) -> list[Named]:
    """The newest version of every named package."""
    newest: dict[str, Named] = {}
    for one in shop.names(kind="package"):
        newest.setdefault(one.name, one)
    return list(newest.values())


def offer_of(shop: Shop, named: Named, engine: str = "") -> Offer:
    """A package that can be opened, and how many bytes of it an engine reads."""
    from mofang.serve.models import Offer

    parts = shop.find(str(named), kind="package").parts
    size = sum(part.size_bytes for part in parts if part.name.startswith(("graph/", "decoder/", "encoder/")))
    return Offer(str(named), size, partial(serve_model, shop, named, engine))


def serve_model(shop: Shop, named: Named, engine: str = "") -> Served:
    """Open a package and put it behind a batcher, as its measurements at packaging chose."""
    from mofang.engine.predictor import Predictor
    from mofang.serve.batching import Batcher
    from mofang.serve.remeasure import current
    from mofang.trade.request.model import Served

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
