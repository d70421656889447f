"""A trace leads from any result to its sources, licences and cost, and forwards to what was made from it."""

from __future__ import annotations

import pytest

from mofang.core.errors import MofangError
from mofang.core.language import set_language
from mofang.core.shop import Shop
from mofang.core.trace import ancestors, descendants, details, headline, lineage_cost, plain, render, walk
from tests.core.kernel_stages import Falling, best, count, split


def chain(shop: Shop) -> dict[str, str]:
    """Two sources, the longer of them chosen, then split: entry ids by a name for each step."""
    short = shop.run(count, upto=3)
    longer = shop.run(count, upto=9, licence="CC-BY-4.0")
    chosen = shop.run(best, (short, longer))
    halves = shop.run(split, chosen, order=Falling(stride=2))
    shop.name("halves", halves)
    return {"short": short.entry, "longer": longer.entry, "chosen": chosen.entry, "halves": halves.entry}


def test_backwards_to_the_sources(shop: Shop) -> None:
    made = chain(shop)
    top = ancestors(shop.ledger, made["halves"])
    assert [(node.stage, node.entry) for node in walk(top)] == [
        ("split", made["halves"]),
        ("best", made["chosen"]),
        ("count", made["longer"]),
        ("count", made["short"]),
    ]
    assert (top.name, top.kind, top.settings) == (
        "halves@1",
        "halves",
        {"order": Falling(stride=2).to_dict()},
    )
    assert top.licences == ("CC-BY-4.0", "CC0-1.0")  # the union of both sources'
    assert list(walk(top))[2].facts == {"licence": "CC-BY-4.0"}


def test_forwards_to_everything_made_from_it(shop: Shop) -> None:
    made = chain(shop)
    nodes = list(walk(descendants(shop.ledger, made["short"])))
    assert [node.entry for node in nodes] == [made["short"], made["chosen"], made["halves"]]
    shop.run(split, shop.find(made["chosen"]), at=0.25)
    assert [node.stage for node in walk(descendants(shop.ledger, made["chosen"]))] == [
        "best",
        "split",
        "split",
    ]


def test_a_failed_attempt_made_nothing(shop: Shop) -> None:
    numbers = shop.run(count)
    with pytest.raises(ValueError, match="NaN"):
        shop.run(split, numbers, at=float("nan"))
    assert [node.stage for node in walk(descendants(shop.ledger, numbers.entry))] == ["count"]


def test_what_was_shown_is_named_again_and_not_repeated(shop: Shop) -> None:
    numbers = shop.run(count)
    nodes = list(walk(ancestors(shop.ledger, shop.run(split, numbers, numbers).entry)))
    assert [(node.stage, node.again) for node in nodes] == [
        ("split", False),
        ("count", False),
        ("count", True),
    ]
    assert "(shown above)" in headline(nodes[2]) and details(nodes[2]) == []


def test_a_reuse_is_traced_to_its_original_and_costs_once(shop: Shop) -> None:
    made = chain(shop)
    again = shop.run(split, shop.find(made["chosen"]), order=Falling(stride=2))
    assert again.entry != made["halves"]
    assert ancestors(shop.ledger, again.entry).facts["of"] == made["halves"]
    both = lineage_cost(shop.ledger, again.entry, made["halves"])
    assert both == lineage_cost(shop.ledger, made["halves"])
    assert both["runs"] == 5  # split, its nested count, best, two counts
    assert both["micros"] is None


def test_cost_adds_up_once_a_rate_is_set(shop: Shop) -> None:
    shop.set_rates(machine_hour_micros=3_600_000_000)
    made = chain(shop)
    total = lineage_cost(shop.ledger, made["halves"])
    runs = [entry.body["cost"] for entry in shop.ledger.entries("done")]
    assert total["micros"] == sum(cost["own"]["micros"] for cost in runs)
    assert "¥" in "\n".join(plain(ancestors(shop.ledger, made["halves"])))


def test_on_the_screen_in_both_languages(shop: Shop) -> None:
    from rich.console import Console

    top = ancestors(shop.ledger, chain(shop)["halves"])
    lines = "\n".join(plain(top))
    assert "halves  halves@1" in lines and "settings: order=falling(stride=2)" in lines
    assert "licence: CC-BY-4.0" in lines and "rate not set" in lines
    set_language("zh")
    console = Console(width=120, record=True, file=open("/dev/null", "w", encoding="utf-8"))  # noqa: SIM115
    console.print(render(top))
    text = console.export_text()
    assert "由 split 得到" in text and "许可证：CC-BY-4.0, CC0-1.0" in text and "未设费率" in text


def test_as_json_without_empty_fields(shop: Shop) -> None:
    top = ancestors(shop.ledger, chain(shop)["chosen"]).to_dict()
    assert {"stage", "kind", "entry", "digest", "at_us", "licences", "cost", "below"} == set(top)


def test_an_unknown_entry_is_refused(shop: Shop) -> None:
    with pytest.raises(MofangError) as caught:
        ancestors(shop.ledger, "run_none")
    assert caught.value.code == "entry-unknown"
