"""mofang plan: what a run will need, and how wrong earlier plans were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import orjson

from mofang.cli.context import Context, LentFile, pass_context
from mofang.core.language import say


@click.command()
@click.argument("snapshot", required=False)
@click.option(
    "--family",
    "families",
    multiple=True,
    help="A kind of model to plan for (repeat for several; default: what the task proposes).",
)
@click.option(
    "--budget", default="5m", show_default=True, help="Time (90s, 5m, 1h) or money (¥20) that the training may take."
)
@click.option("--model", default="", help="Plan on paper for a published model, for example gpt-3 or llama-2-70b.")
@click.option("--config", type=LentFile(), help="Plan on paper for this transformers config.json.")
@click.option("--tokens", type=float, default=0.0, help="Tokens to train on (default: 20 for each parameter).")
@click.option(
    "--length", type=int, default=0, help="Tokens of one text (default: what the model was made for, at most 4,096)."
)
@click.option("--gpus", type=int, default=1, show_default=True, help="How many accelerators.")
@click.option("--gpu", default="h100", show_default=True, help="Which: t4, v100, rtx4090, l40s, a100, h100, h200, b200.")
@click.option(
    "--batch", type=int, default=0, help="Texts of one step over all accelerators (default: by the model's size)."
)
@click.option(
    "--adapt", type=click.Choice(["all", "lora", "head"]), default="all", help="Train all weights, adapters, or the head."
)
@click.option("--hour", type=float, default=0.0, help="What one accelerator costs an hour, in dollars.")
@click.option("--price", type=float, default=0.0, help="What one accelerator costs to buy, in dollars.")
@click.option(
    "--grid", default="cn", show_default=True, help="Whose electricity: cn, cn-sichuan, cn-yunnan, us, eu, world."
)
@click.option("--law", default="", help="A law fitted by gauge, shown beside the published ones.")
@click.option("--accuracy", is_flag=True, help="Predicted against measured, for all runs of this shop so far.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def plan(context: Context, /, **given: Any) -> None:
    """What a training will need before it is paid for: operations, memory, time, money, energy.

    With a SNAPSHOT, for this machine and by what earlier runs of the shop took; with --model or --config on paper, for
    machines you may rent.
    """
    if given["accuracy"]:
        _accuracy(context, given["as_json"])
        return
    found = _here(context, given) if given["snapshot"] else _paper(context, given)
    if given["as_json"]:
        click.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
    elif found["kind"] == "here":
        _show_here(context, found, given["snapshot"])
    else:
        _show_paper(context, found)


def _here(context: Context, given: dict[str, Any]) -> dict[str, Any]:
    """Run the stage, so that the plan stands in the ledger before the run that it foretells."""
    from mofang.fit.plan import plan as planning
    from mofang.recipe import Budget

    shop = context.shop
    budget = Budget.parse(given["budget"], shop.rates.get("machine_hour_micros"), shop.currency)
    made = shop.run(
        planning,
        shop.find(given["snapshot"], "snapshot"),
        families=tuple(given["families"]),
        budget_s=budget.seconds,
        grid=given["grid"],
    )
    found: dict[str, Any] = made.read_json("plan.json")
    return found


def _paper(context: Context, given: dict[str, Any]) -> dict[str, Any]:
    """No shop is needed, unless a law of its own is named."""
    from mofang.fit.gauge import law_of
    from mofang.fit.plan import plan_on_paper
    from mofang.fit.planning.paper import Wanted

    config: Path | None = given["config"]
    wanted = Wanted(
        max(0.0, given["tokens"]),
        max(0, given["length"]),
        max(1, given["gpus"]),
        given["gpu"],
        max(0, given["batch"]),
        given["adapt"],
        grid=given["grid"],
        hour=given["hour"] or None,
        price=given["price"] or None,
    )
    law = law_of(context.shop.find(given["law"], "law")) if given["law"] else None
    return plan_on_paper(given["model"], "" if config is None else str(config), wanted, law)


def _show_here(context: Context, found: dict[str, Any], snapshot: str) -> None:
    from mofang.fit.planning.time import words

    rows = [
        {
            "family": row["family"],
            "parameters": row["parameters"],
            "cpu": row["cpu_s"],
            "time": words(row["wall_s"]),
            "memory": round(row["peak_mb"]),
            "fits": "✓" if row["fits"] else "✗",
            "money": row["money"]["money"] or say("rate not set", "未设费率"),
            "kwh": row["energy"]["kwh"],
            "co2": row["energy"]["co2_kg"],
            "learnt": _learnt(row),
        }
        for row in found["families"]
    ]
    headings = {
        "family": say("family", "模型族"),
        "parameters": say("parameters", "参数量"),
        "cpu": say("CPU s", "CPU 秒"),
        "time": say("time", "用时"),
        "memory": say("peak MB", "内存峰值 MB"),
        "fits": say("fits", "放得下"),
        "money": say("money", "费用"),
        "kwh": "kWh",
        "co2": "kg CO2",
        "learnt": say("corrected by", "修正依据"),
    }
    context.table(rows, headings)
    for line in found["advice"]:
        click.echo(line)
    first = found["families"][0]
    for name, source in first["energy"]["sources"].items():
        if source:
            click.echo(f"  {name}: {source}")
    click.echo(f"  {say('money', '费用')}: {first['money']['source']}")
    context.next(f"mofang select {snapshot} --budget-s {found['budget_s']:g}", "mofang plan --accuracy")


def _learnt(row: dict[str, Any]) -> str:
    """The factor from earlier runs, in words."""
    if not row["learnt_from"]:
        return say("no earlier run", "尚无先例")
    return say(
        "{runs} runs: time × {s}, memory × {mb}",
        "{runs} 次运行：时间 × {s}，内存 × {mb}",
        runs=row["learnt_from"],
        s=row["factor_s"],
        mb=row["factor_mb"],
    )


def _show_paper(context: Context, found: dict[str, Any]) -> None:
    model = found["model"]
    context.table(
        model["modules"],
        {
            "module": say("module", "模块"),
            "parameters": say("parameters", "参数量"),
            "multiplied": say("multiplied", "参与乘法"),
            "forward_flops": say("FLOPs of a text", "每条文本 FLOPs"),
        },
    )
    context.table(
        _paper_rows(found), {"what": say("what", "项目"), "value": say("value", "数值"), "source": say("source", "来源")}
    )


def _work_rows(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Operations, sizes, layout and memory."""
    flops, layout, memory = found["flops"], found["layout"], found["memory"]
    return [
        (
            say("operations", "运算量"),
            f"{flops['training']:.3e}",
            say(
                "counted by module; attention {a:.2g}, of which a causal mask spares half",
                "按模块计算；其中注意力 {a:.2g}，因果掩码可省一半",
                a=flops["attention"],
            ),
        ),
        (
            say("6·N·D beside it", "对照 6·N·D"),
            f"{flops['six_n_d']:.3e} (× {flops['six_n_d_off']:.2f})",
            say("law of thumb", "经验公式"),
        ),
        *(
            (
                say("best size by {law}", "{law} 的最佳规模", law=one["law"]),
                f"{one['parameters']:.3g} / {one['tokens']:.3g}",
                one["source"],
            )
            for one in found["optimum"]
        ),
        (
            say("layout", "并行方式"),
            layout["layout"],
            say(
                "bubble {b:.0%}, communication {c:.0%}, micro-batch {m}",
                "气泡 {b:.0%}，通信 {c:.0%}，微批 {m}",
                b=layout.get("bubble", 0),
                c=layout.get("communication", 0),
                m=layout.get("micro_batch", 1),
            ),
        ),
        (
            say("memory a device", "每块显存"),
            f"{memory['total_mb']:,.0f} / {memory['limit_mb']:,.0f} MB",
            ", ".join(f"{name} {value:,.0f}" for name, value in memory["mb"].items()),
        ),
    ]


