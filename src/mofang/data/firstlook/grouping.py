"""What belongs together when records are split: the rows of one user, patient or shop, and what came earlier from what
came later."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mofang.data.columns import Profile, is_missing, number_of, text_of
from mofang.data.firstlook.leaks import codes_of_labels
from mofang.data.operators import normalise
from mofang.data.snapshots.times import seconds_of

GROUPS_LEAST = 15
NAMED_GROUPS_LEAST = 20
ROWS_A_GROUP = 1.5
LARGEST_SHARE = 0.3
ALIKE = 0.2  # of the way from chance to rows of one group always sharing their label
ENOUGH = 3.0
PEOPLE = re.compile(
    r"(?i:(^|[_\W])(user|customer|client|patient|subject|person|member|account|reviewer|author|buyer|seller|student|employee|"
    r"speaker|driver|rider|"
    r"owner|writer|annotator|worker|household|family|cookie|visitor|borrower|applicant)s?($|[_\W]|I[dD]$|id$|no$))"
    r"|用户|客户|顾客|会员|患者|病人|病历|住院|学生|学号|员工|工号|司机|账号|账户|买家|卖家|作者|借款人|申请人|家庭|身份证|手机|姓名|昵称|openid"
)
THINGS = re.compile(
    r"(?i:(^|[_\W])(session|visit|conversation|dialog(ue)?|"
    r"chat|thread|ticket|case|order|trip|device|machine|sensor|camera|store|shop|"
    r"restaurant|hotel|seller|merchant|"
    r"product|item|sku|asin|movie|book|video|article|document|doc|batch|lot|slide|scan|scene|site|"
    r"farm|vehicle|car|plot|sample|specimen|group|cluster|parent|episode)s?($|[_\W]|I[dD]$|id$|no$))"
    r"|会话|对话|工单|订单|单号|案件|案号|店铺|门店|商店|商家|商户|酒店|餐厅|商品|货号|产品|设备|机器|批次|批号|车辆|车牌|样本|样品|文档|文章|楼盘|小区"
)
IDS = re.compile(r"(?i:(^|[_\W])(id|uid|uuid|guid|no|number|code|key)$)|[a-z]I[dD]$|编号|号$|号码|代码|编码")
CODE = re.compile(r"(?=.*\d)[A-Za-z0-9_\-#.]{3,40}")
LATER = re.compile(
    r"(?i:churn|default|attrition|next|future|will_|later|convert|conversion|repurchase|"
    r"overdue|delinquen|bankrupt|fail(ure|ed)?$|"
    r"breakdown|direction|movement|up_?down|rise|signal|forecast)|逾期|违约|流失|复购|下月|下周|次日|未来|是否会|转化|故障|涨跌|走势"
)
TIME_NAMES = re.compile(
    r"(?i:date|time|day|created|ordered|posted|timestamp|_at$|month|year)|日期|时间|日$|时刻|月份|年份|年度|^年$"
)
PARTS = 4
DRIFT = 0.15
UNLIKELY = 3.72  # standard deviations: one chance in ten thousand
MOMENTS_LEAST = 20
YEARS_LEAST = 8


@dataclass(frozen=True)
class Kin:
    """A column (or level of folders) whose equal values belong together: ``alike`` says how much more often than by
    chance two rows of one group share their label."""

    name: str
    groups: int
    rows: int
    alike: float
    score: float


@dataclass(frozen=True)
class Order:
    """A column of times, and why the newest rows should be tested: ``forecast``, ``series``, ``drift``; or ``""``."""

    name: str
    why: str


def groups_in(
    columns: Mapping[str, Sequence[Any]], found: Mapping[str, Profile], labels: Sequence[Any], skip: Sequence[str]
) -> list[Kin]:
    """All columns that group the rows, the clearest first. ``columns`` are whole, not samples: a sample tears groups
    apart."""
    target = codes_of_labels(labels)
    shown = []
    for name, values in columns.items():
        if name in skip or name not in found:
            continue
        kin = _kin(name, values, found[name], target)
        if kin:
            shown.append(kin)
    return sorted(shown, key=lambda one: (-one.score, -one.alike, one.groups))


def _kin(name: str, values: Sequence[Any], one: Profile, target: Any) -> Kin | None:
    person, thing = bool(PEOPLE.search(name)), bool(THINGS.search(name))
    if one.pattern == "date" or (one.texty and not (person or thing)) or one.mean_chars > 60:
        return None
    codish = one.pattern in ("uuid", "e-mail", "phone", "identity number") or bool(one.personal) or one.name == "source_id"
    if not codish:
        codish = bool(one.top) and sum(bool(CODE.fullmatch(value)) and len(value) >= 4 for value, _ in one.top) >= 0.9 * len(
            one.top
        )
    if one.numeric and (one.whole_share < 1 or not (person or thing or IDS.search(name) or one.mean_chars >= 6)):
        return None
    if not (person or thing or codish or IDS.search(name)):
        return None
    if one.numeric and _counts_up(values):
        return None
    texts = [None if is_missing(value) else normalise(text_of(value) or "") for value in values]
    sizes = Counter(text for text in texts if text)
    rows = sizes.total()
    named = person or thing
    if len(sizes) < (GROUPS_LEAST if codish or person else NAMED_GROUPS_LEAST) or rows < ROWS_A_GROUP * len(sizes):
        return None
    if max(sizes.values()) > LARGEST_SHARE * rows or rows < 0.5 * len(values):
        return None
    alike = _alike(texts, target)
    score = 2.0 * named + 1.0 * (codish or bool(IDS.search(name))) + 1.0 * person + 2.0 * (alike >= ALIKE)
    score += 1.0 if thing and not one.numeric and len(sizes) >= NAMED_GROUPS_LEAST else 0.0
    return Kin(name, len(sizes), rows, round(alike, 3), score) if score >= ENOUGH else None


def _counts_up(values: Sequence[Any]) -> bool:
    """True if each value is mostly one more than the value before it: a count within something, not its name."""
    numbers = np.array([np.nan if (number := _number(value)) is None else number for value in values])
    return bool(np.mean(np.diff(numbers) == 1) > 0.5) if len(numbers) > 1 else False


def _number(value: Any) -> float | None:
    try:
        return number_of(value)
    except (ValueError, TypeError, OverflowError):
        return None


def _alike(groups: Sequence[str | None], target: Any) -> float:
    """How much more often than by chance two rows of one group share their label, 0 to 1."""
    inside: dict[str, Counter[int]] = defaultdict(Counter)
    for group, label in zip(groups, target, strict=True):
        if group and label >= 0:
            inside[group][int(label)] += 1
    pairs = same = 0
    whole: Counter[int] = Counter()
    for counts in inside.values():
        size = counts.total()
        pairs += size * (size - 1)
        same += sum(count * (count - 1) for count in counts.values())
        whole += counts
    total = whole.total()
    if pairs < 20 or total < 2:
        return 0.0
    chance = sum(count * (count - 1) for count in whole.values()) / (total * (total - 1))
    return float(max(0.0, (same / pairs - chance) / (1 - chance))) if chance < 1 else 0.0


def order_in(
    columns: Mapping[str, Sequence[Any]], found: Mapping[str, Profile], labels: Sequence[Any], label: str, table: bool
) -> tuple[Order | None, list[str]]:
    """(the column of times with the reason to split by it, or with "" where nothing asks for it; columns of dates that
    cannot be put in order, such as 3/4/2024)."""
    unclear: list[str] = []
    best: Order | None = None
    target = codes_of_labels(labels)
    for name, values in columns.items():
        one = found.get(name)
        if (
            one is None
            or name == label
            or not (one.pattern == "date" or (one.numeric and one.span and TIME_NAMES.search(name) and _stamps(one)))
        ):
            continue
        moments = np.array([np.nan if (moment := seconds_of(text_of(value))) is None else moment for value in values])
        usable = ~np.isnan(moments)
        if usable.sum() < 0.9 * (len(values) - sum(map(is_missing, values))):
            unclear.append(name)
            continue
        if usable.sum() < 0.9 * len(values) or len(np.unique(moments[usable])) < (
            MOMENTS_LEAST if one.pattern else YEARS_LEAST
        ):
            continue
        order = Order(name, _why(moments, usable & (target >= 0), target, label, table))
        if best is None or (order.why and not best.why):
            best = order
    return best, unclear


def _stamps(one: Profile) -> bool:
    """True if whole numbers look like Unix times of this century, or are years."""
    values = [float(value) for value, _ in one.top if re.fullmatch(r"\d+(\.0)?", value)]
    if one.distinct >= YEARS_LEAST and re.search(r"(?i:year)|年份|年度|^年$", one.name):
        return bool(values) and all(1800 <= value <= 2100 for value in values)
    return bool(values) and all(9.4e8 < (value / 1000 if value > 1e11 else value) < 4e9 for value in values)


def _why(moments: Any, usable: Any, target: Any, label: str, table: bool) -> str:
    if LATER.search(label):
        return "forecast"
    steps = np.diff(moments[usable])
    one_way = len(steps) >= MOMENTS_LEAST and (bool((steps > 0).all()) or bool((steps < 0).all()))
    if table and one_way and np.mean(np.abs(steps) <= 4 * np.median(np.abs(steps))) >= 0.95:
        return "series"
    return "drift" if drifts(moments[usable], target[usable]) else ""


def drifts(moments: Any, target: Any) -> bool:
    """True if the shares of the classes change over time, much and beyond chance (a chi-square test over quarters)."""
    if len(target) < 100:
        return False
    ranks = np.argsort(np.argsort(moments, kind="stable"), kind="stable") * PARTS // len(moments)
    table = np.zeros((PARTS, int(target.max()) + 1))
    np.add.at(table, (ranks, target), 1)
    table = table[:, table.sum(0) >= 5 * PARTS]
    if table.shape[1] < 2:
        return False
    expected = table.sum(1, keepdims=True) * table.sum(0) / table.sum()
    chi = float(((table - expected) ** 2 / expected).sum())
    freedom = (PARTS - 1) * (table.shape[1] - 1)
    # Wilson and Hilferty: the cube root of a chi-square is nearly normal
    z = ((chi / freedom) ** (1 / 3) - (1 - 2 / (9 * freedom))) / np.sqrt(2 / (9 * freedom))
    strength = np.sqrt(chi / table.sum() / min(PARTS - 1, table.shape[1] - 1))
    return bool(z > UNLIKELY and strength >= DRIFT)
