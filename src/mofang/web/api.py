"""The HTTP API of a shop: what ``mofang`` on another machine asks for. Behind the gate, which lets nobody else through.

``POST /api/commands`` runs a command of the command line, ``POST /api/runs`` a stage of the house, ``POST /api/outcomes``
names what a recipe made and reports on it; each streams events as lines of JSON until ``{"exit": status}``. No request
carries code or a path: files are uploaded under their digests, and the shop owns every place on the disk.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any

import orjson
from fastapi import FastAPI, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

import mofang
from mofang.core.errors import MofangError
from mofang.core.identity import EVERYTHING, permit_roles
from mofang.core.language import current_language
from mofang.core.lock import locked
from mofang.core.nearest import nearest
from mofang.core.shop import Shop
from mofang.core.uploads import Named, Uploads
from mofang.manage.people import join
from mofang.web import labels
from mofang.web.entrance import Who
from mofang.web.gate import MEGA, Route
from mofang.web.jobs import Job, Jobs
from mofang.web.routes import AsgiScope, Receive, Send, refusal

CHUNK_BYTES_MAX = MEGA
ROUTES = (
    Route("GET", "/health", "anybody", "200 while the console runs.", "控制台运行时返回 200。", written=False),
    Route("POST", "/api/join", "anybody", "Exchange an invitation for a personal token.", "用邀请换取个人令牌。"),
    Route("GET", "/api/me", "joined", "Who the token belongs to, its roles, the shop's currency and rates.",
          "令牌属于谁、有哪些角色，模坊的货币和费率。"),
    Route("POST", "/api/commands", "joined", "Run a command; the role is the command's own.", "运行一条命令；所需角色由命令决定。", 4 * MEGA),
    Route("POST", "/api/runs", "train", "Run a stage of the house on artifacts of the shop.", "对模坊中的产物运行一个阶段。", 4 * MEGA),
    Route("POST", "/api/outcomes", "train", "Name what a recipe made, and report on it.", "为配方的结果命名并给出报告。"),
    Route("GET", "/api/artifacts", "train", "An artifact by name or id; nothing of its content.", "按名称或编号查产物，不含内容。"),
    Route("POST", "/api/uploads", "joined", "Announce files by name, digest and size; what is missing.",
          "声明文件的名称、摘要和大小，返回缺少的部分。", 64 * MEGA),
    Route("PUT", "/api/uploads/{digest}", "joined", "One piece of a file, at most 1 MiB.", "文件的一段，最多 1 MiB。", CHUNK_BYTES_MAX,
          written=False),
    Route("DELETE", "/api/jobs/{id}", "joined", "End what one began, as Ctrl-C does.", "结束自己发起的任务，等同 Ctrl-C。"),
    *labels.ROUTES,
)
log = logging.getLogger("mofang.console")
Text = Annotated[str, Field(max_length=200_000)]
Short = Annotated[str, Field(max_length=300)]
Allow = Callable[[list[str]], tuple[str, str]]


class Asked(BaseModel):
    """What every body shares: nothing unknown is taken."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Joining(Asked):
    """An invitation, and the token that the joining machine has made."""

    invitation: Short
    token: Short


class Command(Asked):
    """A command line, how wide the screen is, and which upload sets stand for which file names."""

    argv: Annotated[list[Text], Field(min_length=1, max_length=2000)]
    width: Annotated[int, Field(ge=20, le=1000)] = 160
    files: Annotated[dict[Short, Short], Field(max_length=100)] = {}
    stdin: Short = ""


Reference = Annotated[str, Field(max_length=1300)]


class StageRun(Asked):
    """A stage by name, references to its inputs in order, and its settings."""

    stage: Short
    inputs: Annotated[list[Reference | list[Reference] | None], Field(max_length=100)] = []
    settings: dict[Short, Any] = {}


class Ended(Asked):
    """What a recipe came to."""

    name: Short
    entry: Short
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    json_: Annotated[bool, Field(alias="json")] = False
    width: Annotated[int, Field(ge=20, le=1000)] = 160


class FileAnnounced(Asked):
    """One file to come."""

    name: Annotated[str, Field(max_length=1000)]
    digest: Short
    size_bytes: Annotated[int, Field(ge=0)]


class Announced(Asked):
    """Files to come under one root name."""

    root: Short
    files: list[FileAnnounced]


