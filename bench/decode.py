"""Decoding, one answer at a time: our int4, int8 and float32 beside transformers, CTranslate2 and ORT GenAI on the same weights.

make bench-decode: a Llama-type model of 12 x 768 (109.5 million weights of chance: for speed alone), 32 tokens read and 64 written,
greedily; every arm in a process of its own, in interleaved rounds; medians with their spread. ARGS=--quick measures our own side.
`--part quality --shop SHOP --model NAME` prints what each precision of a packaged generator loses in bits per byte of its validation
answers (`mofang package` measured it); a model that was really trained belongs there. Peers get an environment of their own below
.peers/; CTranslate2's converter borrows torch and transformers from ours. Writes bench/results/decode.md.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import sysconfig
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PEERS = ROOT / ".peers" / "decode"
PACKAGES = ("ctranslate2==4.8.5", "numpy>=2", "pyyaml", "setuptools")
RESULTS = ROOT / "bench" / "results" / "decode.md"
WORK = ROOT / ".peers" / "decode-model"
OWN = ("own-int4", "own-int8", "own-fp32")
ELSE = ("hf-bf16", "hf-fp32", "ct2-int8", "genai-int4")
GOALS = (("own-int4", "hf-bf16", 5.0), ("own-int4", "ct2-int8", 2.0), ("own-int8", "ct2-int8", 1.1), ("own-fp32", "hf-fp32", 2.4),
         ("own-int4", "genai-int4", 1.0))


def prepare() -> None:
    """Make the peers' environment, once."""
    made = PEERS / "made.json"
    if made.exists() and json.loads(made.read_text()) == list(PACKAGES):
        return
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(PEERS)], check=True, timeout=120)
    subprocess.run([uv, "pip", "install", "--quiet", "--python", str(PEERS / "bin" / "python"), *PACKAGES], check=True, timeout=600)
    made.write_text(json.dumps(list(PACKAGES)))


def run(arm: str, threads: int) -> dict[str, float]:
    """One arm in a process of its own."""
    peer = arm.startswith("ct2")
    python = str(PEERS / "bin" / "python") if peer else sys.executable
    path = sysconfig.get_paths()["purelib"] if peer else str(ROOT / "src")
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
    command = [python, str(ROOT / "bench" / "_decode_arm.py"), arm, str(WORK), str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600, check=False)
    if done.returncode:
        if arm not in ELSE:
            raise SystemExit(f"{arm} failed: {done.stderr[-1500:]}")
        print(f"{arm} is left out: {done.stderr[-1500:]}", file=sys.stderr)
        return {}
    return json.loads(done.stdout.splitlines()[-1]) if done.stdout.strip() else {}


def quality(shop: str, model: str) -> int:
    """The measured table of a packaged generator."""
    from mofang.core.shop import Shop

    about = Shop.open(Path(shop)).find(model, kind="package").read_json("package.json")
    print("form        bits/byte  loss      95 %                size MB  tokens/s  passes")
    for row in about["engines"]:
        if row["batch"] == 1 and row["threads"] == max(one["threads"] for one in about["engines"]):
            told = f"{row['loss']:+.4f}  [{row['loss_low']:+.4f}, {row['loss_high']:+.4f}]" if "loss" in row else "         -"
            print(f"{row['form']:10}  {row.get('bits_per_byte', float('nan')):9.4f}  {told:28}  {row['size_bytes'] / 2**20:7.2f}  "
                  f"{row['samples_per_s']:8.0f}  {row['passes']}")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="our own side, one round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--arms", default="", help="names, separated by commas")
    parser.add_argument("--part", choices=("speed", "quality"), default="speed")
    parser.add_argument("--shop", default="shop")
    parser.add_argument("--model", default="chat")
    given = parser.parse_args()
    if given.part == "quality":
        return quality(given.shop, given.model)
    arms = tuple(given.arms.split(",")) if given.arms else OWN if given.quick else OWN + ELSE
    if any(one.startswith("ct2") for one in arms):
        prepare()
    WORK.mkdir(parents=True, exist_ok=True)
    if not (WORK / "hf" / "model.safetensors").exists():
        run("make", given.threads)
    found: dict[str, list[dict[str, float]]] = {arm: [] for arm in arms}
    for _ in range(1 if given.quick else given.rounds):
        for arm in arms:
            told = run(arm, given.threads)
            if told:
                found[arm].append(told)
                print(arm, f"{told['tokens_per_s']:.1f} tokens/s, {told['cpu_ms_per_token']:.1f} CPU ms a token", flush=True)
    lines = ["| engine | tokens/s (least - most) | CPU ms a token | MB |", "|---|---|---|---|"]
    rates = {}
    for arm, rounds in found.items():
        if not rounds:
            lines.append(f"| {arm} | did not run | - | - |")
            continue
        told = [one["tokens_per_s"] for one in rounds]
        rates[arm] = statistics.median(told)
        cpu = statistics.median(one["cpu_ms_per_token"] for one in rounds)
        lines.append(f"| {arm} | {rates[arm]:.1f} ({min(told):.1f} - {max(told):.1f}) | {cpu:.1f} | {rounds[0]['size_mb']:.0f} |")
    short = False
    lines += ["", "| ratio | found | goal | |", "|---|---|---|---|"]
    for one, other, goal in GOALS:
        if one in rates and other in rates:
            ratio = rates[one] / rates[other]
            short |= ratio < goal
            lines.append(f"| {one} : {other} | {ratio:.2f} | >= {goal:g} | {'ok' if ratio >= goal else 'short'} |")
    table = "\n".join(lines)
    print(table)
    if not given.quick and not given.arms:
        RESULTS.write_text(f"# bench-decode, {date.today()}\n\n{__doc__}\n{given.rounds} rounds, {given.threads} threads; load average when "
                           f"done {os.getloadavg()[0]:.1f}.\n\n{table}\n", encoding="utf-8")
    return int(short)


if __name__ == "__main__":
    sys.exit(main())
