"""A model that travels: trained in one shop, handed on by a second, sold in a third; and what shops may tell of each other."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from mofang.core.errors import MofangError
from mofang.core.foreign import foreign_entries, foreign_shop, known_shops
from mofang.core.shop import Shop
from mofang.core.trace import (
    Node,
    ancestors,
    descendants,
    elsewhere_line,
    find_foreign,
    foreign_descendants,
    lineage_cost,
    plain,
    walk,
)
from mofang.engine.measure import measure
from mofang.serve.admit import Admitted, admit, check_shops
from mofang.serve.border import open_parcel
from mofang.serve.trial import trial
from tests.serve.parcels import Box, make_model, send

HOUR = 3_600_000_000  # a micro-unit for every microsecond: costs are easy to see


def take(shop: Shop, parcel: Path, pinned: str = "", name: str = "") -> Admitted:
    """Import as the command does, but with the trial in this process."""
    folder = shop.path / "scratch" / "import-test"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    opened = open_parcel(parcel, folder)
    check_shops(shop, opened, pinned)
    return admit(shop, opened, {"engine": "onnx", "threads": 1, "batch": 1, "requests": 16, **opened.described["engine"]}, name)


def company(node: Node) -> str:
    """The other shop's name at a step, without the beginning of its fingerprint."""
    return node.shop.rpartition(" ")[0]


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Shop]:
    """Maker, dealer and seller, each in a currency of its own; the dealer has no machine rate."""
    folder = tmp_path_factory.mktemp("three")
    shops = {}
    for name, currency in (("maker", "CNY"), ("dealer", "USD"), ("seller", "EUR")):
        Shop.make(folder / name, currency=currency)
        about = json.loads((folder / name / "mofang.json").read_text())
        (folder / name / "mofang.json").write_text(json.dumps(about | {"seller": f"{name.title()} Ltd\n1 Road"}))
        shops[name] = Shop(folder / name)
    shops["maker"].set_rates(machine_hour_micros=HOUR)
    shops["seller"].set_rates(machine_hour_micros=HOUR)
    make_model(shops["maker"], folder)
    take(shops["dealer"], send(shops["maker"], folder / "one.mofang"))
    take(shops["seller"], send(shops["dealer"], folder / "two.mofang"), name="comments")
    return shops


def test_the_whole_chain_stands_in_the_third_shop(three: dict[str, Shop]) -> None:
    seller = three["seller"]
    package = seller.find("comments@1", "package")
    nodes = list(walk(ancestors(seller.ledger, package.entry)))
    assert [(node.stage, company(node)) for node in nodes[:3]] == [
        ("import", ""), ("import", "Dealer Ltd"), ("package", "Maker Ltd")]
    assert {company(node) for node in nodes[2:]} == {"Maker Ltd"}
    assert {"evaluate", "export", "train", "snapshot", "clean", "collect"} <= {node.stage for node in nodes}
    collected = next(node for node in nodes if node.stage == "collect")
    assert collected.facts == {"source": "texts.csv", "licence": "CC-BY-4.0", "origin": "tests"}
    maker = next(one for one in known_shops(seller) if one.name == "Maker Ltd")
    assert [one.facts for one in collected.below] == [{"held_by": f"Maker Ltd {maker.fingerprint[:9]}"}]
    assert package.licences == ("CC-BY-4.0",)
    assert {one.name for one in known_shops(seller)} == {"Dealer Ltd", "Maker Ltd"}
    text = "\n".join(plain(ancestors(seller.ledger, package.entry)))
    assert "@ Maker Ltd" in text and "held by shop: Maker Ltd" in text and "¥" in text
    for shop in three.values():
        assert shop.verify() == []


def test_every_shops_money_stays_in_its_own_currency(three: dict[str, Shop]) -> None:
    seller, maker = three["seller"], three["maker"]
    cost = lineage_cost(seller.ledger, seller.find("comments").entry)
    at_maker = lineage_cost(maker.ledger, maker.find("reviews").entry)
    assert at_maker["elsewhere"] == [] and at_maker["micros"] > 0
    purses = {one["shop"][:-10]: (one["currency"], one["micros"]) for one in cost["elsewhere"]}
    assert purses == {"Maker Ltd": ("CNY", at_maker["micros"]), "Dealer Ltd": ("USD", None)}
    assert cost["runs"] == at_maker["runs"] + 2 and isinstance(cost["micros"], int)
    line = elsewhere_line(cost)
    assert "rate not set (Dealer Ltd " in line and "¥" in line


