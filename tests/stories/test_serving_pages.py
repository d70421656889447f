"""Three models of three tasks and one that writes, served by one process and asked by every protocol; docs/serve.md and the
commands of docs/chat.md as they are typed."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest

from mofang.core.shop import Shop
from mofang.web.keeping import write_figures
from tests.contract.world import SHORT, write_images, write_table, write_texts
from tests.serve.talkers import package_folder, talker
from tests.stories.terminal import Inside

DOCS = Path(__file__).resolve().parents[2] / "docs"
COLUMNS = ("年龄", "收入", "城市")


@dataclass
class Served:
    """A running server, and where it answers."""

    address: str
    admin: str = ""
    grpc: str = ""


@dataclass
class House:
    """A shop with four models, a customer's key, and a record for each model."""

    terminal: Inside
    key: str
    raw: dict[str, dict[str, Any]]

    @contextmanager
    def served(self, *words: str) -> Iterator[Served]:
        """``mofang serve …`` for a while."""
        running = self.terminal.start("serve", *words, start_new_session=True)
        try:
            assert running.stdout is not None
            said = running.stdout.readline()
            for option in ("--admin-port", "--grpc-port"):
                said += running.stdout.readline() if option in words else ""
            found = {name: (re.findall(rule, said) or [""])[0] for name, rule in (
                ("address", r"Serving on (http://[\d.:]+)"), ("admin", r"metrics +(http://[\d.:]+)"), ("grpc", r"gRPC +([\d.:]+)"))}
            assert found["address"], said + running.communicate()[1]
            yield Served(**found)
        finally:
            running.terminate()
            _, err = running.communicate(timeout=60)
            assert "Traceback" not in err, err


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    from mofang.recipe import collect, evaluate, export, package, snapshot, train

    terminal = Inside(tmp_path_factory.mktemp("house"))
    shop, folder = Shop.open(terminal.shop), terminal.folder
    raw = {"reviews": write_texts(folder / "texts.csv", 80), "digits": write_images(folder / "images", 60),
           "loans": write_table(folder / "table.csv", 100), "chat": {"prompt": "你好"}}
    tasks: dict[str, tuple[str, str, dict[str, Any], tuple[str, ...], Any]] = {
        "reviews": ("text_classification", "texts.csv", {"label": "label", "text": ("text",)}, ("text",), "linear"),
        "digits": ("image_classification", "images", {}, ("image",), {"tag": "mlp", "epochs": 2}),
        "loans": ("table_classification", "table.csv", {"label": "违约", "numbers": COLUMNS[:2], "categories": COLUMNS[2:]}, COLUMNS,
                  "xgboost")}
    for name, (task, source, given, inputs, family) in tasks.items():
        records = shop.run(collect, source=str(folder / source), licence="own", origin="tests", **given)
        data = shop.run(snapshot, records, task=task, label=given.get("label", "label"), inputs=inputs, test=0.2, validation=0.2)
        graph = shop.run(export, shop.run(train, data, family=family))
        shop.name(name, shop.run(package, graph, shop.run(evaluate, graph, data / "test", resamples=10), **SHORT))
    shop.name("chat", shop.run(talker, folder=str(package_folder(folder / "talker"))))
    key = ""
    for name in raw:
        sold = terminal.type("sell", name, "--to", "Example", "--price", "5.00/1000", "--yes", "--json").json
        key = key or sold["token"]
    return House(terminal, key, raw)


def by_oip(raw: dict[str, Any]) -> dict[str, Any]:
    """A record as the Open Inference Protocol carries it in JSON."""
    inputs = []
    for name, value in raw.items():
        number = isinstance(value, int | float)
        inputs.append({"name": name, "shape": [1], "datatype": "FP64" if number else "BYTES", "data": [value]})
    return {"inputs": inputs}


