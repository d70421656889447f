"""What a model, snapshot, base or generator is, on one screen: candidates, test figures, mistakes, engines, what to type next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mofang.cli.base_report import show_base
from mofang.cli.context import Context
from mofang.cli.data_report import print_dropped, print_sources, show_snapshot
from mofang.cli.generator_report import show_generator
from mofang.core.errors import MofangError
from mofang.core.language import say
from mofang.outcome import outcome_facts

if TYPE_CHECKING:
    from mofang.core.artifact import Artifact
    from mofang.recipe import Outcome

METRIC_WORDS = {"accuracy": ("accuracy", "准确率"), "f1_macro": ("macro-F1", "宏平均 F1"), "f1": ("F1", "F1"), "r2": ("R²", "R²"),
                "f1_micro": ("micro-F1", "微平均 F1")}
SIGNS_MAX = 60


def report(context: Context, outcome: Outcome, as_json: bool) -> None:
    """Print what a run came to as words and tables, or as JSON."""
    show_facts(context, outcome_facts(outcome), as_json)


def show_facts(context: Context, facts: dict[str, Any], as_json: bool) -> None:
    """Print a model's facts (``model_facts`` or ``outcome_facts``); they may come from a shop on another machine."""
    if as_json:
        import orjson

        click.echo(orjson.dumps(facts, option=orjson.OPT_INDENT_2).decode())
        return
    if facts.get("unchanged"):
        context.say("Nothing has changed since {model}: sources, settings and code are as they were.",
                    "自 {model} 以来没有变化：数据、设置和代码都和当时一样。",
                    model=next(facts[one] for one in ("model", "base", "generator", "snapshot") if one in facts))
    _grown(context, facts.get("growth"), facts.get("previous"))
    if "base" in facts or "generator" in facts:
        (show_base if "base" in facts else show_generator)(context, facts)
        return
    if "snapshot" in facts:
        show_snapshot(context, facts)
        return
    print_dropped(context, facts["dropped"])
    _candidates(context, facts["candidates"])
    if context.verbose:
        _engines(context, facts["engines"], facts["engine"])
    _mistakes(context, facts["mistakes"])
    _suspects(context, facts)
    print_sources(context, facts.get("sources", []))
    context.console.print(headline(facts), markup=False, style="bold")
    for line in [*detection_lines(facts), *compared_lines(facts)]:
        context.console.print(line, markup=False)
    _ready(context, facts)


def _ready(context: Context, facts: dict[str, Any]) -> None:
    """The last lines: the model, how fast it answers here, and what to type next."""
    engine, name = facts["engine"], facts["name"]
    took = say(" ({seconds} s)", "（{seconds} 秒）", seconds=f"{facts['seconds']:.1f}") if "seconds" in facts else ""
    context.say("{model} is ready{took}; here it answers {rate} records a second ({engine})",
                "{model} 已就绪{took}；在本机每秒可应答 {rate} 条（{engine}）", model=facts["model"], took=took,
                rate=f"{engine['samples_per_s']:,.0f}", engine=engine["engine"])
    verdict = (facts.get("comparison") or {}).get("verdict")
    if verdict == "worse":
        context.next(f"mofang show {facts['previous']}", f"mofang serve {facts['previous']}", f"mofang predict {name} …")
        return
    context.next(f"mofang predict {name} …", f"mofang sell {name} --to {say('CUSTOMER', '客户')} --price 5.00/1000",
                 f"mofang serve {name}")


def headline(facts: dict[str, Any]) -> str:
    """``test accuracy 0.912 [0.901, 0.922] (baseline 0.897)``."""
    base = (facts["baseline"] or {}).get(facts["headline"])
    beside = say(" (baseline {value:.3f})", "（基线 {value:.3f}）", value=base["value"]) if base else ""
    return say("test ", "测试集") + figure(facts) + beside


