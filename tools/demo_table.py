"""Writes the figures of a demo run into both READMEs: ``python tools/demo_table.py [demo-shop/demo.json] | --check``.

The run's own record lies in bench/results/demo.json, so that a figure in the README can be traced to it.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any
from unicodedata import east_asian_width

ROOT = Path(__file__).resolve().parent.parent
RECORD = ROOT / "bench" / "results" / "demo.json"
BLOCKS = ("screen", "demo")


def rows(facts: dict[str, Any], chinese: bool) -> list[tuple[str, str]]:
    """What a reader wants to know of the run, as label and value."""
    def pick(en: str, zh: str) -> str:
        return zh if chinese else en

    metric = facts["headline"]
    found, base = facts["metrics"][metric], facts["baseline"][metric]
    tried = ", ".join(f"{one['family']} {one['validation']:.3f}" if one.get("validation") is not None else
                      f"{one['family']} ({one['status']})" for one in facts["candidates"])
    best = max((row for row in facts["engines"] if row.get("passes")), key=lambda row: row["samples_per_s"])
    dropped = ", ".join(f"{name} {count:,}" for name, count in facts["dropped"].items())
    return [
        (pick("left out while cleaning, each with its reason", "清洗时剔除，逐条留有原因"), dropped),
        (pick("candidates, accuracy on the validation part", "候选及其验证集准确率"), tried),
        (pick(f"test {metric}, 95 % interval", f"测试集 {metric}，95% 区间"),
         f"**{found['value']:.3f}** [{found['low']:.3f}, {found['high']:.3f}], "
         + pick(f"TF-IDF + logistic regression on the same split: {base['value']:.3f}", f"同一切分上的 TF-IDF + 逻辑回归：{base['value']:.3f}")),
        (pick("fastest engine that passed parity", "通过一致性校验的最快引擎"),
         f"{best['engine']} {best.get('precision', 'fp32')}, {best['threads']} × batch {best['batch']}: {best['samples_per_s']:,.0f} " + pick("samples/s", "条/秒")),
        (pick("answered, metered, billed", "应答、计量、计费"),
         f"{facts['requests']} → ¥{facts['invoice_total_micros'] / 1e6:.2f}"),
        (pick("the whole demo, two cores", "整个演示，两核"), f"{facts['demo_seconds']} s"),
    ]


def commands(facts: dict[str, Any], chinese: bool) -> list[tuple[str, str]]:
    """The first screen: each command of the founder's first day, and what it said in the demo."""
    def pick(en: str, zh: str) -> str:
        return zh if chinese else en

    screen, metric = facts["screen"], facts["headline"]
    found, base = facts["metrics"][metric], facts["baseline"][metric]
    earned, billed = (f"¥{micros / 1e6:.2f}" for micros in (screen["earned_today_micros"], facts["invoice_total_micros"]))
    sure = max(screen["said"]["scores"].values())
    figures = f"{found['value']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"
    return [
        ("new reviews.csv", pick(f"looks: {screen['rows']:,} records, {screen['classes']} classes; writes a recipe, reviews.py",
                                 f"查看：{screen['rows']:,} 条记录，{screen['classes']} 个类别；写出配方 reviews.py")),
        ("run reviews.py", pick(f"test {metric} {figures} (baseline {base['value']:.3f})",
                                f"测试集 {metric} {figures}（基线 {base['value']:.3f}）")),
        ('predict reviews "房间很干净"', pick(f"{screen['said']['label']} {sure:.3f}; no server, no key",
                                              f"{screen['said']['label']} {sure:.3f}；不需要服务器和密钥")),
        ("serve reviews", pick("every answer is metered before it leaves; now in a second terminal:",
                               "每个回答发出之前先记账；下面换一个终端：")),
        ("sell reviews --to 示范书店 --price 5.00/1000", pick("customer, price and key in one; the key is shown once",
                                                          "客户、价格、密钥一步完成；密钥只显示一次")),
        ("", pick(f"the day on one screen: {facts['requests']} requests, {earned} earned",
                  f"一屏看完今天：{facts['requests']} 次请求，收入 {earned}")),
        ("invoice 示范书店 --early", pick(f"{screen['invoice']}, {billed}: PDF and JSON, each line traceable",
                                      f"{screen['invoice']}，{billed}：PDF 和 JSON，每一行都可追溯")),
    ]


def block(name: str, facts: dict[str, Any], chinese: bool) -> str:
    """What stands between the two marks of a block."""
    if name == "screen":
        pairs = commands(facts, chinese)
        width = max(_width(command) for command, _ in pairs)
        lines = [f"./mofang {command}{' ' * (width - _width(command))}   # {words}"
                 for command, words in pairs]
        lines = ["```bash", *lines, "```"]
    else:
        lines = ["| | |", "|---|---|", *(f"| {label} | {value} |" for label, value in rows(facts, chinese))]
    return "\n".join([f"<!-- {name}:begin -->", *lines, f"<!-- {name}:end -->"])


def _width(text: str) -> int:
    """Columns on a screen: a Chinese sign takes two."""
    return sum(2 if east_asian_width(sign) in "WF" else 1 for sign in text)


def main(arguments: list[str]) -> int:
    """Write or check both READMEs."""
    check = "--check" in arguments
    sources = [one for one in arguments if not one.startswith("--")]
    if sources:
        RECORD.parent.mkdir(parents=True, exist_ok=True)
        RECORD.write_text(Path(sources[0]).read_text(encoding="utf-8"), encoding="utf-8")
    facts = json.loads(RECORD.read_text(encoding="utf-8"))
    stale = 0
    for name, chinese in (("README.md", False), ("README.zh.md", True)):
        text = (ROOT / name).read_text(encoding="utf-8")
        new = text
        for kind in BLOCKS:
            made = block(kind, facts, chinese)
            new = re.sub(f"<!-- {kind}:begin -->.*?<!-- {kind}:end -->", lambda _, made=made: made, new, flags=re.DOTALL)
        if new != text:
            stale += 1
            if not check:
                (ROOT / name).write_text(new, encoding="utf-8")
    if check and stale:
        print("README figures differ from bench/results/demo.json: run `python tools/demo_table.py`.")
    return int(check and stale > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
