"""What a run of a recipe came to, on one screen: candidates, test figures, mistakes, engines, and what to type next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mofang.cli.context import Context
from mofang.core.errors import MofangError
from mofang.core.language import say

if TYPE_CHECKING:
    from mofang.core.artifact import Artifact
    from mofang.recipe import Outcome

METRIC_WORDS = {"accuracy": ("accuracy", "准确率"), "f1_macro": ("macro-F1", "宏平均 F1")}
SIGNS_MAX = 60


def report(context: Context, outcome: Outcome, as_json: bool) -> None:
    """Print the outcome as words and tables, or as JSON."""
    facts = outcome_facts(outcome)
    if as_json:
        import orjson

        click.echo(orjson.dumps(facts, option=orjson.OPT_INDENT_2).decode())
        return
    _rejected(context, facts["dropped"])
    _candidates(context, facts["candidates"])
    _engines(context, facts["engines"], facts["engine"])
    _mistakes(context, facts["mistakes"])
    context.console.print(headline(facts), markup=False, style="bold")
    context.say("{model} is ready ({seconds} s)", "{model} 已就绪（{seconds} 秒）", model=facts["model"],
                seconds=f"{facts['seconds']:.1f}")
    name = outcome.named.name
    context.next(f"mofang predict {name} …", f"mofang price set {name} 5.00/1000", f"mofang serve {name}")


def outcome_facts(outcome: Outcome) -> dict[str, Any]:
    """Everything the report shows, as JSON."""
    package = outcome.package.read_json("package.json")
    evaluation, model = outcome.made_by("evaluation"), outcome.made_by("model")
    cleaned = outcome.made_by("cleaned")
    figures = evaluation.read_json("evaluation.json") if evaluation else {}
    return {
        "model": str(outcome.named), "entry": outcome.package.entry, "seconds": round(outcome.seconds, 2),
        "licences": list(outcome.package.licences), "headline": figures.get("headline"), "metrics": figures.get("metrics"),
        "baseline": figures.get("baseline", {}).get("metrics"), "baseline_family": figures.get("baseline", {}).get("family"),
        "difference": figures.get("difference"), "test_rows": figures.get("rows"),
        "majority_accuracy": figures.get("majority_accuracy"),
        "candidates": model.measures.get("candidates", []) if model else [],
        "engine": package["engine"], "engines": package["engines"],
        "mistakes": evaluation.read_json("mistakes.json") if evaluation else [],
        "dropped": {**_counted(outcome.made_by("records"), "rejected"), **_counted(cleaned, "dropped"),
                    **_counted(outcome.made_by("snapshot"), "rejected")},
    }


def headline(facts: dict[str, Any]) -> str:
    """``test accuracy 0.912 [0.901, 0.922] (baseline 0.897)``."""
    base = (facts["baseline"] or {}).get(facts["headline"])
    beside = say(" (baseline {value:.3f})", "（基线 {value:.3f}）", value=base["value"]) if base else ""
    return say("test ", "测试集") + figure(facts) + beside


def figure(facts: dict[str, Any]) -> str:
    """The first figure of an evaluation with its interval: ``accuracy 0.912 [0.901, 0.922]``."""
    metric = facts["headline"]
    found = facts["metrics"][metric]
    words = say(*METRIC_WORDS.get(metric, (metric, metric)))
    interval = "" if found.get("low") is None else f" [{found['low']:.3f}, {found['high']:.3f}]"
    return f"{words} {found['value']:.3f}{interval}"


def package_figure(package: Artifact) -> str:
    """What a package says of itself; a dash where its file is gone, so that the list still appears."""
    try:
        return figure(package.read_json("package.json")["evaluation"])
    except (MofangError, ValueError):  # gone, or no JSON any more; `mofang verify` says which
        return "–"


def _counted(artifact: Artifact | None, measure: str) -> dict[str, int]:
    """How many records a stage left out, by reason."""
    return dict(artifact.measures.get(measure, {})) if artifact else {}


REASONS_ZH = {
    "duplicate": "重复", "near-duplicate": "近似重复", "conflicting-labels": "标签矛盾", "empty": "空", "too-short": "过短",
    "too-long": "过长", "not-an-image": "不是图片", "image-too-small": "图片过小", "image-too-large": "图片过大",
    "label-missing": "没有标签", "class-too-small": "类别过小", "class-not-in-train": "训练集没有该类", "time-missing": "没有时间",
    "cell-too-large": "单元格过大", "ragged-row": "列数不符", "quote-open": "引号未闭合", "undecodable": "无法解码",
    "not-a-number": "不是数字", "not-json": "不是 JSON", "not-an-object": "不是对象", "file-empty": "空文件", "image-missing": "缺图片",
}


def _rejected(context: Context, dropped: dict[str, int]) -> None:
    if dropped:
        words = ", ".join(f"{say(reason, REASONS_ZH.get(reason, reason))} {count:,}" for reason, count in dropped.items())
        context.say("Left out (each kept with its reason): {words}", "剔除的记录（逐条保留原因）：{words}", words=words)


def _candidates(context: Context, rows: list[dict[str, Any]]) -> None:
    shown = [{"family": _family(row), "status": _status(row["status"]), "validation": row.get("validation"),
              "seconds": row.get("seconds"), "why": row.get("reason", "")} for row in rows]
    context.table(shown, {"family": say("family", "模型族"), "status": say("status", "状态"),
                          "validation": say("validation", "验证集"), "seconds": say("seconds", "秒"), "why": say("why", "原因")},
                  title=say("Candidates, from cheap to dear", "候选（从便宜到昂贵）"))


def _family(row: dict[str, Any]) -> str:
    """A family's name, and the settings that tell it from its siblings."""
    settings = {name: value for name, value in row.get("settings", {}).items() if name not in ("tag", "version")}
    shown = ", ".join(f"{name}={value}" for name, value in settings.items())
    return f"{row['family']} ({_cut(shown)})" if shown else str(row["family"])


