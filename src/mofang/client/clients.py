"""The two clients: the same calls, driven by a blocking connection or by asyncio. Neither starts a thread."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import wraps
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, TypeVar

import httpx

import mofang
from mofang.client.calls import Calls, Came, Lost, Retry, Send, Steps, Wait
from mofang.client.events import Events
from mofang.client.faults import StreamBroken
from mofang.core.language import current_language

P = ParamSpec("P")
T = TypeVar("T")
CONNECT_S = 10.0
KEY, ADDRESS = "MOFANG_KEY", "MOFANG_ADDRESS"


def plainly(steps: Callable[Concatenate[Calls, P], Steps[T]]) -> Callable[Concatenate[Client, P], T]:
    """A call of ``Calls`` as a method that waits."""

    @wraps(steps)
    def call(self: Client, /, *given: P.args, **named: P.kwargs) -> T:
        return self._drive(steps(self.calls, *given, **named))

    return call


def awaited(steps: Callable[Concatenate[Calls, P], Steps[T]]) -> Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, T]]:
    """A call of ``Calls`` as a coroutine."""

    @wraps(steps)
    async def call(self: AsyncClient, /, *given: P.args, **named: P.kwargs) -> T:
        return await self._drive(steps(self.calls, *given, **named))

    return call


def streamed(steps: Callable[Concatenate[Calls, P], Steps[Came]]) -> Callable[Concatenate[Client, P], Words]:
    """A call that opens a stream as a method that gives its words."""

    @wraps(steps)
    def call(self: Client, /, *given: P.args, **named: P.kwargs) -> Words:
        return Words(self._drive(steps(self.calls, *given, **named)).live)

    return call


def awaited_stream(steps: Callable[Concatenate[Calls, P], Steps[Came]]) -> Callable[Concatenate[AsyncClient, P],
                                                                                  Coroutine[Any, Any, AsyncWords]]:
    """The same as a coroutine."""

    @wraps(steps)
    async def call(self: AsyncClient, /, *given: P.args, **named: P.kwargs) -> AsyncWords:
        return AsyncWords((await self._drive(steps(self.calls, *given, **named))).live)

    return call


def _calls(key: str | None, retry: Retry | None, language: str) -> Calls:
    token = os.environ.get(KEY, "") if key is None else key
    headers = {"accept-language": language or current_language(), "user-agent": f"mofang-client/{mofang.__version__}"}
    return Calls({**headers, **({"authorization": f"Bearer {token}"} if token else {})}, retry or Retry())


def _address(address: str) -> str:
    found = address or os.environ.get(ADDRESS, "http://127.0.0.1:8080")
    return found.rstrip("/").removesuffix("/v1")


def _timeout(seconds: float) -> httpx.Timeout:
    return httpx.Timeout(seconds, connect=min(seconds, CONNECT_S))


def _why(error: httpx.HTTPError) -> str:
    return f"{type(error).__name__} {error}".strip()


class Words:
    """The words of a stream; leave the ``with`` block, or call ``close``, to have the server stop. ``events`` tells the rest."""

    def __init__(self, live: httpx.Response) -> None:
        self.events = Events()
        self._live = live

    def __iter__(self) -> Iterator[str]:
        try:
            for data in self._live.iter_bytes():
                yield from self.events.feed(data)
                if self.events.over:
                    return
        except httpx.HTTPError as error:
            raise StreamBroken(_why(error), self.events.text) from error
        finally:
            self.close()
        self.events.end()

    def __enter__(self) -> Words:
        return self

    def __exit__(self, *_fault: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up; what was delivered so far is charged."""
        self._live.close()


