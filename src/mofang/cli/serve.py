"""Serve: one process, or several behind one address."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from mofang.cli.context import Context, pass_context
from mofang.core.language import say


@click.command()
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; loopback unless you say otherwise.")
@click.option("--port", default=8080, show_default=True, help="Port; 0 takes a free one and prints it.")
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True,
              help="So many processes behind one address; one that dies is replaced.")
@click.option("--tls-cert", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="TLS certificate (PEM).")
@click.option("--tls-key", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="The certificate's key (PEM).")
@click.option("--admin-port", type=click.IntRange(0, 65535), help="A second port, on loopback only, for /metrics.")
@click.option("--admin-host", default="127.0.0.1", show_default=True,
              help="Its address; beyond loopback MOFANG_ADMIN_TOKEN must be set, and whoever reads shows it.")
@click.option("--grpc-port", type=click.IntRange(0, 65535), help="A port for the Open Inference Protocol over gRPC.")
@click.option("--memory", "memory_mb", type=click.IntRange(1),
              help="Megabytes for models, of all workers together; what does not fit opens when asked for.")
@click.option("--no-jobs", is_flag=True, envvar="MOFANG_NO_JOBS",
              help="Start no process for what runs by itself (mofang jobs); also MOFANG_NO_JOBS=1.")
@click.option("--ray", is_flag=True, help="The workers are replicas of Ray Serve (docs/deploy.md).")
@click.option("--ray-address", default="local", show_default=True, help="A cluster to join instead of starting one here.")
@click.option("--worker", hidden=True, help="Handles that a supervisor gave.")
@pass_context
def serve(context: Context, models: tuple[str, ...], host: str, port: int, workers: int, tls_cert: Path | None,
          tls_key: Path | None, ray: bool, ray_address: str, worker: str | None, admin_port: int | None,
          admin_host: str, grpc_port: int | None, memory_mb: int | None, no_jobs: bool) -> None:
    """Answer requests over HTTP behind keys, every answer metered. Without a MODEL, all of the shop.

    A plain name follows what `mofang release` says; NAME@2 stays with that version.
    """
    from mofang.core.errors import MofangError
    from mofang.wire import serve as serve_one
    from mofang.wire import serve_handed, serve_many

    if (tls_cert is None) != (tls_key is None):
        raise MofangError("tls-half")
    shop = context.shop
    if worker is not None:
        serve_handed(shop, models, worker, certificate=tls_cert, private_key=tls_key, memory_mb=memory_mb or 0)
        return
    if ray:
        from mofang.on_ray import serve_on_ray

        if tls_cert is not None or grpc_port is not None:
            raise MofangError("ray-not-with", flags="--tls-cert" if tls_cert is not None else "--grpc-port")
        serve_on_ray(shop, models, workers, host, port, address=ray_address, ready=told, admin_port=admin_port,
                     admin_host=admin_host, memory_mb=memory_mb or 0, jobs=not no_jobs)
        return
    settings: dict[str, Any] = {"host": host, "port": port, "ready": told, "certificate": tls_cert, "private_key": tls_key,
                                "admin_port": admin_port, "admin_host": admin_host, "grpc_port": grpc_port,
                                "memory_mb": memory_mb or 0, "jobs": not no_jobs}
    if workers == 1:
        serve_one(shop, list(models), **settings)
    elif status := serve_many(shop, list(models), workers, **settings):
        sys.exit(status)


def told(address: str, *, admin: str = "", grpc: str = "") -> None:
    """Say where it answers."""
    click.echo(say("Serving on {address}  (Ctrl-C stops, after finishing what has begun)",
                   "服务已启动：{address} （Ctrl-C 停止，会先完成已开始的请求）", address=address))
    if admin:
        click.echo(say("  metrics  {address}/metrics", "  指标  {address}/metrics", address=admin))
    if grpc:
        click.echo(say("  gRPC     {address}", "  gRPC  {address}", address=grpc))
    sys.stdout.flush()
