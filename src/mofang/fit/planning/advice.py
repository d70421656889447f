"""Which family, which size, and whose machine: short sentences, each with its reason."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mofang.core.language import say

FEW, MANY = 1_000, 50_000
LONG_S = 4 * 3600.0


def family_advice(rows: Sequence[dict[str, Any]], size: Any, budget_s: float) -> list[str]:
    """For a snapshot: ``rows`` are the families with what they take, cheap to dear."""
    found = []
    fitting = [row for row in rows if row["fits"] and row["wall_s"] <= budget_s]
    if not fitting:
        cheapest = min(rows, key=lambda row: row["wall_s"])
        return [
            say(
                "Nothing fits into {budget} s: {family} would take {needs} s.",
                "{budget} 秒内没有合适的：{family} 需要 {needs} 秒。",
                budget=round(budget_s),
                family=cheapest["family"],
                needs=round(cheapest["wall_s"]),
            )
        ]
    dearest = max(fitting, key=lambda row: row["wall_s"])
    spent = sum(row["wall_s"] for row in fitting)
    found.append(
        say(
            "Begin with {family}: it costs least and shows what the data hold.",
            "先从 {family} 开始：花费最少，可看出数据的潜力。",
            family=fitting[0]["family"],
        )
    )
    if dearest is not fitting[0]:
        found.append(
            say(
                "The budget reaches up to {family}; `mofang select` tries {kinds} kinds in about {seconds} s and keeps the best.",
                "预算可到 {family}；mofang select 约用 {seconds} 秒试 {kinds} 种并保留最好的。",
                family=dearest["family"],
                kinds=len(fitting),
                seconds=round(spent),
            )
        )
    return found + data_advice(rows, size)


def data_advice(rows: Sequence[dict[str, Any]], size: Any) -> list[str]:
    """What the size and kind of the data say of the families."""
    found = []
    if size.language and size.rows < FEW:
        found.append(
            say(
                "{rows} texts are few: a pretrained model knows the language already, one from scratch would have to learn it.",
                "{rows} 条文本偏少：预训练模型已经懂得语言，从零训练的模型还要先学语言。",
                rows=size.rows,
            )
        )
    if size.language and size.rows > MANY:
        found.append(
            say(
                "With {rows} texts a linear model is often within a point of the dearest; look at it before paying for more.",
                "文本有 {rows} 条时，线性模型往往与最贵的相差不到一个百分点；付出更多之前先看看它。",
                rows=size.rows,
            )
        )
    if not size.language:
        found.append(
            say(
                "For tables boosted trees are the one to beat; a network pays with many rows only.",
                "表格数据以提升树为标杆；只有行数很多时神经网络才划算。",
            )
            if any(row["family"] == "xgboost" for row in rows)
            else say(
                "Pictures: a residual network, once the baseline says that there is something to learn.",
                "图片：基线表明有规律可学之后，再用残差网络。",
            )
        )
    return found


def machine_advice(wall_s: float, rented_usd: float | None, owned_usd: float | None) -> str:
    """Rented or owned, by the two sums and how long the work is."""
    if rented_usd is None or owned_usd is None:
        return say(
            "Only one of rent and price is known: give --hour for the other.", "租金与购价只知其一：请用 --hour 补充。"
        )
    if wall_s < LONG_S or rented_usd <= owned_usd:
        return say(
            "Rent: the work is short, and an owned device pays only while it is busy.",
            "建议租用：工作时间短，自有设备只有忙碌时才划算。",
        )
    return say("Owning is cheaper by the hour, if the device has other work too.", "若设备还有其他工作，自有更便宜。")
