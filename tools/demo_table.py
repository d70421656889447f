"""Writes the figures of a demo run into both READMEs: ``python tools/demo_table.py [demo-shop/demo.json] | --check``.

The run's own record lies in bench/results/demo.json, so that a figure in the README can be traced to it.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RECORD = ROOT / "bench" / "results" / "demo.json"
BEGIN, END = "<!-- demo:begin -->", "<!-- demo:end -->"


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
         f"{best['engine']}, {best['threads']} × batch {best['batch']}: {best['samples_per_s']:,.0f} " + pick("samples/s", "条/秒")),
        (pick("answered, metered, billed", "应答、计量、计费"),
         f"{facts['requests']} → ¥{facts['invoice_total_micros'] / 1e6:.2f}"),
        (pick("the whole demo, two cores", "整个演示，两核"), f"{facts['demo_seconds']} s"),
    ]


def block(facts: dict[str, Any], chinese: bool) -> str:
    """The table between the two marks."""
    lines = [f"| {label} | {value} |" for label, value in rows(facts, chinese)]
    return "\n".join([BEGIN, "| | |", "|---|---|", *lines, END])


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
        new = re.sub(f"{BEGIN}.*?{END}", lambda _, chinese=chinese: block(facts, chinese), text, flags=re.DOTALL)
        if new != text:
            stale += 1
            if not check:
                (ROOT / name).write_text(new, encoding="utf-8")
    if check and stale:
        print("README figures differ from bench/results/demo.json: run `python tools/demo_table.py`.")
    return int(check and stale > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
