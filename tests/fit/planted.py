"""Tiny snapshots with a planted signal, one for each task, written by a stage as ordinary artifacts."""

from __future__ import annotations

import io
import random
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from mofang.core.run import Run
from mofang.core.stage import stage
from mofang.data.records import RecordWriter
from mofang.data.snapshot import Snapshot

GOOD = ("很好", "喜欢", "满意", "推荐")
BAD = ("很差", "失望", "糟糕", "退货")
THINGS = ("房间", "早餐", "屏幕", "键盘", "故事", "服务", "价格", "电池")
ROLES = {
    "text_classification": {"text": "text", "label": "label"},
    "image_classification": {"image": "image", "label": "label"},
    "table_classification": {"age": "number", "income": "number", "city": "category", "label": "label"},
}


@stage(version=1)
def planted(
    run: Run,
    *,
    task: str,
    rows: Annotated[int, Field(ge=10)] = 120,
    english: bool = False,
    classes: int = 2,
    roles: tuple[tuple[str, str], ...] = (),
) -> Snapshot:
    """A snapshot whose label follows from its inputs."""
    random_of = random.Random(7)
    names = dict(roles) or ROLES[task]
    make = {"text_classification": text, "image_classification": image, "table_classification": table}[task]
    records = [make(number, random_of, english, classes) for number in range(rows)]
    cuts = {"train": (0, 0.7), "validation": (0.7, 0.85), "test": (0.85, 1)}
    for part, (start, stop) in cuts.items():
        places = range(int(start * rows), int(stop * rows))
        with RecordWriter(run, f"{part}/", roles=names) as writer:
            columns: dict[str, list[Any]] = {"id": [f"{place:032x}" for place in places]}
            media = {}
            for name, role in names.items():
                columns[name] = [records[place][name] for place in places]
                if role == "image":
                    media[name] = columns[name]
                    columns[name] = [f"{place}.png" for place in places]
            writer.write(columns, media or None)
    inputs = [{"name": name, "role": role} for name, role in names.items() if role != "label"]
    labels = sorted({record["label"] for record in records})
    run.write_json(
        "about.json",
        {
            "format": 1,
            "task": task,
            "label": "label",
            "labels": labels,
            "inputs": inputs,
            "operators": [],
            "licences": [],
        },
    )
    run.licence("CC0-1.0")
    return run.result(Snapshot)


def text(number: int, random_of: random.Random, english: bool, classes: int) -> dict[str, Any]:
    """Three remarks; the label is how they are meant."""
    good = number % 2 == 0
    if english:
        words = [random_of.choice(("great", "lovely") if good else ("awful", "broken")) for _ in range(2)]
        return {
            "text": f"the room number {number} was {' and '.join(words)}",
            "label": "pos" if good else "neg",
        }
    parts = [random_of.choice(THINGS) + random_of.choice(GOOD if good else BAD) for _ in range(3)]
    return {"text": "，".join(parts), "label": "pos" if good else "neg"}


def image(number: int, random_of: random.Random, english: bool, classes: int) -> dict[str, Any]:
    """A dark square in one of several columns."""
    from PIL import Image

    pixels = np.full((12, 12), 220, np.uint8)
    place = number % classes
    pixels[3:9, 1 + 10 * place // classes : 5 + 10 * place // classes] = random_of.randint(0, 60)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return {"image": stream.getvalue(), "label": f"column {place}"}


def table(number: int, random_of: random.Random, english: bool, classes: int) -> dict[str, Any]:
    """Income and city decide; some incomes are missing."""
    income, city = random_of.gauss(8000, 2500), random_of.choice(["上海", "成都", "西安"])
    risky = income + (2000 if city == "上海" else 0) < 8500
    missing = random_of.random() < 0.05
    return {
        "age": float(random_of.randint(18, 70)),
        "income": None if missing else income,
        "city": city,
        "label": "yes" if risky else "no",
    }
