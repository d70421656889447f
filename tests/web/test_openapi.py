"""The OpenAPI document against the server: whatever a machine makes up from it is answered as it says, never with a fault."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from bench._noop_server import Noop, stock

from mofang.core.shop import Shop
from mofang.web.openapi import is_api
from mofang.web.predict import ROUTES
from tests.web.serving import Serving

schemathesis = pytest.importorskip("schemathesis")
CHECKED = [(route.method, route.path) for route in ROUTES if is_api(route)]


@pytest.fixture(scope="module")
def sold(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return stock(tmp_path_factory.mktemp("openapi") / "sold")


@pytest.fixture(scope="module")
def server(sold: Shop) -> Iterator[Serving]:
    serving = Serving(sold, {"noop@1": Noop()})
    yield serving
    serving.stop()
    assert sold.journals.verify() == []


def ask(server: Serving, sold: Shop, examples: int) -> None:
    """Every operation, with made-up parameters and bodies, valid and not, with the test key and without."""
    from hypothesis import HealthCheck, Phase, given, settings
    from schemathesis import checks, openapi

    checks.load_all_checks()
    kept = [checks.CHECKS.get_one(name) for name in ("not_a_server_error", "status_code_conformance", "content_type_conformance",
                                                     "response_schema_conformance")]
    base = f"http://127.0.0.1:{server.port}"
    key = (sold.path / "test").read_text()
    asked = set()
    quiet = settings(max_examples=examples, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck),
                     phases=(Phase.explicit, Phase.generate))
    for result in openapi.from_url(f"{base}/openapi.json").get_all_operations():
        operation = result.ok()
        asked.add((operation.method.upper(), operation.path))

        def check(case: Any) -> None:
            case.validate_response(case.call(base_url=base, headers={"authorization": f"Bearer {key}"}), checks=kept)

        given(case=operation.as_strategy())(quiet(check))()
    assert asked | {("GET", "/openapi.json")} == set(CHECKED)


def test_a_few_requests_of_every_kind(server: Serving, sold: Shop) -> None:
    ask(server, sold, 2)


@pytest.mark.cluster
def test_many_requests_of_every_kind(server: Serving, sold: Shop) -> None:
    ask(server, sold, 60)
