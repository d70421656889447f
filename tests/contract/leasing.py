"""What a shop can sell, a lease can hold: one model of any kind, leased, run in another folder, and counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mofang.engine.task import task_named
from mofang.trade.leases.runner import Leased
from mofang.web.leased import ROUTES, LeasedApp, LeaseDesk
from tests.stories.terminal import Inside, Terminal
from tests.web.serving import InThread

NEAR = 5e-3  # a mark moves weights by thousandths of their spread


class Running(InThread):
    """The runner's application in this process."""

    def __init__(self, leased: Leased) -> None:
        super().__init__()
        self.desk = LeaseDesk(leased, leased.licence.model)
        self.begin(LeasedApp(self.desk, routes=ROUTES))  # type: ignore[arg-type]

    def post(self, path: str, body: Any) -> tuple[int, Any]:
        """Status and body of a request."""
        import http.client

        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("POST", path, json.dumps(body).encode(), {"content-type": "application/json"})
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()


def check_leased(seller: Terminal, model: str, task: str, rows: list[dict[str, Any]], folder: Path,
                 monkeypatch: pytest.MonkeyPatch) -> None:
    """Lease a model, ask the copy by command line and HTTP: the answers of the seller's own, each unit counted once."""
    monkeypatch.setenv("MOFANG_LEASES", str(folder / "home"))
    away, file = Inside(folder / "away"), folder / "away" / "m.lease"
    made = seller.type("lease", "new", model, "--to", "tester", "--until", "9d", "--out", str(file), "--yes", "--json").json
    typed = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    own = [json.loads(line) for line in seller.type("predict", model, "-", "--json", given=typed).out.splitlines()]
    told = away.type("lease", "predict", "m.lease", "-", "--code", made["code"], given=typed).out
    answers = [json.loads(line) for line in told.splitlines()]
    assert len(answers) == len(own) == len(rows)
    for answer, wanted in zip(answers, own, strict=True):
        assert alike(answer, {name: wanted[name] for name in answer}), (answer, wanted)
    counted = away.type("lease", "report", "m.lease", "--json").json
    leased = Leased(file)
    assert counted["units"] == sum(task_named(task).units(leased.model.parse(row)[0][0]) for row in rows) > 0
    running = Running(leased)
    try:
        status, body = running.post(f"/v1/predict/{model}", {"records": rows})
        assert status == 200 and body["units"] == counted["units"] and alike(body["answers"], answers)
        status, body = running.post("/v1/embeddings", {"model": model, "input": ["a text", "another"]})
        if task == "text_embedding":
            assert status == 200 and len(body["data"]) == 2 and leased.units == counted["units"] + 2
        else:
            assert status == 404 and body["error"]["mofang_code"] == "model-other-task"
        status, body = running.post("/v1/chat/completions", {"model": model, "messages": [{"role": "user", "content": "x"}]})
        assert status == 404 and body["error"]["mofang_code"] == "model-other-task"
        assert running.post(f"/v1/predict/{model}", {"nothing": "x"})[0] >= 400
    finally:
        running.stop()
    assert away.type("lease", "check", "m.lease", "--json").json["opens"]


def alike(one: Any, other: Any) -> bool:
    """Whether two answers say the same, their numbers nearly."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(alike(one[name], other[name]) for name in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(alike(*both) for both in zip(one, other, strict=True))
    return abs(one - other) <= NEAR * max(1, abs(other)) if isinstance(one, float) and other is not None else bool(one == other)
