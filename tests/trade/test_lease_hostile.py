"""Files that are no leases, leases that strangers signed, and what the commands of a lease say to people and programs."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from mofang.core.errors import MofangError
from mofang.core.shop import Shop
from mofang.trade.accounts.customers import customer_new
from mofang.trade.leases.file import HEAD, MAGIC, open_lease
from mofang.trade.leases.licence import read_signed, signed
from mofang.trade.leases.runner import Leased
from tests.serve.talkers import package_folder, talker
from tests.stories.terminal import Inside


@dataclass
class Deal:
    """A seller's terminal and the file that it sent, in a customer's folder."""

    seller: Inside
    file: Path
    id: str
    code: str

    @property
    def shop(self) -> Shop:
        return Shop.open(self.seller.shop, make=False)


@pytest.fixture(scope="module")
def deal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deal]:
    folder = tmp_path_factory.mktemp("deal")
    seller = Inside(folder / "seller")
    shop = Shop.open(seller.shop)
    shop.name("chat", shop.run(talker, folder=str(package_folder(folder / "p"))))
    shop.act(customer_new, name="书店")
    made = seller.type("lease", "new", "chat", "--to", "书店", "--until", "90d", "--fee", "50", "--quota", "10", "--overage",
                       "1.00/1", "--out", "chat.lease", "--no-mark", "--yes", "--json").json
    assert made["readme"] == "chat.lease.README.txt" and made["mark"] == ""
    yield Deal(seller, seller.folder / "chat.lease", made["lease"], made["code"])


@pytest.fixture
def away(deal: Deal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Inside:
    monkeypatch.setenv("MOFANG_LEASES", str(tmp_path / "home"))
    customer = Inside(tmp_path / "away")
    shutil.copyfile(deal.file, customer.folder / "chat.lease")
    return customer


def test_the_readme_beside_the_file_says_what_is_not_prevented(deal: Deal) -> None:
    text = (deal.seller.folder / "chat.lease.README.txt").read_text(encoding="utf-8")
    for words in ("What it does not prevent", "Whoever controls the machine can take the model", "租约不能防止的事", "控制机器的人",
                  "mofang lease check chat.lease", "10 units", deal.id, "书店"):
        assert words in text
    assert deal.code not in text and open_lease(deal.file).known.fingerprint in text


def test_check_says_what_a_file_is(deal: Deal, away: Inside) -> None:
    """Before and after the code is known, of a file with a wrong byte, and through ``show``; in two languages."""
    told = away.type("lease", "check", "chat.lease", "--json").json
    assert (told["opens"], told["refusal"], told["customer"], told["quota"]) == (False, "lease-code-missing", "书店", 10)
    assert away.type("lease", "check", "chat.lease", "--code", "aaaa-bbbb", "--json").json["refusal"] == "lease-code-wrong"
    assert away.type("lease", "check", "chat.lease", "--code", deal.code, "--json").json["opens"]
    out = away.type("lease", "check", "chat.lease").out
    assert "every byte is as it was written" in out and "does not prevent" in out
    assert away.type("lease", "show", "chat.lease").out == out
    assert "租约不能防止的事" in Inside(away.folder, "zh").type("lease", "check", "chat.lease").out
    assert not (away.folder / "chat.lease.use").exists(), "to look is not to use"
    data = bytearray((away.folder / "chat.lease").read_bytes())
    data[-100] ^= 1
    (away.folder / "chat.lease").write_bytes(data)
    assert away.type("lease", "check", "chat.lease", "--json").json["refusal"] == "lease-damaged"
    assert away.type("lease", "predict", "chat.lease", "x", status=1).code == "lease-damaged"


def test_what_is_no_lease_is_refused_in_words(deal: Deal, away: Inside) -> None:
    place = away.folder
    licence = open_lease(deal.file).known.data
    (place / "folder.lease").mkdir()
    for name, data in (("empty", b""), ("short", b"MOFANG"), ("noise", os.urandom(5000)), ("text", b"{}"),
                       ("long", HEAD.pack(MAGIC, 2**32 - 1) + b"x"), ("cut", HEAD.pack(MAGIC, len(licence)) + licence[:50]),
                       ("array", HEAD.pack(MAGIC, 2) + b"[]"), ("word", HEAD.pack(MAGIC, 4) + b"null")):
        (place / name).write_bytes(data)
        for words in (("check", name), ("run", name, "--port", "0"), ("predict", name, "x"), ("report", name), ("show", name),
                      ("accept", name, name)):
            assert away.type("lease", *words, status=1).code in ("lease-unreadable", "lease-edited"), (name, words)
        assert away.type("lease", "accept", "chat.lease", name, status=1).code == "lease-edited"
        assert deal.seller.type("lease", "take", str(place / name), status=1).code == "lease-report-unreadable"
    for words in (("check", "none"), ("run", "none"), ("predict", "none", "x"), ("report", "none"), ("check", "folder.lease")):
        assert away.type("lease", *words, status=1).code == "lease-missing"
    assert deal.seller.type("lease", "take", "none", status=1).code == "lease-report-unreadable"
    error = json.loads(away.type("lease", "check", "noise", "--json", status=1).out)["error"]
    assert error["code"] == "lease-unreadable" and error["fix"]
    assert "租约" in Inside(place, "zh").type("lease", "check", "noise", status=1).err


@pytest.mark.parametrize("words", [
    {"parts": (("a", 1, "0" * 64), ("a", 1, "0" * 64))}, {"parts": (("a", 1, "0" * 64), ("a/b", 1, "0" * 64))},
    {"parts": (("../a", 1, "0" * 64),)}, {"parts": (("/etc/x", 1, "0" * 64),)}, {"parts": (("a//b", 1, "0" * 64),)},
    {"parts": (("a", -1, "0" * 64),)}, {"customer": "\x1b[2Jyou"}, {"model": "x\n"}, {"until_us": 2**62}, {"instances": 0},
    {"quota": -1}], ids=str)
def test_a_licence_that_a_stranger_signed_with_odd_words_is_refused(deal: Deal, words: dict[str, Any]) -> None:
    odd = replace(open_lease(deal.file).known.licence, **words)
    with pytest.raises(MofangError) as refused:
        read_signed(signed(deal.shop, odd))
    assert refused.value.code == "lease-unreadable"


def test_a_lease_from_its_making_to_its_end_as_programs_read_it(deal: Deal, away: Inside) -> None:
    """predict, report, take, renew, accept, show, revoke with ``--json``; the history holds each once."""
    away.type("lease", "predict", "chat.lease", "你好", "--code", deal.code)
    report = away.type("lease", "report", "chat.lease", "--json").json
    assert report["lease"] == deal.id and report["requests"] == 1
    file = str(away.folder / report["file"])
    taken = deal.seller.type("lease", "take", file, "--json").json
    over = (report["units"] - 10) * 1_000_000
    assert (taken["units"], taken["charged_micros"], taken["restarted"]) == (report["units"], over, False)
    assert deal.seller.type("lease", "take", file, "--json").json["charged_micros"] == 0
    renewed = deal.seller.type("lease", "renew", deal.id, "--until", "30d", "--fee", "7", "--out", "r.licence", "--json").json
    accepted = away.type("lease", "accept", "chat.lease", str(deal.seller.folder / "r.licence"), "--json").json
    assert accepted["until_us"] == renewed["until_us"] and accepted["sequence"] == renewed["sequence"] == 2
    found = deal.seller.type("lease", "show", deal.id[:12], "--json").json
    assert [one["what"] for one in found["history"]] == ["made", "reported", "renewed"]
    assert [one["micros"] for one in found["charges"]] == [50_000_000, over, 7_000_000]
    for language, word in (("en", "good"), ("zh", "有效")):
        seen = Inside(deal.seller.folder, language)
        assert word in seen.type("lease", "show", deal.id).out and word in seen.type("lease").out
    assert deal.seller.type("lease", "show", "lse_none", status=1).code == "lease-unknown"
    assert deal.seller.type("lease", "revoke", deal.id, "--yes", "--json").json["revoked_us"]
    assert deal.seller.type("lease", "show", deal.id, "--json").json["state"] == "revoked"
    assert deal.shop.verify() == []


def test_a_model_that_answers_only_in_its_own_shop_is_refused(deal: Deal, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the reason, before anything is charged: a pseudonym key of the shop's, an engine that does not start elsewhere."""
    from mofang.core.artifact import Artifact
    from mofang.trade.leases import mark

    ask = ("lease", "new", "chat", "--to", "书店", "--until", "9d", "--fee", "5", "--out", "never.lease", "--yes")
    before = len(deal.seller.type("lease", "list", "--json").json)
    read = Artifact.read_json

    def keyed(self: Artifact, name: str) -> Any:
        operators = {"operators": [{"name": "protect", "state": {"key": {"name": "people", "fingerprint": "0"}}}]}
        return {**read(self, name), **(operators if name == "package.json" else {})}

    with monkeypatch.context() as patched:
        patched.setattr(Artifact, "read_json", keyed)
        refused = deal.seller.type(*ask, status=1)
        assert refused.code == "lease-unsuited" and "people" in refused.err

    def broken(*_given: Any) -> Any:
        raise MofangError("engine-none", reasons="torch: not here")

    monkeypatch.setattr(mark, "open_model", broken)
    refused = deal.seller.type(*ask, status=1)
    assert refused.code == "lease-unsuited" and "engine-none" in refused.err
    assert len(deal.seller.type("lease", "list", "--json").json) == before
    assert not list(deal.seller.folder.glob("never*")) and not list((deal.seller.shop / "scratch").glob("lease-*"))


def test_a_start_that_fails_gives_its_place_back(deal: Deal, away: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    from mofang.trade.leases import opening

    file = away.folder / "chat.lease"
    with monkeypatch.context() as patched:
        patched.setattr(opening, "SPARE_BYTES", 2**60)
        with pytest.raises(MofangError) as refused:
            Leased(file, deal.code)
    assert refused.value.code == "lease-no-room" and "TMPDIR" in refused.value.fix
    Leased(file, deal.code).close()
