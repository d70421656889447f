"""Runs a console: pages for a browser and the API for other machines, behind one gate, until it is told to stop."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import uvicorn
from fastapi import FastAPI

from mofang.core.canonical import write_durably
from mofang.core.errors import MofangError
from mofang.core.shop import Shop
from mofang.core.uploads import sweep
from mofang.web import api, pages
from mofang.web.client import checked_address
from mofang.web.entrance import Entrance
from mofang.web.gate import Gate, Rules
from mofang.web.jobs import Jobs
from mofang.web.listening import listen
from mofang.web.protocol import server_settings

Said = Callable[[str], None]


@dataclass(frozen=True)
class Listening:
    """Where a console listens, how people reach it, and what protects the way there."""

    host: str = "127.0.0.1"
    port: int = 8090
    address: str = ""
    certificate: Path | None = None
    private_key: Path | None = None
    behind_proxy: bool = False

    @property
    def loopback(self) -> bool:
        """True if only this machine reaches it."""
        try:
            return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def everywhere(self) -> bool:
        """True if it listens on every address of the machine, so that its own name cannot be known from it."""
        return self.host in ("0.0.0.0", "::", "")

    def check(self) -> None:
        """Refuse to show the shop to a network that could listen in, or under no name."""
        if (self.certificate is None) != (self.private_key is None):
            raise MofangError("certificate-half")
        if not self.loopback and self.certificate is None and not self.behind_proxy:
            raise MofangError("console-plain", host=self.host)
        if (self.everywhere or self.behind_proxy) and not self.address:
            raise MofangError("console-nameless")
        if self.certificate is not None and self.private_key is not None:
            try:
                ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.certificate, self.private_key)
            except (ssl.SSLError, OSError) as error:
                raise MofangError("certificate-unusable", path=self.certificate, reason=str(error)) from error

    def rules(self, port: int) -> tuple[Rules, str]:
        """What the gate lets in, and the address that is shown."""
        scheme = "https" if self.certificate is not None else "http"
        shown = f"[{self.host}]" if ":" in self.host else self.host
        address = checked_address(self.address) if self.address else f"{scheme}://{shown}:{port}"
        hosts = {_host(address)} | ({"localhost", "127.0.0.1", "[::1]"} if self.loopback else set())
        hosts |= set() if self.everywhere else {shown.lower()}
        secure = self.certificate is not None or (self.behind_proxy and address.startswith("https://"))
        return Rules(frozenset(hosts), address, secure, self.behind_proxy), address


def _host(address: str) -> str:
    found = urlsplit(address)
    name = found.hostname or ""
    return f"[{name}]" if ":" in name else name


def console_app(shop: Shop, rules: Rules, entrance: Entrance, allow: api.Allow) -> tuple[Any, Jobs]:
    """The application behind its gate, and the jobs it starts."""
    jobs = Jobs(shop, entrance.may_stay)
    site = pages.Pages(shop, entrance, rules)

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        await jobs.close()

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False, lifespan=lifespan)
    api.Api(shop, jobs, allow, rules.address).add_to(app)
    site.add_to(app)
    api.handle_errors(app, site.error)
    return Gate(app, (*api.ROUTES, *pages.ROUTES), shop, entrance, rules, site.error), jobs


def run_console(shop: Shop, listening: Listening, *, allow: api.Allow, ready: Said, link: Said) -> None:
    """Serve until SIGTERM or Ctrl-C. ``ready`` is given the address, ``link`` each one-time link for the owner's browser."""
    listening.check()
    bound = listen(listening.host, listening.port)
    port = bound.getsockname()[1]
    rules, address = listening.rules(port)
    near = f"{'https' if listening.certificate else 'http'}://{'127.0.0.1' if listening.everywhere else listening.host}:{port}"

    def open_here(code: str) -> None:
        link(f"{address if listening.certificate or listening.behind_proxy else near}/enter?once={code}")

    sweep(shop)
    entrance = Entrance(shop, said=open_here)
    app, _ = console_app(shop, rules, entrance, allow)
    note = shop.path / "scratch" / f"console-{os.getpid()}.json"

    class Server(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            if self.started:
                note.parent.mkdir(exist_ok=True)
                write_durably(note, json.dumps({"address": address, "pid": os.getpid()}).encode())
                ready(address)
                open_here(entrance.new_code())

        async def shutdown(self, sockets: Any = None) -> None:
            await super().shutdown(sockets)
            note.unlink(missing_ok=True)  # here: after SIGTERM nothing below is reached

    tls = {"ssl_certfile": listening.certificate, "ssl_keyfile": listening.private_key} if listening.certificate else {}
    try:
        Server(uvicorn.Config(app, **server_settings(timeout_graceful_shutdown=25, **tls))).run(sockets=[bound])
    finally:
        bound.close()
        entrance.close()


def running_address(shop: Shop) -> str:
    """The address of a console that runs over this shop on this machine; empty if none does."""
    for note in sorted((shop.path / "scratch").glob("console-*.json")):
        try:
            told = json.loads(note.read_bytes())
            os.kill(int(told["pid"]), 0)
        except (OSError, ValueError, KeyError):
            continue
        return str(told["address"])
    return ""
