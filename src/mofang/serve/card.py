"""The model card of a package (Mitchell et al. 2019), in English and Chinese: what it does, how well, under
what licence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mofang.core.trace import LABELS
from mofang.data.collecting.provenance import SAID
from mofang.engine.task import task_named

Card = Mapping[str, Any]


def model_card(package: Card) -> str:
    """The card as Markdown, from package.json's content."""
    return "\n".join([*_english(package), "", *_chinese(package)]) + "\n"


def _english(package: Card) -> list[str]:
    figures, engine, machine = package["evaluation"], package["engine"], package["machine"]
    return [
        f"# Model card: {package['task'].replace('_', ' ')}", "",
        f"- **Takes**: {_inputs(package)}. **Gives**: {_gives(package, False)}.",
        f"- **Family**: {_family(package, ', from ')}.",
        f"- **Licences of what it was made from**: {', '.join(package['licences']) or 'none stated'}.",
        *_sources(package, "Records", False),
        *_tested(package, f"- **Test part**: {figures['rows']} records that training never saw; 95 % bootstrap intervals.",
                 "- **Test part**: none. This model came from elsewhere and was not evaluated here; measure it on your own "
                 "records before you rely on it.", ("figure", "this model", "baseline")), "",
        *_found(package, "Of 100 test records that are `{positive}` it finds {found} [{low}, {high}]; "
                "of 100 that are `{other}` it falsely alarms at {alarms}.",
                "It answers `{positive}` from a probability of {threshold:.3g} on."),
        f"Served by {engine['engine']} ({engine.get('precision', 'fp32')}) on {engine['threads']} thread(s),",
        f"{engine.get('streams', 1)} call(s) at a time, in batches of {engine['batch']}:",
        f"median {engine['p50_ms']} ms a batch, {engine['samples_per_s']} {_counted(package)[0]} a second",
        f"({machine['processor']}, {machine['cores']} cores).", "",
        *_engines(package, ("engine", "precision", f"ms, one {_counted(package)[0][:-1]}", f"{_counted(package)[0]} a second",
                            "largest difference", "quality", "serves"), "yes", "no"),
        "**Limits.** The figures hold for records like those of the test part. Probabilities are the",
        "model's own and are not calibrated. For other languages, sources or times, measure again.",
    ]


def _chinese(package: Card) -> list[str]:
    figures, engine, machine = package["evaluation"], package["engine"], package["machine"]
    return [
        f"# 模型卡：{package['task']}", "",
        f"- **输入**：{_inputs(package)}。**输出**：{_gives(package, True)}。",
        f"- **模型族**：{_family(package, '，基于 ')}。",
        f"- **训练材料的许可证**：{', '.join(package['licences']) or '未注明'}。",
        *_sources(package, "数据来源", True),
        *_tested(package, f"- **测试集**：{figures['rows']} 条训练中从未用过的记录；95% 自助法区间。",
                 "- **测试集**：无。本模型来自外部，未在此评测；使用前请用自己的记录评测。", ("指标", "本模型", "基线")), "",
        *_found(package, "测试集中每 100 条 `{positive}` 能找出 {found} 条 [{low}, {high}]；"
                "每 100 条 `{other}` 误报 {alarms} 条。", "概率达到 {threshold:.3g} 即答 `{positive}`。"),
        f"由 {engine['engine']}（{engine.get('precision', 'fp32')}）提供服务（{engine['threads']} 线程，",
        f"并行 {engine.get('streams', 1)} 路，批量 {engine['batch']}）：",
        f"每批中位延迟 {engine['p50_ms']} 毫秒，每秒 {engine['samples_per_s']} {_counted(package)[1]}",
        f"（{machine['processor']}，{machine['cores']} 核）。", "",
        *_engines(package, ("引擎", "精度", f"每{_counted(package)[1]}毫秒", f"每秒{_counted(package)[1]}数", "最大差异", "质量",
                            "可用"), "是", "否"),
        "**局限**：以上指标只适用于与测试集相似的记录；概率未经校准；",
        "用于其他语言、来源或时期之前，请重新评测。",
    ]


def _counted(package: Card) -> tuple[str, str]:
    """What is answered at a time: a record, or of a text that is written a token."""
    return ("tokens", "个词元") if task_named(package["task"]).target == "text" else ("records", "条")


def _tested(package: Card, told: str, untold: str, head: tuple[str, str, str]) -> list[str]:
    """The figures of the test part, or that there are none."""
    figures = package["evaluation"]
    return [told, "", *_table(figures, head)] if figures["rows"] else [untold]