class Events(Response):
    """A job's events as lines of JSON; when the caller hangs up, the job is told."""

    def __init__(self, jobs: Jobs, job: Job) -> None:
        super().__init__(media_type="application/x-ndjson")
        self.jobs, self.job = jobs, job

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:  # type: ignore[override]
        headers = [(b"content-type", b"application/x-ndjson"), (b"x-accel-buffering", b"no")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        pump = asyncio.create_task(self._pump(send))
        gone = asyncio.create_task(_hang_up(receive))
        try:
            await asyncio.wait({pump, gone}, return_when=asyncio.FIRST_COMPLETED)
            if pump.done():
                pump.result()
        finally:
            self.jobs.leave(self.job) if not pump.done() or pump.exception() else None
            for task in (pump, gone):
                task.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await task

    async def _pump(self, send: Send) -> None:
        async for event in self.jobs.events(self.job):
            await send({"type": "http.response.body", "body": orjson.dumps(event) + b"\n", "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _hang_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


@dataclass
class Api:
    """The handlers; each finds who asks, and the form, in the request's state, where the gate has put them."""

    shop: Shop
    jobs: Jobs
    allow: Allow
    address: str

    def add_to(self, app: FastAPI) -> None:
        """Answer every route of the table."""
        handlers: tuple[Callable[..., Any], ...] = (self.health, self.join, self.me, self.commands, self.runs, self.outcomes,
                                                    self.artifacts, self.announce, self.piece, self.cancel,
                                                    *labels.Labels(self.shop).handlers())
        for route, handler in zip(ROUTES, handlers, strict=True):
            app.add_api_route(route.path, handler, methods=[route.method], response_model=None)

    def health(self) -> Response:
        """Whether the console runs; nothing of the shop is told."""
        return JSONResponse({"status": "ok", "mofang": mofang.__version__})

    def join(self, asked: Joining) -> Response:
        """Take up an invitation."""
        person = join(self.shop.again(), asked.invitation, asked.token)
        return JSONResponse({"name": person.name, "roles": list(person.roles), "expires_us": person.expires_us})

    def me(self, request: Request) -> Response:
        """Who asks."""
        who: Who = request.state.who
        return JSONResponse({"name": who.actor.name, "roles": sorted(who.actor.roles), "currency": self.shop.currency,
                             "rates": self.shop.again().rates, "mofang": mofang.__version__, "shop": self.shop.settings["id"]})

    async def commands(self, request: Request, asked: Command) -> Response:
        """Run a command of the command line for whoever has its role."""
        name, role = self.allow(asked.argv)
        request.state.did = name
        _require(request.state.who, role)
        job = await run_here(self.jobs, request, "command", {"argv": asked.argv}, address=self.address, width=asked.width,
                             files=asked.files, standard_input=asked.stdin)
        return Events(self.jobs, job)

    async def runs(self, request: Request, asked: StageRun) -> Response:
        """Run one stage of the house."""
        stages = locked()["stages"]
        if asked.stage not in stages:
            raise MofangError("stage-unknown", stage=asked.stage, nearest=nearest(asked.stage, stages))
        request.state.did = asked.stage
        given = {"stage": asked.stage, "inputs": asked.inputs, "settings": asked.settings}
        return Events(self.jobs, await run_here(self.jobs, request, "stage", given, goes_on=True))

    async def outcomes(self, request: Request, asked: Ended) -> Response:
        """Name a package and print the report of the run."""
        request.state.did = asked.name
        given = {"name": asked.name, "entry": asked.entry, "seconds": asked.seconds, "json": asked.json_}
        return Events(self.jobs, await run_here(self.jobs, request, "outcome", given, goes_on=True, width=asked.width))

    def artifacts(self, request: Request, name: str = "", last: str = "", kind: str = "") -> Response:
        """An artifact by name, or the newest version's nearest ancestor of a kind; null where there is none."""
        from mofang.web.remote import shown

        shop = self.shop.again()
        if last:
            found = shop.last(last[:300], kind[:300])
            return JSONResponse(None if found is None else shown(found))
        return JSONResponse(shown(shop.find(name[:1300], kind[:300])))

    def announce(self, request: Request, asked: Announced) -> Response:
        """Files to come."""
        files = [Named(one.name, one.digest, one.size_bytes) for one in asked.files]
        id, missing = Uploads(self.shop, request.state.who.person).announce(asked.root, files)
        return JSONResponse({"id": id, "missing": missing})

    async def piece(self, request: Request, digest: str, offset: int, size_bytes: int) -> Response:
        """One piece of a file."""
        data = await request.body()
        uploads = Uploads(self.shop, request.state.who.person)
        return JSONResponse({"have": await run_in_threadpool(uploads.add, digest, offset, size_bytes, data)})

    async def cancel(self, request: Request, id: str) -> Response:
        """End a job."""
        self.jobs.cancel(request.state.who, id)
        return JSONResponse({"ended": id})


async def run_here(jobs: Jobs, request: Request, what: str, given: dict[str, Any], **more: Any) -> Job:
    """Start a job in the language of whoever asks."""
    return jobs.begin(request.state.who, what, given, language=current_language(), **more)


def _require(who: Who, role: str) -> None:
    if role == "people" and EVERYTHING not in who.actor.roles:
        raise MofangError("not-permitted", actor=who.actor.name, may="owner")
    if not permit_roles(who.actor, role):
        raise MofangError("not-permitted", actor=who.actor.name, may=role)


def handle_errors(app: FastAPI, page_error: Callable[[MofangError, Who | None], bytes]) -> None:
    """Every error leaves as code, what and fix: JSON for programs, a page for browsers."""
    from fastapi.exceptions import RequestValidationError

    def answer(request: Request, error: MofangError) -> Response:
        state = request.state
        state.did = f"{state.did} {error.code}".strip()
        if request.url.path.startswith("/api/"):
            reply = refusal(error, state.request_id, current_language())
            return Response(reply.body, reply.status, {name.decode(): value.decode() for name, value in reply.headers},
                            "application/json")
        return Response(page_error(error, state.who), error.status, media_type="text/html; charset=utf-8")

    @app.exception_handler(MofangError)
    async def told(request: Request, error: MofangError) -> Response:
        return answer(request, error)

    @app.exception_handler(RequestValidationError)
    async def misshapen(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        place = ".".join(str(piece) for piece in first["loc"][1:]) or "body"
        return answer(request, MofangError("request-refused", place=place, rule=first["msg"]))

    @app.exception_handler(Exception)
    async def our_own(request: Request, error: Exception) -> Response:
        log.error("%s %s: %s", request.method, request.url.path, type(error).__name__)
        return answer(request, MofangError("console-fault", request=request.state.request_id))

    @app.exception_handler(HTTPException)
    async def unread(request: Request, error: HTTPException) -> Response:
        return answer(request, MofangError("request-refused", place="body", rule=str(error.detail)))


