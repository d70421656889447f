"""A leased model from both sides: handed over, run without a shop, renewed, billed; and everything that must not pass."""

from __future__ import annotations

import json
import os
import random
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from mofang.core.canonical import canonical
from mofang.core.errors import MofangError
from mofang.core.identity import now_us
from mofang.core.shop import Shop
from mofang.trade.leases import record as lessee
from mofang.trade.leases import seller as leasing
from mofang.trade.leases.copies import find_mark
from mofang.trade.leases.file import open_lease
from mofang.trade.leases.licence import DAY_US, Licence, read_signed, signed
from mofang.trade.leases.record import Record
from mofang.trade.leases.runner import Leased, accept, unlock, use_report
from tests.stories.conftest import Made
from tests.stories.terminal import Inside, Server

TEXT = {"text": "房间很干净，早餐满意"}
YEAR_US = 365 * DAY_US


def code_of(step: Callable[[], Any]) -> str:
    """The code that a step is refused with; ``accepted`` where it is not."""
    try:
        step()
    except MofangError as error:
        return error.code
    return "accepted"


@dataclass
class Deal:
    """The seller's folder, and a lease's file as it was sent."""

    seller: Inside
    file: Path
    id: str
    code: str

    def shop(self) -> Shop:
        return Shop.open(self.seller.shop, make=False)

    def lease(self, *words: str, status: int = 0) -> Any:
        return self.seller.type("lease", *words, status=status)


