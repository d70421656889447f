"""Solutions (解决方案): models, a recipe, limits and support terms, sold together once and delivered as one signed file.

The ledger's entry of a solution is made from its packages, so the charge's line traces to every model in it, its licences and
its cost. Typed again, the same solution is the same entry, the same charge and the same bytes.
"""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from mofang.core.action import Act, action, turn
from mofang.core.ancestry import identity, shop_label
from mofang.core.artifact import Artifact
from mofang.core.canonical import canonical, digest_of, file_digest, sha256
from mofang.core.errors import MofangError
from mofang.core.ledger import Entry
from mofang.core.money import LARGEST_MICROS, format_micros, parse_amount, round_half_even_minor
from mofang.core.rule import Rule
from mofang.core.shop import Named, Shop
from mofang.core.signing import sign
from mofang.core.stage import OnDisk
from mofang.trade.accounts.customers import Customer, find_customer
from mofang.trade.accounts.lists import open_books
from mofang.trade.billing.oneoff import OneOff, charge, oneoffs
from mofang.trade.billing.spendable import spendable
from mofang.trade.leases.forbidding import forbidding
from mofang.trade.solutions.file import (
    CONTEXT,
    DOCUMENT,
    MODELS,
    MODELS_MOST,
    README,
    RECIPE,
    SIGNATURE,
    SOLUTION_FORMAT,
    TERMS,
    file_facts,
    text_of,
    write_solution,
)

LIMIT = re.compile(r"([a-z][a-z0-9_-]{0,30})=([^\s=](?:.{0,98}[^\s])?)")

TEXT = """{name}: a solution made by the Mofang shop {shop} for {customer}.
It holds {count} model(s) with their signed ancestry{recipe}, limits and support terms (terms.md).

  mofang solution check {file} --from {fingerprint}
  mofang solution open {file} --into FOLDER --from {fingerprint}

Both need no shop and no network. Compare the fingerprint with the one that the shop shows for `mofang fingerprint`;
ask over another way than the one this file came by.

{name}：模坊 {shop} 为 {customer} 制作的解决方案。内含 {count} 个带签名来源的模型{recipe_zh}、限额和支持条款（terms.md）。
核对与打开（无需模坊、无需联网）用上面两条命令；请通过其他途径向对方核对指纹。
"""


@dataclass(frozen=True)
class Made:
    """A solution that was written: the file, its document, and the charge."""

    path: Path
    document: dict[str, Any]
    sha256: str
    size_bytes: int
    charged: OneOff
    entry: str


@dataclass(frozen=True)
class Asked:
    """What a solution was asked to be, after every check that needs no writing: releases by name, buyer, price, texts, limits."""

    name: str
    named: dict[str, Named]
    who: Customer
    micros: int
    texts: dict[str, bytes]
    said: dict[str, Any]  # by which the same solution is known again


def asked(shop: Shop, *, name: str, models: tuple[str, ...], customer: str, price: str, terms: str, recipe: str = "",
          limits: tuple[str, ...] = ()) -> Asked:
    """Check what ``solution make`` was given before anybody is asked to say yes; raises what it raises, and charges nothing."""
    open_books(shop)
    name = shop.checked_name(name)
    if not 0 < len(models) <= MODELS_MOST:
        raise MofangError("solution-models", most=MODELS_MOST)
    named = {str(one): one for one in (shop.named(model, "package") for model in models)}
    texts = {TERMS: text_of(Path(terms), TERMS)} | ({RECIPE: text_of(Path(recipe), RECIPE)} if recipe else {})
    chosen = dict(sorted(map(_limit, limits)))
    who = find_customer(shop.control, customer)
    micros = parse_amount(price, who.currency)
    if not 0 < micros <= LARGEST_MICROS or round_half_even_minor(micros, who.currency) != micros:
        raise MofangError("customise-price", price=price)
    for one in named.values():
        _require_free(shop.artifact(shop.ledger.get(one.entry)))
    said = {"name": name, "customer": who.id, "models": [one.entry for one in named.values()], "limits": chosen,
            "texts": {one: sha256(data) for one, data in texts.items()}, "micros": micros, "currency": who.currency}
    known = shop.ledger.last(_key(said), "decision")
    with shop.control.transaction():
        _require_paid(shop, shop.control, who, micros, known.id if known else "")
    return Asked(name, named, who, micros, texts, said)


def _key(said: dict[str, Any]) -> str:
    return f"solution:{digest_of(said)}"


