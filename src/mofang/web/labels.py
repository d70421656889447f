"""Labelling over HTTP, made for a page driven by keys: next tasks with content, answers, progress, pictures by number.

The same actions as on the command line, without starting a process for each: a page asks for a few tasks ahead and never
waits. Spans count characters (Unicode code points), pictures are asked for by the number of their task.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, Response

from mofang.core.identity import Actor
from mofang.core.shop import Shop
from mofang.data.labelling import looking, queue
from mofang.data.labelling.content import Contents
from mofang.data.labelling.projects import find_project, ready
from mofang.data.labelling.queue import may_look_at
from mofang.web.gate import MEGA, Route

ROUTES = (
    Route("GET", "/api/label", "label", "Labelling projects and how far they are.", "标注项目及进度。", written=False),
    Route(
        "GET",
        "/api/label/{project}",
        "label",
        "A project: schema, one key for each choice, guidelines, annotators.",
        "一个项目：题目、每个选项的按键、标注说明、标注员。",
        written=False,
    ),
    Route(
        "POST",
        "/api/label/{project}/next",
        "label",
        "Borrow the next tasks, with content and proposals.",
        "领取接下来的任务，含内容和预标。",
        written=False,
    ),
    Route(
        "POST",
        "/api/label/{project}/answer",
        "label",
        "Answer a task, or change one's own answer; may bring the next.",
        "回答一个任务或修改自己的回答；可同时取下一个。",
        4 * MEGA,
        written=False,
    ),
    Route("POST", "/api/label/{project}/skip", "label", "Leave a task to others.", "把任务留给别人。", written=False),
    Route("POST", "/api/label/{project}/back", "label", "Give borrowed tasks back.", "归还领取的任务。", written=False),
    Route("POST", "/api/label/{project}/comment", "label", "Remark something about a task.", "给任务写备注。", written=False),
    Route(
        "GET",
        "/api/label/{project}/progress",
        "label",
        "How far the project is, and what one did oneself.",
        "项目进度和自己的工作量。",
        written=False,
    ),
    Route(
        "GET",
        "/api/label/{project}/media/{task}",
        "label",
        "The picture or sound of a task that one holds or answered.",
        "自己领取或答过的任务的图片或声音。",
        written=False,
    ),
)
KINDS = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"BM", "image/bmp"),
    (b"ID3", "audio/mpeg"),
    (b"\xff\xfb", "audio/mpeg"),
    (b"fLaC", "audio/flac"),
    (b"OggS", "audio/ogg"),
)
Number = Annotated[int, Field(ge=0, le=2**53)]


class Asked(BaseModel):
    """What every body shares: nothing unknown is taken."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Wanting(Asked):
    """How many tasks, and which of those one holds need not be told again."""

    count: Annotated[int, Field(ge=1, le=100)] = 1
    besides: Annotated[list[Number], Field(max_length=1000)] = []


class Answering(Asked):
    """An answer, how long it took, and how many tasks to bring along."""

    task: Number
    answer: dict[str, Any]
    ms: Annotated[int, Field(ge=0, le=86_400_000)] = 0
    next: Annotated[int, Field(ge=0, le=100)] = 0
    besides: Annotated[list[Number], Field(max_length=1000)] = []


class Skipping(Asked):
    """A task, and why it is left."""

    task: Number
    why: Annotated[str, Field(max_length=200)] = ""


class Returning(Asked):
    """Tasks to give back; none named means all."""

    tasks: Annotated[list[Number], Field(max_length=1000)] = []


class Remarking(Asked):
    """A remark."""

    task: Number
    text: Annotated[str, Field(min_length=1, max_length=5000)]


class Labels:
    """The handlers, each in a thread with a shop of its own that stays open."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self._own = threading.local()

    def handlers(self) -> tuple[Callable[..., Any], ...]:
        """In the order of the routes."""
        return (
            self.projects,
            self.project,
            self.next,
            self.answer,
            self.skip,
            self.back,
            self.comment,
            self.progress,
            self.media,
        )

    def _as(self, request: Request) -> tuple[Shop, Actor]:
        """This thread's shop, acting for whoever asks."""
        if not hasattr(self._own, "shop"):
            self._own.shop = self._shop.again()
            ready(self._own.shop)
        actor: Actor = request.state.who.actor
        shop = copy.copy(self._own.shop)
        shop.actor = actor
        return shop, actor

    def projects(self, request: Request) -> Response:
        """All projects."""
        shop, _ = self._as(request)
        return JSONResponse(looking.all_told(shop))

    def project(self, request: Request, project: str) -> Response:
        """One project."""
        shop, _ = self._as(request)
        return JSONResponse(looking.told(shop, project[:100]))

    def next(self, request: Request, project: str, asked: Wanting) -> Response:
        """The next tasks."""
        shop, actor = self._as(request)
        return JSONResponse(looking.next_tasks(shop, actor, project[:100], asked.count, tuple(asked.besides)))

    def answer(self, request: Request, project: str, asked: Answering) -> Response:
        """An answer, and the next tasks with it if they are wanted."""
        shop, actor = self._as(request)
        made = shop.act(queue.label_answer, project=project[:100], task=asked.task, answer=asked.answer, ms=asked.ms)
        found: dict[str, Any] = {"id": made.id, "task": made.task, "answer": made.answer, "changed": made.changed}
        if asked.next:
            found["next"] = looking.next_tasks(shop, actor, project[:100], asked.next, tuple(asked.besides))
        return JSONResponse(found)

    def skip(self, request: Request, project: str, asked: Skipping) -> Response:
        """Leave a task."""
        shop, _ = self._as(request)
        shop.act(queue.label_skip, project=project[:100], task=asked.task, why=asked.why)
        return JSONResponse({"skipped": asked.task})

    def back(self, request: Request, project: str, asked: Returning) -> Response:
        """Give tasks back."""
        shop, _ = self._as(request)
        return JSONResponse({"returned": shop.act(queue.label_back, project=project[:100], tasks=tuple(asked.tasks))})

    def comment(self, request: Request, project: str, asked: Remarking) -> Response:
        """Remark something."""
        shop, _ = self._as(request)
        return JSONResponse({"id": shop.act(queue.label_comment, project=project[:100], task=asked.task, text=asked.text)})

    def progress(self, request: Request, project: str) -> Response:
        """How far it is."""
        shop, actor = self._as(request)
        return JSONResponse(looking.progress(shop, actor, project[:100]))

    def media(self, request: Request, project: str, task: Annotated[int, Field(ge=0)], column: str = "") -> Response:
        """The bytes of a picture or sound; never as anything a browser would run."""
        shop, actor = self._as(request)
        found = find_project(shop, project[:100])
        may_look_at(shop, actor, found, task)
        data = Contents(shop, found).media(task, column[:200])
        return Response(data, media_type=_kind(data), headers={"content-disposition": "inline"})


def _kind(data: bytes) -> str:
    if data[:4] == b"RIFF":
        return {b"WEBP": "image/webp", b"WAVE": "audio/wav"}.get(data[8:12], "application/octet-stream")
    return next((kind for head, kind in KINDS if data.startswith(head)), "application/octet-stream")
