"""The table of routes itself: who gets in where, what each body may be, what the server tells of itself."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from bench._noop_server import ANSWER, Noop, stock

from mofang.core.errors import MofangError
from mofang.core.shop import Shop
from mofang.trade.accounts.customers import customer_new, customer_priority
from mofang.trade.accounts.keys import key_new, key_revoke
from mofang.web.predict import ROUTES
from mofang.web.routes import Route, Table
from tests.web.serving import Answer, InThread, Serving

PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwABAQEAG7buVgAAAABJRU5ErkJggg==")


class Picture(Noop):
    """Takes an image and a number of what it sees."""

    def __init__(self, *roles: str) -> None:
        super().__init__()
        from mofang.engine.task import task_named

        self.seen: list[dict[str, Any]] = []
        self.task = task_named("image_classification" if roles == ("image",) else "table_classification")
        self.signature = {"task": self.task.name, "labels": ["neg", "pos"],
                          "inputs": [{"name": f"a {role}", "role": role} for role in roles]}

    def predict(self, records: Any) -> list[dict[str, Any]]:
        self.seen += records
        return [ANSWER for _ in records]


@pytest.fixture(scope="module")
def sold(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return stock(tmp_path_factory.mktemp("routes") / "sold")


@pytest.fixture(scope="module")
def pictures() -> Picture:
    return Picture("image")


@pytest.fixture(scope="module")
def rows() -> Picture:
    return Picture("number", "category")


@pytest.fixture(scope="module")
def server(sold: Shop, pictures: Picture, rows: Picture) -> Iterator[Serving]:
    serving = Serving(sold, {"noop@1": Noop(), "photos@1": pictures, "rows@1": rows}, admin=True)
    yield serving
    serving.stop()
    assert sold.journals.verify() == []


@pytest.fixture
def live(sold: Shop) -> str:
    return (sold.path / "live").read_text()


@pytest.fixture
def test_key(sold: Shop) -> str:
    return (sold.path / "test").read_text()


def uses(sold: Shop) -> list[dict[str, Any]]:
    return [row.body for row in sold.journals.rows("usage") if row.kind == "use"]


# The table


async def nothing(_call: Any) -> None:
    """Answers nothing."""


def test_a_route_without_a_scope_or_twice_in_the_table_cannot_be() -> None:
    for scope in ("", "everybody", None):
        with pytest.raises(AssertionError):
            Route("GET", "/x", scope, nothing)  # type: ignore[arg-type]
    one = Route("GET", "/x/{a}", "key", nothing)
    with pytest.raises(AssertionError):
        Table([one, one])
    with pytest.raises(AssertionError):
        Table([one, Route("POST", "/x/{a}", "open", nothing)])


def test_paths_are_found_part_by_part() -> None:
    table = Table([Route("GET", "/a/{b}", "key", nothing), Route("GET", "/a/c", "key", nothing),
                   Route("POST", "/a/{b}/d", "key", nothing)])
    assert [one.path for one in table] == ["/a/c", "/a/{b}", "/a/{b}/d"]
    assert table.find("/a/c")[1] == [] and table.find("/a/x/d") == (table.find("/a/y/d")[0], ["x"])
    for path in ("", "/", "/a", "/a/", "/a//d", "/a/x/", "/a/x/e", "/A/c", "/a/x/d/e"):
        with pytest.raises(MofangError, match="nothing at"):
            table.find(path)
    for number in range(3000):  # what was looked up is kept within a bound
        table.find(f"/a/{number}")
    assert len(table._known) <= 1024


def filled(path: str, model: str = "noop") -> str:
    """A path of the table with its names filled in."""
    return path.replace("{model}", model).replace("{version}", "1")


def test_everybody_at_every_route(server: Serving, sold: Shop, live: str) -> None:
    """Owner, another customer, a revoked key, no key, a key of another model: over the routes that are served now."""
    sold.act(customer_new, name="rival")
    rival, revoked, other = (sold.act(key_new, customer=who, models=models) for who, models in
                             (("rival", ()), ("tester", ()), ("tester", ("elsewhere",))))
    sold.act(key_revoke, key=revoked.id)
    server.desk.directory.look()
    told: list[tuple[str, str, int]] = []
    for route in server.app.table:
        for who, key in (("nobody", ""), ("revoked", revoked.token), ("other", other.token), ("rival", rival.token), ("owner", live)):
            for method in ("GET", "POST", "DELETE", "PUT", "HEAD"):
                got = server.call(method, filled(route.path), {} if method in ("POST", "PUT") else None, key=key)
                told.append((route.path, who, got.status))
                if route.scope == "admin":
                    assert got.status == 404, route.path
                elif route.scope == "key" and who in ("nobody", "revoked"):
                    assert got.status == 401, route.path
                elif route.scope == "session":
                    assert (got.status, got.headers["location"]) == (303, "/account/login"), "a page takes no key in a header"
                elif route.scope == "key" and who == "other" and "{model}" in route.path and method == route.method:
                    assert got.status in (403, 404), route.path
                if who == "rival" and method != "HEAD":
                    assert b"tester" not in got.body and live[8:20].encode() not in got.body, "another customer's name or key"
                assert got.status < 500 or (route.path, got.status) == ("", 0), (route.path, got.body)
    assert {path for path, _, _ in told} == {route.path for route in ROUTES}, "every route was asked"
    assert len({route.scope for route in ROUTES}) == 4


def test_admin_routes_are_on_their_own_listener_and_customers_are_not(server: Serving, live: str) -> None:
    at_admin = InThread.__new__(Serving)
    assert server.admin is not None
    at_admin.port = server.admin.getsockname()[1]
    assert server.call("GET", "/metrics").status == 404
    assert at_admin.call("GET", "/metrics").status == 200 and at_admin.call("GET", "/health").status == 200
    assert at_admin.call("POST", "/v1/predict/noop", {"text": "a"}, key=live).status == 404


# Bodies


def form(**parts: bytes) -> tuple[bytes, str]:
    inside = b"".join(b'--B\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (name.replace("_", " ").encode(), data)
                      for name, data in parts.items())
    return inside + b"--B--\r\n", "multipart/form-data; boundary=B"


def test_one_record_in_each_way_that_a_body_may_be_written(server: Serving, test_key: str, pictures: Picture, rows: Picture) -> None:
    def ask(model: str, body: Any, kind: str = "application/json") -> Answer:
        return server.predict(test_key, body, model=model, content_type=kind)

    encoded = base64.b64encode(PNG).decode()
    assert [ask("photos", body, kind).code for body, kind in (
        ({"image": encoded}, "application/json"), (PNG, "image/png"), (PNG, "application/octet-stream"), form(image=PNG),
        form(a_image=PNG), ({"records": [{"image": encoded}]}, "application/json; charset=utf-8"))] == ["ok"] * 6
    assert pictures.seen == [{"a image": PNG}] * 6
    body, kind = form(a_number=b" 2.5", a_category="红".encode())
    assert ask("rows", body, kind).code == "ok" and rows.seen.pop() == {"a number": 2.5, "a category": "红"}
    body, kind = form(a_number=b"", a_category=b"")
    assert ask("rows", body, kind).code == "ok" and rows.seen.pop() == {"a number": None, "a category": ""}
    assert ask("noop", "很好".encode(), "text/plain; charset=utf-8").code == "ok"
    assert ask("noop", b'{"text": "a"}', "application/x-www-form-urlencoded").code == "ok"  # what curl -d says


@pytest.mark.parametrize(("model", "body", "kind", "code"), [
    ("noop", b"\xff\xd8", "image/jpeg", "content-type-unfit"), ("photos", b"RIFF", "audio/wav", "content-type-unknown"),
    ("rows", b"x", "text/plain", "content-type-unfit"), ("noop", b"\xff\xfe", "text/plain", "multipart-unreadable"),
    ("noop", b"a: 1", "application/yaml", "content-type-unknown"), ("noop", b"x", "multipart/form-data", "multipart-unreadable"),
    ("noop", b"--B\r\n\r\n", "multipart/form-data; boundary=B", "multipart-unreadable"),
    ("noop", b"--B\r\nx\r\n\r\na\r\n--B--", "multipart/form-data; boundary=B", "multipart-unreadable"),
    ("noop", form(text=b"a")[0].replace(b"--B--", b"") + form(text=b"b")[0], "multipart/form-data; boundary=B", "multipart-unreadable"),
    ("noop", b"--B\r\n" * 3000 + b"--B--", "multipart/form-data; boundary=B", "multipart-unreadable"),
    ("noop", form(txet=b"a")[0], "multipart/form-data; boundary=B", "input-unknown"),
    ("rows", form(a_number=b"two", a_category=b"x")[0], "multipart/form-data; boundary=B", "body-not-json"),
    ("rows", form(a_number=b"2")[0], "multipart/form-data; boundary=B", "value-missing")])
def test_other_bodies_are_refused_in_words_and_cost_nothing(server: Serving, sold: Shop, test_key: str, model: str, body: bytes,
                                                            kind: str, code: str) -> None:
    before = len(uses(sold))
    told = server.predict(test_key, body, model=model, content_type=kind)
    assert told.code == code and told.status in (400, 415, 422) and len(uses(sold)) == before


def test_every_answer_names_its_request_and_its_time(server: Serving, test_key: str) -> None:
    told = server.predict(test_key)
    assert told.headers["mofang-request-id"] == told.json["request_id"]
    assert told.headers["server-timing"].startswith("total;dur=")
    refused = server.call("GET", "/nothing")
    assert refused.headers["mofang-request-id"] == refused.json["error"]["request_id"]


def test_a_deadline_of_ones_own(server: Serving, test_key: str) -> None:
    assert server.predict(test_key, mofang_deadline_ms="5000").status == 200
    for bad in ("0", "-1", "1e3", "soon", "9" * 12):
        assert server.predict(test_key, mofang_deadline_ms=bad).code == "deadline-unreadable"


# What a customer may ask of his own account


def test_use_and_costs_by_the_hour_and_by_the_day(server: Serving, sold: Shop, live: str, test_key: str) -> None:
    now = int(time.time())
    for key in (live, live, test_key):
        assert server.predict(key, {"records": [{"text": "a"}] * 2}).status == 200

    def ask(path: str, key: str = live, **query: Any) -> Any:
        told = "&".join(f"{name}={value}" for name, value in query.items())
        return server.call("GET", f"/v1/organization/{path}?{told}", key=key).json

    rows = [row for row in uses(sold) if row["key"] == live[8:20]]
    page = ask("usage/completions", start_time=now - 7200, bucket_width="1h", group_by="model,api_key_id", limit=10)
    assert page["object"] == "page" and not page["has_more"] and len(page["data"]) in (3, 4)
    found = [one for bucket in page["data"] for one in bucket["results"] if one["api_key_id"] == live[8:20]]
    assert sum(one["units"] for one in found) == sum(row["units"] for row in rows) and {one["model"] for one in found} == {"noop@1"}
    day = ask("usage/completions", start_time=now - 86_400)["data"]
    assert sum(one["num_model_requests"] for bucket in day for one in bucket["results"]) == len(uses(sold))
    costs = ask("costs", start_time=now - 86_400, group_by="line_item")
    cost = [one for bucket in costs["data"] for one in bucket["results"]]
    assert cost[0]["line_item"] == "noop@1" and cost[0]["amount"]["currency"] == "cny"
    assert round(sum(one["amount"]["value"] for one in cost) * 1e6) == sum(row["micros"] for row in uses(sold))
    first = ask("usage/completions", start_time=now - 7200, bucket_width="1m", limit=3)
    assert first["has_more"] and len(first["data"]) == 3
    second = ask("usage/completions", start_time=now - 7200, bucket_width="1m", limit=3, page=first["next_page"])
    assert second["data"][0]["start_time"] == first["data"][-1]["end_time"]
    sold.act(customer_new, name="outsider")
    stranger = sold.act(key_new, customer="outsider").token
    server.desk.directory.look()
    assert all(bucket["results"] == [] for bucket in ask("usage/completions", key=stranger, start_time=now - 86_400)["data"])
    assert all(bucket["results"] == [] for bucket in ask("costs", key=stranger, start_time=now - 86_400)["data"])


@pytest.mark.parametrize("query", ["", "start_time=x", "start_time=-1", "start_time=1&bucket_width=2h", "start_time=1&limit=99999",
                                   "start_time=1&group_by=customer", "start_time=1&page=next", "start_time=" + "9" * 30,
                                   "&".join(["start_time=1"] * 99)])
def test_queries_that_are_wrong_are_told_so(server: Serving, live: str, query: str) -> None:
    told = server.call("GET", f"/v1/organization/usage/completions?{query}", key=live)
    assert (told.status, told.code) == (400, "query-wrong")


def test_a_customers_line_is_followed(server: Serving, sold: Shop) -> None:
    made = sold.act(customer_priority, customer="tester", priority="low")
    server.desk.directory.look()
    assert server.desk.directory.picture.priorities == {made.id: 2}
    sold.act(customer_priority, customer="tester", priority="normal")
    server.desk.directory.look()
    assert server.desk.directory.picture.priorities == {}


# What the server tells of itself


def test_metrics_count_and_name_no_customer(server: Serving, test_key: str) -> None:
    assert server.admin is not None
    at_admin = InThread.__new__(Serving)
    at_admin.port = server.admin.getsockname()[1]
    server.predict(test_key)
    server.predict("wrong")
    text = at_admin.call("GET", "/metrics").body.decode()
    values = {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in text.splitlines() if not line.startswith("#")}
    assert values['mofang_request_seconds_count{model="noop@1"}'] >= 1 and values['mofang_refused_total{code="key-mistyped"}'] >= 1
    assert values['mofang_request_seconds_bucket{model="noop@1",le="+Inf"}'] == values['mofang_request_seconds_count{model="noop@1"}']
    assert values['mofang_batch_records_count{model="noop@1"}'] >= 1 and values["mofang_commit_seconds_count"] >= 1
    assert values['mofang_meter_state{state="running"}'] == 1 and values["process_resident_memory_bytes"] > 1 << 20
    assert "tester" not in text and "cus_" not in text


def test_the_document_of_all_routes(server: Serving) -> None:
    from jsonschema import Draft202012Validator

    told = server.call("GET", "/openapi.json").json
    assert told["openapi"].startswith("3.1") and "/metrics" not in told["paths"]
    assert {(method.upper(), path) for path, methods in told["paths"].items() for method in methods} == {
        (route.method, route.path) for route in ROUTES if route.scope in ("open", "key") and not route.path.startswith("/account")}
    for path, methods in told["paths"].items():
        for about in methods.values():
            assert about["security"] == ([] if path in {route.path for route in ROUTES if route.scope == "open"} else [{"key": []}])
    Draft202012Validator.check_schema(told["components"]["schemas"]["Error"])
    json.dumps(told)
