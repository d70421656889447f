"""Which column holds the label: told from names, number of classes and place, or honestly not told."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isqrt
from typing import Any

from mofang.core.errors import MofangError
from mofang.data.columns import Profile, is_missing, text_of

STRONG = {
    "label",
    "labels",
    "class",
    "classes",
    "target",
    "targets",
    "category",
    "categories",
    "sentiment",
    "sentiments",
    "intent",
    "intents",
    "tag",
    "y",
    "label_text",
    "text_label",
    "class_name",
    "category_name",
    "label_name",
    "classname",
    "labelname",
    "polarity",
    "标签",
    "类别",
    "类型",
    "分类",
    "情感",
    "情感倾向",
    "情感极性",
    "意图",
    "标注",
    "目标",
    "类",
}
FAIR = {
    "rating",
    "ratings",
    "star",
    "stars",
    "score",
    "overall",
    "type",
    "kind",
    "species",
    "diagnosis",
    "outcome",
    "result",
    "answer",
    "spam",
    "is_spam",
    "toxic",
    "quality",
    "churn",
    "churned",
    "default",
    "fraud",
    "exited",
    "survived",
    "approved",
    "status",
    "group_name",
    "severity",
    "grade",
    "decision",
    "income",
    "attrition",
    "response",
    "评分",
    "星级",
    "分数",
    "打分",
    "结果",
    "状态",
    "等级",
    "评价",
    "满意度",
    "结论",
    "是否",
    "流失",
    "违约",
    "逾期",
    "欺诈",
    "诊断",
    "词性",
}
OF_TEXTS = {
    "topic",
    "genre",
    "emotion",
    "department",
    "priority",
    "主题",
    "话题",
    "栏目",
    "版面",
    "情绪",
    "部门",
}  # in a table these are columns like others
UNLIKELY = re.compile(
    r"(^|[_\W])(lang(uage)?|locale|source|split|set|fold|train(ing)?|test|valid(ation)?|"
    r"country|city|region|province|gender|sex|store|shop|product|brand|"
    r"platform|device|channel|year|month|day|date|time|version|verified|currency|author|user)($|[_\W])|语言|来源|城市|省份|性别|"
    r"店铺|商品|品牌|平台|渠道|年|月|日期|时间",
    re.I,
)
COUNTED = re.compile(r"[A-Za-z_.\- ]{0,12}\d+([^\dA-Za-z]|x)?\d*")
CLASSES_MOST = 1000
SURE_SCORE = 3.0
SURE_MARGIN = 1.5
LEAK_SHARE = 0.995


@dataclass(frozen=True)
class Guess:
    """A column that may be the label, with the evidence for it as one number."""

    name: str
    score: float
    classes: int


def label_guesses(profiles: Mapping[str, Profile], has_text: bool) -> list[Guess]:
    """All columns that can be labels, the likeliest first."""
    names = list(profiles)
    found = []
    for place, (name, one) in enumerate(profiles.items()):
        most = min(CLASSES_MOST, max(one.filled // 4, 2))
        if one.distinct < 2 or one.distinct > most or one.pattern or one.personal or (one.texty and not strong(name)):
            continue
        if one.numeric and (one.distinct > 100 if strong(name) else one.whole_share < 1):
            continue
        score = name_score(name, has_text) - (3.0 if one.quantity and not strong(name) else 0.0)
        score += 1.5 if one.distinct <= 20 else 1.0 if one.distinct <= 100 else 0.0
        score += 1.0 if place == len(names) - 1 else 0.5 if place == 0 else 0.0
        score += 0.5 if has_text and not one.numeric else 0.0
        score -= 1.0 if one.missing > 0.2 * one.rows else 0.0
        found.append(Guess(name, score, one.distinct))
    return sorted(found, key=lambda guess: -guess.score)


def strong(name: str) -> bool:
    """True if the column's very name says label."""
    return _plain(name) in STRONG


def _plain(name: str) -> str:
    return re.sub(r"[\s\-]+", "_", name.strip().lower())