def by_grpc(address: str, key: str, model: str, raw: dict[str, Any]) -> dict[str, Any]:
    """The same record over gRPC, with Triton's client; the outputs by name."""
    import base64

    triton = pytest.importorskip("tritonclient.grpc")
    client, inputs = triton.InferenceServerClient(address), []
    for name, value in raw.items():
        number = isinstance(value, int | float)
        one = triton.InferInput(name, [1], "FP64" if number else "BYTES")
        sent = base64.b64decode(value) if name == "image" else value if number else str(value).encode()
        one.set_data_from_numpy(np.array([sent], dtype=np.float64 if number else object))
        inputs.append(one)
    told = client.infer(model, inputs, headers={"authorization": f"Bearer {key}"})
    found = {one.name: told.as_numpy(one.name) for one in told.get_response().outputs}
    client.close()
    return found


def test_every_model_answers_by_every_protocol(house: House) -> None:
    """`mofang serve` without a name: all models of the shop, in one process."""
    with house.served("--port", "0", "--grpc-port", "0", "--admin-port", "0") as at:
        head = {"authorization": f"Bearer {house.key}"}
        client = httpx.Client(base_url=at.address, headers=head, timeout=60)
        asked: dict[str, str] = {}
        for model in ("reviews", "digits", "loans"):
            raw = house.raw[model]
            plain = client.post(f"/v1/predict/{model}", json=raw).json()
            label = plain["answer"]["label"]
            assert plain["model"] == f"{model}@1" and plain["units"] == 1 and plain["price"] not in ("0", "")
            many = client.post(f"/v1/predict/{model}", json={"records": [raw, raw]}).json()
            assert [one["label"] for one in many["answers"]] == [label] * 2
            assert client.get(f"/v2/models/{model}/ready").status_code == 200
            answer = client.post(f"/v2/models/{model}/infer", json=by_oip(raw))
            told, asked[model] = answer.json(), answer.headers["mofang-request-id"]
            assert next(one["data"] for one in told["outputs"] if one["name"] == "label") == [label], told
            assert [one.decode() for one in by_grpc(at.grpc, house.key, model, raw)["label"]] == [label]
            about = client.get(f"/v2/models/{model}").json()
            assert [one["name"] for one in about["inputs"]] == list(raw)
        stock = openai.OpenAI(base_url=f"{at.address}/v1", api_key=house.key, max_retries=0)
        assert {one.id for one in stock.models.list()} >= set(house.raw)
        said = stock.chat.completions.create(model="chat", messages=[{"role": "user", "content": "你好"}], temperature=0, max_tokens=6)
        written = stock.completions.create(model="chat", prompt="你好", temperature=0, max_tokens=6)
        assert said.usage is not None and written.usage is not None and said.model == written.model == "chat@1"
        assert "text" in client.post("/v1/predict/chat", json=house.raw["chat"]).json()["answer"]
        for model in ("reviews", "digits", "loans"):  # no conversation with a classifier
            with pytest.raises(openai.NotFoundError) as other:
                stock.chat.completions.create(model=model, messages=[{"role": "user", "content": "你好"}])
            assert other.value.code == "model_not_found"
        metrics = httpx.get(f"{at.admin}/metrics").text
        assert all(f'model="{model}@1"' in metrics for model in house.raw)
        client.close()
    for model, request in asked.items():  # each answer is looked into, whatever the protocol
        (house.terminal.folder / "body.json").write_text(json.dumps(by_oip(house.raw[model])), encoding="utf-8")
        found = house.terminal.type("replay", request, "--input", "body.json", "--json").json
        assert (found["input"], found["equal"], found["model"]) == ("same", True, f"{model}@1")
    rows = [row.body for row in Shop.open(house.terminal.shop, make=False).journals.rows("usage") if row.kind == "use"]
    assert len(rows) == 3 * 4 + 3 and sum(row["units"] for row in rows[:12]) == 3 * 5 and all(row["micros"] for row in rows)