def _paper_rows(found: dict[str, Any]) -> list[dict[str, str]]:
    """One line for each figure, with what it rests on."""
    from mofang.fit.planning.advice import machine_advice
    from mofang.fit.planning.time import words

    mfu, quick, slow = found["mfu"], found["time"]["quick"], found["time"]["slow"]
    rented, owned = found["money"]
    lines = [
        *_work_rows(found),
        (say("MFU expected", "预期 MFU"), f"{mfu['low']:.0%} – {mfu['high']:.0%}", mfu["source"]),
        (
            say("time", "用时"),
            f"{words(quick['total_s'])} – {words(slow['total_s'])}",
            say(
                "checkpoints every {c}; failures cost {f} (Llama 3 report's failure rate)",
                "每 {c} 存一次检查点；故障损失 {f}（按 Llama 3 报告的故障率）",
                c=words(slow["checkpoint_every_s"]),
                f=words(slow["lost_s"]),
            ),
        ),
        (say("rented", "租用"), rented["money"] or "–", rented["source"]),
        (say("owned", "自有"), owned["money"] or "–", owned["source"]),
        (
            say("energy", "能耗"),
            f"{found['energy']['kwh']:,.4g} kWh",
            f"{found['energy']['sources']['watts']}; PUE {found['energy']['sources']['pue']}",
        ),
        ("CO2", f"{found['energy']['co2_kg']:,.4g} kg", found["energy"]["sources"]["grid"]),
    ]
    dollars = [None if one["micros"] is None else one["micros"] / 1e6 for one in (rented, owned)]
    lines.append((say("advice", "建议"), "", machine_advice(slow["total_s"], *dollars)))
    return [{"what": what, "value": value, "source": source} for what, value, source in lines]


def _accuracy(context: Context, as_json: bool) -> None:
    """How far the predictions of this shop were off."""
    from mofang.fit.planning.learnt import accuracy

    rows = accuracy(context.shop)
    if as_json:
        click.echo(orjson.dumps(rows, option=orjson.OPT_INDENT_2).decode())
        return
    if not rows:
        context.say("No run of this shop was predicted yet: train one.", "这个模坊还没有预测过的运行：请先训练一次。")
        return
    shown = [
        {
            "family": row["family"] or say("all", "全部"),
            "runs": row["runs"],
            **{name: f"{row[name]:.0%}" for name in ("median_s", "worst_s", "median_mb", "worst_mb")},
        }
        for row in rows
    ]
    context.table(
        shown,
        {
            "family": say("family", "模型族"),
            "runs": say("runs", "次数"),
            "median_s": say("time, median error", "时间误差中位数"),
            "worst_s": say("worst", "最大"),
            "median_mb": say("memory, median error", "内存误差中位数"),
            "worst_mb": say("worst", "最大"),
        },
    )
