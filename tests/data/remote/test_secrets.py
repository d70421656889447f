"""Secrets: kept by name, sent to the one place they are for, and found nowhere else; sources by name over the console."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mofang.core.errors import MofangError
from mofang.core.shop import Shop
from mofang.data.remote.definition import require_no_secret
from mofang.data.remote.registry import secret_like
from mofang.data.remote.scheme import shown
from mofang.data.remote.secret import hidden, secret_value
from tests.data.remote.loopback import Reply, Request, Site
from tests.stories.terminal import Inside

VALUE = "Pa55/w@rd-%41 über+geheim"
FORMS = (VALUE.encode(), b"Pa55%2Fw%40rd-%2541", VALUE.encode("utf-16-le"))
BODY = b'[{"body": "a text that is long enough to be one", "n": 1}, {"body": "another text that is long enough", "n": 2}]'


def holding(folder: Path) -> list[str]:
    """The files below a folder that hold the secret in any form."""
    return [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*"))
            if path.is_file() and any(form in path.read_bytes() for form in FORMS)]


def test_a_secret_is_nowhere_but_in_the_key_ring(terminal: Inside, web: Site, caplog: pytest.LogCaptureFixture) -> None:
    def page(asked: Request) -> Reply:
        known = asked.headers.get("x-key", "").encode("latin-1").decode() == f"Token {VALUE}"
        return Reply(200, BODY, {"Content-Type": "application/json"}) if known else Reply(401, asked.headers.get("x-key", "").encode())

    web.pages["/items"] = page
    screens = []

    def typed(*words: str, given: str = "", status: int = 0) -> None:
        done = terminal.type(*words, given=given, status=status)
        screens.append(done.out + done.err)

    typed("source", "add", "r", web.url + "/items", "--kind", "api", "--secret", "service", "--header", "X-Key: Token {secret}",
          "--allow-private", web.place)
    typed("collect", "--source", "source:r", "--licence", "own", status=1)
    assert "mofang source secret service" in screens[-1]
    typed("source", "secret", "service", given="wrong " + VALUE[:3] + "\n")
    typed("collect", "--source", "source:r", "--licence", "own", status=1)
    assert "source-login" in screens[-1]
    typed("source", "secret", "service", given=VALUE + "\n")
    typed("collect", "--source", "source:r", "--licence", "own", "--name", "r")
    for words in (("source", "list"), ("source", "list", "--json"), ("runs",), ("runs", "--json"), ("trace", "r"), ("verify",),
                  ("backup", "copies"), ("source", "remove", "r")):
        typed(*words)
    assert holding(terminal.folder) == ["shop/keys/sources/service.key"]
    assert not any(form.decode("utf-8", "ignore") in screen for screen in screens for form in FORMS[:2]) and VALUE not in caplog.text
    kept = terminal.shop / "keys" / "sources" / "service.key"
    assert kept.stat().st_mode & 0o077 == 0
    typed("source", "secret", "service", "--remove")
    assert holding(terminal.folder) == []


def test_a_database_that_refuses_does_not_say_the_password(terminal: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    from mofang.data.remote import sql

    def refusing(job: Any) -> Any:
        from sqlalchemy.exc import OperationalError

        raise OperationalError("connect", None, Exception(f"password authentication failed for dsn postgresql://me:{job.secret}@h/db"))

    monkeypatch.setattr(sql, "engine_of", refusing)
    terminal.type("source", "add", "r", "postgresql://me@db.example/db", "--table", "t", "--secret", "p")
    terminal.type("source", "secret", "p", given=VALUE + "\n")
    done = terminal.type("collect", "--source", "source:r", "--licence", "own", status=1)
    assert done.code == "source-login" and VALUE not in done.err
    assert holding(terminal.shop) == ["keys/sources/p.key"]


@pytest.mark.parametrize("url", [
    "postgresql://me:secret@host/db", "postgresql+psycopg://me:se/cr@et@host/db", "https://me:pw@host/x", "https://host/x?token=abc",
    "https://host/x?a=1&api_key=abc", "s3://k:v@bucket/x", "https://host/x?X-Amz-Signature=abc", "mysql://u:p%40@h/d",
    "postgresql://host/db?user=me&password=abc", "cassandra://u:p@h/k",
])
def test_a_typed_password_is_refused_and_not_repeated(terminal: Inside, url: str) -> None:
    for words in (("collect", "--source", url, "--licence", "own"), ("source", "add", "db", url, "--table", "t")):
        done = terminal.type(*words, status=1)
        assert done.code == "source-with-password" and "mofang source add" in done.err and "mofang source secret" in done.err
        assert not any(word in done.err for word in ("secret@", "se/cr", ":pw", "abc", ":v@", "p%40", "u:p"))
    with pytest.raises(MofangError):
        require_no_secret(url)
    kept = [path for path in terminal.shop.rglob("*") if path.is_file() and url.encode() in path.read_bytes()]
    assert kept == []


@pytest.mark.parametrize("url", ["postgresql://me@host/db", "sqlite:///a:b@c.db", "https://host/a@b:c", "hub:a/b@c", "s3://bucket/a@b", "postgresql://me:@h/d"])
def test_an_address_without_one_passes(url: str) -> None:
    assert require_no_secret(url) == url


def test_a_key_typed_into_a_header_is_refused(terminal: Inside) -> None:
    for flags in (("--header", "Authorization: Bearer abc"), ("--option", "secret=abc"), ("--header", "X-Api-Key: abc")):
        done = terminal.type("source", "add", "r", "https://h.example/x", *flags, status=1)
        assert done.code == "header-with-secret" and "abc" not in done.err
    assert not secret_like("Accept: x") and not secret_like("endpoint_url=http://x")


def test_secrets_with_odd_names_or_values(terminal: Inside) -> None:
    for name in ("../ledger", "a/b", "", ".hidden", "x" * 90):
        assert terminal.type("source", "secret", "--", name, given="v\n", status=1).code == "name-invalid"
    assert terminal.type("source", "secret", "a", given="\n", status=1).code == "secret-empty"
    assert terminal.type("source", "secret", "a", given="x" * 19_000 + "\n", status=1).code == "secret-too-long"
    assert terminal.type("source", "secret", "a", "--remove", status=1).code == "secret-missing"
    with pytest.raises(MofangError, match="keeps no secret"):
        secret_value(Shop.open(terminal.shop), "nobody")


def test_what_is_shown_of_addresses() -> None:
    assert shown("postgresql://me:pw@h:1/db?x=secret") == "postgresql://…@h:1/db?…"
    assert hidden(f"bad {VALUE} and Pa55%2Fw%40rd-%2541%20%C3%BCber%2Bgeheim", VALUE) == "bad ••• and •••"


def test_only_registered_sources_reach_a_shop_from_elsewhere(terminal: Inside, tmp_path: Path) -> None:
    """In a console's child neither a path nor an address may stand; a registered source may, and only its owner registers."""
    from mofang.cli import child
    from mofang.cli.child import Handover, require_lent
    from mofang.core.identity import Actor
    from mofang.data.collect import collect
    from mofang.data.remote.registry import source_add

    shop = Shop.open(terminal.shop)
    lent = Handover(shop=str(shop.path), person="p", name="p", roles=["train"], language="en", what="stage", given={})
    before, child.handed = child.handed, lambda: lent
    try:
        for place in ("/etc/passwd", "https://h.example/x.csv", "sqlite:////etc/x.db", "hub:a/b", "s3://b/x"):
            with pytest.raises(MofangError) as told:
                require_lent(shop, collect.spec, {"source": place, "licence": "own"})
            assert told.value.code == "place-not-here"
        require_lent(shop, collect.spec, {"source": "source:r", "licence": "own"})
    finally:
        child.handed = before
    trainer = Shop(shop.path, Actor("t", roles=frozenset({"train"})))
    with pytest.raises(MofangError) as told:
        trainer.act(source_add, name="r", url="https://h.example/x", allow_private=("127.0.0.1:22",))
    assert told.value.code == "not-permitted"


def test_sources_are_rows_of_a_journal_and_verify(terminal: Inside) -> None:
    with sqlite3.connect(terminal.folder / "a.db") as db:
        db.execute("create table t(a)")
    terminal.type("source", "add", "r", "sqlite:///a.db", "--table", "t", "--allow-private", "DB.Internal:5432")
    terminal.type("source", "add", "r", "sqlite:///a.db", "--table", "t2")
    terminal.type("source", "add", "q", "https://h.example/x.csv")
    terminal.type("source", "remove", "q")
    assert [row["source"] for row in terminal.type("source", "list", "--json").json] == ["r"]
    terminal.type("verify")
    assert terminal.type("source", "remove", "rr", status=1).code == "source-unknown"
    shop = Shop.open(terminal.shop)
    assert [row.kind for row in shop.journals.rows("sources")] == ["add", "add", "add", "remove"]
    assert shop.journals.rows("sources")[0].body["source"]["allow_private"] == ["db.internal:5432"]


def test_listing_commands_load_no_drivers() -> None:
    code = "import sys\nimport mofang.data.remote.bring, mofang.data.remote.registry\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert not {"sqlalchemy", "fsspec", "datasets", "selectolax", "cassandra", "defusedxml", "boto3"} & set(done.stdout.split())
