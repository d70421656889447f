"""Numbers that stand for a record, so that records can be compared: of texts their character pairs, of tables their values,
of pictures a small copy, of sounds their spectrum.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mofang.core.errors import MofangError

if TYPE_CHECKING:
    from mofang.data.assessing.gather import Gathered

Floats = npt.NDArray[np.float32]
SIDE = 16
BANDS = 40
SOUND_SECONDS_MOST = 30
TEXT_FEATURES = 1 << 16
DIMENSIONS = 32
CATEGORIES_MOST = 30
PIXELS_MOST = 50_000_000
TEXT_CHARS = 2000


def media_vector(data: bytes, role: str) -> tuple[Floats | None, bytes]:
    """A picture's small copy or a sound's spectrum, and a thumbnail of a picture (PNG); None for what cannot be opened."""
    return _picture(data) if role == "image" else (_sound(data), b"")


def _picture(data: bytes) -> tuple[Floats | None, bytes]:
    from mofang.data.pixels import UnusableImageError, decoded, open_header

    try:
        image = decoded(open_header(data, PIXELS_MOST)).convert("RGB")
    except (UnusableImageError, OSError, ValueError, SyntaxError):
        return None, b""
    small = np.asarray(image.resize((SIDE, SIDE)), np.float32).ravel() / np.float32(255)
    image.thumbnail((96, 96))
    shown = io.BytesIO()
    image.save(shown, "PNG")
    return small.astype(np.float32), shown.getvalue()


def _sound(data: bytes) -> Floats | None:
    try:
        import soundfile
    except ModuleNotFoundError:
        raise MofangError("extra-missing", extra="data", package="soundfile") from None
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            samples = file.read(min(len(file), file.samplerate * SOUND_SECONDS_MOST), dtype="float32", always_2d=True).mean(
                axis=1
            )
    except (soundfile.LibsndfileError, RuntimeError, ValueError):
        return None
    frame = 512
    count = len(samples) // frame
    if not count:
        return None
    spectrum = np.abs(
        np.fft.rfft(samples[: count * frame].reshape(count, frame) * np.hanning(frame).astype(np.float32), axis=1)
    )
    edges = np.unique(np.geomspace(1, spectrum.shape[1] - 1, BANDS + 1).astype(int))
    bands = np.log(
        np.stack([spectrum[:, low:high].mean(axis=1) for low, high in zip(edges, edges[1:], strict=False)], axis=1) + 1e-6
    )
    found = np.zeros(2 * BANDS, np.float32)
    means, spread = bands.mean(axis=0), bands.std(axis=0)
    found[: len(means)], found[BANDS : BANDS + len(spread)] = means, spread
    return found


def joined_texts(gathered: Gathered) -> list[str]:
    """The texts of each sampled record as one."""
    names = gathered.with_role("text")
    return [
        "\n".join(str(gathered.sample[name][row] or "")[:TEXT_CHARS] for name in names)
        for row in range(len(gathered.sample_ids))
    ]


def text_features(texts: Sequence[str]) -> Any:
    """Sparse features [N, 65,536]: characters and pairs of characters in Chinese, words and parts of words otherwise."""
    from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer

    hashed = HashingVectorizer(
        analyzer="char", ngram_range=(1, 3), n_features=TEXT_FEATURES, alternate_sign=False, norm=None, dtype=np.float32
    ).transform(texts)
    return TfidfTransformer(sublinear_tf=True).fit_transform(hashed)


def table_features(gathered: Gathered) -> Floats:
    """Dense features [N, F]: numbers scaled to spread 1 (missing ones at the middle, marked), the commonest categories."""
    rows = len(gathered.sample_ids)
    found: list[npt.NDArray[Any]] = []
    for name in gathered.with_role("number"):
        values = np.array([np.nan if one is None else one for one in gathered.sample[name]], np.float64)
        values[~np.isfinite(values)] = np.nan
        known = values[~np.isnan(values)]
        middle, spread = (
            (np.median(known), np.std(np.clip(known, *np.quantile(known, [0.01, 0.99])))) if len(known) else (0.0, 0.0)
        )
        found.append(np.clip(np.nan_to_num((values - middle) / (spread or 1.0)), -8, 8))
        if np.isnan(values).any():
            found.append(np.isnan(values).astype(np.float64))
    for name in gathered.with_role("category"):
        common = [value for value, _ in gathered.columns[name].values.most_common(CATEGORIES_MOST)]
        shown = [str(one) if one is not None else "" for one in gathered.sample[name]]
        found += [np.array([one == value for one in shown], np.float64) for value in common]
    for pieces in gathered.vectors.values():
        size = next((len(one) for one in pieces if one is not None), 0)
        found += list(np.stack([one if one is not None else np.zeros(size, np.float32) for one in pieces]).T) if size else []
    return np.stack(found, axis=1).astype(np.float32) if found else np.zeros((rows, 0), np.float32)


def embedded(gathered: Gathered, sparse: Any, dense: Floats) -> Floats:
    """At most 64 numbers for each sampled record, near for records that are alike."""
    from sklearn.decomposition import PCA, TruncatedSVD

    found = []
    if sparse is not None and min(sparse.shape) > 2:
        size = min(DIMENSIONS, min(sparse.shape) - 1)
        reduced = TruncatedSVD(size, random_state=0).fit_transform(sparse)
        found.append(reduced / (np.linalg.norm(reduced, axis=1, keepdims=True) + 1e-9))
    if dense.shape[1]:
        size = min(DIMENSIONS, *dense.shape)
        reduced = PCA(size, random_state=0).fit_transform(dense)
        found.append(reduced / (np.std(reduced) * np.sqrt(size) + 1e-9))
    return np.concatenate(found, axis=1).astype(np.float32) if found else np.zeros((len(gathered.sample_ids), 0), np.float32)
