"""The Open Inference Protocol, spoken by its stock client, and by hands that get it wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from bench._noop_server import stock

from mofang.core.shop import Shop
from tests.web.serving import Fixed, Serving

triton = pytest.importorskip("tritonclient.http")


def score(records: Any) -> list[dict[str, Any]]:
    """An answer that tells which text it belongs to."""
    return [{"label": "pos" if "好" in record["text"] else "neg",
             "scores": {"neg": round(1 - len(record["text"]) / 100, 2), "pos": round(len(record["text"]) / 100, 2)}}
            for record in records]


@pytest.fixture(scope="module")
def sold(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return stock(tmp_path_factory.mktemp("oip") / "sold")


@pytest.fixture(scope="module")
def server(sold: Shop) -> Iterator[Serving]:
    serving = Serving(sold, {"noop@1": Fixed(score), "noop@2": Fixed(score)})
    yield serving
    serving.stop()
    assert sold.journals.verify() == []


@pytest.fixture
def auth(sold: Shop) -> dict[str, str]:
    return {"authorization": "Bearer " + (sold.path / "live").read_text()}


@pytest.fixture
def client(server: Serving) -> Iterator[Any]:
    made = triton.InferenceServerClient(f"127.0.0.1:{server.port}")
    yield made
    made.close()


def uses(sold: Shop) -> list[dict[str, Any]]:
    return [row.body for row in sold.journals.rows("usage") if row.kind == "use"]


def texts(*values: str) -> np.ndarray:
    return np.array([value.encode() for value in values], dtype=object)


def test_health_and_metadata(client: Any, auth: dict[str, str]) -> None:
    assert client.is_server_live() and client.is_server_ready()
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    assert client.is_model_ready("noop", headers=auth) and not client.is_model_ready("noop")
    about = client.get_model_metadata("noop", "1", headers=auth)
    assert about["versions"] == ["1", "2"] and about["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": [-1]}]
    assert [(one["name"], one["datatype"], one["shape"]) for one in about["outputs"]] == [
        ("label", "BYTES", [-1]), ("scores", "FP32", [-1, 2])]
    assert json.loads(about["outputs"][1]["parameters"]["labels"]) == ["neg", "pos"]


@pytest.mark.parametrize("binary", [True, False])
def test_the_stock_client_gets_its_answers_and_they_are_charged(client: Any, auth: dict[str, str], sold: Shop, binary: bool) -> None:
    before = len(uses(sold))
    given = triton.InferInput("text", [3], "BYTES")
    given.set_data_from_numpy(texts("很好", "bad", "好" * 40), binary_data=binary)
    wanted = [triton.InferRequestedOutput(name, binary_data=binary) for name in ("label", "scores")]
    got = client.infer("noop", [given], outputs=wanted, headers=auth, request_id="mine", model_version="1")
    assert [one.decode() if isinstance(one, bytes) else one for one in got.as_numpy("label")] == ["pos", "neg", "pos"]
    assert np.allclose(got.as_numpy("scores")[:, 1], [0.02, 0.03, 0.4])
    told = got.get_response()
    assert (told["id"], told["model_name"], told["model_version"]) == ("mine", "noop", "1")
    row = uses(sold)[-1]
    assert len(uses(sold)) == before + 1
    assert (row["request_id"], row["units"], row["model"]) == (told["parameters"]["request_id"], 3, "noop@1")


def test_a_retry_is_replayed_in_binary_too(client: Any, auth: dict[str, str], sold: Shop) -> None:
    before = len(uses(sold))
    answers = []
    for _ in range(2):
        given = triton.InferInput("text", [1], "BYTES")
        given.set_data_from_numpy(texts("很好"))
        answers.append(client.infer("noop", [given], headers={**auth, "idempotency-key": "oip-1"}, outputs=[
            triton.InferRequestedOutput("scores", binary_data=True)]))
    assert answers[0].as_numpy("scores").tolist() == answers[1].as_numpy("scores").tolist() and len(uses(sold)) == before + 1


def infer(server: Serving, auth: dict[str, str], body: Any, **headers: str) -> Any:
    return server.call("POST", "/v2/models/noop/infer", body, **auth, **headers)


GOOD = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["很好"]}]}


@pytest.mark.parametrize(("change", "status", "code"), [
    ({"inputs": []}, 400, "tensor-wrong"), ({"inputs": "x"}, 400, "tensor-wrong"), ({}, 400, "tensor-wrong"),
    ({"inputs": [{"name": "text", "datatype": "BYTES", "shape": [2], "data": ["a"]}]}, 400, "tensor-wrong"),
    ({"inputs": [{"name": "text", "datatype": "BYTES", "shape": [-1], "data": ["a"]}]}, 400, "tensor-wrong"),
    ({"inputs": [{"name": "text", "datatype": "FP99", "shape": [1], "data": [1]}]}, 400, "tensor-wrong"),
    ({"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1 << 40], "data": []}]}, 400, "tensor-wrong"),
    ({"inputs": [{"name": "txet", "datatype": "BYTES", "shape": [1], "data": ["a"]}]}, 422, "input-unknown"),
    ({"inputs": [{"name": "text", "datatype": "INT64", "shape": [1], "data": [3]}]}, 422, "value-wrong-type"),
    ({**GOOD, "outputs": [{"name": "logits"}]}, 400, "tensor-wrong"),
    ({"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 9}}]}, 400, "tensor-wrong")])
def test_what_is_wrong_is_said_and_costs_nothing(server: Serving, auth: dict[str, str], sold: Shop, change: Any, status: int,
                                                 code: str) -> None:
    before = len(uses(sold))
    told = infer(server, auth, change)
    assert told.status < 500 and (told.json["code"] == code), told.json
    assert isinstance(told.json["error"], str) and len(uses(sold)) == before


def test_binary_tensors_that_lie_about_their_length(server: Serving, auth: dict[str, str]) -> None:
    def ask(size: int, tail: bytes, length: str | None = None) -> Any:
        head = json.dumps({"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1],
                                       "parameters": {"binary_data_size": size}}]}).encode()
        return infer(server, auth, head + tail, **{"inference-header-content-length": length or str(len(head))})

    good = (6).to_bytes(4, "little") + "很好".encode()
    assert ask(10, good).json["outputs"][0]["data"] == ["pos"]
    for size, tail in ((10, good + b"x"), (9, good[:9]), (10, b"\xff\xff\xff\xff" + good[4:]), (10, good[:4] + b"\xff" * 6)):
        assert ask(size, tail).json["code"] == "tensor-wrong"
    assert ask(10, good, "99999").json["code"] == "tensor-wrong" and ask(10, good, "-1").json["code"] == "tensor-wrong"


def test_without_a_key_only_health_is_open(server: Serving, auth: dict[str, str]) -> None:
    for path in ("/v2/models/noop", "/v2/models/noop/ready", "/v2/models/noop/versions/1"):
        assert server.call("GET", path).status == 401
    assert server.call("POST", "/v2/models/noop/infer", GOOD).json["code"] == "key-missing"
    assert infer(server, auth, GOOD, accept_language="zh").json["outputs"][0]["data"] == ["pos"]
    assert "密钥" in server.call("POST", "/v2/models/noop/infer", GOOD, accept_language="zh").json["error"]
    assert server.call("GET", "/v2/models/nothing", **auth).status == 404
