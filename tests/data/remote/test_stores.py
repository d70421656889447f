"""Object stores, hub data sets and Cassandra: only what is new, licences, errors in words. S3 against moto's server on
loopback; Cassandra against a small stand-in for the driver's session, because no server is at hand."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mofang.core.shop import Shop
from tests.stories.terminal import Done, Inside

Rows = Callable[[str], list[dict[str, Any]]]


def lines(first: int, last: int, mark: str = "") -> bytes:
    """JSON lines with numbers."""
    return "".join(json.dumps({"number": i, "body": f"第{i}条{mark}，早餐很好，下次再来"}, ensure_ascii=False) + "\n" for i in range(first, last + 1)).encode()


def collect(terminal: Inside, source: str = "source:s", status: int = 0, *more: str) -> Done:
    return terminal.type("collect", "--source", source, "--licence", "own", "--text", "body", "--keep", "number", "--name", "s", *more,
                         status=status)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A bucket in an S3 server on loopback: (client, address)."""
    import boto3
    from moto.server import ThreadedMotoServer

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    client = boto3.client("s3", endpoint_url=f"http://{host}:{port}", aws_access_key_id="k", aws_secret_access_key="v", region_name="us-east-1")
    client.create_bucket(Bucket="data")
    yield client, f"{host}:{port}"
    server.stop()


def test_s3_takes_only_new_and_changed_objects(terminal: Inside, bucket: Any, rows: Rows) -> None:
    client, place = bucket
    client.put_object(Bucket="data", Key="reviews/a.jsonl", Body=lines(1, 20))
    client.put_object(Bucket="data", Key="reviews/b.jsonl", Body=lines(21, 40))
    client.put_object(Bucket="data", Key="other/c.jsonl", Body=lines(900, 910))
    add = ("source", "add", "s", "s3://data/reviews", "--option", f"endpoint_url=http://{place}", "--secret", "bucket")
    terminal.type(*add)
    terminal.type("source", "secret", "bucket", given="AKIATESTKEY:ThisIsTheSecretOfTheBucket\n")
    assert collect(terminal, status=1).code == "port-refused"
    terminal.type(*add, "--allow-private", place)
    collect(terminal)
    assert [int(one["number"]) for one in rows("s")] == list(range(1, 41))
    assert "s@1" in collect(terminal).out
    client.put_object(Bucket="data", Key="reviews/a2.jsonl", Body=lines(41, 50))
    client.put_object(Bucket="data", Key="reviews/b.jsonl", Body=lines(21, 30, "改"))
    collect(terminal)
    assert len(rows("s")) == 40 and sum("改" in one["body"] for one in rows("s")) == 10
    measures = Shop.open(terminal.shop).find("s", "records").measures
    assert (measures["rows"], measures["files"]) == (40, 3)
    client.delete_object(Bucket="data", Key="reviews/b.jsonl")
    collect(terminal)
    assert len(rows("s")) == 30
    terminal.type("source", "add", "s", "s3://data/nothing/*.jsonl", "--option", f"endpoint_url=http://{place}", "--secret", "bucket",
                  "--allow-private", place)
    assert collect(terminal, status=1).code == "source-missing"


def test_any_store_of_fsspec(terminal: Inside, rows: Rows) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe("/lake/one.csv", b"number,body\n1,the first text of them all\n2,another text that is longer\n")
    memory.pipe("/lake/two.csv", b"number,body\n3,the third text of them all\n")
    memory.pipe("/lake/_SUCCESS", b"x")
    try:
        collect(terminal, "memory://lake/*.csv")
        assert [one["number"] for one in rows("s")] == ["1", "2", "3"]
        memory.pipe("/lake/three.csv", b"number,body\n4,the fourth text of them all\n")
        collect(terminal, "memory://lake/*.csv")
        assert sorted(one["number"] for one in rows("s")) == ["1", "2", "3", "4"]
        assert "s@2" in collect(terminal, "memory://lake/*.csv").out
        assert collect(terminal, "memory://lak/*.csv", 1).code == "source-missing"
    finally:
        memory.rm("/lake", recursive=True)


@pytest.mark.parametrize(("source", "code"), [
    ("hdfs://127.0.0.1:8020/data", "port-refused"), ("hdfs://10.0.0.5/data", "port-refused"), ("gs://bucket/x", "source-package-missing"),
    ("nosuch://x/y", "source-kind-unknown"), ("s3://a/b::http://127.0.0.1/x", "url-unreadable"), ("memory://a::file:///etc/x", "url-unreadable"),
])
def test_other_stores_in_words(terminal: Inside, source: str, code: str) -> None:
    assert collect(terminal, source, 1).code == code


# Hub data sets


@pytest.fixture
def saved(terminal: Inside) -> str:
    """A data set with classes, saved by ``datasets``, and its card."""
    import datasets

    features = datasets.Features({"body": datasets.Value("string"), "mood": datasets.ClassLabel(names=["差评", "好评"]), "number": datasets.Value("int64")})
    made = {split: datasets.Dataset.from_dict(
        {"body": [f"第{i}条评论，早餐很好，下次再来" for i in places], "mood": [i % 2 for i in places], "number": list(places)}, features=features)
        for split, places in (("train", range(40)), ("test", range(100, 110)))}
    folder = terminal.folder / "reviews"
    datasets.DatasetDict(made).save_to_disk(str(folder))
    (folder / "README.md").write_text("---\nlanguage: zh\nlicense: cc-by-sa-4.0\n---\n# Reviews\n", encoding="utf-8")
    return "hub:./reviews"


