"""The page of an invoice: the document's figures as finished text, set by typst into a PDF.

The same document gives the same bytes: the creation time is the issue date, the font is the one installed
with Mofang, and the template computes nothing.
"""

from __future__ import annotations

import importlib.util
import tomllib
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mofang.core.canonical import canonical, file_digest, sha256
from mofang.core.clock import local
from mofang.core.errors import MofangError
from mofang.core.language import Language
from mofang.core.money import format_micros, format_price

TEMPLATE, WORDS = (Path(__file__).with_name(name) for name in ("invoice.typ", "invoice_words.toml"))
FONT_PACKAGE, FONT_FILE, FONT_FAMILY = "zhplot", "fonts/NotoSansSC-Regular.ttf", "Noto Sans SC"
SYSTEM_FAMILIES = (
    "Noto Sans CJK SC",
    "Source Han Sans SC",
    "PingFang SC",
    "Microsoft YaHei",
    "WenQuanYi Zen Hei",
    "SimSun",
)


FIGURES = ("units", "unit_price", "exact", "amount")
WIDE_SIGNS = 52  # of the widest figures of a line: with more there is no room for words beside them
TAGGED_LINES = 200  # a longer page has no marks for reading aloud: they are seven eighths of its bytes


@cache
def words_in(language: Language) -> dict[str, Any]:
    """The fixed words of the page."""
    found: dict[str, Any] = tomllib.loads(WORDS.read_text(encoding="utf-8"))[language]
    return found


@cache
def font() -> tuple[str, Path | None]:
    """The family to set Chinese in, and its file; without the installed font, the system's (and no file).

    Raises ``font-missing`` if the machine has no Chinese font at all.
    """
    import typst

    spec = importlib.util.find_spec(
        FONT_PACKAGE
    )  # found, never imported: the package would draw in matplotlib
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if (Path(folder) / FONT_FILE).exists():
            return FONT_FAMILY, Path(folder) / FONT_FILE
    installed = typst.Fonts().families()
    for family in (FONT_FAMILY, *SYSTEM_FAMILIES):
        if family in installed:
            return family, None
    raise MofangError("font-missing", package=FONT_PACKAGE)


def renderer() -> dict[str, str]:
    """What the bytes of a page depend on beside the document: typesetter and font."""
    family, file = font()
    page = sha256(TEMPLATE.read_bytes() + WORDS.read_bytes())
    return {
        "typst": version("typst"),
        "font": family,
        "font_digest": file_digest(file)[:16] if file else "system",
        "page": page[:16],
    }


def render(document: dict[str, Any], language: Language) -> bytes:
    """The invoice as a PDF; the same document, typesetter and font give the same bytes."""
    import typst

    family, file = font()
    text = canonical(page(document, language) | {"font": family}).decode()
    issued_s: int = document["issued_us"] // 1_000_000
    made: bytes = typst.compile(
        TEMPLATE,
        sys_inputs={"page": text},
        format="pdf",
        timestamp=issued_s,
        font_paths=[file.parent] if file else [],
        ignore_system_fonts=file is not None,
        pdf_tags=len(document["lines"]) <= TAGGED_LINES,
    )
    return made


def page(document: dict[str, Any], language: Language) -> dict[str, Any]:
    """Every text on the page."""
    words, currency, number = words_in(language), document["currency"], document["number"]
    period, offset = document["period"], document["period"]["utc_offset"]
    first, last = local(period["from_us"], offset), local(period["to_us"] - 1, offset)
    issued = local(document["issued_us"], offset)

    def money(micros: int) -> str:
        return format_micros(micros, currency)

    lines = [_line(line, words, currency) for line in document["lines"]]
    return {
        "language": language,
        "title": words["title"],
        "subtitle": words["subtitle"],
        "preview": "" if number else words["preview"],
        "number": number or words["unnumbered"],
        "seller": document["seller"],
        "customer_label": words["customer"],
        "customer": {"name": document["customer"]["name"],
                     "rows": [*document["customer"]["rows"], words["account"].format(**document)]},
        "about": [(words["number"], number or words["unnumbered"]),
                  (words["period"], f"{first:%Y-%m-%d} – {last:%Y-%m-%d}"),
                  (words["issued"], f"{issued:%Y-%m-%d %H:%M} UTC{offset}"),
                  (words["currency"], currency)],
        "columns": words["columns"],
        "lines": lines,
        "wide": sum(max((len(line[name]) for line in lines), default=0) for name in FIGURES) > WIDE_SIGNS,
        "totals": [(words["exact"], money(document["exact_micros"])),
                   (words["rounding"], money(document["rounding_micros"])),
                   *((words["credit"].format(**one), money(one["amount_micros"])) for one in document.get("credits", ()))],
        "total": (words["total"], money(document["total_micros"])),
        "check": words["check"],
        "steps": [said.format(minor=money(document["minor_micros"]), number=number or "…")
                  for said in words["steps"]],
        "proofs": [*((words["root"].format(**line), line["merkle_root"]) for line in document["lines"] if "merkle_root" in line),
                   (words["head"].format(**document["ledger"]), document["ledger"]["head"])],
        "footer": words["footer"],
    }  # fmt: skip


def _line(line: dict[str, Any], words: dict[str, Any], currency: str) -> dict[str, str]:
    """One line's texts; a line that no use stands behind says what it was worked out from."""
    shown = {"line": str(line["line"]), "exact": format_micros(line["exact_micros"], currency),
             "amount": format_micros(line["amount_micros"], currency)}
    if line.get("kind", "usage") != "usage":
        return shown | {"model": title(line, words, currency), "note": "", "package": line.get("source_entry", ""), "units": "",
                        "unit_price": ""}
    notes = [words[name].format(**line) for name in ("requests", "late", "repeats") if line.get(name)]
    notes += [step(one, words, currency) for one in line.get("steps", ())]
    price = "" if "steps" in line else format_price(line["price_micros"], currency).replace("/", " / ")
    return shown | {"model": line["model"], "note": " · ".join(notes), "package": words["package"].format(**line),
                    "units": f"{line['units']:,}", "unit_price": price}


def title(line: dict[str, Any], words: dict[str, Any], currency: str) -> str:
    """What a line that no use stands behind is for, in the words of the page."""
    said: str = words["kinds"][line["kind"]]
    told = {name: format_micros(value, currency) for name, value in line.items() if name.endswith("_micros")}
    rate = f"{line.get('rate_ppm', 0) / 10_000:.4f}".rstrip("0").rstrip(".")
    return said.format(**{"name": "", "what": "", "model": "", **line, **told, "rate": rate}).strip()


def step(one: dict[str, Any], words: dict[str, Any], currency: str) -> str:
    """One tier, package or included part of a line: ``1,000 × ¥2.00``."""
    if "included" in one:
        return str(words["included"].format(**one))
    if "packages" in one:
        return f"{one['packages']:,} × {format_micros(one['micros'], currency)}/{one['size']:,}"
    return f"{one['units']:,} × {format_price(one['rate'], currency)}"
