"""Every task's model can be asked without Mofang: the example in an export gives the answers of the served model."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from mofang.core.shop import Shop
from mofang.takeout import take_out
from tests.contract.world import World


def test_the_exported_example_answers_as_the_model_does(world: World, tmp_path: Path) -> None:
    shutil.copytree(world.shop.path, tmp_path / "shop")
    shop = Shop.open(tmp_path / "shop")
    shop.name("sold", shop.find(world.made["package"].entry))
    place = take_out(shop, tmp_path / "out").place / "models" / "sold@1"
    for program in ("example.py", "encode.py"):
        text = (place / program).read_text(encoding="utf-8")
        imported = {name.name for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import) for name in node.names}
        assert imported and "mofang" not in text.partition('"""\n')[2], program
    assert len((place / "example.py").read_text(encoding="utf-8").splitlines()) <= 24
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([sys.executable, "example.py"], cwd=place, env=environment, capture_output=True, text=True, timeout=60,
                          check=False)
    assert done.returncode == 0 and "questions answered as recorded" in done.stdout, done.stderr
    recorded = json.loads((place / "canonical.jsonl").read_text(encoding="utf-8").splitlines()[0])
    request, label = recorded["request"], recorded["answer"]["label"]
    if world.task == "image_classification":
        import base64

        given = str(tmp_path / "picture.png")
        Path(given).write_bytes(base64.b64decode(request["image"]))
    else:
        given = request["text"] if world.task == "text_classification" else json.dumps(request)
    done = subprocess.run([sys.executable, "example.py", given], cwd=place, env=environment, capture_output=True, text=True,
                          timeout=60, check=False)
    assert done.returncode == 0 and done.stdout.startswith(f"{label} {{"), done.stderr
