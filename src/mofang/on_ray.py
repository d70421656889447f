"""The prediction server on Ray Serve: replicas placed by Ray, with the same keys, meter and releases as everywhere.

Ray's own traffic shows a token (``RAY_AUTH_MODE=token``): Ray runs whatever reaches its ports, and without one anybody who
reaches them may. Replicas on several machines need the shop in PostgreSQL. Used by ``mofang serve --ray`` and, on Kubernetes,
by ``deploy/kubernetes/rayservice.yaml``.
"""

from __future__ import annotations

import logging
import os
import signal
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mofang.core.errors import MofangError
from mofang.core.shop import Shop

READY_S = 120
ONGOING_MOST = 512  # requests at once in one replica; the batcher's own queue refuses beyond


def application(args: dict[str, Any]) -> Any:
    """Ray Serve's application builder. ``args``: ``shop`` (a folder that every node sees), ``models``, ``replicas``."""
    return replicas(str(args["shop"]), list(args.get("models") or []), int(args.get("replicas", 2)))


def replicas(shop: str, models: Sequence[str], count: int, *, group: str = "", memory_mb: int = 0) -> Any:
    """So many processes that serve a shop, as a Ray Serve application. ``group``: under which their figures are added up."""
    serve = _serve()
    names = tuple(models)

    def build() -> Any:
        from mofang.core.shop import Shop
        from mofang.web.predict import PredictApp
        from mofang.web.statistics import Statistics
        from mofang.wire import desk_of

        opened = Shop.open(shop, make=False)
        desk = desk_of(opened, names, memory_mb=memory_mb)
        statistics = Statistics(opened.path / "scratch", desk.health()[1]["models"], desk.waiting)
        statistics.address = "ray"
        if group:
            from functools import partial

            from mofang.web.figures import Figures
            from mofang.web.metrics import page

            statistics.figures = Figures(opened.path / "scratch", group)
            statistics.page = partial(page, desk, statistics)
        return PredictApp(desk, statistics=statistics)

    deployment = serve.deployment(serve.ingress(build)(), name="predict", num_replicas=count, max_ongoing_requests=ONGOING_MOST,
                                  ray_actor_options={"num_cpus": 0.5})
    return deployment.bind()


def serve_on_ray(shop: Shop, models: Sequence[str], count: int, host: str, port: int, *, address: str = "local",
                 ready: Callable[..., None], admin_port: int | None = None, admin_host: str = "127.0.0.1",
                 memory_mb: int = 0, jobs: bool = False) -> None:
    """Start (or join) a Ray cluster, serve until told to stop. Raises ``ray-serve-missing``, ``ray-needs-postgres``.

    ``admin_port``: here ``/metrics`` of all replicas that share this shop's folder.
    """
    if address != "local" and shop.control.dialect != "postgresql":
        raise MofangError("ray-needs-postgres")
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_AUTH_TOKEN", shop.secret("ray").hex())
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    serve = _serve()
    import ray

    from mofang.web.figures import Figures, clear_old, group_name
    from mofang.web.keeping import kept
    from mofang.web.window import Window

    clear_old(shop.path / "scratch")
    figures = Figures(shop.path / "scratch", group_name())
    with tempfile.TemporaryDirectory(prefix="mf-", dir=_short()) as folder:
        local: dict[str, Any] = {"_temp_dir": folder, "num_cpus": max(2, count)} if address == "local" else {}
        ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR, **local)
        ended = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: ended.set())
        try:
            serve.start(http_options={"host": host, "port": port}, logging_config={"log_level": "ERROR"})
            share = max(1, memory_mb // count) if memory_mb else 0
            with Window(figures, admin_port, admin_host) as window, kept(shop.path, jobs, ready) as begun:
                serve.run(replicas(str(shop.path), models, count, group=figures.group, memory_mb=share), name="mofang",
                          route_prefix="/")
                begun(f"http://{host}:{port}", **window.shown)
                while not ended.wait(1.0):
                    pass
        finally:
            serve.shutdown()
            ray.shutdown()
            figures.clear()  # now that no replica writes any more


def _serve() -> Any:
    try:
        from ray import serve
    except ModuleNotFoundError as error:
        raise MofangError("ray-serve-missing", package=error.name or "ray") from None
    return serve


def _short() -> str | None:
    """Where Ray's sockets have room for their names (AF_UNIX holds about a hundred signs)."""
    return "/tmp" if Path("/tmp").is_dir() else None
