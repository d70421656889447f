"""Projects for the tests of labelling, and people who answer."""

from __future__ import annotations

import copy
import io
import json
from pathlib import Path
from typing import Any

from mofang.core.identity import Actor
from mofang.core.shop import Shop
from mofang.data.collect import collect
from mofang.data.labelling import desk, queue
from mofang.data.labelling.projects import Project, find_project


def texts(shop: Shop, folder: Path, rows: int, name: str = "texts", first: int = 0) -> Any:
    """Records of so many short Chinese texts."""
    place = folder / f"{name}.jsonl"
    lines = [json.dumps({"text": f"第{row}条：房间干净，服务{'很好' if row % 2 else '很差'}"}, ensure_ascii=False) for row in range(first, first + rows)]
    place.write_text("\n".join(lines), encoding="utf-8")
    return shop.run(collect, source=str(place), text=("text",), licence="own")


def pictures(shop: Shop, folder: Path, count: int = 3, size: tuple[int, int] = (40, 30)) -> Any:
    """Records of so many plain pictures in a folder with a Chinese name."""
    from PIL import Image

    place = folder / "图片"
    place.mkdir(exist_ok=True)
    for number in range(count):
        data = io.BytesIO()
        Image.new("RGB", size, (10 * number, 100, 50)).save(data, "PNG")
        (place / f"照片 {number}.png").write_bytes(data.getvalue())
    return shop.run(collect, source=str(place), licence="own")


def project(shop: Shop, records: Any, name: str = "reviews", **settings: Any) -> Project:
    """A project on records; two classes unless told otherwise."""
    asked = {"kind": "classes", "classes": ("好", "坏"), **settings}
    if asked["kind"] in ("text", "ratings", "pairs"):
        asked["classes"] = ()
    made = shop.act(desk.label_new, name=name, **asked)
    return shop.act(desk.label_add, project=made.id, records=records.entry).project


def person(shop: Shop, name: str, *roles: str) -> Shop:
    """The shop as somebody sees it who labels."""
    seen = copy.copy(shop)
    seen.actor = Actor(name, roles=frozenset(roles or ("label",)))
    return seen


def take(shop: Shop, name: str, made: Project, count: int = 1) -> tuple[int, ...]:
    """The next tasks of a person."""
    given: queue.Given = person(shop, name).act(queue.label_next, project=made.id, count=count)
    return given.tasks


def answer(shop: Shop, name: str, made: Project, task: int, said: Any, ms: int = 0) -> queue.Answered:
    """One answer of a person."""
    body = said if isinstance(said, dict) else {"label": said}
    found: queue.Answered = person(shop, name).act(queue.label_answer, project=made.id, task=task, answer=body, ms=ms)
    return found


def now(shop: Shop, made: Project) -> Project:
    """The project as it stands."""
    return find_project(shop, made.id)
