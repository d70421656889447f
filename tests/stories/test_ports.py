"""One process and several with everything on: TLS from files, metrics for this machine alone, gRPC; each answer counted once."""

from __future__ import annotations

import http.client
import json
import re
import ssl
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mofang.core.shop import Shop
from tests.serve.parcels import make_model
from tests.stories.terminal import Inside
from tests.web.certificates import self_signed

pytestmark = pytest.mark.cluster
triton = pytest.importorskip("tritonclient.grpc")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> tuple[Inside, str, Path, Path]:
    """A shop with a model, a key, a certificate."""
    terminal = Inside(tmp_path_factory.mktemp("ports"))
    make_model(Shop.open(terminal.shop), terminal.folder)
    key = terminal.type("sell", "reviews", "--to", "Acme", "--price", "5.00/1000", "--yes", "--json").json["token"]
    return terminal, key, *self_signed(terminal.folder, "api.example.com")


def ask(port: int, key: str, certificate: Path, **headers: str) -> tuple[int, Any]:
    trusted = ssl.create_default_context(cafile=str(certificate))
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=30, context=trusted)
    connection.request("POST", "/v1/predict/reviews", json.dumps({"text": "很好"}), {"authorization": f"Bearer {key}", **headers})
    answer = connection.getresponse()
    told = answer.status, json.loads(answer.read())
    connection.close()
    return told


def plain(port: int, path: str, **headers: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    told = answer.status, answer.read().decode()
    connection.close()
    return told


@pytest.mark.parametrize("workers", ["1", "2"])
def test_every_port_answers_and_only_what_it_is_for(place: tuple[Inside, str, Path, Path], workers: str) -> None:
    terminal, key, certificate, private = place
    running = terminal.start("serve", "--workers", workers, "--port", "0", "--admin-port", "0", "--grpc-port", "0",
                             "--tls-cert", str(certificate), "--tls-key", str(private), start_new_session=True)
    try:
        assert running.stdout is not None
        said = "".join(running.stdout.readline() for _ in range(3))
        port, admin, grpc = (int(one) for one in re.findall(r"127\.0\.0\.1:(\d+)", said))
        assert f"https://127.0.0.1:{port}" in said and f"http://127.0.0.1:{admin}/metrics" in said
        assert [ask(port, key, certificate)[0] for _ in range(8)] == [200] * 8
        assert ask(port, "mf_live_wrong", certificate)[0] == 401
        client = triton.InferenceServerClient(f"127.0.0.1:{grpc}", ssl=True, root_certificates=str(certificate))
        text = triton.InferInput("text", [1], "BYTES")
        text.set_data_from_numpy(np.array(["很好".encode()], dtype=object))
        for _ in range(4):
            assert client.infer("reviews", [text], headers={"authorization": f"Bearer {key}"}).as_numpy("label").shape == (1,)
        client.close()
        time.sleep(1.2)  # each process tells of itself once a second
        status, page = plain(admin, "/metrics")
        counted = sum(int(one) for one in re.findall(r'^mofang_request_seconds_count\{model="reviews@1"\} (\d+)$', page, re.M))
        assert status == 200 and counted >= 8 and re.findall(r'^mofang_refused_total\{code="key-[a-z]+"\} (\d+)$', page, re.M), page
        assert ("mofang_processes" in page) == (workers == "2") and "Acme" not in page and key not in page
        assert plain(admin, "/v1/models", authorization=f"Bearer {key}")[0] == 404, "no customer there"
        trusted = ssl.create_default_context(cafile=str(certificate))
        outside = http.client.HTTPSConnection("127.0.0.1", port, timeout=30, context=trusted)
        outside.request("GET", "/metrics", headers={"x-forwarded-port": str(admin), "x-forwarded-for": "127.0.0.1",
                                                    "forwarded": f"for=127.0.0.1;host=127.0.0.1:{admin}", "host": f"127.0.0.1:{admin}"})
        assert outside.getresponse().status == 404, "forwarded headers open nothing"
        outside.close()
    finally:
        running.terminate()
        _, err = running.communicate(timeout=60)
    assert "Traceback" not in err, err
    assert not list((terminal.shop / "scratch").glob("figures-*"))
    assert terminal.type("verify").status == 0


def test_what_ray_serve_has_not_is_refused_in_words(place: tuple[Inside, str, Path, Path]) -> None:
    terminal, _, certificate, private = place
    assert terminal.type("serve", "--ray", "--grpc-port", "0", status=1).code == "ray-not-with"
    done = terminal.type("serve", "--ray", "--tls-cert", str(certificate), "--tls-key", str(private), status=1)
    assert done.code == "ray-not-with" and "--workers" in done.err
