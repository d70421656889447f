"""Labelling pictures, sounds and rows of a table, from the command line to labelled records that become a snapshot."""

from __future__ import annotations

import json
from pathlib import Path

from tests.data.papers import sound
from tests.data.pictures import png
from tests.stories.terminal import Inside


def lend(terminal: Inside, project: str, count: int) -> None:
    """Take all tasks of a project at once."""
    taken = terminal.type("label", "next", project, "--count", str(count)).json
    assert len(taken["tasks"] if isinstance(taken, dict) else taken) == count


def test_boxes_in_pictures_and_one_class_each(tmp_path: Path) -> None:
    terminal = Inside(tmp_path)
    (tmp_path / "零件").mkdir()
    for number in range(24):
        (tmp_path / "零件" / f"{number:02}.png").write_bytes(png(40, 30, number))
    terminal.type("collect", "--source", "零件", "--format", "images", "--licence", "own", "--name", "parts")
    terminal.type("label", "new", "faults", "parts", "--kind", "boxes", "--classes", "划痕,缺口")
    lend(terminal, "faults", 24)
    wrong = [{"x": 30, "y": 0, "width": 20, "height": 5, "label": "划痕"}]
    assert terminal.type("label", "answer", "faults", "0", json.dumps(wrong), status=1).code == "label-answer"
    unsure = terminal.type("label", "answer", "faults", "0", "划痕", status=1)
    assert unsure.code == "label-answer" and '"boxes"' in unsure.err, "an example says how it is written"
    for task in range(24):
        marks = [{"x": task % 20, "y": 2, "width": 5, "height": 6, "label": "划痕"}] if task % 2 else []
        terminal.type("label", "answer", "faults", str(task), json.dumps(marks, ensure_ascii=False))
    for format in ("coco", "yolo"):
        terminal.type("label", "export", "faults", f"out-{format}", "--format", format)
    coco = json.loads((tmp_path / "out-coco").read_text(encoding="utf-8"))
    assert len(coco["images"]) == 24 and len(coco["annotations"]) == 12 and {one["name"] for one in coco["categories"]} == {"划痕", "缺口"}

    terminal.type("label", "new", "grades", "parts", "--kind", "classes", "--classes", "good,bad")
    lend(terminal, "grades", 24)
    for task in range(24):
        terminal.type("label", "answer", "grades", str(task), ("good", "bad")[task % 2])
    terminal.type("label", "aggregate", "grades")
    made = terminal.type("snapshot", "grades-labelled", "--task", "image_classification", "--label", "label", "--json").json
    assert sum(made["measures"]["counts"].values()) == 24


def test_sounds_and_rows_of_a_table(tmp_path: Path) -> None:
    terminal = Inside(tmp_path)
    (tmp_path / "声音").mkdir()
    for number in range(12):
        (tmp_path / "声音" / f"{number:02}.wav").write_bytes(sound(200 + 30 * number, "wav"))
    terminal.type("collect", "--source", "声音", "--format", "sounds", "--licence", "own", "--name", "calls")
    terminal.type("label", "new", "speech", "calls", "--kind", "classes", "--classes", "low,high")
    rows = ["amount,country", *(f"{number * 10},{'CN' if number % 2 else 'DE'}" for number in range(40))]
    (tmp_path / "orders.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    terminal.type("collect", "--source", "orders.csv", "--numbers", "amount", "--categories", "country", "--licence", "own", "--name", "orders")
    terminal.type("label", "new", "fraud", "orders", "--kind", "classes", "--classes", "ok,fraud")
    for project, count, names in (("speech", 12, ("low", "high")), ("fraud", 40, ("ok", "fraud"))):
        lend(terminal, project, count)
        for task in range(count):
            terminal.type("label", "answer", project, str(task), names[task % 2])
        terminal.type("label", "aggregate", project)
    made = terminal.type("snapshot", "fraud-labelled", "--task", "table_classification", "--label", "label",
                         "--inputs", "amount,country", "--json").json
    assert sum(made["measures"]["counts"].values()) == 40
    assert [one["decided"] for one in terminal.type("label", "list", "--json").json] == [0, 0]
