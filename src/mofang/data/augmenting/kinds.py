"""The kinds of variants by name, and the chance that makes each of them repeatable."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from mofang.core.errors import MofangError
from mofang.core.nearest import nearest

KINDS: dict[str, tuple[str, ...]] = {
    "text": ("synonym", "swap", "delete", "noise", "back-translate"),
    "image": ("crop", "flip", "rotate", "colour", "cutout", "mixup"),
    "audio": ("noise", "speed", "pitch", "time-mask", "frequency-mask"),
    "table": ("smote",),
}
# Left to itself nothing is done that could change what a record means: a mirrored digit or text is another one.
SAFE: dict[str, tuple[str, ...]] = {
    "text": ("synonym", "swap", "delete", "noise"),
    "image": ("crop", "rotate", "colour"),
    "audio": ("noise", "speed", "time-mask"),
    "table": ("smote",),
}


def modality_of(roles: Sequence[str]) -> str:
    """What the inputs with these roles are: text, image, audio or table."""
    return next((one for one in ("image", "audio", "text") if one in roles), "table")


def chosen_kinds(given: Sequence[str], modality: str) -> tuple[str, ...]:
    """The named kinds, checked, or the safe ones of this modality."""
    for one in given:
        if one not in KINDS[modality]:
            raise MofangError("augment-unknown", kind=one, nearest=nearest(one, KINDS[modality]), modality=modality,
                              kinds=", ".join(KINDS[modality]))
    return tuple(dict.fromkeys(given)) or SAFE[modality]


def chance(seed: int, *what: object) -> Any:
    """A generator that depends on the seed and on what it is for (a record's id, an epoch), and on nothing else."""
    import numpy as np

    said = "\0".join(map(str, (seed, *what))).encode("utf-8", "surrogatepass")
    return np.random.default_rng(int.from_bytes(hashlib.blake2b(said, digest_size=8, person=b"mofang augment").digest(), "big"))


def variant_id(source: str, number: int) -> str:
    """The id of the numbered variant of a record: the same wherever and whenever it is made."""
    return hashlib.blake2b(f"{source}\0{number}".encode(), digest_size=16, person=b"mofang variant").hexdigest()
