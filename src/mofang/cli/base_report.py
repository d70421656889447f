"""What a base is, on one screen: its size, the figures of its validation texts, the way there, and lines that it wrote."""

from __future__ import annotations

from typing import Any

from mofang.cli.context import Context
from mofang.core.language import say

BARS = "▁▂▃▄▅▆▇█"
ASKED = {"mlm": ("hidden words", "隐藏的词"), "plm": ("words in any order", "任意次序的词"), "nsp": ("next sentences", "下一句"),
         "clm": ("the next token", "下一个词元"), "denoise": ("cut-out spans", "挖去的片段")}
FIGURES = (("loss", "{:.3f}"), ("perplexity", "{:.1f}"), ("bits_per_byte", "{:.3f}"), ("accuracy", "{:.1%}"))


def show_base(context: Context, facts: dict[str, Any]) -> None:
    """Print a base's facts (``base_facts``)."""
    rows = [_row(name, facts) for name in facts["objectives"]]
    headings = {"asked": say("asked for", "所问"), "loss": say("loss", "损失"), "perplexity": say("perplexity", "困惑度"),
                "bits_per_byte": say("bits per byte", "每字节比特"), "accuracy": say("right", "答对")}
    context.table(rows, headings, title=say("On texts held back from training", "在未参与训练的文本上"))
    losses = [loss for _, loss in facts["curve"]]
    context.say("loss {first} {curve} {last} over {steps} steps ({stopped})", "损失 {first} {curve} {last}，共 {steps} 步（{stopped}）",
                first=f"{losses[0]:.2f}", curve=sparkline(losses), last=f"{losses[-1]:.2f}", steps=f"{facts['steps']:,}",
                stopped=facts["stopped"])
    for line in facts["lines"]:
        context.console.print(f"  ✎ {' '.join(line.split())}", markup=False, highlight=False)
    took = say(" ({seconds} s)", "（{seconds} 秒）", seconds=f"{facts['seconds']:.1f}") if "seconds" in facts else ""
    context.say("{base} is ready: {kind}, {parameters} million weights{took}", "{base} 已就绪：{kind}，{parameters} 百万个权重{took}",
                base=facts["base"], kind=facts["kind"], parameters=f"{facts['parameters'] / 1e6:.1f}", took=took)
    context.next(f"mofang train DATA {facts['name']} --family pretrained", f"mofang pretrain SHARDS {facts['name']}")


def _row(name: str, facts: dict[str, Any]) -> dict[str, str]:
    """The figures of one objective; alone they stand without its name."""
    figures, alone = facts["figures"], len(facts["objectives"]) == 1
    found = {one: figures.get(one if alone else f"{name}_{one}") for one, _ in FIGURES}
    if alone:
        found["loss"] = figures["validation_loss"]
    told = {one: form.format(found[one]) for one, form in FIGURES if found[one] is not None}
    return {"asked": say(*ASKED[name]), **{one: told.get(one, "-") for one, _ in FIGURES}}


def sparkline(values: list[float]) -> str:
    """Numbers as a row of bars, the least the lowest."""
    low, high = min(values), max(values)
    return "".join(BARS[round((value - low) / ((high - low) or 1) * (len(BARS) - 1))] for value in values)
