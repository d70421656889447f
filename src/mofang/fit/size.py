"""How much there is to learn from, read from a snapshot without decoding all of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mofang.core.artifact import Artifact
from mofang.data.records import RecordReader
from mofang.engine.decode.classes import is_rare
from mofang.engine.encode.ngrams import spaced
from mofang.engine.task import read_columns

SAMPLE_ROWS = 1000
SIDE_MAX = 64


@dataclass(frozen=True)
class Size:
    """What an estimate of the training time needs to know.

    ``length`` is the mean number of characters of a text, of values of an image (at the size it is scaled
    to), or of columns of a row. ``language`` is "zh" for texts without spaces between words, "en" for others,
    "" for no texts. ``rarest`` is the share of the smallest class; 1 where it is not known.
    """

    rows: int
    classes: int
    length: float
    language: str = ""
    rarest: float = 1.0

    @property
    def is_uneven(self) -> bool:
        """Whether a class is so rare that a model may overlook it."""
        return is_rare(self.rarest, self.classes)


def size_of(snapshot: Artifact) -> Size:
    """The size of a snapshot's training part; lengths from its first 1,000 rows."""
    about = snapshot.read_json("about.json")
    reader = RecordReader(snapshot / "train")
    names = {
        role: [one["name"] for one in read_columns(about) if one["role"] == role] for role in ("text", "image")
    }
    classes = max(1, len(about["labels"]))  # a number is one column
    batch = next(reader.batches(SAMPLE_ROWS), None)
    if batch is None:
        return Size(0, classes, 1.0)
    counts = about.get("counts", {}).get("train", {}).get("classes", {})
    alone = about.get("target", "class") == "class"  # each row has one class
    rarest = min(counts.values()) / sum(counts.values()) if counts and alone else 1.0
    if names["text"]:
        texts = [str(value or "") for name in names["text"] for value in batch.column(name)]
        language = "en" if spaced(texts) else "zh"
        return Size(reader.rows, classes, sum(map(len, texts)) / len(batch), language, rarest)
    if names["image"]:
        return Size(reader.rows, classes, _values(batch.media[names["image"][0]][:50]), rarest=rarest)
    return Size(reader.rows, classes, float(len(read_columns(about))), rarest=rarest)


def _values(images: list[bytes]) -> float:
    """Mean values per image at the size that training scales to."""
    from mofang.engine.encode.image import open_image

    found = []
    for data in images:
        image = open_image(data)
        shrink = min(1.0, SIDE_MAX / max(image.size))
        found.append(image.width * image.height * shrink**2 * (1 if image.mode in ("L", "1") else 3))
    return float(np.mean(found))
