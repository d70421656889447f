"""Verbs by tasks, read from the code: a stage that exists, the families of each task, and one sentence where not."""

from __future__ import annotations

from typing import Any

from mofang.core.language import say
from mofang.core.lock import locked

STAGE_OF = {"collect": "collect", "clean": "clean", "snapshot": "snapshot", "train": "train", "tune": "select",
            "compress": "", "evaluate": "evaluate", "explain": "", "release": "package", "serve": "package",
            "sell": "invoice", "label": "aggregate", "protect": "protect", "augment": "augment",
            "pretrain": "pretrain", "harden": "", "watch": "",
            "plan": "plan", "manage": "", "compete": "", "govern": "", "trace": "collect", "deploy": "", "assess": "assess"}
ORDER = ("collect", "clean", "protect", "label", "assess", "augment", "snapshot", "pretrain", "train", "harden", "tune",
         "compress", "evaluate", "explain", "release", "serve", "sell", "watch", "plan", "manage", "compete", "trace",
         "deploy", "govern")


def matrix_rows() -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    """One row for each verb of the mission, one column for each task that is installed."""
    from mofang.engine.task import TASKS, task_named
    from mofang.fit.families import KINDS

    stages = locked()["stages"]
    rows = []
    for verb in ORDER:
        stage = STAGE_OF[verb]
        row: dict[str, Any] = {"verb": verb}
        for task in TASKS:
            if stage not in stages:
                row[task] = say("not built yet", "尚未建成")
            elif task == "text_generation" and verb in ("release", "serve", "sell"):
                row[task] = say("not yet: used by `mofang generate`, its packages come with a later version",
                                "暂未：用 `mofang generate` 使用，模型包将在以后的版本提供")
            elif verb == "augment" and task_named(task).target != "class":
                row[task] = say("no: a changed record would no longer fit what its label says", "不适用：数据一变，标注就对不上了")
            elif verb == "pretrain" and not task_named(task).input_roles <= {"text"}:
                row[task] = say("not built yet", "尚未建成")
            elif verb == "release":
                row[task] = say("packaged; gates not built yet", "已能打包；闸门尚未建成")
            elif verb in ("train", "tune"):
                row[task] = ", ".join(tag for tag, kind in sorted(KINDS.items()) if task in kind.tasks)
            else:
                row[task] = "✓"
        rows.append(row)
    return rows, tuple(TASKS)
