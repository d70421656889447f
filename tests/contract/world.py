"""One tiny world for each task, made here and brought through every stage once; the contract suite looks at all of it."""

from __future__ import annotations

import csv
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from mofang.core.artifact import Artifact
from mofang.core.shop import Shop

GOOD = ("很好", "喜欢", "满意", "推荐", "干净", "热情", "漂亮", "值得")
BAD = ("很差", "失望", "糟糕", "退货", "肮脏", "冷漠", "难看", "后悔")
THINGS = ("房间", "早餐", "屏幕", "键盘", "故事", "翻译", "服务", "物流", "价格", "封面", "电池", "声音")
FEATURES: dict[str, dict[str, Any]] = {
    "text_classification": {},
    "image_classification": {"denoise": 3},
    "table_classification": {"ratios": ("收入/年龄",), "missing": "median", "scale": "robust", "encode": "target"},
}


SMALL = {"architecture": {"tag": "gpt", "depth": 1, "width": 16, "heads": 1}, "context": 32, "steps": 4, "batch_tokens": 256,
         "lines": 1, "checks": 2}
SHORT = {"seconds": 0.02, "requests": 18}  # of a package: a short look at each engine


@dataclass
class World:
    """A task's source, the settings that read it, a raw record, and what every stage made of it."""

    task: str
    shop: Shop
    source: Path
    collect: dict[str, Any]
    snapshot: dict[str, Any]
    family: Any
    raw: dict[str, Any]
    made: dict[str, Artifact]


def write_texts(path: Path, rows: int = 160) -> dict[str, Any]:
    """Chinese reviews with full-width signs and odd spaces, so that the value operators have work to do."""
    generator = random.Random(7)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for number in range(rows):
            good = number % 2 == 0
            words = [f"{generator.choice(THINGS)}{generator.choice(GOOD if good else BAD)}" for _ in range(3)]
            writer.writerow([f"第{number}号，{'，'.join(words)}！　ＡＢＣ{generator.randint(0, 99)}", "pos" if good else "neg"])
    return {"text": "房间很好，　早餐满意！ＡＢＣ\u200b１２３"}


def write_images(folder: Path, rows: int = 120) -> dict[str, Any]:
    """Dark squares left or right of the middle."""
    import base64

    from PIL import Image

    generator = np.random.default_rng(7)
    for number in range(rows):
        side = number % 2
        pixels = generator.integers(180, 255, (12, 12), dtype=np.uint8)
        pixels[3:9, 1 + 6 * side:5 + 6 * side] = generator.integers(0, 60, (6, 4))
        place = folder / ("left", "right")[side] / f"{number:03}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place)
    return {"image": base64.b64encode((folder / "left" / "000.png").read_bytes()).decode()}


def write_table(path: Path, rows: int = 160) -> dict[str, Any]:
    """Two numbers (one sometimes missing) and a category that decide the class; one category is written in full width."""
    generator = random.Random(7)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["年龄", "收入", "城市", "违约"])
        for _ in range(rows):
            age, income, city = generator.randint(18, 70), generator.gauss(8000, 2500), generator.choice(["上海", "成都", "西安　Ｂ区"])
            risky = income + (2000 if city == "上海" else 0) < 8500
            writer.writerow([age, "" if generator.random() < 0.05 else f"{income:.2f}", city, "是" if risky else "否"])
    return {"年龄": 33, "收入": 9123.5, "城市": "上海"}


def make_world(task: str, folder: Path, shop: Shop) -> World:
    """Run every stage once on tiny data."""
    from mofang.recipe import (
        assess,
        augment,
        baseline,
        clean,
        collect,
        compare,
        diff,
        evaluate,
        export,
        features,
        package,
        plan,
        pretrain,
        probe,
        protect,
        select,
        shard,
        snapshot,
        survey,
        tokenizer,
        train,
    )

    if task == "text_classification":
        source = folder / "texts.csv"
        raw = write_texts(source)
        given, inputs, family = {"label": "label", "text": ("text",)}, ("text",), "linear"
    elif task == "image_classification":
        source = folder / "images"
        raw = write_images(source)
        given, inputs, family = {}, ("image",), {"tag": "mlp", "epochs": 3}
    else:
        source = folder / "table.csv"
        raw = write_table(source)
        given = {"label": "违约", "numbers": ("年龄", "收入"), "categories": ("城市",)}
        inputs, family = ("年龄", "收入", "城市"), "xgboost"
    settings = {"source": str(source), "licence": "CC-BY-4.0", "origin": "tests", **given}
    cut = {"task": task, "label": given.get("label", "label"), "inputs": inputs, "test": 0.2, "validation": 0.2}
    made: dict[str, Artifact] = {}
    made["collect"] = shop.run(collect, **settings)
    made["survey"] = shop.run(survey, made["collect"])
    made["clean"] = shop.run(clean, made["collect"])
    made["protect"] = shop.run(protect, made["collect"], how=("pseudonym",))
    made["snapshot"] = shop.run(snapshot, made["clean"] / "kept", **cut)
    made["features"] = shop.run(features, made["snapshot"], **FEATURES[task])
    made["assess"] = shop.run(assess, made["snapshot"], sheet=5)
    made["diff"] = shop.run(diff, made["collect"], made["clean"])
    made["augment"] = shop.run(augment, made["features"], seed=3)
    made["train"] = shop.run(train, made["snapshot"], family=family)
    made["select"] = shop.run(select, made["snapshot"], families=("linear",))
    made["export"] = shop.run(export, made["train"])
    made["baseline"] = shop.run(baseline, made["snapshot"])
    made["evaluate"] = shop.run(evaluate, made["export"], made["snapshot"] / "test", made["baseline"], resamples=50)
    made["compare"] = shop.run(compare, made["export"], made["baseline"], made["snapshot"] / "test", resamples=50)
    made["package"] = shop.run(package, made["export"], made["evaluate"], **SHORT)
    made["plan"] = shop.run(plan, made["snapshot"], families=(family,))
    made["texts"] = made["collect"] if task == "text_classification" else some_texts(shop, folder)
    made["tokenizer"] = shop.run(tokenizer, (made["texts"],), size=400)
    made["shard"] = shop.run(shard, (made["texts"],), made["tokenizer"], validation=0.2)
    made["pretrain"] = shop.run(pretrain, made["shard"], **SMALL)
    made["probe"] = shop.run(probe, seconds=0.1)
    made |= label_some(shop, made["collect"], folder)
    return World(task, shop, source, settings, cut, family, raw, made)