def test_a_saved_data_set_with_names_of_classes_and_its_licence(terminal: Inside, saved: str, rows: Rows) -> None:
    collect(terminal, saved, 0, "--label", "mood")
    found = rows("s")
    assert len(found) == 50 and {one["mood"] for one in found} == {"好评", "差评"}
    about = Shop.open(terminal.shop).find("s", "records").read_json("about.json")
    assert about["source"]["found"] == {"licence": "cc-by-sa-4.0"} and about["licence"] == "own"
    assert "s@1" in collect(terminal, saved, 0, "--label", "mood").out
    terminal.type("source", "add", "s", saved, "--split", "test")
    collect(terminal)
    assert len(rows("s")) == 10
    terminal.type("source", "add", "s", saved, "--split", "tset")
    assert (done := collect(terminal, status=1)).code == "split-missing" and "test" in done.err


def test_a_folder_of_files_is_a_data_set_too(terminal: Inside, rows: Rows) -> None:
    (terminal.folder / "plain").mkdir()
    (terminal.folder / "plain" / "train.jsonl").write_bytes(lines(1, 12))
    collect(terminal, "hub:./plain")
    assert len(rows("s")) == 12


@pytest.mark.parametrize(("source", "code"), [
    ("hub:stanfordnlp/imdb", "hub-offline"), ("hub:a b", "hub-name"), ("hub:./reviws", "source-missing"),
])
def test_hub_mistakes_in_words(terminal: Inside, saved: str, source: str, code: str) -> None:
    done = collect(terminal, source, 1)
    assert done.code == code and (code != "source-missing" or "reviews" in done.err)


# Cassandra


class Page:
    """A page of rows, as the driver's ResultSet is."""

    column_names = ("number", "body")

    def __init__(self, rows: list[tuple[Any, ...]], paging_state: bytes | None) -> None:
        self.current_rows, self.paging_state = rows, paging_state


@pytest.fixture
def cassandra(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A stand-in for the driver: pages of ten rows, a password, and a page at which it dies."""
    told: dict[str, Any] = {"asked": [], "dies": None}

    class DriverException(Exception):
        pass

    class NoHostAvailable(Exception):
        pass

    class Session:
        row_factory: Any = None

        def execute(self, statement: Any, paging_state: bytes | None = None) -> Page:
            at = int(paging_state or b"0")
            told["asked"].append(at)
            if at == told["dies"]:
                raise NoHostAvailable("all hosts are down")
            rows = [(i, f"第{i}条评论，早餐很好，下次再来") for i in range(at, min(at + 10, 35))]
            return Page(rows, str(at + 10).encode() if at + 10 < 35 else None)

    class Cluster:
        def __init__(self, addresses: list[str], port: int, auth_provider: Any) -> None:
            told["login"] = (addresses, port, auth_provider)

        def connect(self, keyspace: str | None) -> Session:
            if told["login"][2] != ("reader", "RightPassword"):
                raise NoHostAvailable("Authentication failed for RightPasswordX: bad credentials")
            told["keyspace"] = keyspace
            return Session()

        def shutdown(self) -> None:
            told["shut"] = True

    for name, parts in {"cassandra": {"DriverException": DriverException}, "cassandra.auth": {"PlainTextAuthProvider": lambda *login: login},
                        "cassandra.cluster": {"Cluster": Cluster, "NoHostAvailable": NoHostAvailable},
                        "cassandra.query": {"SimpleStatement": lambda text, fetch_size: text, "tuple_factory": None}}.items():
        module = types.ModuleType(name)
        module.__dict__.update(parts)
        monkeypatch.setitem(sys.modules, name, module)
    return told


def test_cassandra_goes_on_with_its_paging_state(terminal: Inside, cassandra: dict[str, Any], rows: Rows) -> None:
    terminal.type("source", "add", "s", "cassandra://reader@127.0.0.1:9042/shop", "--table", "reviews", "--secret", "c",
                  "--allow-private", "127.0.0.1:9042")
    terminal.type("source", "secret", "c", given="WrongPassword\n")
    wrong = collect(terminal, status=1)
    assert wrong.code == "source-login" and cassandra["shut"]
    terminal.type("source", "secret", "c", given="RightPassword\n")
    cassandra["dies"] = 20
    assert collect(terminal, status=1).code == "database-refused"
    cassandra["dies"] = None
    cassandra["asked"].clear()
    collect(terminal)
    assert cassandra["asked"] == [20, 30] and cassandra["keyspace"] == "shop"
    assert [int(one["number"]) for one in rows("s")] == list(range(35))
    assert "s@1" in collect(terminal).out


def test_without_the_driver_the_package_is_named(terminal: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cassandra", None)
    terminal.type("source", "add", "s", "cassandra://h.example/k", "--table", "t")
    done = collect(terminal, status=1)
    assert done.code == "source-package-missing" and "cassandra-driver" in done.err
