"""The report as one page: no script, nothing from elsewhere, every text of a record shown as text."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mofang.data.assessing.check import Check

TEMPLATES = Path(__file__).parent / "templates"
COLOURS = {"good": "#2d7d46", "look": "#b7791f", "bad": "#b83232", "none": "#777"}
WORDS = {"good": ("good", "良好"), "look": ("look at it", "请留意"), "bad": ("bad", "差"), "none": ("does not apply", "不适用")}

# the Chinese of what a check tells: its figures, and the columns of its table
TOLD = {
    "chance of label": "标签为真的概率", "chars": "字符数", "class": "类别", "classes": "类别数", "column": "列", "columns": "列",
    "columns gone": "消失的列", "columns with problems": "有问题的列", "conflicting": "标签矛盾", "copies": "副本",
    "distinct": "不同取值", "doubtful": "存疑", "doubtful labels": "存疑标签", "drifting": "漂移的列", "empty or zero": "空或零",
    "empty or zero share": "空或零的比例", "evenness": "均匀度", "exact": "完全相同", "exact in training": "与训练集相同",
    "far from all": "远离各组", "far out": "离群", "far out share": "离群比例", "for example": "例如", "gain": "增益",
    "group": "组", "groups": "组数", "groups if even": "等效组数", "held out": "留出条数", "held out accuracy": "留出准确率",
    "high": "上限", "id": "编号", "in training": "训练集中", "kind": "类型", "label": "标签", "language": "语言",
    "languages": "语言", "largest to smallest": "最大与最小之比", "leaking": "泄漏", "looked at": "检查条数", "low": "下限",
    "middle": "中位", "missing": "缺失", "missing share": "缺失比例", "mostly missing": "大多缺失", "near in sample": "样本中近似重复",
    "nearly unique categories": "几乎不重复的类别列", "number": "数量", "part": "部分", "personal": "个人信息", "probably": "更可能是",
    "problem": "问题", "rare": "稀少类别", "rare groups": "稀少组", "record": "记录", "records": "条数", "records with": "含有的条数",
    "role": "角色", "share": "比例", "source": "来源", "sources": "来源数", "strong": "过强的列", "told apart auc": "可区分度 AUC",
    "very short share": "过短比例", "what": "内容", "why": "原因", "worst psi": "最大 PSI", "worst share": "最高比例", "zeros": "零",
}


def both(name: str) -> str:
    """A figure's name in English and Chinese."""
    plain = name.replace("_", " ")
    return f"{plain} {TOLD[plain]}" if plain in TOLD else plain


def figure(value: Any, name: str = "") -> Any:
    """A number as a person reads it: shares of a hundred, no ``.0``."""
    if value is None:
        return "–"
    if not isinstance(value, float):
        return value
    return f"{value:.1%}" if name == "share" or name.endswith("_share") else f"{value:.4g}"


def page(
    about: Mapping[str, Any],
    checks: Sequence[Check],
    pictures: Mapping[str, Sequence[str]],
    sheet: Sequence[Mapping[str, Any]],
    thumbnails: Sequence[tuple[str, bytes]],
) -> str:
    """The whole page as HTML."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"both": both, "figure": figure}
    drawn = {name: [Markup(one) for one in pieces] for name, pieces in pictures.items()}
    shown = [(id, "data:image/png;base64," + base64.b64encode(content).decode()) for id, content in thumbnails]
    return environment.get_template("report.html").render(
        about=about,
        checks=checks,
        pictures=drawn,
        sheet=sheet,
        thumbnails=shown,
        colours=COLOURS,
        words=WORDS,
        columns=list(sheet[0]) if sheet else [],
    )
