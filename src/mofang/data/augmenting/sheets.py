"""Contact sheets: what was made of what, on one page to look at."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from io import BytesIO
from typing import Any

import numpy as np

CELL, GAP = 112, 4
SOUND_WIDE = 220
FLOOR_DB = -80.0
LONGEST = 600  # signs of a value that are shown
ALIKE = 0.5


def image_sheet(rows: Sequence[Sequence[Any]]) -> bytes:
    """PNG: a line a record, the image itself first (in a dark frame), then its variants; uint8 [H, W, C] each."""
    return _sheet([[_fitted(cell, CELL, CELL) for cell in row] for row in rows], CELL, CELL)


def sound_sheet(rows: Sequence[Sequence[Any]]) -> bytes:
    """PNG of spectrograms: a line a record, the sound itself first; float [frames, channels] each."""
    return _sheet([[_filled(spectrogram(cell)) for cell in row] for row in rows], SOUND_WIDE, CELL)


def spectrogram(samples: Any) -> Any:
    """uint8 [height, width, 1]: time to the right, frequency upwards, louder is lighter."""
    from mofang.data.augmenting.sounds import WINDOW, stft

    mono = samples.mean(1) if len(samples) >= WINDOW else np.pad(samples.mean(1), (0, WINDOW - len(samples)))
    size = np.abs(stft(mono)).T[::-1]
    db = 20 * np.log10(np.maximum(size, 1e-8) / max(float(size.max()), 1e-8))
    return ((db.clip(FLOOR_DB, 0) / -FLOOR_DB + 1) * 255).round().astype(np.uint8)[:, :, None]


def _fitted(pixels: Any, width: int, height: int) -> Any:
    from PIL import Image

    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).convert("RGB")
    share = min(width / image.width, height / image.height)
    size = max(1, round(image.width * share)), max(1, round(image.height * share))
    return image.resize(size, Image.Resampling.NEAREST if share > 2 else Image.Resampling.BILINEAR)


def _filled(pixels: Any) -> Any:
    from PIL import Image

    return Image.fromarray(pixels[:, :, 0]).convert("RGB").resize((SOUND_WIDE, CELL), Image.Resampling.BILINEAR)


def _sheet(rows: Sequence[Sequence[Any]], width: int, height: int) -> bytes:
    from PIL import Image, ImageDraw

    across = max((len(row) for row in rows), default=1)
    page = Image.new("RGB", (GAP + across * (width + GAP), GAP + max(1, len(rows)) * (height + GAP)), "white")
    draw = ImageDraw.Draw(page)
    for down, row in enumerate(rows):
        for place, cell in enumerate(row):
            left, top = GAP + place * (width + GAP), GAP + down * (height + GAP)
            if place == 0:
                draw.rectangle((left - GAP, top - GAP, left + width + GAP // 2, top + height + GAP // 2), fill=(40, 40, 40))
            page.paste(cell, (left + (width - cell.width) // 2, top + (height - cell.height) // 2))
    stream = BytesIO()
    page.save(stream, "PNG")
    return stream.getvalue()


def text_sheet(rows: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]], columns: Sequence[str]) -> bytes:
    """An HTML page: before and after side by side, what differs marked; the records' own text is escaped."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
    body = []
    for before, after in rows:
        for label, one, other in (("before 前", before, after), ("after 后", after, before)):
            cells = "".join(f"<td>{_marked(_shown(one.get(name)), _shown(other.get(name)))}</td>" for name in columns)
            body.append(f"<tr><th>{label}</th>{cells}</tr>")
    style = ("body{font-family:sans-serif;margin:1em}table{border-collapse:collapse}td,th{border:1px solid #bbb;"
             "padding:.3em .5em;text-align:left;vertical-align:top}"
             "tr:nth-child(odd) td,tr:nth-child(odd) th{border-bottom:3px solid #666}"
             "mark{background:#ffe9a8}")
    page = (f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Variants</title><style>{style}</style></head>'
            f"<body><h1>Variants 增广样张</h1><table><tr><th></th>{head}</tr>{''.join(body)}</table></body></html>\n")
    return page.encode("utf-8", "replace")


def _shown(value: Any) -> str:
    text = "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= LONGEST else text[:LONGEST] + "…"


def _marked(text: str, other: str) -> str:
    """The text as HTML with what the other one does not have marked; all of it where the two have little in common."""
    matcher = SequenceMatcher(None, text, other, autojunk=False)
    if matcher.ratio() < ALIKE:
        return f"<mark>{html.escape(text)}</mark>"
    pieces = ((kind, html.escape(text[start:end])) for kind, start, end, _, _ in matcher.get_opcodes() if end > start)
    return "".join(piece if kind == "equal" else f"<mark>{piece}</mark>" for kind, piece in pieces)