@action(may="money")
def solution_make(act: Act, *, name: Annotated[str, Rule(max_length=64)], models: tuple[str, ...], customer: str, price: str,
                  terms: Annotated[str, OnDisk()], recipe: Annotated[str, OnDisk()] = "", limits: tuple[str, ...] = (),
                  out: str = "") -> Made:
    """Bundle models, a recipe, limits and support terms for a customer, charge the price once, and write the signed file.

    ``limits`` are such as ``instances=2``. Raises ``solution-unpaid``, ``solution-forbidden``, ``solution-text``,
    ``solution-models``, ``solution-limit`` and what exporting and charging raise; then nothing is charged and nothing written.
    """
    shop = act.shop
    told = asked(shop, name=name, models=models, customer=customer, price=price, terms=terms, recipe=recipe, limits=limits)
    named, who, micros, texts = told.named, told.who, told.micros, dict(told.texts)
    place = Path(out) if out else Path(f"{told.name}.solution")
    with tempfile.TemporaryDirectory(dir=_scratch(shop)) as scratch:
        parcels = _parcels(shop, named, Path(scratch))
        with turn(act, "charges") as db:
            entry = _entered(act, who, told.said, list(named.values()))
            _require_paid(shop, db, who, micros, entry.id)
            charged = charge(act, who.id, "solution", told.name, micros, who.currency, entry.id)
        document = _document(shop, who, told.said, entry, named, parcels)
        texts[README] = _readme(document, place, recipe=bool(recipe))
        document["files"] = {one: file_facts(data) for one, data in texts.items()} | {
            one: [file_digest(file), file.stat().st_size] for one, file in parcels.items()}
        data = canonical(document)
        own = {README: texts.pop(README), DOCUMENT: data, SIGNATURE: canonical(sign(shop, CONTEXT, data))}
        digest, size_bytes = write_solution(place, own | texts, parcels)
    return Made(place, document, digest, size_bytes, charged, entry.id)


def _scratch(shop: Shop) -> Path:
    place = shop.path / "scratch"
    place.mkdir(exist_ok=True)
    return place


def _limit(text: str) -> tuple[str, str]:
    found = LIMIT.fullmatch(text)
    if found is None:
        raise MofangError("solution-limit", text=text[:60])
    return found[1], found[2]


def _require_free(package: Artifact) -> None:
    """Refuse a model whose licences or terms forbid selling it or handing it on."""
    described = package.read_json("package.json")
    licences, sources = [*package.licences, *described.get("licences", ())], described.get("sources", ())
    refused = forbidding(licences, sources)
    if refused:
        raise MofangError("solution-forbidden", terms="; ".join(refused))


def _parcels(shop: Shop, named: dict[str, Named], scratch: Path) -> dict[str, Path]:
    from mofang.serve.parcel import default_file, export_parcel

    found = {}
    for text in named:
        file = default_file(text).name
        export_parcel(shop, text, scratch / file)
        found[MODELS + file] = scratch / file
    return found


def _entered(act: Act, who: Customer, said: dict[str, Any], named: list[Named]) -> Entry:
    shop, key = act.shop, _key(said)
    if known := shop.ledger.last(key, "decision"):
        return known
    packages = [shop.artifact(shop.ledger.get(one.entry)) for one in named]
    licences = sorted({licence for one in packages for licence in one.licences})
    body = {"decision": "solution", "inputs": [one.reference() for one in packages], "licences": licences,
            "settings": {"name": said["name"], "customer": who.id, "models": [str(one) for one in named],
                         "limits": said["limits"], "texts": said["texts"]}}
    return shop.ledger.append("decision", key, shop.actor, body)


def _require_paid(shop: Shop, db: Any, who: Customer, micros: int, entry: str) -> None:
    """Refuse a price beyond what the customer may spend, unless it is charged already."""
    if any(one.source_entry == entry for one in oneoffs(db, who.id)):
        return
    left = spendable(shop, db, who.id)
    if micros > left:
        raise MofangError("solution-unpaid", customer=who.name, price=format_micros(micros, who.currency),
                          left=format_micros(left, who.currency))


def _document(shop: Shop, who: Customer, said: dict[str, Any], entry: Entry, named: dict[str, Named],
              parcels: dict[str, Path]) -> dict[str, Any]:
    models = []
    for (text, one), file in zip(named.items(), parcels, strict=True):
        package = shop.artifact(shop.ledger.get(one.entry))
        models.append({"name": text, "file": file, "package": package.digest, "licences": sorted(package.licences),
                       "task": str(package.read_json("package.json")["task"])})
    return {"solution": SOLUTION_FORMAT, "id": entry.id, "name": said["name"], "shop": identity(shop), "customer": who.name,
            "made_us": entry.at_us, "price": {"micros": said["micros"], "currency": said["currency"]}, "limits": said["limits"],
            "models": models}


def _readme(document: dict[str, Any], place: Path, *, recipe: bool) -> bytes:
    me = document["shop"]
    return TEXT.format(name=document["name"], shop=shop_label(me["id"], me["name"]), customer=document["customer"],
                       count=len(document["models"]), recipe=", a recipe" if recipe else "", recipe_zh="、配方" if recipe else "",
                       file=place.name, fingerprint=me["fingerprint"]).encode()
