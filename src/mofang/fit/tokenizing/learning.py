"""Learn a vocabulary from texts; whichever library learns it, it is told as a tokenizer.json of `tokenizers`.

rustbpe merges bytes (bpe, and the pieces of wordpiece), sentencepiece learns unigram, bytes and characters are counted.
The same texts give the same vocabulary: the trainer of WordPiece in tokenizers 0.23 does not, and is not used.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from mofang.core.errors import MofangError
from mofang.engine.arrays import Array
from mofang.fit.tokenizing.encoding import Normalised
from mofang.fit.tokenizing.signs import (
    CODE_POINTS,
    SPLIT,
    WORDS,
    Kind,
    Normalise,
    byte_letters,
    forms,
    framed,
    letters_of,
    special_ids,
)

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Texts = Callable[[], Iterator[str]]
SAMPLE_BYTES = 4_000_000
ALPHABET_SHARE = 0.75  # of a vocabulary, at most, single characters
SPECIAL_SCORE = -1e4  # no text is likelier as a special token than as the signs it is made of
# What a unigram piece never crosses, in a text and with spaces shown as the model sees them.
CUTS = r" ?[\p{L}\p{M}&&[^\p{Han}]]+|\p{Han}+|\p{N}{1,3}|\s+| ?[^\s\p{L}\p{N}]+"
CUTS_SEEN = r"▁?[\p{L}\p{M}&&[^\p{Han}]]+|\p{Han}+|\p{N}{1,3}|\s+|▁?[^\s\p{L}\p{N}▁]+|▁+"


@dataclass(frozen=True)
class Wanted:
    """What vocabulary is wanted: its kind, most tokens, normalisation, and special tokens beside the usual ones."""

    kind: Kind
    size: int
    normalise: Normalise = "none"
    lower: bool = False
    special: tuple[str, ...] = ()

    @property
    def first(self) -> dict[str, int]:
        """The special tokens and their ids, which stand first."""
        return special_ids(self.special)

    @property
    def room(self) -> int:
        """How many tokens there can be beside the special ones."""
        return self.size - len(self.first)


def learn(texts: Texts, wanted: Wanted) -> str:
    """A tokenizer.json with at most ``wanted.size`` tokens, learnt from the texts (which may be read several times)."""
    tokenizer = LEARNERS[wanted.kind](texts, wanted)
    from tokenizers import AddedToken

    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in wanted.first])
    assert all(tokenizer.token_to_id(name) == number for name, number in wanted.first.items()), "special tokens stand first"
    return framed(tokenizer.to_str(), "cls" if wanted.kind == "wordpiece" else "none")


def normaliser(wanted: Wanted) -> Any:
    """What changes the signs of a text before it is cut, or None."""
    from tokenizers import normalizers

    steps = forms(wanted.normalise)
    if wanted.kind == "wordpiece":
        steps.append(normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=True, strip_accents=False,
                                                lowercase=wanted.lower))
    elif wanted.lower:
        steps.append(normalizers.Lowercase())
    return normalizers.Sequence(steps) if len(steps) > 1 else steps[0] if steps else None


def _as_read(texts: Texts, wanted: Wanted) -> Iterator[str]:
    """The texts as the vocabulary will see them."""
    return map(Normalised(wanted.normalise, wanted.lower), texts())


def _bpe(texts: Texts, wanted: Wanted) -> Tokenizer:
    """Merges of bytes (Sennrich et al. 2016) by their number in the texts; every text can be written with them."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    ranks = _merged(_as_read(texts, wanted), wanted.room, SPLIT)
    letters = byte_letters()
    vocabulary = dict(wanted.first)
    known: dict[bytes, int] = {}
    merges = []
    for token in ranks:
        if len(token) > 1:
            left, right = _halves(token, known)
            merges.append((letters_of(left, letters), letters_of(right, letters)))
        known[token] = len(known)
        vocabulary[letters_of(token, letters)] = len(vocabulary)
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.normalizer = normaliser(wanted)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(SPLIT), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _merged(texts: Iterator[str], size: int, pattern: str) -> list[bytes]:
    """The tokens of a byte-pair vocabulary in the order of their ranks: 256 bytes, then what was merged of two."""
    import rustbpe

    trainer = rustbpe.Tokenizer()
    trainer.train_from_iterator(texts, max(256, size), pattern=pattern)
    ranks: list[tuple[list[int], int]] = trainer.get_mergeable_ranks()
    return [bytes(token) for token, _ in sorted(ranks, key=lambda one: one[1])]


def _halves(token: bytes, known: dict[bytes, int]) -> tuple[bytes, bytes]:
    """The two tokens that were merged into this one: what its bytes come to by the merges known before it."""
    parts = [token[place : place + 1] for place in range(len(token))]
    while len(parts) > 2:
        _, place = min((known.get(parts[place] + parts[place + 1], 1 << 31), place) for place in range(len(parts) - 1))
        parts[place : place + 2] = [parts[place] + parts[place + 1]]
    return parts[0], parts[1]