def bash(page: str, kind: str) -> list[str]:
    """The lines of a page's shell blocks, of its English half."""
    text = (DOCS / page).read_text(encoding="utf-8").split("## 中文")[0]
    return [line for block in re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]


def free(words: list[str]) -> list[str]:
    """The same words with free ports in place of the page's, which somebody else may have."""
    return [("0" if before.endswith("-port") or before == "--port" else word) for before, word in zip(["", *words], words, strict=False)]


def test_the_page_of_serving_is_true(house: House) -> None:
    typed = 0
    lines = bash("serve.md", "bash")
    admin = next(line for line in lines if line.startswith("mofang serve") and "--admin-port" in line)
    for line in lines:
        words = shlex.split(line)
        typed += 1
        if words[:2] == ["mofang", "serve"]:
            more = [] if "--port" in words else ["--port", "0"]
            with house.served(*free(words[2:]), *more) as at:
                assert httpx.get(f"{at.address}/health").json()["status"] == "ok"
                assert httpx.get(f"{at.address}/metrics").status_code == 404
        elif words[0] == "curl":
            house.terminal.type("jobs", "run", "reconcile")
            write_figures(Shop.open(house.terminal.shop))  # as the process beside a server does
            with house.served(*free(shlex.split(admin)[2:])) as at:
                asked = re.sub(r"http://127\.0\.0\.1:9090", at.admin, line)
                said = subprocess.run(["bash", "-euc", asked], capture_output=True, text=True, timeout=30, check=True).stdout
            table = (DOCS / "serve.md").read_text(encoding="utf-8").split("| metric |")[1].split("\n\n")[0]
            named = set(re.findall(r"`((?:mofang|process)_[a-z_]+)`", table))
            missing = {name for name in named if f"# TYPE {name} " not in said} - {"mofang_processes"}
            assert named and not missing, missing
        else:
            assert "Acme" in house.terminal.type(*words[1:]).out
    assert typed == 5


@pytest.mark.cluster
def test_the_commands_of_the_page_on_chat_are_true(tmp_path: Path) -> None:
    """From a trained generator, as docs/generate.md leaves it (fewer rounds here), to an answer."""
    rows = [f"{word} {number},{sign}" for number in range(60) for word, sign in (("three", "三"), ("two", "二"), ("six", "六"))]
    (tmp_path / "words.csv").write_text("\n".join(["prompt,completion", *rows, ""]), encoding="utf-8")
    terminal = Inside(tmp_path)
    for line in bash_console("generate.md")[:3]:
        words = re.sub(r"--family\.epochs \d+", "--family.epochs 2", line)
        terminal.type(*shlex.split(words)[1:])
    key, answered = "", False
    for line in bash("chat.md", "sh"):
        words = shlex.split(line)[1:]
        if words[0] != "serve":
            done = terminal.type(*words, *(["--seconds", "0.02"] if words[:2] == ["stage", "package"] else []))
            key = next((word for word in done.out.split() if word.startswith("mf_live_")), key)
            continue
        with House(terminal, key, {}).served(*words[1:], "--port", "0") as at:
            code = (DOCS / "chat.md").read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
            exec(compile(code.replace("http://127.0.0.1:8080", at.address), "chat.md", "exec"), {"KEY": key})  # noqa: S102
            answered = True
    assert answered
    until = time.monotonic() + 5
    while not (used := terminal.type("status", "--json").json["requests_today"]) and time.monotonic() < until:
        time.sleep(0.1)
    assert used == 2 and json.loads(terminal.type("price", "list", "--json").out)[0]["model"] == "chat"


def bash_console(page: str) -> list[str]:
    """The commands of a page's console blocks."""
    text = (DOCS / page).read_text(encoding="utf-8").split("## 中文")[0]
    return re.findall(r"^\$ (mofang .*)$", "\n".join(re.findall(r"```console\n(.*?)```", text, re.DOTALL)), re.M)
