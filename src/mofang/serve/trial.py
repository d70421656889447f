"""The trial of a package from elsewhere: opened and asked all its canonical requests, in a process of its own.

Engines are native code and the graph is a stranger's: a crash, or more memory than a model of this size needs, ends the
trial and not the shop. ``python -m mofang.serve.trial FOLDER`` is that process.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson

from mofang.core.errors import MofangError

MEMORY_BYTES = 8 * 2**30  # address space, engines' own reserves included
MEMORY_PER_BYTE = 8
CPU_S = 900
WRITTEN_BYTES = 2**20


def trial(folder: Path) -> dict[str, Any]:
    """Engine, threads and batch with which the package answers on this machine as it did where it was made.

    Raises what opening and replaying raise (``parity-mismatch``, ``engine-none``, ``package-format`` …), or
    ``parcel-trial`` where the process did not survive.
    """
    words = [sys.executable, "-P", "-m", "mofang.serve.trial", str(folder.resolve())]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(one for one in sys.path if one)}
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, env=environment, check=False)
    lines = done.stdout.splitlines()
    if done.returncode != 0 or not lines:
        reason = (done.stderr.decode("utf-8", "replace").strip().splitlines() or [f"status {done.returncode}"])[-1]
        raise MofangError("parcel-trial", reason=reason[:200])
    found: dict[str, Any] = orjson.loads(lines[-1])
    if "code" in found:
        raise MofangError(found["code"], **found["values"])
    return found


def ask(folder: Path) -> dict[str, Any]:
    """Open the package as serving does, ask every canonical request, and compare the answers' words too."""
    from mofang.engine.generation.opened import TOLERANCES, Generator
    from mofang.engine.generation.opened import replay as replay_words
    from mofang.engine.opening import open_package
    from mofang.engine.replay import replay

    predictor = open_package(folder)
    lines = [orjson.loads(line) for line in (folder / "canonical.jsonl").read_bytes().splitlines()]
    if not lines:
        raise MofangError("parity-mismatch", where="canonical.jsonl", what="requests", found="0", allowed="1")
    if isinstance(predictor, Generator):
        replay_words(lines, predictor, TOLERANCES[predictor.precision])
    else:
        replay(predictor, lines)
        _same_answers(predictor, lines)
    return {**predictor.engine, "requests": len(lines), "seconds": round(predictor.load_seconds, 3)}


def _same_answers(predictor: Any, lines: list[dict[str, Any]]) -> None:
    from mofang.engine.outputs import read_rows
    from mofang.engine.replay import SHOWN, same

    records = [record for line in lines for record in predictor.parse(line["request"])[0]]
    answers = predictor.answers(read_rows([line["outputs"] for line in lines]), records)
    for number, (found, line) in enumerate(zip(answers, lines, strict=True), 1):
        if not same(found, line["answer"]):
            said, wanted = (str(one.get("label", one))[:SHOWN] for one in (line["answer"], found))
            raise MofangError("parity-mismatch", where=f"canonical request {number}", what="answer", found=said, allowed=wanted)


def limit(size_bytes: int) -> None:
    """Bound this process: address space, processor time, what it may write; no core file."""
    memory = MEMORY_BYTES + MEMORY_PER_BYTE * size_bytes
    limits = [(resource.RLIMIT_CPU, CPU_S), (resource.RLIMIT_FSIZE, WRITTEN_BYTES), (resource.RLIMIT_CORE, 0)]
    if sys.platform == "linux":
        limits.append((resource.RLIMIT_AS, memory))
    for what, most in limits:
        hard = resource.getrlimit(what)[1]
        resource.setrlimit(what, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def main(folder: Path) -> int:
    """Print what the trial came to as one line of JSON."""
    limit(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()))
    found: dict[str, Any]
    try:
        found = ask(folder)
    except MofangError as error:
        found = {"code": error.code, "values": {name: str(value) for name, value in error.values.items()}}
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, MemoryError, RuntimeError) as error:
        found = {"code": "parcel-trial", "values": {"reason": f"{type(error).__name__}: {error}"[:200]}}
    sys.stdout.write(orjson.dumps(found).decode() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
