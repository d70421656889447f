"""Sound files: folders named after classes, or a folder with a label file; their headers are read, their bytes kept."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

from mofang.data.readers import CHUNK_BYTES, CHUNK_ROWS, Chunk, Reading, Reject, needed
from mofang.data.readers.images import content_of, labels_by_name
from mofang.data.sources.files import SourceFile

SECONDS_MOST = 4 * 3600.0
CHANNELS_MOST = 64
RATE_MOST = 1_000_000
BOMB_FRAMES_PER_BYTE = 20_000  # silence packs well, but not without end


def read_sounds(files: list[SourceFile], how: Reading, reject: Reject) -> Iterator[Chunk]:
    """Every sound as a record: ``audio`` holds its name, with ``seconds``, ``sample_rate`` and ``channels`` from its header;
    the label comes from its folder or the label file, and ``folder`` is the path of the folders above.

    A file whose header cannot be read, that is too long, or that claims more sound than its bytes can hold, is set aside.
    Nothing is decoded here.
    """
    label = how.label or "label"
    labels = how.labels if how.labels is not None else labels_by_name(files, how, reject)
    levels = 1 if how.label_file else 2
    names: list[str] = []
    columns: dict[str, list[Any]] = _empty(label)
    content: list[bytes] = []
    size = 0
    for file in (one for one in files if one.kind == "sounds"):
        data = content_of(file, reject)
        facts = _facts(file, data, reject) if data else None
        if facts is None:
            continue
        names.append(file.name)
        values = (file.name, "/".join(file.name.split("/")[:-levels]), *facts, labels.get(file.name))
        for column, value in zip(columns.values(), values, strict=True):
            column.append(value)
        content.append(data)
        size += len(data)
        if len(names) >= CHUNK_ROWS or size > CHUNK_BYTES:
            yield Chunk("", [0] * len(names), columns, {"audio": content}, names)
            names, columns, content, size = [], _empty(label), [], 0
    yield Chunk("", [0] * len(names), columns, {"audio": content}, names)


def _empty(label: str) -> dict[str, list[Any]]:
    return {name: [] for name in ("audio", "folder", "seconds", "sample_rate", "channels", label)}


def _facts(file: SourceFile, data: bytes, reject: Reject) -> tuple[float, int, int] | None:
    """Seconds, samples a second and channels; None if the sound was rejected."""
    soundfile = needed("soundfile")
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as opened:
            frames, rate, channels = opened.frames, opened.samplerate, opened.channels
    except (soundfile.LibsndfileError, RuntimeError, ValueError, TypeError) as error:
        reject(file.name, 0, "sound-broken", str(error).replace("<_io.BytesIO object", "<"))
        return None
    if frames <= 0 or rate <= 0 or channels <= 0:
        reject(file.name, 0, "sound-empty")
    elif frames / rate > SECONDS_MOST or channels > CHANNELS_MOST or rate > RATE_MOST:
        reject(file.name, 0, "sound-too-long", f"{frames} / {rate} Hz x {channels}")
    elif frames * channels > BOMB_FRAMES_PER_BYTE * len(data):
        reject(file.name, 0, "sound-bomb", f"{frames} x {channels} in {len(data)} bytes")
    else:
        return round(frames / rate, 4), int(rate), int(channels)
    return None
