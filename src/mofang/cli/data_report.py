"""What a snapshot is, on one screen: what was collected, kept and left out, its parts, its sources, its score."""

from __future__ import annotations

from typing import Any

from mofang.cli.context import Context
from mofang.core.language import say
from mofang.core.trace import LABELS

PARTS = {"train": ("train", "训练"), "validation": ("validation", "验证"), "test": ("test", "测试")}
CLASSES_MOST = 6  # columns of the table; the rest stands in about.json

REASONS_ZH = {
    "duplicate": "重复", "near-duplicate": "近似重复", "conflicting-labels": "标签矛盾", "empty": "空", "too-short": "过短",
    "too-long": "过长", "not-an-image": "不是图片", "image-too-small": "图片过小", "image-too-large": "图片过大",
    "label-missing": "没有标签", "class-too-small": "类别过小", "class-not-in-train": "训练集没有该类", "time-missing": "没有时间",
    "label-unreadable": "标签无法读取", "span-outside": "片段超出文本", "spans-overlap": "片段重叠", "span-differs": "片段与文本不符",
    "no-tags": "没有标注", "no-entry": "不是词条", "answer-not-found": "上下文中没有该答案", "text-empty": "文本为空",
    "cell-too-large": "单元格过大", "ragged-row": "列数不符", "quote-open": "引号未闭合", "undecodable": "无法解码",
    "not-a-number": "不是数字", "not-json": "不是 JSON", "not-an-object": "不是对象", "file-empty": "空文件", "image-missing": "缺图片",
    "image-blurred": "图片模糊", "image-flat": "图片缺少对比", "image-mode": "图片格式特殊", "sound-broken": "声音损坏",
    "sound-empty": "声音为空", "sound-silent": "静音过多", "sound-clipped": "声音削波", "sound-too-short": "声音过短",
    "sound-too-long": "声音过长", "sound-channels": "声道过多", "label-not-mapped": "标签未映射", "language": "语言不符",
    "personal-data": "含个人信息", "values-missing": "缺值过多", "outlier": "离群值",
}


def print_dropped(context: Context, dropped: dict[str, int]) -> None:
    """What was left out, by reason."""
    if dropped:
        words = ", ".join(f"{say(reason, REASONS_ZH.get(reason, reason))} {count:,}" for reason, count in dropped.items())
        context.say("Left out (each kept with its reason): {words}", "剔除的记录（逐条保留原因）：{words}", words=words)


def print_sources(context: Context, sources: list[dict[str, str]]) -> None:
    """What was said of each source of the records, a line for each."""
    from mofang.data.collecting.provenance import SAID

    for one in sources:
        told = say(" · ", "；").join(say("{label}: {value}", "{label}：{value}", label=say(*LABELS[name]), value=one[name])
                                    for name in SAID if name in one)
        context.say("Records: {told}", "数据来源：{told}", told=told)


def show_snapshot(context: Context, facts: dict[str, Any]) -> None:
    """Print a snapshot's facts (``snapshot_facts``)."""
    if facts["collected"] is not None and facts["kept"] is not None:
        context.say("{collected} records collected, {kept} kept by cleaning", "收集 {collected} 条，清洗后保留 {kept} 条",
                    collected=f"{facts['collected']:,}", kept=f"{facts['kept']:,}")
    print_dropped(context, facts["dropped"])
    found = facts["parts"]
    titled = say("Parts, by class", "各部分的类别") if facts["labels"] else say("Parts", "各部分")
    parts = [{"part": say(*PARTS[part]), "rows": found[part]["rows"], **found[part]["classes"]} for part in PARTS]
    classes = facts["labels"][:CLASSES_MOST]
    context.table(parts, {"part": say("part", "部分"), "rows": say("rows", "条数"), **{name: name for name in classes}},
                  title=titled)
    if made := facts["augmented"]:
        context.say("{rows} of the training rows are variants ({kinds})", "训练集中有 {rows} 条是变体（{kinds}）",
                    rows=f"{made['rows']:,}", kinds=", ".join(made["kinds"]))
    print_sources(context, facts["sources"])
    _score(context, facts)
    took = say(" ({seconds} s)", "（{seconds} 秒）", seconds=f"{facts['seconds']:.1f}") if "seconds" in facts else ""
    context.say("{snapshot} is ready for training{took}", "{snapshot} 已可用于训练{took}", snapshot=facts["snapshot"], took=took)
    name = facts["name"]
    look = () if facts["report"] else (f"mofang assess {name}",)
    context.next(*look, f"mofang trace {name}", f"mofang export {name} --format webdataset")


def _score(context: Context, facts: dict[str, Any]) -> None:
    """The score of the report, and the checks that ask for a look."""
    report = facts["report"]
    if not report or report["score"] is None:
        return
    weak = [one for one in report["checks"] if one["verdict"] in ("look", "bad")]
    told = say(", ", "、").join(f"{say(*one['title'])} {one['score']:.0f}" for one in weak)
    look = say("; look at: {told}", "；请看：{told}", told=told) if told else ""
    context.say("Report: {score} of 100{look}  ({entry})", "评估：{score} 分（满分 100）{look}  （{entry}）",
                score=f"{report['score']:.0f}", look=look, entry=report["entry"][:17])
