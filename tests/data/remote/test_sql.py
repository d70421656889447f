"""Databases: streamed, read only, typed, and only what is new; mistakes in words."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mofang.core.shop import Shop
from mofang.data.records import content_digest
from mofang.data.remote import rows as piece_rows
from tests.stories.terminal import Inside

Rows = Callable[[str], list[dict[str, Any]]]
FIRST = "create table reviews(id integer primary key, body text, stars text, price numeric, photo blob, seen timestamp)"


def fill(path: Path, first: int, last: int) -> None:
    """Reviews with numbers from first to last."""
    with closing(sqlite3.connect(path)) as db:
        db.execute(FIRST.replace("create table", "create table if not exists"))
        db.executemany("insert into reviews(id, body, stars, price) values(?,?,?,?)",
                       [(i, f"第{i}间房间，早餐很{'好' if i % 2 else '差'}，下次再来", ("一星", "五星")[i % 2], i + 0.5) for i in range(first, last + 1)])
        db.commit()


@pytest.fixture
def database(terminal: Inside) -> Path:
    """300 reviews in an SQLite file."""
    path = terminal.folder / "shop.db"
    fill(path, 1, 300)
    return path


def collect(terminal: Inside, name: str = "r", source: str = "source:r", *more: str) -> str:
    """Collect under a name; the version that it got."""
    done = terminal.type("collect", "--source", source, "--licence", "own", "--name", name, *more)
    return done.out.split(f"{name}@")[1].split()[0]


def test_rows_become_records_with_their_roles(terminal: Inside, database: Path, rows: Rows) -> None:
    terminal.type("source", "add", "r", "sqlite:///shop.db", "--query", "select id, body, stars, price from reviews")
    assert collect(terminal, "r", "source:r", "--label", "stars") == "1"
    found = rows("r")
    assert [one["body"][:3] for one in found[:2]] == ["第1间", "第2间"] and len(found) == 300
    made = Shop.open(terminal.shop).find("r", "records")
    about = made.read_json("about.json")
    assert about["columns"]["body"] == "text" and about["columns"]["stars"] == "label" and about["columns"]["price"] == "number"
    assert about["source"]["kind"] == "sql" and about["licence"] == "own" and about["source"]["given"] == "source:r"
    assert found[0]["price"] == 1.5


def test_unchanged_is_reused_and_a_change_anywhere_is_seen(terminal: Inside, database: Path, rows: Rows) -> None:
    terminal.type("source", "add", "r", "sqlite:///shop.db", "--table", "reviews")
    assert [collect(terminal), collect(terminal)] == ["1", "1"]
    assert terminal.type("runs", "--json").out.count("reused") == 1
    with closing(sqlite3.connect(database)) as db:
        db.execute("update reviews set body='房间换过了，很安静' where id=7")
        db.commit()
    assert collect(terminal) == "2"
    assert "房间换过了，很安静" in [one["body"] for one in rows("r")]


def test_only_rows_beyond_the_last_are_asked_for(terminal: Inside, database: Path, rows: Rows) -> None:
    terminal.type("source", "add", "r", "sqlite:///shop.db", "--table", "reviews", "--newer-than", "id")
    collect(terminal)
    with closing(sqlite3.connect(database)) as db:  # what was seen is not looked at again
        db.execute("update reviews set body='changed later' where id=7")
        db.commit()
    fill(database, 301, 350)
    assert collect(terminal) == "2"
    found = rows("r")
    assert len(found) == 350 and len({one["id"] for one in found}) == 350 and found[349]["body"].startswith("第350间")
    assert "changed later" not in [one["body"] for one in found]
    assert collect(terminal) == "2"
    terminal.type("source", "add", "all", "sqlite:///shop.db", "--query", "select * from reviews where id <> 7")
    collect(terminal, "all", "source:all")
    assert [one["id"] for one in found if "第7间" not in one["body"]] == [one["id"] for one in rows("all")]


def test_nothing_of_the_rows_lies_about_afterwards(terminal: Inside, database: Path) -> None:
    terminal.type("source", "add", "r", "sqlite:///shop.db", "--table", "reviews", "--newer-than", "id")
    collect(terminal)
    left = [path for path in (terminal.shop / "cache").rglob("*") if path.is_file() and "早餐".encode() in path.read_bytes()]
    assert left == [] and not list((terminal.shop / "cache" / "remote").glob("*/pieces"))


def test_a_fetch_that_died_goes_on_behind_its_last_piece(
    terminal: Inside, database: Path, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mofang.data.remote import sql

    monkeypatch.setattr(piece_rows, "PIECE_ROWS", 50)
    plain, written = sql.write_rows, []

    def dying(path: Path, names: Any, piece: Any) -> None:
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(len(piece))
        plain(path, names, piece)

    monkeypatch.setattr(sql, "write_rows", dying)
    terminal.type("source", "add", "r", "sqlite:///shop.db", "--table", "reviews", "--newer-than", "id")
    stopped = terminal.type("collect", "--source", "source:r", "--licence", "own", status=130)
    assert "the same command continues" in stopped.err
    asked: list[str] = []
    monkeypatch.setattr(sql, "write_rows", lambda path, names, piece: (asked.append(piece[0][0]), plain(path, names, piece))[1])
    collect(terminal)
    assert written == [50, 50, 50] and asked == [151, 201, 251]
    assert len({one["id"] for one in rows("r")}) == 300


def test_equal_values_of_the_ordered_column_are_never_parted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(piece_rows, "PIECE_ROWS", 3)
    values = [1, 1, 1, 1, 2, 3, 3, 3, 3, 3, 4]
    made = [[row[0] for row in piece] for piece in piece_rows.pieces([(one,) for one in values], ordered=0)]
    assert made == [[1, 1, 1, 1], [2, 3, 3, 3, 3, 3], [4]]
    assert [len(piece) for piece in piece_rows.pieces([(one,) for one in values])] == [3, 3, 3, 2]


def test_one_column_may_hold_numbers_and_texts(terminal: Inside, rows: Rows) -> None:
    with closing(sqlite3.connect(terminal.folder / "odd.db")) as db:
        db.execute("create table t(word, body text)")
        db.executemany("insert into t values(?,?)", [(value, f"text number {place} with several words in it") for place, value in
                                                     enumerate([1, "two", None, 3.5, 2**70 if False else "x" * 50])])
        db.commit()
    terminal.type("source", "add", "r", "sqlite:///odd.db", "--table", "t")
    collect(terminal, "r", "source:r", "--text", "body", "--keep", "word")
    assert [one["word"] for one in rows("r")] == ["1", "two", None, "3.5", "x" * 50]


@pytest.mark.parametrize(("flags", "code"), [
    (("--query", "delete from reviews"), "query-writes"),
    (("--query", "select 1; delete from reviews"), "query-writes"),
    (("--query", "select * from revews"), "table-missing"),
    (("--table", "revews"), "table-missing"),
    (("--table", "reviews", "--newer-than", "idd"), "ordered-column-missing"),
    (("--query", "select frm reviews"), "ordered-column-missing"),
    (("--query", "select * from reviews where"), "database-refused"),
])
def test_mistakes_are_told_in_words(terminal: Inside, database: Path, flags: tuple[str, ...], code: str) -> None:
    terminal.language = "zh" if len(flags) > 2 else "en"
    terminal.type("source", "add", "r", "sqlite:///shop.db", *flags)
    before = database.read_bytes()
    done = terminal.type("collect", "--source", "source:r", "--licence", "own", status=1)
    assert done.code == code and ("revews" not in " ".join(flags) or "reviews" in done.err)
    assert database.read_bytes() == before


def test_what_contradicts_itself_is_refused_at_once(terminal: Inside, database: Path) -> None:
    add = ("source", "add", "r", "sqlite:///shop.db")
    assert terminal.type(*add, status=1).code == "source-settings"
    assert terminal.type(*add, "--query", "select 1", "--table", "reviews", status=1).code == "source-settings"
    assert terminal.type("source", "add", "r", "https://x.example/a.csv", "--since", "q", "--kind", "api", status=1).code == "source-settings"
    assert terminal.type("collect", "--source", "sqlite:///shop.db", "--licence", "own", status=1).code == "source-needs-query"
    terminal.type("source", "add", "r", "sqlite:///shpo.db", "--table", "reviews")
    wrong = terminal.type("collect", "--source", "source:r", "--licence", "own", status=1)
    assert wrong.code == "database-missing" and "shop.db" in wrong.err and not (terminal.folder / "shpo.db").exists()
    assert terminal.type("collect", "--source", "source:rr", "--licence", "own", status=1).code == "source-unknown"
    assert terminal.type("collect", "--source", "source:r", status=1).code == "setting-missing"


@pytest.mark.parametrize(("url", "code"), [
    ("postgresql://me@127.0.0.1/db", "port-refused"), ("postgresql://me@10.0.0.5:443/db", "address-refused"),
    ("postgresql://me@/db?host=10.0.0.5", "port-refused"), ("postgresql://me@/db?hostaddr=169.254.169.254", "port-refused"),
    ("postgresql://me@1.1.1.1:443/db?host=192.168.0.9", "address-refused"), ("postgresql://me@/db?service=x", "source-settings"),
    ("mysql://me@localhost/db", "port-refused"), ("mssql+pyodbc:///?odbc_connect=x", "source-settings"),
])
def test_a_database_host_is_checked_wherever_it_is_named(terminal: Inside, url: str, code: str) -> None:
    terminal.type("source", "add", "r", url, "--table", "t")
    assert terminal.type("collect", "--source", "source:r", "--licence", "own", status=1).code == code


def test_content_that_comes_back_leaves_nothing_behind(terminal: Inside, database: Path) -> None:
    terminal.type("source", "add", "r", "sqlite:///shop.db", "--table", "reviews")

    def say(body: str) -> None:
        with closing(sqlite3.connect(database)) as db:
            db.execute("update reviews set body=? where id=7", (body,))
            db.commit()

    say("一种说法，写得长一点")
    first = collect(terminal)
    say("另一种说法，写得长一点")
    collect(terminal)
    say("一种说法，写得长一点")
    entries = [one for one in terminal.type("runs", "--json").json if one["stage"] == "collect"]
    collect(terminal)
    assert first == "1" and len(entries) == 2
    assert next(one["state"] for one in terminal.type("runs", "--json").json) == "reused"
    assert not list((terminal.shop / "cache" / "remote").glob("*/pieces"))


@pytest.fixture
def postgres(postgres_url: str) -> Iterator[str]:
    """A PostgreSQL database with the same reviews."""
    import psycopg

    with psycopg.connect(postgres_url) as db:
        db.execute("create table reviews(id bigint primary key, body text, stars text, price numeric(12,2), seen timestamptz, tags text[])")
        db.execute("create sequence counter")
        with db.cursor() as cursor:
            cursor.executemany("insert into reviews values(%s,%s,%s,%s,now(),'{a,b}')",
                               [(i, f"第{i}间房间，早餐很好，下次再来", "五星", i + 0.25) for i in range(1, 501)])
    yield postgres_url


@pytest.mark.cluster
def test_postgresql_streams_and_cannot_be_written_to(terminal: Inside, postgres: str, rows: Rows) -> None:
    import psycopg

    terminal.type("source", "add", "r", postgres, "--query", "select id, body, stars, price, tags from reviews where id::int > 0",
                  "--newer-than", "id")
    collect(terminal)
    with psycopg.connect(postgres) as db:
        db.execute("insert into reviews select id + 500, body, stars, price, seen, tags from reviews where id <= 20")
    assert collect(terminal) == "2" and len(rows("r")) == 520
    terminal.type("source", "add", "w", postgres, "--query", "select nextval('counter') as id, 'taking a number' as body")
    done = terminal.type("collect", "--source", "source:w", "--licence", "own", status=1)
    assert done.code == "database-refused" and "read-only" in done.err
    terminal.type("source", "add", "m", postgres, "--table", "revews")
    missing = terminal.type("collect", "--source", "source:m", "--licence", "own", status=1)
    assert missing.code == "table-missing" and "reviews" in missing.err


def test_the_same_rows_give_the_same_records(tmp_path: Path) -> None:
    digests = set()
    for place in ("one", "two"):
        terminal = Inside(tmp_path / place)
        fill(terminal.folder / "shop.db", 1, 120)
        shop = Shop.open(terminal.shop)
        (shop.path / "keys").mkdir(exist_ok=True)
        (shop.path / "keys" / "records.key").write_bytes(b"k" * 32)
        terminal.type("source", "add", "r", "sqlite:///shop.db", "--table", "reviews")
        collect(terminal)
        digests.add(content_digest(shop.find("r", "records")))
    assert len(digests) == 1
