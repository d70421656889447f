"""Rows with a planted signal for pairs, spans and answers, as a file that is collected."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from mofang.core.shop import Shop
from mofang.data.collect import collect

PEOPLE, TOWNS = ("王小明", "李雷", "张伟", "Anna Lee"), ("上海", "北京", "成都", "New York")
THINGS = ("river", "stone", "lamp", "horse", "window", "paper")
INPUTS = {"token_classification": ("text",), "question_answering": ("context", "question"),
          "pair_classification": ("a", "b"), "pair_regression": ("a", "b")}


def entity(chance: random.Random, number: int) -> dict[str, Any]:
    person, town = chance.choice(PEOPLE), chance.choice(TOWNS)
    form = chance.choice(("{p}昨天到了{t}。", "在{t}，{p}说天气很好", "{t}的{p}来电", "今天没有消息"))
    text = form.format(p=person, t=town) + str(number)
    spans = [{"start": text.find(one), "end": text.find(one) + len(one), "label": label}
             for one, label in ((person, "人"), (town, "地")) if one in text]
    return {"text": text, "label": json.dumps(spans, ensure_ascii=False)}


def question(chance: random.Random, number: int) -> dict[str, Any]:
    chosen = chance.sample(THINGS, 3)
    context = " ".join(f"{thing} : of the kind {chance.randint(10, 99)} ;" for thing in chosen)
    asked = chance.choice(chosen) if number % 4 else next(thing for thing in THINGS if thing not in chosen)
    begin = context.find(f"{asked} : ")
    text = context[begin + len(asked) + 3:].split(" ;")[0] if begin >= 0 else ""
    return {"context": context, "question": f"What does {asked} mean?", "label": text}


def pair(chance: random.Random, number: int) -> dict[str, Any]:
    one = [chance.choice(THINGS) for _ in range(5)]
    alike = number % 2 == 0
    other = [word for word in one if chance.random() < 0.8] or one if alike else [chance.choice(THINGS) for _ in range(5)]
    return {"a": " ".join(one) + f" {number}", "b": " ".join(other), "label": "yes" if alike else "no",
            "share": len(set(one) & set(other)) / len(set(one))}


MAKE = {"token_classification": entity, "question_answering": question, "pair_classification": pair, "pair_regression": pair}


def written(folder: Path, rows: list[dict[str, Any]], name: str = "rows") -> Path:
    path = folder / f"{name}.jsonl"
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    return path


def collected(shop: Shop, folder: Path, task: str, rows: list[dict[str, Any]], name: str = "rows") -> Any:
    label = "share" if task == "pair_regression" else "label"
    source = str(written(folder, rows, name))
    return shop.run(collect, source=source, licence="CC0-1.0", origin="tests", label=label, text=INPUTS[task])