def detection_lines(facts: dict[str, Any]) -> list[str]:
    """For two classes what is found and falsely alarmed, of 100 each, beside always answering the commoner label."""
    found = facts.get("detection")
    if not found:
        return []
    values = {"positive": found["positive"], "other": found["other"], "found": _hundred(found["found"]["value"]),
              "low": _hundred(found["found"]["low"]), "high": _hundred(found["found"]["high"]),
              "alarms": _hundred(found["false_alarms"]["value"])}
    lines = [say('"{positive}": finds {found} of 100 [{low}, {high}], {alarms} false alarms per 100 "{other}"; '
                 'always "{other}": 0 of 100',
                 "“{positive}”：每 100 个找出 {found} 个 [{low}, {high}]，每 100 个“{other}”误报 {alarms} 个；"
                 "一律答“{other}”：找出 0 个", **values)]
    if found["threshold"] is not None:
        cost = found["miss_cost"]
        chosen = say("a miss costs {cost} false alarms", "漏报一个抵 {cost} 个误报", cost=f"{cost:g}") if cost else say(
            "best macro-F1", "宏平均 F1 最高")
        lines.append(say('  it says "{positive}" from a probability of {threshold} on, chosen on validation: {chosen} '
                         "(change it with --miss-cost)",
                         "  概率达到 {threshold} 即答“{positive}”，该阈值在验证集上选定：{chosen}（可用 --miss-cost 调整）",
                         positive=found["positive"], threshold=_threshold(found["threshold"]), chosen=chosen))
        other = facts.get("baseline_decide")
        if other and other["miss_cost"] != cost:
            lines.append(say("  the baseline was not told that cost: give it the same miss_cost in the recipe to compare them",
                             "  基线没有按这个代价选阈值：要公平比较，请在配方里给 baseline 同样的 miss_cost"))
    return lines


def compared_lines(facts: dict[str, Any]) -> list[str]:
    """Whether the model beats the baseline for certain, and the version before it."""
    lines = []
    if facts.get("undecided"):
        lines.append(say("too few test rows to say whether it beats the baseline: difference {value:+.3f} "
                         "[{low:+.3f}, {high:+.3f}]",
                         "测试记录太少，还不能断定是否胜过基线：差 {value:+.3f} [{low:+.3f}, {high:+.3f}]",
                         **facts["difference"][facts["headline"]]))
    if more := facts.get("examples_to_halve"):
        lines.append(say("about {more} more labelled examples would halve these intervals (an estimate: they narrow with 1/√n)",
                         "再增加约 {more} 条有标签的记录，这些区间可减半（估算：区间宽度与 1/√n 成正比）", more=f"{more:,}"))
    found = facts.get("comparison")
    if found:
        metric = say(*METRIC_WORDS.get(found["metric"], (found["metric"], found["metric"])))
        lines.append(say("compared with {previous} on the same {rows} test rows: {verdict} – {metric} {old:.3f} → {new:.3f}, "
                         "difference {value:+.3f} [{low:+.3f}, {high:+.3f}]",
                         "与 {previous} 在同样的 {rows} 条测试记录上比较：{verdict}。{metric} {old:.3f} → {new:.3f}，差 {value:+.3f} "
                         "[{low:+.3f}, {high:+.3f}]", verdict=say(*VERDICTS[found["verdict"]]), previous=facts["previous"],
                         rows=f"{found['rows']:,}", metric=metric, old=found["previous"]["value"], new=found["new"]["value"],
                         **found["difference"]))
    elif reason := facts.get("incomparable"):
        lines.append(say("No verdict against {previous}: {why}", "无法与 {previous} 比较：{why}", previous=facts["previous"],
                         why=say(*INCOMPARABLE[reason])))
    return lines


VERDICTS = {"better": ("better", "更好"), "worse": ("worse", "更差"), "cannot tell": ("cannot tell", "无法断定")}
INCOMPARABLE = {
    "labels": ("the labels are not the same", "标签不同"),
    "columns": ("it reads columns that are no longer there", "旧模型所用的列已不存在"),
    "preparation": ("the records are cleaned otherwise now", "记录的清洗方式变了"),
    "elsewhere": ("it was made in another shop", "旧版本是在另一个模坊里制作的"),
    "trained-on": ("it was trained on some of today's test rows", "旧模型训练时用过现在的部分测试记录"),
}