def _bytes(texts: Texts, wanted: Wanted) -> Tokenizer:
    """The 256 bytes: nothing to learn, nothing unknown."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    first = wanted.first
    vocabulary = first | {letter: len(first) + one for one, letter in enumerate(byte_letters())}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.normalizer = normaliser(wanted)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def counted(texts: Iterator[str]) -> Array:
    """How often each code point occurs, int64 [0x110000]."""
    total = np.zeros(CODE_POINTS, np.int64)
    for text in texts:
        points = np.frombuffer(text.encode("utf-32-le"), np.uint32)
        if len(points):
            found = np.bincount(points)
            total[: len(found)] += found
    return total


def _frequent(counts: Array, most: int) -> list[str]:
    """The most frequent characters, equal ones by their code point."""
    order = np.argsort(-counts, kind="stable")[: min(most, int(np.count_nonzero(counts)))]
    return [chr(one) for one in order]


def _characters(texts: Texts, wanted: Wanted) -> Tokenizer:
    """The most frequent characters; what is rarer than all of them is unknown."""
    from tokenizers import Tokenizer, decoders, models

    vocabulary = dict(wanted.first)
    for character in _frequent(counted(_as_read(texts, wanted)), wanted.room):
        vocabulary[character] = len(vocabulary)
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="[UNK]", fuse_unk=False))
    tokenizer.normalizer = normaliser(wanted)
    tokenizer.decoder = decoders.Fuse()
    return tokenizer


def _wordpiece(texts: Texts, wanted: Wanted) -> Tokenizer:
    """Pieces of words (Schuster and Nakajima 2012), merged as byte pairs are; a Chinese character is a word."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    merged = _merged(_as_read(texts, wanted), wanted.size * 5 // 4, WORDS)
    vocabulary = dict(wanted.first)
    for piece in _pieces(texts, wanted, merged):
        if len(vocabulary) < wanted.size:
            vocabulary.setdefault(piece, len(vocabulary))
    tokenizer = Tokenizer(models.WordPiece(vocab=vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normaliser(wanted)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    return tokenizer


def _pieces(texts: Texts, wanted: Wanted, merged: list[bytes]) -> Iterator[str]:
    """Single characters, frequent ones first, alone and within words; then what was merged, where words have it."""
    import regex

    counts = counted(_as_read(texts, wanted))
    counts[[place for place in range(0x3001) if chr(place).isspace() or ord(" ") > place]] = 0
    for character in _frequent(counts, int(wanted.room * ALPHABET_SHARE)):
        yield character
        if regex.fullmatch(WORDS, character) and not regex.match(r"\p{Han}", character):
            yield "##" + character
    forms = _forms(_as_read(texts, wanted), merged)
    for token in merged:
        try:
            piece = token.decode()
        except UnicodeDecodeError:  # a part of a character
            continue
        if len(piece) > 1:
            starts, within = forms[piece], forms["##" + piece]
            yield from sorted((form for form, times in ((piece, starts), ("##" + piece, within)) if times or not starts + within),
                              key=lambda form: -forms[form])


def _forms(texts: Iterator[str], merged: list[bytes]) -> Counter[str]:
    """How often each piece begins a word (``piece``) or goes on with one (``##piece``) in a sample of the texts."""
    import regex
    import tiktoken

    words: Counter[str] = Counter()
    pattern, size, turn = regex.compile(WORDS), 0, 0
    for turn, text in enumerate(texts):
        if turn % max(1, size // SAMPLE_BYTES) == 0:
            words.update(pattern.findall(text))
            size += len(text)
    encoder = tiktoken.Encoding("pieces", pat_str=WORDS, mergeable_ranks={token: rank for rank, token in enumerate(merged)},
                                special_tokens={})
    found: Counter[str] = Counter()
    for word, times in words.items():
        start = True
        for rank in encoder.encode_ordinary(word):
            piece = merged[rank].decode(errors="replace")
            found[piece if start else "##" + piece] += times
            start = False
    return found


def _unigram(texts: Texts, wanted: Wanted) -> Tokenizer:
    """The likeliest pieces of a unigram language model (Kudo 2018), with bytes for what it does not know."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    vocabulary = _likely(_as_read(texts, wanted), wanted)
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=1, byte_fallback=True))
    tokenizer.normalizer = normaliser(wanted)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Metaspace(prepend_scheme="never", split=False), pre_tokenizers.Split(Regex(CUTS_SEEN), "isolated")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return tokenizer


def _likely(texts: Iterator[str], wanted: Wanted) -> list[tuple[str, float]]:
    """The pieces with the logarithms of their probabilities, by sentencepiece from the numbers of all words.

    Trained on words and their numbers instead of whole texts it takes a fifth of the time of `tokenizers`, whose result
    moreover differs from run to run.
    """
    import regex
    import sentencepiece

    pattern, words = regex.compile(CUTS, regex.V1), Counter[str]()
    for text in texts:
        words.update(pattern.findall(text))
    lines = (f"{word}\t{times}" for word, times in sorted(words.items()) if word.strip() and word.isprintable())
    made = BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=lines, input_format="tsv", model_writer=made, model_type="unigram", vocab_size=wanted.size,
            hard_vocab_limit=False, byte_fallback=True, character_coverage=0.9995, normalization_rule_name="identity",
            add_dummy_prefix=False, remove_extra_whitespaces=False, split_by_whitespace=False, split_by_unicode_script=False,
            split_by_number=False, pad_id=0, pad_piece="[PAD]", unk_id=1, unk_piece="[UNK]", bos_id=-1, eos_id=-1,
            control_symbols=list(wanted.first)[2:], num_threads=1, minloglevel=3)
    except RuntimeError as error:  # more single characters than there is room for
        raise MofangError("vocabulary-too-small", size=wanted.size, kind=wanted.kind, least="-") from error
    model = sentencepiece.SentencePieceProcessor(model_proto=made.getvalue())
    pieces = [(model.id_to_piece(one), model.get_score(one)) for one in range(model.get_piece_size())]
    return [(piece, SPECIAL_SCORE if piece in wanted.first else score) for piece, score in pieces]


LEARNERS: dict[Kind, Callable[[Texts, Wanted], Tokenizer]] = {
    "bpe": _bpe, "wordpiece": _wordpiece, "unigram": _unigram, "byte": _bytes, "char": _characters,
}
