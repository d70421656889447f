"""``mofang new``: a first look at records that nobody prepared, and a recipe of about thirty readable lines."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mofang.core.errors import MofangError
from mofang.core.language import say
from mofang.data.firstlook.finding import Finding
from mofang.data.firstlook.sniff import sniff
from mofang.new.text import UNKNOWN, recipe_text
from mofang.new.words import cost_line, describe, encoder_lines

BUDGET_S = 300.0  # what `mofang run` may take unless it is told otherwise


@dataclass(frozen=True)
class Made:
    """What ``mofang new`` found, the recipe it wrote, and what a run of it will take: ``estimate`` holds seconds,
    whether the budget ends the search, and the money (None where no rate is set)."""

    finding: Finding
    recipe: Path
    licence: str
    estimate: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """The finding, the estimate and the recipe's path as JSON."""
        return {**self.finding.to_dict(), "recipe": str(self.recipe), "licence": self.licence, "estimate": self.estimate}

    def lines(self) -> list[str]:
        """What was found, in words."""
        return [
            *describe(self.finding),
            f"  {cost_line(self.estimate)}",
            *encoder_lines(self.finding),
            *([_licence_line()] if self.licence == UNKNOWN else []),
            say(
                "Wrote {recipe}: each guess is one line of it, yours to edit.",
                "已写出 {recipe}：每个判断占一行，可随意修改。",
                recipe=self.recipe,
            ),
        ]


def write_recipe(
    path: str,
    *,
    out: str | None = None,
    licence: str = "",
    origin: str = "",
    inputs: str = "",
    delimiter: str = "",
    keep: Sequence[str] = (),
    rates: Mapping[str, Any] | None = None,
    currency: str = "CNY",
    cache: Path | None = None,
    paces: Mapping[str, float] | None = None,
    **given: str,
) -> Made:
    """Look at a source and write its recipe; nothing is ever overwritten.

    ``given`` are the other flags of ``sniff``. On a terminal the licence and the origin are asked for; elsewhere the
    licence becomes ``unknown``. ``rates`` are the shop's, ``cache`` the folder that remembers how fast the machine is,
    ``paces`` what its earlier runs taught.
    """
    from mofang.fit.estimate import estimate_run

    wanted = tuple(piece.strip() for piece in inputs.replace("，", ",").split(",") if piece.strip())
    finding = sniff(path, inputs=wanted, delimiter=delimiter.replace("\\t", "\t"), keep=tuple(keep), **given)
    place = Path(out) if out else Path(f"{finding.name}.py")
    if place.exists():
        raise MofangError("recipe-exists", path=str(place))
    licence, origin = _ask(licence, origin)
    text = recipe_text(finding, place, licence, origin)
    estimate = estimate_run(finding, budget_s=BUDGET_S, cache=cache, paces=paces).to_dict(rates or {}, currency)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise MofangError("recipe-exists", path=str(place)) from None
    return Made(finding, place, licence, estimate)


def _ask(licence: str, origin: str) -> tuple[str, str]:
    """What was not given by flag is asked for, where somebody can answer."""
    if not licence and sys.stdin.isatty() and sys.stdout.isatty():
        import click

        licence = click.prompt(
            say(
                "Licence or terms of these records (own, CC-BY-4.0, …)",
                "这批数据的许可或条款（own 表示自有，或 CC-BY-4.0 等）",
            ),
            default=UNKNOWN,
        )
        origin = origin or click.prompt(say("Where do they come from?", "数据来自哪里？"), default="", show_default=False)
    return licence.strip() or UNKNOWN, origin.strip()


def _licence_line() -> str:
    return say(
        "The licence of the records is not stated; state it before you sell (--licence).",
        "还没有写明数据的许可；出售之前请补上（--licence）。",
    )