def _hundred(share: float) -> str:
    """A share as a count of 100; with one decimal only where it would otherwise read as none or all."""
    value = 100 * share
    return f"{value:.1f}" if 0 < value < 1 or 99 < value < 100 else f"{value:.0f}"


def _threshold(value: float) -> str:
    return f"{value:.2f}" if 0.01 <= value <= 0.99 else f"{value:.3g}"


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


def _grown(context: Context, growth: dict[str, int] | None, previous: str | None) -> None:
    """``2,013 new rows, 4 changed``."""
    if growth is None:
        return
    words = [(growth["added"], "{n} new rows", "新增 {n} 行"), (growth["changed"], "{n} changed", "{n} 行有改动"),
             (growth["gone"] - (growth["new"] - growth["added"]), "{n} gone", "{n} 行不见了")]
    told = [say(en, zh, n=f"{count:,}") for count, en, zh in words if count]
    if told:
        context.say("Since {previous}: {told}", "自 {previous} 以来：{told}", previous=previous, told=say(", ", "，").join(told))
    else:
        context.say("Since {previous}: no new rows, none changed", "自 {previous} 以来：没有新行，也没有改动", previous=previous)


def _suspects(context: Context, facts: dict[str, Any]) -> None:
    """A column that alone tells as much as the whole model is often one that is filled in afterwards."""
    alone = facts.get("alone") or {}
    whole = ((facts["metrics"] or {}).get(facts["headline"]) or {}).get("value")
    for name in alone.get("suspects", [])[:3]:
        context.say('⚠ "{name}" alone reaches {value:.3f}, the whole model {whole:.3f}. Is it known at the moment you ask? '
                    "If it is filled in afterwards or repeats the label, take it out of the inputs in the recipe and run again.",
                    "⚠ 仅凭“{name}”一列就有 {value:.3f}，整个模型为 {whole:.3f}。预测时真的已经知道这一列吗？如果它是事后才填的，"
                    "或只是标签的另一种写法，请把它从配方的输入列中去掉，再运行一次。", name=name, value=alone["columns"][name], whole=whole)


def _candidates(context: Context, rows: list[dict[str, Any]]) -> None:
    shown = [{"family": _family(row), "status": _status(row["status"]), "validation": row.get("validation"),
              "seconds": row.get("seconds"), **_weight(row), "why": row.get("reason", "")} for row in rows]
    more = {"mb": "MB", "ms": say("ms an answer", "毫秒/次")} if any("answer_ms" in row for row in rows) else {}
    priced = {"per_1000": say("costs per 1,000", "每千次成本")} if any("per_1000" in row for row in rows) else {}
    context.table(shown, {"family": say("family", "模型族"), "status": say("status", "状态"),
                          "validation": say("validation", "验证集"), "seconds": say("seconds", "秒"), **more, **priced,
                          "why": say("why", "原因")},
                  title=say("Candidates, from cheap to dear", "候选（从便宜到昂贵）"))


def _weight(row: dict[str, Any]) -> dict[str, Any]:
    """Size, time of an answer and, where a machine hour has a rate, what the machine costs for a thousand of them."""
    if "answer_ms" not in row:
        return {}
    return {"mb": f"{row['size_bytes'] / 1e6:.1f}", "ms": f"{row['answer_ms']:.2f}", "per_1000": row.get("per_1000", "")}


def _family(row: dict[str, Any]) -> str:
    """A family's name, and the settings that tell it from its siblings."""
    settings = {name: value for name, value in row.get("settings", {}).items() if name not in ("tag", "version")}
    balanced = [say("balanced", "类别均衡")] if settings.pop("balance", False) else []
    shown = ", ".join([*balanced, *(f"{name}={value}" for name, value in settings.items())])
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
    values = [value for name, value in record.items() if name != "id"]
    return _cut("  ".join(map(_plain, values)))


def _plain(value: Any) -> str:
    """A cell as a person would write it: 41, not 41.0."""
    return "–" if value is None else f"{value:.10g}" if isinstance(value, float) else str(value)


def _cut(text: str) -> str:
    return text if len(text) <= SIGNS_MAX else text[:SIGNS_MAX - 1] + "…"