def _status(status: str) -> str:
    words = {"chosen": ("chosen", "选中"), "trained": ("trained", "已训练"), "skipped": ("skipped", "跳过"),
             "refused": ("does not suit", "不适用"), "stopped": ("stopped", "中止")}
    return say(*words.get(status, (status, status)))


def _engines(context: Context, rows: list[dict[str, Any]], chosen: dict[str, Any]) -> None:
    shown = []
    for row in rows:
        mark = "→" if all(row.get(name) == chosen.get(name) for name in ("engine", "threads", "batch")) else ""
        shown.append({"": mark, **row, "passes": "✓" if row.get("passes") else row.get("reason") or "✗"})
    context.table(shown, {"": "", "engine": say("engine", "引擎"), "threads": say("threads", "线程"), "batch": say("batch", "批量"),
                          "p50_ms": "p50 ms", "samples_per_s": say("samples/s", "条/秒"),
                          "max_abs_difference": say("difference", "误差"), "passes": say("passes", "校验")},
                  title=say("Engines, measured here", "引擎实测"))


def _mistakes(context: Context, mistakes: list[dict[str, Any]]) -> None:
    shown = [{"given": _first(one["record"]), "label": one["label"], "said": one["predicted"], "sure": one["confidence"]}
             for one in mistakes]
    if shown:
        context.table(shown, {"given": say("record", "记录"), "label": say("label", "标签"), "said": say("answer", "回答"),
                              "sure": say("sure", "把握")}, title=say("Most confident mistakes on the test part", "测试集上最自信的错误"))


def _first(record: dict[str, Any]) -> str:
    return _cut("  ".join(str(value) for name, value in record.items() if name != "id"))


def _cut(text: str) -> str:
    return text if len(text) <= SIGNS_MAX else text[:SIGNS_MAX - 1] + "…"
