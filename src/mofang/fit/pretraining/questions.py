"""From the names of objectives and two parts of documents to what the loop asks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mofang.core.errors import MofangError
from mofang.fit.loop.mixture import Question
from mofang.fit.pretraining.architecture import begin_and_end
from mofang.fit.pretraining.asking import Asking, Special
from mofang.fit.pretraining.causal import Causal
from mofang.fit.pretraining.denoising import SENTINELS, Denoising
from mofang.fit.pretraining.masked import Masked
from mofang.fit.pretraining.permuted import Permuted
from mofang.fit.pretraining.rows import Documents, Packed, Pieces
from mofang.fit.pretraining.sentences import NextSentence
from mofang.fit.pretraining.weights import NEEDED
from mofang.fit.pretraining.words import Vocabulary

ON_PIECES: dict[str, type[Masked | Permuted | NextSentence]] = {"mlm": Masked, "plm": Permuted, "nsp": NextSentence}
AROUND = {"mlm": 2, "plm": 2, "nsp": 3, "denoise": 1}


def questions_of(weights: Mapping[str, float], parts: Mapping[str, Documents], tokenizer: Any, special: dict[str, int], *,
                 context: int, seed: int, whole_words: bool) -> list[Question]:
    """Each objective on training and on validation documents."""
    for name in weights:
        missing = [one for one in NEEDED[name] if one not in special]
        if missing:
            raise MofangError("special-missing", tokens=", ".join(f"[{one.upper()}]" for one in missing), objective=name)
    if "nsp" in weights and min(map(len, parts.values())) < 2:
        raise MofangError("pairs-missing", documents=min(map(len, parts.values())))
    vocabulary = Vocabulary(tokenizer)

    def asked(name: str, part: str) -> Asking:
        documents = parts[part]
        if name == "clm":
            begin, end = begin_and_end(special)
            return Causal(Packed(documents, context, begin, end, seed, fixed=part != "train"))
        around = max(AROUND[one] for one in weights)
        pieces = Pieces(documents, context - around, around)
        marks = {one: special[one] for one in ("pad", "cls", "sep", "mask", "eos") if one in special}
        known = Special(**marks, words=vocabulary.size, taken=tuple(sorted(special.values())))
        if name == "denoise":
            return Denoising(pieces, known, vocabulary, seed, whole_words, first=vocabulary.size + SENTINELS - 1)
        return ON_PIECES[name](pieces, known, vocabulary, seed, whole_words)

    return [Question(asked(name, "train"), asked(name, "validation"), weight) for name, weight in weights.items()]
