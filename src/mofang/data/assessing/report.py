"""The report as one page: no script, nothing from elsewhere, every text of a record shown as text."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mofang.data.assessing.check import Check

TEMPLATES = Path(__file__).parent / "templates"
COLOURS = {"good": "#2d7d46", "look": "#b7791f", "bad": "#b83232", "none": "#777"}
WORDS = {"good": ("good", "良好"), "look": ("look at it", "请留意"), "bad": ("bad", "差"), "none": ("does not apply", "不适用")}


def page(
    about: Mapping[str, Any],
    checks: Sequence[Check],
    pictures: Mapping[str, Sequence[str]],
    sheet: Sequence[Mapping[str, Any]],
    thumbnails: Sequence[tuple[str, bytes]],
) -> str:
    """The whole page as HTML."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    drawn = {name: [Markup(one) for one in pieces] for name, pieces in pictures.items()}
    shown = [(id, "data:image/png;base64," + base64.b64encode(content).decode()) for id, content in thumbnails]
    return environment.get_template("report.html").render(
        about=about,
        checks=checks,
        pictures=drawn,
        sheet=sheet,
        thumbnails=shown,
        colours=COLOURS,
        words=WORDS,
        columns=list(sheet[0]) if sheet else [],
    )