def name_score(name: str, has_text: bool) -> float:
    """How much a column's name speaks for a label: the whole name, or what English puts last
    (``loan_status``)."""
    plain = _plain(name)
    fair = FAIR | OF_TEXTS if has_text else FAIR
    if plain in STRONG:
        return 5.0
    if plain in fair:
        return 3.5
    pieces = re.split(r"[_\W]+", plain)
    if not {pieces[0], pieces[-1]}.isdisjoint(STRONG) or any(word in plain for word in STRONG if not word.isascii()):
        return 2.5
    if pieces[-1] in fair or plain.startswith("is_") or any(word in plain for word in fair if not word.isascii()):
        return 2.0
    return -2.0 if UNLIKELY.search(plain) else 0.0


def choose_label(
    profiles: Mapping[str, Profile], columns: Mapping[str, Sequence[Any]], has_text: bool, every: Sequence[str] = ()
) -> str:
    """The label's column. Raises ``label-unsure`` with the candidates, or ``label-not-found`` with ``every`` column."""
    guesses = label_guesses(profiles, has_text)
    if not guesses:
        for name, one in profiles.items():
            if strong(name) and one.numeric and one.distinct > 1:
                raise MofangError("label-is-a-quantity", label=name, values=one.distinct)
            if strong(name) and one.distinct == 1:
                raise MofangError("one-class", label=name, name=one.top[0][0])
        raise MofangError("label-not-found", columns=", ".join(every or profiles))
    best = guesses[0]
    rivals = [one for one in guesses[1:] if best.score - one.score <= SURE_MARGIN]
    twins = [
        one
        for one in rivals
        if determines(columns[one.name], columns[best.name]) and determines(columns[best.name], columns[one.name])
    ]
    if twins and len(twins) == len(rivals):  # the same classes as numbers and as words: people read words
        return max([best, *twins], key=lambda one: (not profiles[one.name].numeric, one.score)).name
    said = name_score(best.name, has_text)
    last = has_text or best.name == list(columns)[-1]  # where no name says label, its place must: tables end with it
    alone = said >= 0 and last and best.score >= (1 if has_text else 2) and all(one.score < 0 for one in guesses[1:])
    named = has_text or said > 0
    if ((best.score >= SURE_SCORE and named) or alone) and not rivals:
        return best.name
    raise MofangError(
        "label-unsure",
        candidates=", ".join(f"{one.name} ({one.classes})" for one in guesses[:6]),
        first=best.name,
    )


def pixel_label(columns: Mapping[str, Sequence[Any]], label: str, header: bool) -> str:
    """The label of rows that are square grey images, or nothing if they are not.

    All columns but the first or the last (or the given one) hold whole numbers from 0 to 255, their number
    is a square from 8 × 8, and their names, if they have any, only count.
    """
    names = list(columns)
    if len(names) < 65 or isqrt(len(names) - 1) ** 2 != len(names) - 1:
        return ""
    likely = [label] if label else [name for name in names if strong(name)] or [names[-1], names[0]]
    classes = {name: len(set(columns[name])) for name in likely if name in columns}
    usable = [name for name, count in classes.items() if 2 <= count <= 100]
    if not usable:
        return ""
    best = min(usable, key=classes.__getitem__)
    rest = [name for name in names if name != best]
    counted = not header or all(COUNTED.fullmatch(name) for name in rest)
    return best if counted and all(_grey(columns[name]) for name in rest) else ""


def _grey(values: Sequence[Any]) -> bool:
    """True if the first hundred values are whole numbers from 0 to 255."""
    found = [str(value) for value in values[:100]]
    return all(value.isascii() and value.isdigit() and int(value) <= 255 for value in found)


def determines(values: Sequence[Any], labels: Sequence[Any]) -> bool:
    """True if knowing the value nearly always tells the label, beyond what a column of many values would
    by chance."""
    seen: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for value, label in zip(values, labels, strict=True):
        if not is_missing(value) and not is_missing(label):
            seen[text_of(value) or ""][text_of(label) or ""] += 1
    total = sum(sum(one.values()) for one in seen.values())
    classes = {label for one in seen.values() for label in one}
    if total < 50 or len(classes) < 2 or len(seen) > max(total // 10, 2):
        return False
    return sum(max(one.values()) for one in seen.values()) >= LEAK_SHARE * total
