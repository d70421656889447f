"""The same protocol over gRPC, spoken by its stock client."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from bench._noop_server import stock

from mofang.core.shop import Shop
from tests.web.serving import Fixed, Serving
from tests.web.test_oip import score, texts, uses

triton = pytest.importorskip("tritonclient.grpc")


@pytest.fixture(scope="module")
def sold(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return stock(tmp_path_factory.mktemp("grpc") / "sold")


@pytest.fixture(scope="module")
def client(sold: Shop) -> Iterator[Any]:
    serving = Serving(sold, {"noop@1": Fixed(score)}, grpc=True)
    assert serving.grpc is not None
    made = triton.InferenceServerClient(f"127.0.0.1:{serving.grpc.port}")
    yield made
    made.close()
    serving.stop()
    assert sold.journals.verify() == []


def auth(sold: Shop, **more: str) -> dict[str, str]:
    return {"authorization": "Bearer " + (sold.path / "live").read_text(), **more}


def ask(client: Any, headers: dict[str, str], *values: str, name: str = "text", **more: Any) -> Any:
    given = triton.InferInput(name, [len(values)], "BYTES")
    given.set_data_from_numpy(texts(*values))
    return client.infer(more.pop("model", "noop"), [given], headers=headers, **more)


def test_health_metadata_and_answers(client: Any, sold: Shop) -> None:
    assert client.is_server_live() and client.is_server_ready() and client.get_server_metadata().name == "mofang"
    assert client.is_model_ready("noop", headers=auth(sold))
    about = client.get_model_metadata("noop", headers=auth(sold))
    assert [(one.name, one.datatype) for one in about.outputs] == [("label", "BYTES"), ("scores", "FP32")]
    got = ask(client, auth(sold), "很好", "bad", request_id="mine", client_timeout=20)
    assert [one.decode() for one in got.as_numpy("label")] == ["pos", "neg"]
    assert np.allclose(got.as_numpy("scores")[:, 1], [0.02, 0.03]) and got.get_response().id == "mine"
    row = uses(sold)[-1]
    assert got.get_response().parameters["request_id"].string_param == row["request_id"] and row["units"] == 2


def test_retries_are_charged_once(client: Any, sold: Shop) -> None:
    before = len(uses(sold))
    first, again = (ask(client, auth(sold, **{"idempotency-key": "g-1"}), "很好").get_response() for _ in range(2))
    assert first == again and len(uses(sold)) == before + 1


@pytest.mark.parametrize(("headers", "more", "status", "words"), [
    ({"authorization": ""}, {}, "UNAUTHENTICATED", "key"), ({"authorization": "Bearer 密".encode().decode("latin-1")}, {}, "", ""),
    (None, {"model": "nop"}, "NOT_FOUND", "noop"), (None, {"name": "txet"}, "INVALID_ARGUMENT", "txet"),
    ({"accept-language": "zh"}, {"model": "nop"}, "NOT_FOUND", "模型")])
def test_refusals_have_a_status_and_words(client: Any, sold: Shop, headers: dict[str, str] | None, more: dict[str, str], status: str,
                                          words: str) -> None:
    before = len(uses(sold))
    with pytest.raises(Exception) as caught:
        ask(client, {**auth(sold), **(headers or {})}, "a", **more)
    if status:
        assert caught.value.status() == f"StatusCode.{status}" and words in caught.value.message()
    assert len(uses(sold)) == before


def test_messages_need_no_generated_code_and_no_torch() -> None:
    code = "import sys, mofang.web.grpc, mofang.web.messages as m; m.messages(); print([n for n in sys.modules if 'torch' in n or 'triton' in n])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert found.stdout.strip() == "[]"
