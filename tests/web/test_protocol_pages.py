"""docs/protocols.md is walked: its curl and Python blocks run against a server, as they stand."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from bench._noop_server import stock

from mofang.trade.pricing.prices import price_set
from tests.web.serving import Fixed, Serving
from tests.web.test_oip import score

PAGE = Path(__file__).resolve().parents[2] / "docs" / "protocols.md"


@pytest.mark.skipif(not shutil.which("curl"), reason="the page uses curl")
def test_the_page_is_true(tmp_path: Path) -> None:
    pytest.importorskip("tritonclient.grpc")
    sold = stock(tmp_path / "sold")
    sold.act(price_set, model="reviews", price="5.00/1000")
    server = Serving(sold, {"reviews@1": Fixed(score)}, grpc=True)
    assert server.grpc is not None
    known = {"AT": f"http://127.0.0.1:{server.port}", "GRPC": f"127.0.0.1:{server.grpc.port}", "KEY": (sold.path / "live").read_text()}
    try:
        blocks = re.findall(r"```(bash|python)\n(.*?)```", PAGE.read_text(encoding="utf-8").split("## 中文")[0], re.DOTALL)
        for kind, block in blocks:
            command = ["bash", "-euc", block] if kind == "bash" else [sys.executable, "-c", block]
            told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False,
                                  env={**os.environ, **known})
            assert told.returncode == 0 and '"error"' not in told.stdout, (block, told.stdout, told.stderr)
    finally:
        server.stop()
    rows = [row.body for row in sold.journals.rows("usage") if row.kind == "use"]
    assert len(blocks) == 5 and [row["units"] for row in rows] == [1, 2, 1, 1, 2, 1] and all(row["micros"] for row in rows)