def test_forwards_from_a_snapshot_that_another_shop_holds(three: dict[str, Shop]) -> None:
    seller, maker = three["seller"], three["maker"]
    snapshot = next(node.entry for node in walk(ancestors(maker.ledger, maker.find("reviews").entry)) if node.stage == "snapshot")
    found = find_foreign(seller.ledger, snapshot[:20])
    assert found is not None and found.id == snapshot
    nodes = list(walk(foreign_descendants(seller.ledger, found.shop, found.id)))
    assert ("import", "Dealer Ltd") in [(node.stage, company(node)) for node in nodes]
    assert seller.find("comments").entry in [node.entry for node in nodes]
    sent = [node for node in walk(descendants(maker.ledger, snapshot)) if node.stage == "export" and node.facts.get("file")]
    assert sent and sent[0].facts["file"].endswith(".mofang"), "and at home one sees what left the house"
    assert find_foreign(seller.ledger, "run_nothing") is None


def test_a_model_that_comes_home_is_traced_in_its_own_ledger(three: dict[str, Shop], tmp_path: Path) -> None:
    maker = three["maker"]
    admitted = take(maker, send(three["seller"], tmp_path / "home.mofang", "comments"), name="returned")
    nodes = list(walk(ancestors(maker.ledger, maker.find(str(admitted.named)).entry)))
    stages = [(node.stage, company(node)) for node in nodes]
    assert ("import", "Dealer Ltd") in stages and ("collect", "") in stages
    assert foreign_entries(maker.ledger.db, maker.settings["id"]) == [], "what is known first-hand is not kept twice"
    cost = lineage_cost(maker.ledger, admitted.entry)
    assert cost["micros"] >= lineage_cost(maker.ledger, maker.find("reviews").entry)["micros"] > 0
    assert maker.verify() == []


def test_a_known_shop_with_another_key_is_refused_unless_it_is_named(three: dict[str, Shop], tmp_path: Path) -> None:
    shutil.copytree(three["maker"].path, tmp_path / "maker")
    (tmp_path / "maker" / "keys" / "signing.key").unlink()  # its keys were lost, or somebody plays this shop
    parcel = send(Shop(tmp_path / "maker"), tmp_path / "again.mofang")
    shutil.copytree(three["dealer"].path, tmp_path / "dealer")
    dealer = Shop(tmp_path / "dealer")
    with pytest.raises(MofangError) as error:
        take(dealer, parcel)
    assert error.value.code == "signer-changed"
    pinned = str(error.value.values["found"])
    with pytest.raises(MofangError) as error:
        take(dealer, parcel, pinned="0" * 32)
    assert error.value.code == "signer-other"
    take(dealer, parcel, pinned=pinned.upper().replace("-", " "))
    known = foreign_shop(dealer.ledger.db, three["maker"].settings["id"])
    assert known is not None and known.fingerprint == pinned


def contradict(box: Box, document: Any) -> None:
    """The same entry with another licence all the way up: true to itself, but not to what was told before."""
    for one in document["entries"]:
        both = ["CC-BY-4.0", "CC0-1.0"]
        one["view"] |= {"licences": both, "added_licences": both if one["view"]["added_licences"] else []}


def test_a_shop_that_tells_another_story_is_refused(tmp_path: Path) -> None:
    maker, taker = Shop.open(tmp_path / "maker"), Shop.open(tmp_path / "taker")
    make_model(maker, tmp_path)
    box = Box(send(maker, tmp_path / "one.mofang"))
    box.seal()
    take(taker, box.write(tmp_path / "two.mofang"))
    described = json.loads(box.parts["package.json"])
    box.parts["package.json"] = json.dumps(described | {"licences": ["CC-BY-4.0", "CC0-1.0"]}).encode()
    with pytest.raises(MofangError) as error:
        take(taker, box.seal(lambda document: contradict(box, document)).write(tmp_path / "three.mofang"))
    assert error.value.code == "ancestry-contradicts"