class AsyncWords:
    """The same for asyncio."""

    def __init__(self, live: httpx.Response) -> None:
        self.events = Events()
        self._live = live

    async def __aiter__(self) -> AsyncIterator[str]:
        try:
            async for data in self._live.aiter_bytes():
                for word in self.events.feed(data):
                    yield word
                if self.events.over:
                    return
        except httpx.HTTPError as error:
            raise StreamBroken(_why(error), self.events.text) from error
        finally:
            await self.close()
        self.events.end()

    async def __aenter__(self) -> AsyncWords:
        return self

    async def __aexit__(self, *_fault: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Hang up; what was delivered so far is charged."""
        await self._live.aclose()


class Client:
    """A client that waits. Several threads may share one.

    ``address`` and ``key`` default to the environment's MOFANG_ADDRESS and MOFANG_KEY. ``transport`` is httpx's, for
    tests and proxies of your own.
    """

    def __init__(self, address: str = "", key: str | None = None, *, retry: Retry | None = None, language: str = "",
                 transport: httpx.BaseTransport | None = None, sleep: Callable[[float], None] = time.sleep) -> None:
        self.calls = _calls(key, retry, language)
        self._http = httpx.Client(base_url=_address(address), transport=transport)
        self._sleep = sleep

    predict = plainly(Calls.predict)
    chat = plainly(Calls.chat)
    models = plainly(Calls.models)
    usage = plainly(Calls.usage)
    usage_between = plainly(Calls.usage_between)
    costs_between = plainly(Calls.costs_between)
    invoices = plainly(Calls.invoices)
    invoice = plainly(Calls.invoice)
    invoice_file = plainly(Calls.invoice_file)
    stream = streamed(Calls.stream)

    def _drive(self, steps: Steps[T]) -> T:
        told: Came | Lost | None = None
        while True:
            try:
                step = steps.send(told)
            except StopIteration as over:
                result: T = over.value
                return result
            if isinstance(step, Wait):
                self._sleep(step.seconds)
                told = None
            else:
                told = self._send(step)

    def _send(self, step: Send) -> Came | Lost:
        try:
            made = self._http.build_request(step.method, step.path, headers=step.headers, content=step.body,
                                            timeout=_timeout(step.timeout_s))
            live = self._http.send(made, stream=step.stream)
            if step.stream and live.status_code < 400:
                return Came(live.status_code, live.headers, live=live)
            return Came(live.status_code, live.headers, live.read())
        except httpx.HTTPError as error:
            return Lost(_why(error))

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, _kind: type[BaseException] | None, _fault: BaseException | None, _trace: TracebackType | None) -> None:
        self.close()


class AsyncClient:
    """The same for asyncio: every call is awaited."""

    def __init__(self, address: str = "", key: str | None = None, *, retry: Retry | None = None, language: str = "",
                 transport: httpx.AsyncBaseTransport | None = None,
                 sleep: Callable[[float], Coroutine[Any, Any, None]] = asyncio.sleep) -> None:
        self.calls = _calls(key, retry, language)
        self._http = httpx.AsyncClient(base_url=_address(address), transport=transport)
        self._sleep = sleep

    predict = awaited(Calls.predict)
    chat = awaited(Calls.chat)
    models = awaited(Calls.models)
    usage = awaited(Calls.usage)
    usage_between = awaited(Calls.usage_between)
    costs_between = awaited(Calls.costs_between)
    invoices = awaited(Calls.invoices)
    invoice = awaited(Calls.invoice)
    invoice_file = awaited(Calls.invoice_file)
    stream = awaited_stream(Calls.stream)

    async def _drive(self, steps: Steps[T]) -> T:
        told: Came | Lost | None = None
        while True:
            try:
                step = steps.send(told)
            except StopIteration as over:
                result: T = over.value
                return result
            if isinstance(step, Wait):
                await self._sleep(step.seconds)
                told = None
            else:
                told = await self._send(step)

    async def _send(self, step: Send) -> Came | Lost:
        try:
            made = self._http.build_request(step.method, step.path, headers=step.headers, content=step.body,
                                            timeout=_timeout(step.timeout_s))
            live = await self._http.send(made, stream=step.stream)
            if step.stream and live.status_code < 400:
                return Came(live.status_code, live.headers, live=live)
            return Came(live.status_code, live.headers, await live.aread())
        except httpx.HTTPError as error:
            return Lost(_why(error))

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, _kind: type[BaseException] | None, _fault: BaseException | None,
                        _trace: TracebackType | None) -> None:
        await self.close()
