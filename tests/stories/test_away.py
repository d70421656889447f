"""A shop on a server: the same stories typed on another machine, the same screens, and what only that machine can meet."""

from __future__ import annotations

import csv
import io
import json
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mofang.cli.group import COMMANDS, cli, run
from tests.stories import test_first_day as first_day
from tests.stories import test_keys as key_stories
from tests.stories.away import Away, Company, invited
from tests.stories.conftest import Made, hasten
from tests.stories.terminal import Server, Terminal, eventually


@pytest.fixture(scope="module")
def company(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    found = Company(made.folder, tmp_path_factory.mktemp("company"))
    yield found
    found.close()


@pytest.fixture
def away(company: Company) -> Away:
    """The owner's terminal on another machine, in English."""
    company.away.language = company.home.language = "en"
    return company.away


# The same stories


def test_from_customer_to_traced_invoice_from_another_machine(company: Company) -> None:
    """The first day's own story, in Chinese; the server is started at the shop."""
    def copied(language: str) -> Terminal:
        company.away.language = company.home.language = language
        return company.away

    said: dict[str, str] = {}
    for mark in first_day.test_from_customer_to_traced_invoice.pytestmark:
        if mark.name == "parametrize":
            said = next(given[1] for given in mark.args[1] if given[0] == "zh")
    first_day.test_from_customer_to_traced_invoice(copied, "zh", said)


@pytest.mark.parametrize("story", [first_day.test_predict_takes_a_text_a_file_and_standard_input, first_day.test_a_trace_goes_forwards_too],
                         ids=lambda one: one.__name__)
def test_other_stories_of_the_first_day(away: Away, story: Callable[[Terminal], None]) -> None:
    story(away)


def test_a_key_lives_from_another_machine(away: Away) -> None:
    away.type("customer", "new", "another", "--test")
    with Server(away) as server:
        token = away.token("another", "--test")
        assert key_stories.soon(server, token, "ok")
        away.type("key", "revoke", token.split("_")[2], "--yes")
        assert key_stories.soon(server, token, "key-revoked")


def test_files_go_and_come(away: Away) -> None:
    """A model's file is written here, into a folder too; read from here it is looked at over there."""
    (away.folder / "models").mkdir()
    away.type("export", "reviews", "--out", "models")
    assert [path.name for path in (away.folder / "models").iterdir()] == ["reviews-1.mofang"]
    assert away.type("export", "reviews", "--out", "no/such/x.mofang", status=1).code == "file-not-writable"
    assert away.type("import", "models/reviews-1.mofang", "--yes", status=1).code == "parcel-own"
    assert away.type("import", "nowhere.mofang", status=1).code == "parcel-missing"
    assert away.type("export", "--all", status=1).code == away.type("backup", status=1).code == "command-at-server"


# The same screens

SHOWN = [("models",), ("runs", "--json"), ("customer", "--csv"), ("key",), ("price",), ("invoice",), ("trace", "reviews"),
         ("status", "--json"), ("predict", "reviews", "房间很好"), ("people", "--csv"), ("explain", "snapshot"), ("key", "new", "--help"),
         ("modles",), ("predict", "reviwes", "x"), ("price", "set", "reviews", "cheap"), ("customer", "new", ""), ("key", "new"),
         ("trace", "INV-2020-01-0001"), ("invoice", "nobody", "--preview", "--out", "no/such/x.pdf"), ("verify", "--jsn")]
CHANGES = re.compile(r'("disk_free_bytes":) *\d+|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d')


@pytest.mark.parametrize("words", SHOWN, ids=" ".join)
def test_the_same_words_print_the_same(company: Company, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch,
                                       capsys: pytest.CaptureFixture[str]) -> None:
    """Output, errors and exit status, here and at the shop; the typing itself inside this process, to save its start."""

    def seen(terminal: Terminal) -> tuple[int, str, str]:
        terminal.language = "zh" if SHOWN.index(words) % 2 else "en"
        monkeypatch.chdir(terminal.folder)
        monkeypatch.delenv("MOFANG_SHOP", raising=False)
        for name in ("MOFANG_SHOP", "MOFANG_LANG", "XDG_CONFIG_HOME"):
            if name in terminal.environment:
                monkeypatch.setenv(name, terminal.environment[name])
        status = run(list(words))
        told = capsys.readouterr()
        return status, CHANGES.sub("", told.out), CHANGES.sub("", told.err)

    assert seen(company.away) == seen(company.home)


# A recipe


def running(company: Company) -> list[str]:
    return [one["stage"] for one in company.home.type("runs", "--json").json if one["state"] == "running"]


def test_a_recipe_runs_here_and_works_there_whatever_breaks(company: Company, away: Away) -> None:
    """By somebody who may train: stopped with Ctrl-C, then the terminal killed; the same command goes on and ends well."""
    trainer = invited(company.home, company.folder / "trainer", company.console.address, "trainer", "train")
    (trainer.folder / "评论.csv").write_bytes((away.folder / "reviews.csv").read_bytes())
    trainer.type("new", "评论.csv", "--licence", "own", "--name", "far", "--out", "far.py")
    hasten(trainer.folder / "far.py")
    text = (trainer.folder / "far.py").read_text(encoding="utf-8")
    (trainer.folder / "far.py").write_text(text.replace("seconds=0.02", "seconds=0.3"), encoding="utf-8")
    typed = trainer.start("run", "far.py", "--budget", "1m", start_new_session=True)
    assert eventually(lambda: "package" in running(company), 60), typed.communicate()
    typed.send_signal(signal.SIGINT)
    _, err = typed.communicate(timeout=60)
    assert typed.returncode == 130 and "Nothing is lost" in err and "Traceback" not in err, err
    assert eventually(lambda: running(company) == [], 20), "it has ended over there too"
    typed = trainer.start("run", "far.py", "--budget", "1m", start_new_session=True)
    assert eventually(lambda: "package" in running(company), 60), typed.communicate()
    typed.kill()
    typed.communicate()
    done = trainer.type("run", "far.py", "--budget", "1m")
    for words in ("test accuracy", "far@1 is ready", "Candidates", "mofang serve far", "Left out"):
        assert words in done.out
    told = company.home.type("runs", "--limit", "1000", "--json").json
    assert [one["state"] for one in told if one["stage"] == "package"].count("done") == 2, "what the killed terminal began was used"
    again = trainer.type("run", "far.py", "--budget", "1m", "--json").json
    assert again["model"] == "far@1" and again["licences"] == ["own"]
    runs = company.home.type("runs", "--limit", "1000", "--json").json
    assert {one["state"] for one in runs[:len(runs) - len(told)]} == {"reused"}, "again, nothing is done twice"
    traced = company.home.type("trace", "far").out
    assert "upload:" in traced and "评论.csv" in traced, "where it came from is told, and no path of anybody's"
    assert str(trainer.folder) not in traced and not (trainer.folder / "shop").exists(), "no second shop came to be"
    assert trainer.type("customer", status=1).code == "not-permitted"
    assert "earned" not in trainer.type("status").out, "who may not see money sees none"


OWN_STAGE = """
from mofang.core.run import Run
from mofang.core.stage import stage
from mofang.data.records import Records
from mofang.recipe import collect
NAME = "own"

@stage(version=1)
def mine(run: Run, records: Records) -> Records:
    return records

def main(shop, budget):
    return shop.run({stage})
"""


@pytest.mark.parametrize(("call", "code"), [
    ("mine, None", "stage-own"), ('collect, source="nowhere.csv", licence="x"', "source-missing"),
    ('collect, source="/etc/hostname", licence=""', "setting-refused"), ("collect, licence='x'", "setting-missing"),
])
def test_what_a_recipe_may_not_bring(away: Away, call: str, code: str) -> None:
    (away.folder / "own.py").write_text(OWN_STAGE.replace("{stage}", call), encoding="utf-8")
    assert away.type("run", "own.py", status=1).code == code


def test_a_source_is_never_a_path_of_the_server(company: Company, away: Away) -> None:
    """Asked of the API itself, past the client that would have uploaded the file."""
    from mofang.web.client import Client, Told

    token = json.loads(next((away.config / "mofang" / "shops").iterdir()).read_bytes())["token"]
    client = Client(company.console.address, token)
    settings: dict[str, Any]
    for settings in ({"source": "/etc/passwd"}, {"source": "shop/ledger.db"}, {"source": "upload:" + "0" * 32},
                     {"source": "upload:../../x"}, {"source": "upload:" + "0" * 32 + "/../../x"}):
        body = {"stage": "collect", "settings": {"licence": "x", **settings}}
        with client.stream("/api/runs", body) as events:
            told = [one["error"]["code"] for one in events if "error" in one]
        assert told in (["place-not-here"], ["upload-missing"]), settings
    for argv in (["collect", "--source=/etc/passwd", "--licence=x"], ["train", "reviews", "--family=pretrained", "--family.base", "/etc"],
                 ["invoice", "书店", "--preview", "--out=/tmp/x.pdf"], ["invoice", "书店", "--preview", "--out=../../x.pdf"]):
        with client.stream("/api/commands", {"argv": argv}) as events:
            said = "".join(one.get("err", "") for one in events)
        assert "[place-not-here]" in said or "[kind-wrong]" in said, said
    with client.stream("/api/commands", {"argv": ["predict", "reviews", "/etc/passwd"]}) as events:
        assert "".join(one.get("out", "") for one in events).count("\n") == 1, "a path that nobody lent is a text"
    with pytest.raises(Told) as caught, client.stream("/api/runs", {"stage": "os.system", "settings": {}}):
        pass
    assert caught.value.code == "stage-unknown"
    client.close()


def test_without_the_shop_the_command_says_so_and_what_to_do(company: Company, away: Away, tmp_path: Path) -> None:
    nobody = Away(tmp_path / "x", away.home, company.console.address, tmp_path / "config")
    assert nobody.type("models", status=1).code == "shop-not-joined"
    for address, code in (("http://shop.example.com", "address-plain"), ("https://127.0.0.1:1/path", "address-unreadable"),
                          ("http://", "address-unreadable")):
        assert Away(tmp_path / "x", away.home, address, away.config).type("models", status=1).code == code
    closed = Away(tmp_path / "x", away.home, "http://127.0.0.1:1", tmp_path / "closed")
    place = tmp_path / "closed" / "mofang" / "shops" / "127.0.0.1_1.json"
    place.parent.mkdir(parents=True)
    place.write_text('{"token": "mf_person_x"}', encoding="utf-8")
    place.chmod(0o644)
    assert closed.type("models", status=1).code == "token-readable"
    place.chmod(0o600)
    assert closed.type("models", status=1).code == "shop-unreachable"
    assert closed.type("join", "http://127.0.0.1:1/join#mf_invite_x", status=1).code == "invitation-unknown"
    assert closed.type("explain", "model").out and closed.type("--help").out, "what needs no shop works without it"


def test_somebody_removed_is_out(company: Company) -> None:
    leaver = invited(company.home, company.folder / "leaver", company.console.address, "leaver", "look")
    assert leaver.type("models", "--json").json
    listed = list(csv.DictReader(io.StringIO(company.home.type("people", "--csv").out)))
    assert next(one["state"] for one in listed if one["person"] == "leaver") == "joined"
    company.home.type("people", "remove", "leaver")
    assert leaver.type("models", status=1).code == "token-unknown"


def test_every_command_has_a_place_and_its_files_are_seen() -> None:
    """A command that says nowhere who may run it fails here, and so does a path that nothing looks at."""
    import click

    from mofang.cli.context import LentFile, NewFile, NewPlace
    from mofang.cli.places import COMMANDS as PLACES
    from mofang.cli.places import access_of
    from mofang.core.identity import ROLES

    found: set[str] = set()

    def walk(words: list[str], command: click.Command) -> None:
        if isinstance(command, click.Group):
            for name, below in command.commands.items():
                walk([*words, name], below)
            return
        found.add(" ".join(words))
        access = access_of(words)
        assert access is not None, f"mofang {' '.join(words)}: say in cli/places.py where it runs and who may"
        if access[1].place == "remote":
            assert access[1].role in {*ROLES, "people"}
            loose = [one.name for one in command.params if isinstance(one.type, click.Path | click.File)
                     and not isinstance(one.type, NewFile | NewPlace | LentFile)]
            assert loose == [], f"mofang {' '.join(words)}: {loose} would name a path of the server"

    for group in COMMANDS.values():
        for name in group:
            command = cli.get_command(click.Context(cli), name)
            assert command is not None
            walk([name], command)
    assert found == {*PLACES}, "a place for a command that is no more"
