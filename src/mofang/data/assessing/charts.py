"""Pictures of a report as SVG without script, drawn by Vega-Altair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mofang.core.errors import MofangError
from mofang.data.assessing.gather import Gathered
from mofang.data.assessing.vectors import Floats

BLUE, RED = "#2f6f9f", "#c2553f"
POINTS = 1500
COLUMNS_DRAWN = 6
CLASSES_DRAWN = 12


def bars(values: Mapping[str, float], title: str) -> str:
    """Horizontal bars, the largest first."""
    import pandas

    alt = _altair()
    frame = pandas.DataFrame({"name": list(values), "value": list(values.values())})
    return _svg(
        alt.Chart(frame, title=title, width=360, height=18 * max(len(values), 1))
        .mark_bar(color=BLUE)
        .encode(x=alt.X("value:Q", title=None), y=alt.Y("name:N", sort="-x", title=None, axis=alt.Axis(labelLimit=160)))
    )


def histogram(values: Sequence[float], title: str) -> str:
    """How often numbers occur, in at most thirty bins."""
    import pandas

    alt = _altair()
    counts, edges = np.histogram(np.asarray(values, np.float64), bins=30)
    frame = pandas.DataFrame({"from": edges[:-1], "to": edges[1:], "count": counts})
    return _svg(
        alt.Chart(frame, title=title, width=240, height=110)
        .mark_bar(color=BLUE)
        .encode(x=alt.X("from:Q", title=None, bin="binned"), x2="to:Q", y=alt.Y("count:Q", title=None))
    )


def scatter(vectors: Floats, labels: Sequence[Any]) -> str:
    """The sampled records in the plane, near where they are alike, coloured by label."""
    import pandas
    from sklearn.decomposition import PCA

    alt = _altair()
    chosen = np.linspace(0, len(vectors) - 1, min(POINTS, len(vectors))).astype(int)
    flat = PCA(2, random_state=0).fit_transform(vectors)[chosen]
    names = [str(labels[place]) if labels[place] is not None else "-" for place in chosen]
    common = {
        name
        for name, _ in sorted({name: names.count(name) for name in set(names)}.items(), key=lambda one: (-one[1], one[0]))[
            :CLASSES_DRAWN
        ]
    }
    frame = pandas.DataFrame(
        {
            "x": np.round(flat[:, 0], 3),
            "y": np.round(flat[:, 1], 3),
            "label": [name if name in common else "…" for name in names],
        }
    )
    bare = alt.Axis(labels=False, ticks=False, grid=False)
    return _svg(
        alt.Chart(frame, title="Records that are alike lie near each other  相似的记录彼此靠近", width=420, height=300)
        .mark_circle(size=18, opacity=0.6)
        .encode(
            x=alt.X("x:Q", title=None, axis=bare), y=alt.Y("y:Q", title=None, axis=bare), color=alt.Color("label:N", title=None)
        )
    )


def of_columns(found: Gathered) -> list[str]:
    """Histograms of the first number columns."""
    drawn = []
    for name in found.with_role("number")[:COLUMNS_DRAWN]:
        values = [one for one in found.sample[name] if one is not None and np.isfinite(one)]
        if len(set(values)) > 1:
            drawn.append(histogram(values, name[:40]))
    return drawn


def _altair() -> Any:
    try:
        import altair
        import vl_convert  # noqa: F401
    except ModuleNotFoundError as error:
        raise MofangError("extra-missing", extra="data", package=str(error.name)) from None
    return altair


def _svg(chart: Any) -> str:
    import vl_convert

    styled = (
        chart.configure(font="sans-serif")
        .configure_view(stroke=None)
        .configure_axis(labelFontSize=11)
        .configure_title(fontSize=13)
    )
    found: str = vl_convert.vegalite_to_svg(styled.to_dict())
    return found