def some_texts(shop: Shop, folder: Path) -> Artifact:
    """Texts to learn a vocabulary from, in a world whose records hold none."""
    from mofang.recipe import collect

    write_texts(folder / "words.csv")
    made: Artifact = shop.run(collect, source=str(folder / "words.csv"), licence="CC-BY-4.0", origin="tests", label="label",
                              text=("text",))
    return made


def label_some(shop: Shop, records: Artifact, folder: Path) -> dict[str, Artifact]:
    """A labelling project with answers of the queue and of a file, and proposals."""
    from mofang.data.labelling import desk, queue
    from mofang.data.labelling.exchange.sending import current_answers
    from mofang.data.labelling.projects import batches, find_project
    from mofang.data.labelling.taking import label_take
    from mofang.data.records import RecordReader
    from mofang.recipe import aggregate, bring_labels, bring_proposals

    shop.act(desk.label_new, name="world", kind="classes", classes=("甲", "乙"), overlap=2)
    shop.act(desk.label_add, project="world", records=records.entry)
    given = shop.act(queue.label_next, project="world", count=3)
    for task in given.tasks:
        shop.act(queue.label_answer, project="world", task=task, answer={"label": "甲"})
    ids = next(RecordReader(records).batches(10, media=False)).column("id")
    lines = [orjson.dumps({"record": id, "person": "b", "label": "乙", "answer": {"label": "乙"}}) for id in ids]
    (folder / "brought.jsonl").write_bytes(b"\n".join(lines))
    asked = {"source": str(folder / "brought.jsonl"), "kind": "classes", "classes": ("甲", "乙")}
    made: dict[str, Artifact] = {"bring_labels": shop.run(bring_labels, (records,), format="jsonl", **asked)}
    shop.act(label_take, project="world", brought=made["bring_labels"].entry)
    project = find_project(shop, "world")
    made["queue_up"] = shop.artifact(shop.ledger.get(batches(shop.control, project.id, "tasks")[0].entry))
    made["bring_proposals"] = shop.run(bring_proposals, (made["queue_up"],), **asked)
    made["gather"] = current_answers(shop, project)
    made["aggregate"] = shop.run(aggregate, made["gather"], (records,))
    return made


def calls(world: World) -> dict[str, tuple[tuple[Any, ...], dict[str, Any]]]:
    """How each stage was called in this world."""
    made = world.made
    return {
        "collect": ((), world.collect),
        "survey": ((made["collect"],), {}),
        "clean": ((made["collect"],), {}),
        "protect": ((made["collect"],), {"how": ("pseudonym",)}),
        "snapshot": ((made["clean"] / "kept",), world.snapshot),
        "features": ((made["snapshot"],), FEATURES[world.task]),
        "assess": ((made["snapshot"],), {"sheet": 5}),
        "diff": ((made["collect"], made["clean"]), {}),
        "augment": ((made["features"],), {"seed": 3}),
        "train": ((made["snapshot"],), {"family": world.family}),
        "select": ((made["snapshot"],), {"families": ("linear",)}),
        "export": ((made["train"],), {}),
        "baseline": ((made["snapshot"],), {}),
        "evaluate": ((made["export"], made["snapshot"] / "test", made["baseline"]), {"resamples": 50}),
        "compare": ((made["export"], made["baseline"], made["snapshot"] / "test"), {"resamples": 50}),
        "package": ((made["export"], made["evaluate"]), SHORT),
        "plan": ((made["snapshot"],), {"families": (world.family,)}),
        "tokenizer": (((made["texts"],),), {"size": 400}),
        "shard": (((made["texts"],), made["tokenizer"]), {"validation": 0.2}),
        "pretrain": ((made["shard"],), SMALL),
        "probe": ((), {"seconds": 0.1}),
        **label_calls(world),
    }


def label_calls(world: World) -> dict[str, tuple[tuple[Any, ...], dict[str, Any]]]:
    """How the stages of labelling were called."""
    made, shop = world.made, world.shop
    if "gather" not in made:  # a world that is only made up to another stage
        return dict.fromkeys(("queue_up", "bring_labels", "bring_proposals", "gather", "aggregate"), ((), {}))
    asked = {"source": str(world.source.parent / "brought.jsonl"), "kind": "classes", "classes": ("甲", "乙")}
    project = made["gather"].read_json("about.json")["project"]
    return {
        "queue_up": ((made["collect"],), {}),
        "bring_labels": (((made["collect"],),), {"format": "jsonl", **asked}),
        "bring_proposals": (((made["queue_up"],),), asked),
        "gather": ((tuple(shop.seals("labels")), (made["queue_up"],), (made["bring_labels"],)), {"project": project}),
        "aggregate": ((made["gather"], (made["collect"],)), {}),
    }