def _engines(package: Card, head: Sequence[str], yes: str, no: str) -> list[str]:
    """The table of engines: one line for each engine and precision, its best row for one record and for many."""
    rows = [row for row in package.get("engines", []) if "reason" not in row]
    pairs = list(dict.fromkeys((row["engine"], row.get("precision", "fp32")) for row in rows))
    lines = [f"| {' | '.join(head)} |", "|" + " --- |" * len(head)]
    for engine, precision in pairs:
        own = [row for row in rows if (row["engine"], row.get("precision", "fp32")) == (engine, precision)]
        quality = package.get("quality", {}).get(f"{engine} {precision}")
        change = quality["difference"] if quality else None
        said = "-" if change is None else f"{change['value']:+.4f} [{change['low']:+.4f}, {change['high']:+.4f}]"
        quick = min((row["p50_ms"] for row in own if row["batch"] == 1), default=0.0)
        lines.append(f"| {engine} | {precision} | {quick:.3g} | {max(row['samples_per_s'] for row in own):.4g} | "
                     f"{max(row['max_abs_difference'] for row in own):.2g} | {said} | "
                     f"{yes if any(row['passes'] for row in own) else no} |")
    return [*lines, ""] if pairs else []


def _found(package: Card, counted: str, decided: str) -> list[str]:
    """For two classes what is found and falsely alarmed, of 100 each, and from which probability on."""
    found = package["evaluation"].get("detection")
    if not found:
        return []
    hundred = {"found": found["found"]["value"], "low": found["found"]["low"], "high": found["found"]["high"],
               "alarms": found["false_alarms"]["value"]}
    shown = {name: f"{100 * value:.3g}" for name, value in hundred.items()}
    lines = [counted.format(positive=found["positive"], other=found["other"], **shown)]
    if found["threshold"] is not None:
        lines.append(decided.format(positive=found["positive"], threshold=found["threshold"]))
    return [*lines, ""]


def _table(figures: Card, head: tuple[str, str, str]) -> list[str]:
    baseline = figures.get("baseline", {}).get("metrics", {})
    lines = [f"| {' | '.join(head)} |", "| --- | --- | --- |"]
    for name, value in figures["metrics"].items():
        shown = f"**{name}**" if name == figures["headline"] else name
        lines.append(f"| {shown} | {_interval(value)} | {_interval(baseline.get(name))} |")
    return lines


def _interval(figure: Card | None) -> str:
    if not figure or figure["value"] is None:
        return "-"
    if figure.get("low") is None:
        return f"{figure['value']:.3f}"
    return f"{figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"


def _inputs(package: Card) -> str:
    return ", ".join(f"`{each['name']}` ({each['role']})" for each in package["inputs"])


def _gives(package: Card, chinese: bool) -> str:
    """What an answer is, by what the task's target is."""
    target = task_named(package["task"]).target
    words = {
        "class": ("one of {labels}, a probability for each", "{labels} 之一，并给出各类的概率"),
        "classes": ("those of {labels} that apply, a probability for each", "{labels} 中适用的几个，并给出各类的概率"),
        "number": ("a number", "一个数"),
        "spans": ("stretches of the text, each one of {labels}, with places in code points", "文本中的片段，各为 {labels} 之一，并给出位置（按码点）"),
        "answer": ("a stretch of the context that answers the question, or none", "上下文中回答问题的片段，或没有答案"),
        "text": ("a text", "一段文本"),
        "positive": ("a vector; texts that belong together have near ones", "一个向量；相关的文本向量相近"),
    }
    return words[target][chinese].format(labels=_labels(package))


def _labels(package: Card) -> str:
    labels = package["labels"]
    shown = ", ".join(f"`{label}`" for label in labels[:8])
    return f"{shown}, … ({len(labels)})" if len(labels) > 8 else shown


def _sources(package: Card, head: str, chinese: bool) -> list[str]:
    """What was said of each source of the records: terms, origin, legal basis, days, column of persons."""
    lines = []
    for one in package.get("sources", []):
        colon, comma = ("：", "；") if chinese else (": ", "; ")
        facts = [f"{LABELS[name][chinese]}{colon}{one[name]}" for name in SAID if name in one]
        lines.append(f"- **{head}**{colon}{comma.join(facts)}{'。' if chinese else '.'}")
    return lines


def _family(package: Card, source: str) -> str:
    """The family's name and settings, and the model it started from if there was one."""
    chosen = {name: value for name, value in package["family"].items() if name not in ("tag", "version")}
    settings = ", ".join(f"{name} {value}" for name, value in chosen.items())
    shown = str(package["family"]["tag"]) + (f" ({settings})" if settings else "")
    return shown + (source + str(package["base_model"]) if package.get("base_model") else "")
