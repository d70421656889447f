"""What a generator is, on one screen: its size, the figures of its validation answers, the way there, what it was taught."""

from __future__ import annotations

from typing import Any

from mofang.cli.base_report import sparkline
from mofang.cli.context import Context
from mofang.core.language import say


def show_generator(context: Context, facts: dict[str, Any]) -> None:
    """Print a generator's facts (``generator_facts``)."""
    figures = facts["figures"]
    told = [(say("loss", "损失"), "loss", "{:.3f}"), (say("perplexity", "困惑度"), "perplexity", "{:.2f}"),
            (say("bits per byte", "每字节比特"), "bits_per_byte", "{:.3f}"), (say("reward", "奖励"), "reward", "{:.3f}"),
            (say("margin", "偏好差"), "margin", "{:.3f}")]
    rows = [{"figure": word, "value": form.format(figures[name])} for word, name, form in told if figures.get(name) is not None]
    context.table(rows, {"figure": say("on the validation part", "验证集"), "value": ""})
    losses = facts["curve"]
    if losses:
        context.say("loss {first} {curve} {last} ({stopped})", "损失 {first} {curve} {last}（{stopped}）", first=f"{losses[0]:.2f}",
                    curve=sparkline(losses), last=f"{losses[-1]:.2f}", stopped=facts["stopped"])
    for one in facts["taught"]:
        context.say("  taught further by {stage}, on {rows} rows", "  又经 {stage} 训练，用了 {rows} 行", stage=one["stage"],
                    rows=f"{one['rows']['train']:,}")
    context.say("  licences: {names}", "  许可：{names}", names=", ".join(facts["licences"]) or "-")
    took = say(" ({seconds} s)", "（{seconds} 秒）", seconds=f"{facts['seconds']:.1f}") if "seconds" in facts else ""
    context.say("{model} is ready: {parameters} million weights{took}", "{model} 已就绪：{parameters} 百万个权重{took}",
                model=facts["generator"], parameters=f"{facts['parameters'] / 1e6:.1f}", took=took)
    context.next(f'mofang generate {facts["name"]} "…"')