@pytest.mark.parametrize(("change", "code"), [
    (lambda parts, name: parts.pop(name), "parcel-part-missing"),
    (lambda parts, name: parts.update({name: parts[name].replace(b"CC-BY-4.0", b"CC0-1.0")}), "parcel-part-changed"),
])
def test_the_earlier_shops_words_cannot_be_changed_on_the_way(three: dict[str, Shop], tmp_path: Path, change: Any, code: str) -> None:
    box = Box(send(three["dealer"], tmp_path / "two.mofang"))
    change(box.parts, next(name for name in box.parts if name.startswith("ancestry/")))
    with pytest.raises(MofangError) as error:
        take(Shop.open(tmp_path / "taker"), box.write(tmp_path / "three.mofang"))
    assert error.value.code == code


def test_a_dealer_cannot_put_another_model_under_the_makers_ancestry(three: dict[str, Shop], tmp_path: Path) -> None:
    box = Box(send(three["dealer"], tmp_path / "two.mofang"))
    box.parts["canonical.jsonl"] = box.parts["canonical.jsonl"].split(b"\n")[0] + b"\n"
    with pytest.raises(MofangError) as error:
        take(Shop.open(tmp_path / "taker"), box.seal().write(tmp_path / "three.mofang"))
    assert error.value.code == "ancestry-other"


def test_verify_finds_what_was_changed_of_other_shops(three: dict[str, Shop], tmp_path: Path) -> None:
    shutil.copytree(three["seller"].path, tmp_path / "shop")
    shop = Shop(tmp_path / "shop")
    assert shop.ledger.db.run("update foreign_entry set view=replace(view, 'CC-BY-4.0', 'CC0-1.0')") > 0
    assert shop.verify() == ["the table of other shops' entries differs from the imported packages"]
    shop.ledger.db.run("update foreign_shop set fingerprint='0000'")
    assert "the table of other shops differs from the imported packages" in shop.verify()
    document = shop.store.path(shop.ledger.get(shop.find("comments").entry).body["foreign"]["document"])
    document.chmod(0o644)
    document.write_bytes(document.read_bytes().replace(b"CC-BY-4.0", b"CC0-1.0  "))
    assert any("cannot be read" in one for one in shop.verify())


def test_a_package_from_another_machine_is_measured_again_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    maker, taker = Shop.open(tmp_path / "maker"), Shop.open(tmp_path / "taker")
    monkeypatch.setattr("mofang.serve.package.machine_facts", lambda: {
        "processor": "riscv", "system": "Plan 9", "cores": 64, "mofang": "0"})
    make_model(maker, tmp_path)
    monkeypatch.undo()
    monkeypatch.setattr("mofang.engine.measure.CALLS_MIN", 1)
    monkeypatch.setattr("mofang.serve.remeasure.measure", lambda *given, **more: measure(*given, **more | {"seconds": 0.001}))
    parcel = send(maker, tmp_path / "one.mofang")
    first, second = take(taker, parcel), take(taker, parcel)
    assert first.remeasured and str(first.named) == str(second.named) == "reviews@1"
    package = taker.find("reviews", "package")
    described = package.read_json("package.json")
    assert described["machine"]["system"] != "Plan 9" and described["engine"]["passes"] and package.licences == ("CC-BY-4.0",)
    assert [node.stage for node in walk(ancestors(taker.ledger, package.entry))][:3] == ["remeasure", "import", "package"]
    third = Shop.open(tmp_path / "third")
    again = take(third, send(taker, tmp_path / "two.mofang"))
    assert not again.remeasured and third.verify() == []
    assert trial(_unpacked(third, tmp_path / "plain"))["requests"] == 16


def _unpacked(shop: Shop, folder: Path) -> Path:
    package = shop.find("reviews", "package")
    for part in package.parts:
        place = folder / part.name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(package.path(part.name), place)
    return folder