@pytest.fixture(scope="module")
def deal(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Deal:
    seller = Inside(tmp_path_factory.mktemp("seller"))
    shutil.copytree(made.folder, seller.folder, dirs_exist_ok=True)
    seller.type("customer", "new", "Book Shop")
    told = seller.type("lease", "new", "reviews", "--to", "Book Shop", "--until", "90d", "--fee", "5000", "--quota", "3",
                       "--overage", "2.00/1", "--yes", "--json").json
    return Deal(seller, seller.folder / told["file"], told["lease"], told["code"])


@dataclass
class Lessee:
    """A folder on the customer's machine with the file in it."""

    folder: Path
    file: Path
    id: str
    code: str
    at_us: int

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def unlock(self, days: float = 0, code: str | None = None) -> Any:
        return unlock(self.file, self.code if code is None else code, clock=lambda: self.at_us + int(days * DAY_US))

    def use(self, days: float = 0, requests: int = 1) -> None:
        """Open, answer and close."""
        leased = Leased(self.file, self.code, clock=lambda: self.at_us + int(days * DAY_US))
        for _ in range(requests):
            leased.check()
            leased.model.predict(leased.model.parse(TEXT)[0])
            leased.count(1)
        leased.close()

    def record(self) -> Path:
        return self.file.with_name(self.file.name + lessee.RECORD)


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on a customer's machine that knows of no lease."""
    monkeypatch.setenv("MOFANG_LEASES", str(tmp_path / "home"))
    (tmp_path / "away").mkdir()
    return tmp_path


@pytest.fixture
def away(deal: Deal, bare: Path) -> Lessee:
    """A customer's machine with a lease of its own."""
    file = bare / "away" / "r.lease"
    made = deal.shop().act(leasing.lease_new, model="reviews", customer="Book Shop", until="90d", out=str(file), marked=False)
    return Lessee(bare, file, made.lease.id, made.code, now_us())


@pytest.fixture
def sent(deal: Deal, bare: Path) -> Lessee:
    """The same with the marked copy that the seller keeps the books of."""
    file = bare / "away" / "r.lease"
    shutil.copyfile(deal.file, file)
    return Lessee(bare, file, deal.id, deal.code, now_us())


def test_from_the_seller_to_the_customer_and_back(deal: Deal, sent: Lessee) -> None:
    """The walk of docs/lease.md with a server: run, report, book, renew, accept."""
    customer = Inside(sent.file.parent)
    assert customer.type("lease", "predict", "r.lease", "好", status=1).code == "lease-code-missing"
    answers = customer.type("lease", "predict", "r.lease", "-", "--code", sent.code, given="房间很干净，早餐满意\n失望，肮脏\n").out
    assert [json.loads(line)["label"] for line in answers.splitlines()] == ["好评", "差评"]
    with Server(customer, "run", "r.lease", command="lease") as server:
        told = server.call("POST", "/v1/predict/reviews", TEXT)
        assert (told.status, told.json["model"], told.json["answer"]["label"]) == (200, "reviews@1", "好评")
        assert server.call("POST", "/v1/predict/other", TEXT).code == "model-unknown"
        assert server.call("GET", "/v1/lease").json["units"] == 3
        assert customer.type("lease", "predict", "r.lease", "好", status=1).code == "lease-instances"
        assert server.call("GET", "/v1/usage").code == "route-unknown"
    assert "4 units" in (customer.type("lease", "predict", "r.lease", "好").out + customer.type("lease", "report", "r.lease").out)
    report = str(sent.file.parent / "r.lease.report.json")
    assert "¥2.00 is charged" in deal.lease("take", report).out
    assert "0 units more" in deal.lease("take", report).out and "charged" not in deal.lease("take", report).out
    renewal = str(sent.folder / "renewal.licence")
    deal.lease("renew", deal.id, "--until", "90d", "--fee", "4000", "--out", renewal)
    customer.type("lease", "accept", "r.lease", renewal)
    assert customer.type("lease", "accept", "r.lease", renewal, status=1).code == "lease-older"
    customer.type("lease", "predict", "r.lease", "好")
    from mofang.trade.billing.oneoff import oneoffs

    fees = [one.micros for one in oneoffs(deal.shop().control) if one.kind == "lease"]
    assert fees == [5_000_000_000, 2_000_000, 4_000_000_000]
    assert "lease" in deal.seller.type("trace", "reviews", "--forward").out
    assert deal.seller.type("verify", "--json").json["wrong"] == []
    left = {one.name.removeprefix("r.lease") for one in sent.file.parent.iterdir()}
    assert left == {"", ".use", ".licence", ".report.json"}, "nothing decrypted is left behind"


# What must not pass


def test_a_licence_that_was_edited_or_signed_by_another_is_refused(deal: Deal, away: Lessee, tmp_path: Path) -> None:
    away.use()
    known = open_lease(away.file).known
    later_us = known.licence.until_us + YEAR_US
    longer = canonical({**orjson.loads(known.data), "licence": {**known.licence.to_dict(), "until_us": later_us}})
    renewal = away.folder / "renewal"
    renewal.write_bytes(longer)
    assert code_of(lambda: accept(away.file, renewal)) == "lease-edited"
    other = Shop.open(tmp_path / "other-shop")
    forged = replace(known.licence, until_us=known.licence.until_us + YEAR_US, sequence=2)
    renewal.write_bytes(signed(other, forged))
    assert code_of(lambda: accept(away.file, renewal)) == "lease-signer"
    whole = away.file.read_bytes()
    for data, wanted in ((longer, "lease-edited"), (signed(other, replace(forged, sequence=1)), "lease-signer")):
        away.file.write_bytes(spliced(whole, data))
        assert code_of(away.unlock) == wanted
        shutil.rmtree(away.home, ignore_errors=True)  # on a machine that has never seen the lease the code names the signer
        away.record().unlink(missing_ok=True)
        assert code_of(away.unlock) == wanted


def spliced(whole: bytes, licence: bytes) -> bytes:
    """The file with another licence in front."""
    from mofang.trade.leases.file import HEAD, MAGIC

    size = HEAD.unpack(whole[: HEAD.size])[1]
    return HEAD.pack(MAGIC, len(licence)) + licence + whole[HEAD.size + size:]


def test_the_seller_own_signature_does_not_move_the_key_to_other_words(deal: Deal, away: Lessee) -> None:
    """Even a licence that the seller signs opens nothing with a key that was wrapped for other words."""
    shop, known = deal.shop(), open_lease(away.file).known.licence
    away.file.write_bytes(spliced(away.file.read_bytes(), signed(shop, replace(known, instances=9))))
    assert code_of(away.unlock) == "lease-code-wrong"


def test_time(deal: Deal, away: Lessee) -> None:
    """Expired, clock a day and a year back, early; grace and the last minute are accepted."""
    assert [code_of(lambda days=days: away.unlock(days)) for days in (-1, -365)] == ["lease-clock-back"] * 2
    away.use()
    licence = open_lease(away.file).known.licence
    whole = (licence.until_us - away.at_us) / DAY_US
    for days, wanted in ((20, "accepted"), (19, "lease-clock-back"), (-345, "lease-clock-back"), (19.999, "accepted"),
                         (whole - 0.001, "accepted"), (whole + 1, "accepted"), (whole - 0.5, "lease-clock-back"),
                         (whole + 7.01, "lease-ended"), (whole + 800, "lease-ended")):
        found = code_of(lambda days=days: away.use(days))
        assert found == wanted, days
    assert licence.phase(licence.until_us + DAY_US) == "grace" and licence.phase(licence.from_us - DAY_US) == "early"


def test_a_clock_set_back_while_it_runs(away: Lessee) -> None:
    now = {"us": away.at_us, "s": 0.0}
    leased = Leased(away.file, away.code, clock=lambda: now["us"], monotonic=lambda: now["s"])
    try:
        now.update(us=now["us"] + 60_000_000, s=60.0)
        leased.look()
        leased.check()
        for back_us in (DAY_US, YEAR_US):
            now.update(us=away.at_us - back_us, s=now["s"] + 60)
            leased.look()
            assert code_of(leased.check) == "lease-clock-back"
        now.update(us=away.at_us + int(now["s"] * 1e6))
        leased.look()
        leased.check()
        now["s"] += 1000
        assert code_of(leased.check) == "lease-unwatched", "a look that did not come ends it too"
        now.update(us=leased.licence.ends_us - 5_000_000)
        leased.look()
        leased.check()
        now["s"] += 5.1
        assert code_of(leased.check) == "lease-ended", "to the second, between two looks"
    finally:
        leased.close()


def test_reinstalled(deal: Deal, away: Lessee, tmp_path: Path) -> None:
    """A record that is deleted, shortened or put back; both traces deleted; and the way back that a renewal gives."""
    away.use()
    early = away.record().read_bytes()
    away.use(1)
    late = away.record().read_bytes()
    away.record().write_bytes(early)
    assert code_of(lambda: away.unlock(1)) == "lease-record-lost"
    away.record().unlink()
    assert code_of(lambda: away.unlock(1)) == "lease-record-lost"
    away.record().write_bytes(late)
    assert code_of(lambda: away.unlock(1)) == "accepted"
    shutil.rmtree(away.home)
    assert code_of(lambda: away.unlock(1)) == "lease-record-lost"
    away.record().unlink()
    assert code_of(lambda: away.unlock(8)) == "lease-start-late", "after the days in which it may be started anew"
    renewal = away.folder / "renewal"
    deal.shop().act(leasing.lease_renew, lease=away.id, until="90d", out=str(renewal), reinstalled=True)
    lessee.keep_code(away.id, away.code)
    accept(away.file, renewal, clock=lambda: now_us() + 1_000_000)
    assert code_of(away.unlock) == "accepted"


def test_an_older_licence_does_not_come_back(deal: Deal, away: Lessee) -> None:
    away.use()
    shop, renewal = deal.shop(), away.folder / "renewal"
    shop.act(leasing.lease_renew, lease=away.id, until="90d", out=str(renewal))
    before = away.file.with_name(away.file.name + lessee.RENEWAL)
    accept(away.file, renewal, clock=lambda: now_us() + 1_000_000)
    before.unlink()
    assert code_of(away.unlock) == "lease-older"


def test_another_machine_and_another_installation(deal: Deal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOFANG_LEASES", str(tmp_path / "home"))
    mine, _ = lessee.installation()
    made = deal.shop().act(leasing.lease_new, model="reviews", customer="Book Shop", until="30d", machines=(mine,),
                           out=str(tmp_path / "b.lease"), marked=False)
    assert made.code == "" and code_of(lambda: unlock(tmp_path / "b.lease")) == "accepted"
    Leased(tmp_path / "b.lease").close()
    shutil.rmtree(tmp_path / "home")
    assert code_of(lambda: unlock(tmp_path / "b.lease")) == "lease-other-machine", "installed again: another key"
    monkeypatch.setenv("MOFANG_LEASES", str(tmp_path / "there"))
    assert code_of(lambda: unlock(tmp_path / "b.lease")) == "lease-other-machine"
    assert code_of(lambda: unlock(tmp_path / "b.lease", deal.code)) == "lease-other-machine"
    bound = lessee.installation()[0]
    monkeypatch.setattr(lessee, "machine_fingerprint", lambda: b"another machine, same files".ljust(32))
    assert lessee.installation()[0] != bound
    assert deal.lease("new", "reviews", "--to", "Book Shop", "--until", "9d", "--machine", "mm-abc", "--out", "x.lease", "--yes",
                      status=1).code == "lease-machine-unreadable"


def test_a_flipped_byte_anywhere_is_seen(deal: Deal, away: Lessee) -> None:
    """1,000 places of the licence and the encrypted package, and every byte of record, mark and renewal."""
    away.use()
    chance, whole = random.Random(5), away.file.read_bytes()
    licence = len(open_lease(away.file).known.data) + 12
    places = [*chance.sample(range(licence), 500), *(chance.randrange(licence, len(whole)) for _ in range(500))]
    target = away.folder / "plain"

    def opened() -> None:
        found = away.unlock(code="")
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        found.file.unpack(found.key, target)

    assert code_of(opened) == "accepted"
    assert flipped(away.file, places, opened, chance) == []
    for end in (whole[:-1], whole + b"\0", whole[: licence + 100]):
        away.file.write_bytes(end)
        assert code_of(opened) in ("lease-damaged", "lease-unreadable")
    away.file.write_bytes(whole)
    mark = away.home / f"{away.id}.json"
    for path in (away.record(), mark):
        assert flipped(path, range(path.stat().st_size), lambda: away.unlock(code=""), chance) == []
    renewal = away.folder / "renewal"
    deal.shop().act(leasing.lease_renew, lease=away.id, until="90d", out=str(renewal))
    data = renewal.read_bytes()
    assert flipped(renewal, range(len(data)), lambda: read_signed(renewal.read_bytes()), chance) == []


def flipped(path: Path, places: Any, opened: Callable[[], None], chance: random.Random) -> list[int]:
    """The places at which a changed byte was not seen."""
    whole, passed = path.read_bytes(), []
    for place in places:
        data = bytearray(whole)
        data[place] ^= chance.randrange(1, 256)
        path.write_bytes(data)
        if code_of(opened) == "accepted":
            passed.append(place)
    path.write_bytes(whole)
    return passed


def test_a_report_is_booked_once_and_never_with_a_gap(deal: Deal, away: Lessee) -> None:
    shop = deal.shop()
    made = shop.act(leasing.lease_new, model="reviews", customer="Book Shop", until="30d", quota=2, overage="0.50/1",
                    out=str(away.folder / "c.lease"), marked=False)
    there = Lessee(away.folder, away.folder / "c.lease", made.lease.id, made.code, now_us())
    path = away.folder / "use.json"
    there.use(requests=2)
    path.write_bytes(canonical(use_report(there.file)))
    early = path.read_bytes()
    first = shop.act(leasing.lease_take, report=str(path))
    assert (first.units, first.charged) == (2, 0)
    there.use(requests=3)
    path.write_bytes(canonical(use_report(there.file)))
    late = path.read_bytes()
    second = shop.act(leasing.lease_take, report=str(path))
    assert (second.units, second.charged, second.lease.billed) == (3, 1_500_000, 1_500_000)
    assert shop.act(leasing.lease_take, report=str(path)).charged == 0

    def take() -> None:
        shop.act(leasing.lease_take, report=str(path))

    chance = random.Random(3)
    assert flipped(path, chance.sample(range(path.stat().st_size), 200), take, chance) == []
    told = use_report(there.file)
    path.write_bytes(canonical({**told, "rows": told["rows"][:3]}))
    assert code_of(take) == "lease-record-changed"
    there.record().unlink()
    shutil.rmtree(away.home)
    lessee.keep_code(made.lease.id, made.code)
    there.use(1, requests=1)  # both traces deleted within the days of the first start: seen when it is sent home
    path.write_bytes(canonical(use_report(there.file)))
    anew = shop.act(leasing.lease_take, report=str(path))
    assert (anew.restarted, anew.units, anew.lease.units) == (True, 1, 6)
    for again in (early, late, path.read_bytes()):
        path.write_bytes(again)
        same = shop.act(leasing.lease_take, report=str(path))
        assert (same.units, same.charged, same.lease.units) == (0, 0, 6), "old reports come again and change nothing"
    assert shop.verify() == []


def test_a_process_that_was_killed_loses_a_second_of_counting(away: Lessee) -> None:
    leased = Leased(away.file, away.code)
    leased.count(5)
    leased._tell()
    leased.count(1)  # nobody wrote this down
    leased._ending.set()
    leased._thread.join()
    leased._slot.close()  # as a kill does
    again = Leased(away.file, away.code)
    again.close()
    rows, _ = Record(away.file, again.unlocked.known, again.unlocked.key).look()
    assert [row[2:6] for row in rows if row.requests] == [("use", 1, 1, 5)]


# The seller's refusals, the mark


def test_a_lease_that_the_data_forbids_or_that_makes_no_sense_is_refused(deal: Deal, tmp_path: Path) -> None:
    from mofang.trade.leases.forbidding import forbidding

    assert forbidding(["CC-BY-NC-4.0", "MIT", "own", "仅供研究", "NCSA"]) == ["CC-BY-NC-4.0", "仅供研究"]
    assert forbidding([], [{"licence": "own", "terms": "not for redistribution"}]) == ["not for redistribution"]
    asked = ("new", "reviews", "--to", "Book Shop", "--out", "never.lease", "--yes")
    before = len(deal.lease("list", "--json").json)
    for words, wanted in ((("--until", "soon"), "lease-day"), (("--until", "2020-01-01"), "lease-dates"),
                          (("--until", "9d", "--overage", "1/1"), "lease-overage"),
                          (("--until", "9d", "--fee", "-1"), "amount-negative"),
                          (("--until", "9d", "--features", "train"), "lease-feature")):
        assert deal.lease(*asked, *words, status=1).code == wanted
    nobody = ("new", "reviews", "--to", "Nobody", "--until", "9d", "--out", "never.lease", "--yes")
    assert deal.lease(*nobody, status=1).code == "customer-unknown"
    assert deal.lease("renew", "lse_nothing", "--until", "9d", "--out", "never.lease", status=1).code == "lease-unknown"
    shop = deal.shop()
    from unittest import mock

    with mock.patch("mofang.trade.leases.copies.forbidding", return_value=["CC-BY-NC-4.0"]):
        assert deal.lease(*asked, "--until", "9d", status=1).code == "lease-forbidden"
    made = shop.act(leasing.lease_new, model="reviews", customer="Book Shop", until="2d", out=str(tmp_path / "v.lease"),
                    marked=False)
    deal.lease("revoke", made.lease.id, "--yes")
    assert deal.lease("renew", made.lease.id, "--until", "9d", "--out", "never.lease", status=1).code == "lease-revoked"
    assert len(deal.lease("list", "--json").json) == before + 1 and not (deal.seller.folder / "never.lease").exists()
    chinese = Inside(deal.seller.folder, "zh")
    assert "终止" in chinese.type("lease", "renew", made.lease.id, "--until", "9d", "--out", "n", status=1).err


def test_whose_copy_is_it(deal: Deal, sent: Lessee) -> None:
    """The mark of one lease is found in its copy, and not in another's, nor in the original."""
    shop = deal.shop()
    deal.seller.type("customer", "new", "Rival")
    other = shop.act(leasing.lease_new, model="reviews", customer="Rival", until="30d", out=str(sent.folder / "rival.lease"))
    found = unlock(sent.file, sent.code)
    place = sent.folder / "leaked"
    place.mkdir()
    found.file.unpack(found.key, place)
    scores = {one["lease"]: one for one in find_mark(shop, place)}
    assert scores[deal.id]["found"] and not scores[other.lease.id]["found"] and abs(scores[other.lease.id]["score"]) < 5
    original = shop.find("reviews").path("graph/model.onnx")
    assert not any(one["found"] for one in find_mark(shop, original))
    (sent.folder / "torn.onnx").write_bytes(original.read_bytes()[:1000])
    assert code_of(lambda: find_mark(shop, sent.folder / "torn.onnx")) == "lease-mark-unreadable"
    assert deal.seller.type("lease", "find-mark", str(place)).out.count("True") == 1


@pytest.fixture(autouse=True)
def tidy(tmp_path: Path) -> Iterator[None]:
    """Nothing decrypted is left behind by this process, whatever a test did; other workers have folders of their own."""
    yield
    with suppress(FileNotFoundError):
        assert not list(Path("/dev/shm").glob(f"mofang-lease-{os.getpid()}-*"))


def test_the_licence_is_what_it_was(deal: Deal) -> None:
    """Written and read again, word by word."""
    licence = open_lease(deal.file).known.licence
    assert isinstance(licence, Licence) and licence.customer == "Book Shop" and licence.wrapped.keys() == {"code"}
    assert read_signed(signed(deal.shop(), licence)).licence == licence


def test_the_page(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/lease.md, typed as it stands, at the seller's and in another folder of the machine."""
    monkeypatch.setenv("MOFANG_LEASES", str(tmp_path / "home"))
    seller, customer = Inside(tmp_path / "seller"), Inside(tmp_path / "customer")
    shutil.copytree(made.folder, seller.folder, dirs_exist_ok=True)
    page = (Path(__file__).resolve().parents[2] / "docs" / "lease.md").read_text(encoding="utf-8")
    words: dict[str, str] = {}
    for at_customer, block in re.findall(r"(<!-- at the customer's -->\n)?```bash\n(.*?)```", page, re.DOTALL):
        for line in block.splitlines():
            typed = [words.get(one, one) for one in shlex.split(line, comments=True)[1:]]
            if at_customer and typed[:2] == ["lease", "run"]:
                with Server(customer, *typed[1:], command="lease") as server:
                    assert server.call("POST", "/v1/predict/reviews", TEXT).status == 200
                continue
            out = (customer if at_customer else seller).type(*typed).out
            if typed[:2] == ["lease", "new"]:
                words["CODE"] = re.search(r"(?:[a-z2-7]{4}-){7}[a-z2-7]{4}", out)[0]  # type: ignore[index]
                words["LEASE"] = re.search(r"lse_\w+", out)[0]  # type: ignore[index]
            for name in ("reviews.lease", "use.json", "renewal.licence"):
                there, here = (customer, seller) if at_customer else (seller, customer)
                if (there.folder / name).exists() and not (here.folder / name).exists():
                    shutil.copyfile(there.folder / name, here.folder / name)
    assert seller.type("lease", "--json").json[0]["units"] == 2 and len(words) == 2
    document = seller.type("invoice", "Book Shop", "--early", "--json").json
    fees = [one for one in document["lines"] if one.get("kind") == "lease"]
    assert [one["amount_micros"] for one in fees] == [5_000_000_000] * 2, "the fee, and that of the renewal"
    for one in fees:
        traced = seller.type("trace", document["number"], str(one["line"])).out
        assert "our own shop" in traced and "package" in traced, "a line leads to the records behind the model"


def test_over_http_it_says_when_it_ends_and_then_403(away: Lessee) -> None:
    """The desk and the application as the runner joins them, under a clock of ours."""
    import asyncio

    from mofang.web.leased import ROUTES, LeaseDesk
    from mofang.web.predict import PredictApp

    now = {"us": away.at_us, "s": 0.0}
    leased = Leased(away.file, away.code, clock=lambda: now["us"], monotonic=lambda: now["s"])

    async def ask(app: PredictApp, path: str = "/v1/predict/reviews", method: str = "POST") -> tuple[int, Any, Any]:
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": orjson.dumps(TEXT), "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        await app({"type": "http", "method": method, "path": path, "query_string": b"",
                   "headers": [(b"content-type", b"application/json")]}, receive, send)
        return sent[0]["status"], dict(sent[0]["headers"]), orjson.loads(sent[1]["body"])

    async def walk() -> None:
        desk = LeaseDesk(leased, leased.licence.model)
        app = PredictApp(desk, routes=ROUTES)  # type: ignore[arg-type]
        await desk.open()
        assert (await ask(app))[0] == 200 and b"mofang-lease" not in (await ask(app))[1]
        now.update(us=leased.licence.until_us + DAY_US, s=60.0)
        leased.look()
        status, headers, _ = await ask(app)
        assert status == 200 and headers[b"mofang-lease"].startswith(b"ends 20")
        now.update(us=leased.licence.ends_us + 1, s=120.0)
        leased.look()
        status, _, told = await ask(app)
        assert (status, told["error"]["code"]) == (403, "lease-ended") and told["error"]["fix"]
        status, _, told = await ask(app, "/health", "GET")
        assert (status, told["status"]) == (503, "lease-ended")
        assert (await ask(app, "/v1/lease", "GET"))[2]["requests"] == 3, "what was refused is not counted"
        await desk.close()

    asyncio.run(walk())


def test_what_a_kill_leaves_behind(away: Lessee, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decrypted files of a process that is gone are removed at the next start; counts that were edited are seen."""
    from mofang.trade.leases import opening as module

    monkeypatch.setattr(module, "MEMORY", away.folder)
    left = away.folder / "mofang-lease-999999999-x"
    left.mkdir()
    (left / "model.onnx").write_bytes(b"weights")
    leased = Leased(away.file, away.code)
    assert not list(away.folder.glob("mofang-lease-*"))
    leased.count(7)
    leased._tell()
    counts = leased._open
    leased._ending.set()
    leased._thread.join()
    leased._slot.close()
    counts.write_bytes(counts.read_bytes().replace(b'"units":7', b'"units":1'))
    assert code_of(lambda: Leased(away.file, away.code)) == "lease-record-changed"


def test_traced_both_ways_and_named_by_an_erasure(deal: Deal) -> None:
    """From the lease to the source, from the source to the lease; a person who is erased is told of it."""
    from mofang.data.erasure.descent import descent_of

    back = deal.seller.type("trace", deal.id).out
    assert "our own shop" in back and "package" in back
    shop = deal.shop()
    source = next(entry for entry in shop.ledger.entries("done") if entry.body["stage"] == "collect")
    assert deal.id in [line.rpartition(", ")[2].rstrip(")") for line in descent_of(shop, {source.id}).people["leases"]]
    assert shop.ledger.get(deal.shop().control.rows("select entry from leased where id=?", (deal.id,))[0][0]).id in (
        deal.seller.type("trace", source.id, "--forward", "--json").out)


def test_the_runner_holds_no_torch(sent: Lessee) -> None:
    """Neither torch nor anything that trains is in the process that answers."""
    import subprocess
    import sys

    words = ("import sys; from mofang.trade.leases.runner import Leased; import mofang.web.leased; from pathlib import Path; "
             "Leased(Path(sys.argv[1]), sys.argv[2]).close(); "
             "print([name for name in sys.modules if name.split('.')[0] in ('torch', 'transformers') "
             "or name.startswith('mofang.fit')])")
    done = subprocess.run([sys.executable, "-c", words, str(sent.file), sent.code], capture_output=True, text=True,
                          env=dict(os.environ), timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_a_mark_survives_rounding_where_there_are_many_weights(tmp_path: Path) -> None:
    """A graph of a million weights, marked, then quantised by ONNX Runtime: still the lessee's, and nobody else's."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper
    from onnxruntime.quantization import QuantType, quantize_dynamic

    from mofang.trade.leases import mark as leasemark

    weights = np.random.default_rng(3).standard_normal((1000, 1000), np.float32)
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g",
                              [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["b", 1000])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["b", 1000])],
                              [numpy_helper.from_array(weights, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    (tmp_path / "w.onnx").write_bytes(model.SerializeToString())
    key, other = b"k" * 32, b"o" * 32
    assert leasemark.mark(tmp_path / "w.onnx", tmp_path / "m.onnx", key, 3e-4) > 900_000
    quantize_dynamic(str(tmp_path / "m.onnx"), str(tmp_path / "q.onnx"), weight_type=QuantType.QInt8, per_channel=True)
    found = leasemark.graph_tensors((tmp_path / "q.onnx").read_bytes())
    ours = leasemark.graph_tensors((tmp_path / "w.onnx").read_bytes())
    assert leasemark.score(found, ours, key) > 30 and abs(leasemark.score(found, ours, other)) < 5
    renamed = {"anything": found["w"].T}
    assert leasemark.score(renamed, ours, key) > 30, "under another name and turned"
    assert onnx.load(str(tmp_path / "m.onnx")).graph.initializer[0].name == "w"
