"""Subword tokens, by the `tokenizers` library: a tokenizer.json of one's own or of a pretrained model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from mofang.engine.arrays import Arrays
from mofang.engine.encode import Files, Record, texts

if TYPE_CHECKING:
    from tokenizers import Tokenizer

CHARACTERS_PER_TOKEN_MAX = 32    # text beyond max_length times this is not tokenised: it bounds the work
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


@dataclass(frozen=True, eq=False)
class TokenEncoder:
    """Texts in, token ids out: {"input_ids": int64 [B, L], "attention_mask": int64 [B, L]}.

    L is the longest row of the batch (at least 1, at most `max_length`); padding has mask 0.
    """

    name: ClassVar[str] = "tokens"
    version: ClassVar[int] = 1

    columns: tuple[str, ...]
    max_length: int
    tokenizer_json: str
    padding_id: int = 0

    @classmethod
    def fit(cls, records: Sequence[Record], columns: Sequence[str] = ("text",), *, vocabulary: int = 8000,
            max_length: int = 128, min_count: int = 2, lowercase: bool = True) -> Self:
        """Learn byte-pair merges (Sennrich et al. 2016): a Chinese character is a token of its own, other
        writing is cut into subwords. Ids: 0 [PAD], 1 [UNK], 2 [CLS], 3 [SEP], 4 [MASK], then the rest. The
        same records give the same tokenizer (training WordPiece, or with a continuing prefix, does not:
        tokenizers 0.23)."""
        from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

        tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase, strip_accents=False)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer = trainers.BpeTrainer(vocab_size=vocabulary, min_frequency=min_count, show_progress=False,
                                      special_tokens=list(SPECIAL), limit_alphabet=vocabulary * 3 // 4)
        tokenizer.train_from_iterator(texts(records, columns), trainer, length=len(records))
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
        return cls(tuple(columns), max_length, tokenizer.to_str())

    @classmethod
    def wrap(cls, tokenizer_json: str, columns: Sequence[str] = ("text",), *, max_length: int = 128,
             padding_id: int = 0) -> Self:
        """Use the tokenizer.json that came with a pretrained model."""
        return cls(tuple(columns), max_length, tokenizer_json, padding_id)

    @property
    def size(self) -> int:
        """Rows that an embedding table indexed by the ids needs."""
        return int(self.tokenizer.get_vocab_size(with_added_tokens=True))

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer itself, truncating to `max_length`, without padding."""
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_str(self.tokenizer_json)
        tokenizer.no_padding()
        tokenizer.enable_truncation(self.max_length)
        return tokenizer

    def ids(self, records: Sequence[Record]) -> list[list[int]]:
        """Token ids of each record, special tokens included, without padding."""
        longest = self.max_length * CHARACTERS_PER_TOKEN_MAX
        cut = [text[:longest] for text in texts(records, self.columns)]
        if len(cut) == 1:
            return [self.tokenizer.encode(cut[0]).ids]
        return [encoding.ids for encoding in self.tokenizer.encode_batch_fast(cut)]

    def encode(self, records: Sequence[Record]) -> Arrays:
        """{"input_ids": int64 [B, L], "attention_mask": int64 [B, L]}."""
        rows = self.ids(records)
        longest = max(1, max(map(len, rows), default=0))
        input_ids = np.full((len(rows), longest), self.padding_id, np.int64)
        mask = np.zeros((len(rows), longest), np.int64)
        for number, row in enumerate(rows):
            input_ids[number, :len(row)] = row
            mask[number, :len(row)] = 1
        return {"input_ids": input_ids, "attention_mask": mask}

    def draw(self, rng: np.random.Generator, count: int) -> list[Record]:
        """Texts decoded from random tokens of the vocabulary."""
        records = []
        for _ in range(count):
            ids = rng.integers(0, self.size, size=int(rng.integers(1, min(self.max_length, 40) + 1)))
            text = self.tokenizer.decode(ids.tolist(), skip_special_tokens=True) or "a"
            records.append(dict.fromkeys(self.columns, text))
        return records

    def save(self) -> Files:
        """tokens.json and tokenizer.json."""
        settings = {"columns": self.columns, "max_length": self.max_length, "padding_id": self.padding_id}
        return {"tokens.json": json.dumps(settings, ensure_ascii=False).encode(),
                "tokenizer.json": self.tokenizer_json.encode()}

    @classmethod
    def load(cls, files: Mapping[str, bytes]) -> Self:
        """The encoder that `save` wrote."""
        settings = json.loads(files["tokens.json"])
        tokenizer_json = files["tokenizer.json"].decode()
        json.loads(tokenizer_json)     # refused here, in words, and not by the first request
        return cls(tuple(settings["columns"]), int(settings["max_length"]), tokenizer_json,
                   int(settings["padding_id"]))
