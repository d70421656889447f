"""What a shop says of itself on bills and by which clock it counts, and what its compute costs: set by command, with history.

The values stand in ``mofang.json``; each change is a row of the journal ``settings``, so that one can see who changed
what and when. What was billed or counted before a change stays as it was.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mofang.core.action import Act, action
from mofang.core.clock import UTC_OFFSET, read_offset
from mofang.core.errors import MofangError
from mofang.core.journal import NewRow, Row
from mofang.core.language import say
from mofang.core.money import format_micros, parse_amount
from mofang.core.nearest import nearest
from mofang.core.shop import Shop
from mofang.core.tables import tables_of

JOURNAL = "settings"
LONGEST = 300
LANGUAGES = {"zh": "zh", "en": "en", "中文": "zh", "chinese": "zh", "english": "en", "英文": "en"}
SWITCH = {"on": "on", "off": "off", "开": "on", "关": "off"}
RATES = {"machine_hour_micros": "machine-hour", "kwh_micros": "kwh"}


def _text(name: str, text: str) -> str:
    if len(text.strip()) > LONGEST:
        raise MofangError("setting-too-long", setting=name, most=LONGEST)
    return text.strip()


def _language(name: str, text: str) -> str:
    if text.strip().lower() not in LANGUAGES:
        raise MofangError("language-unknown", text=text)
    return LANGUAGES[text.strip().lower()]


def _on_or_off(_name: str, text: str) -> str:
    if text.strip().lower() not in SWITCH:
        raise MofangError("switch-unknown", text=text)
    return SWITCH[text.strip().lower()]


@dataclass(frozen=True)
class Known:
    """One thing that may be set: where it is kept, what it is called, how it is read."""

    field: str
    en: str
    zh: str
    read: Callable[[str, str], str] = _text


KNOWN = {
    "seller": Known("seller", "name on your bills", "账单上的卖方名称"),
    "address": Known("seller_address", "address on your bills", "账单上的地址"),
    "tax-id": Known("seller_tax_id", "tax number on your bills", "账单上的税号"),
    "utc-offset": Known("utc_offset", "clock by which days and months begin", "日与月以哪个时区为准",
                        lambda _name, text: read_offset(text)),
    "invoice-language": Known("invoice_language", "language of your bills (else the screen's)", "账单语言（未设时同界面）", _language),
    "encrypt": Known("encrypt", "records are stored encrypted (on, off); what is stored stays as it is",
                     "记录是否加密存放（on、off）；已存放的保持原样", _on_or_off),
}


@dataclass(frozen=True)
class Setting:
    """One setting as it stands; ``value`` is empty where it was never set, ``at_us`` 0 where nobody knows when."""

    name: str
    value: str
    at_us: int
    by: str


def seller_of(shop: Shop, language: str, otherwise: str) -> str:
    """What a bill says of the seller: name, address and tax number, a line each."""
    tax_id = shop.settings.get("seller_tax_id")
    lines = [shop.settings.get("seller") or otherwise, shop.settings.get("seller_address") or "",
             f"{'税号' if language == 'zh' else 'Tax no.'} {tax_id}" if tax_id else ""]
    return "\n".join(line for line in lines if line)


def settings_of(shop: Shop) -> list[Setting]:
    """Every setting with its value, and when and by whom it was set last."""
    last: dict[str, Row] = {}
    for one in shop.journals.rows(JOURNAL):
        if one.kind == "setting":
            last[one.body["name"]] = one
    found = []
    for name, about in KNOWN.items():
        row: Row | None = last.get(name)
        value = str(shop.settings.get(about.field) or (UTC_OFFSET if name == "utc-offset" else ""))
        found.append(Setting(name, value, row.at_us if row is not None else 0, row.body.get("by", "") if row is not None else ""))
    return found


def known(name: str) -> str:
    """A setting's name as it is written here. Raises ``setting-not-known`` with the nearest."""
    plain = name.strip().replace("_", "-").lower()
    if plain not in KNOWN:
        raise MofangError("setting-not-known", setting=name, nearest=nearest(name, KNOWN), known=", ".join(KNOWN))
    return plain


@action(may="money")
def settings_set(act: Act, *, name: str, value: str) -> Setting:
    """Set what bills say of the seller, their language, or the shop's clock; an empty value takes it away.

    Raises ``offset-billed`` for another clock where there are bills: the months of the two would overlap or leave a gap.
    """
    name = known(name)
    field = KNOWN[name].field
    value = KNOWN[name].read(name, value) if value.strip() else ""
    before = act.shop.settings.get(field)
    if name == "utc-offset" and (value or UTC_OFFSET) != (before or UTC_OFFSET):
        _require_unbilled(act.shop, now=before or UTC_OFFSET, wanted=value or UTC_OFFSET)
    with act.transaction():
        row = act.record(JOURNAL, NewRow("setting", {"name": name, "value": value, "before": before or ""}))[0]
    act.shop.change_settings(**{field: value or None})
    return Setting(name, value, row.at_us, act.actor.name)


def _require_unbilled(shop: Shop, now: str, wanted: str) -> None:
    """Refuse another clock where bills were made by this one."""
    made = shop.control.rows("select count(*) from invoice") if "invoice" in tables_of(shop.control) else [(0,)]
    if made[0][0]:
        raise MofangError("offset-billed", now=now, wanted=wanted, bills=f"{made[0][0]:,}")


@action(may="money")
def rates_set(act: Act, *, machine_hour: str = "", kwh: str = "") -> dict[str, int]:
    """Say what an hour of this machine and a kilowatt-hour cost; runs from now on are counted at it."""
    currency = act.shop.currency
    given = {"machine_hour_micros": machine_hour, "kwh_micros": kwh}
    changed = {field: parse_amount(text, currency) for field, text in given.items() if text.strip()}
    if not changed:
        raise MofangError("rates-none-given")
    with act.transaction():
        act.record(JOURNAL, NewRow("rates", {**act.shop.rates, **changed}))
    act.shop.set_rates(**changed)
    return dict(act.shop.rates)


def rates_history(shop: Shop) -> list[dict[str, Any]]:
    """The rates and since when they hold, newest first; ``at_us`` 0 for those of before there was a history."""
    rows = [{"at_us": row.at_us, "by": row.body.get("by", ""), **{field: row.body.get(field) for field in RATES}}
            for row in reversed(shop.journals.rows(JOURNAL)) if row.kind == "rates"]
    now = {field: shop.rates.get(field) for field in RATES}
    same = bool(rows) and all(rows[0][field] == now[field] for field in RATES)
    return rows if same or not any(value is not None for value in now.values()) else [{"at_us": 0, "by": "", **now}, *rows]


def rates_example(shop: Shop) -> str:
    """What the rates come to for a run of five minutes, so that a slip is seen."""
    per_hour = shop.rates.get("machine_hour_micros")
    if per_hour is None:
        return say("until the machine hour is set, money reads \"rate not set\"", "设定每小时成本之前，金额显示“未设费率”")
    return say("a run of five minutes costs {money}", "运行五分钟的成本为 {money}",
               money=format_micros(round(per_hour / 12), shop.currency))
