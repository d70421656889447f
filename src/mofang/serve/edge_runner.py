"""Answer with a model on a small device: this file needs Python, numpy and onnxruntime, and nothing of Mofang.

A tokenizer that cuts as BERT's does is read here in plain Python; any other kind needs the package tokenizers as well.

    python run.py "a text"          one answer as JSON
    python run.py - < lines.txt     one answer for each line
    python run.py --check           the made-up requests that came with the model, asked again

As a library: ``Model(folder).predict(["a text"])``.
"""

from __future__ import annotations

import json
import re
import sys
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np

CJK = ((0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F), (0x2B920, 0x2CEAF),
       (0xF900, 0xFAFF), (0x2F800, 0x2FA1F))
BLANKS = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))


class Model:
    """The model in a folder: ``predict`` takes texts and gives a label and scores for each."""

    def __init__(self, folder: Path, threads: int = 1) -> None:
        self.about: dict[str, Any] = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        said = (folder / "tokenizer.json").read_text(encoding="utf-8")
        self.words = Library(said) if self.about.get("cut") == "tokenizers" else Words(json.loads(said))
        self.spelling = {int(key): value for key, value in self.about["spelling"].items()}
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(str(folder / "model.ort"), options, providers=["CPUExecutionProvider"])

    def predict(self, texts: list[str]) -> list[dict[str, Any]]:
        """``[{"label": …, "scores": {label: probability}}]``, one for each text."""
        return [self._answer(self.probabilities(text)) for text in texts]

    def ids(self, text: str) -> list[int]:
        """The numbers of a text's pieces, as the model was trained with them."""
        if self.about["normalise"]:
            text = text.translate(self.spelling)
            text = " ".join(unicodedata.normalize("NFC", text).translate(self.spelling).split())
        return self.words.ids(text[: self.about["characters_max"]], self.about["max_length"])

    def probabilities(self, text: str) -> list[float]:
        """One for each label."""
        ids = np.asarray([self.ids(text) or [self.about["padding_id"]]], np.int64)
        mask = np.full(ids.shape, 1 if self.ids(text) else 0, np.int64)
        found: list[float] = self.session.run(["probabilities"], {"input_ids": ids, "attention_mask": mask})[0][0].tolist()
        return found

    def _answer(self, scores: list[float]) -> dict[str, Any]:
        labels, decide = self.about["labels"], self.about.get("decide")
        best = labels[scores.index(max(scores))]
        if decide:
            place = labels.index(decide["positive"])
            best = labels[place if scores[place] >= decide["threshold"] else 1 - place]
        return {"label": best, "scores": {label: round(score, 6) for label, score in zip(labels, scores, strict=True)}}


class Library:
    """A tokenizer.json of any kind, read by the library that wrote it."""

    def __init__(self, said: str) -> None:
        from tokenizers import Tokenizer

        self.tokenizer = Tokenizer.from_str(said)
        self.tokenizer.no_padding()

    def ids(self, text: str, longest: int) -> list[int]:
        """The numbers of a text, at most ``longest`` with the special ones."""
        self.tokenizer.enable_truncation(longest)
        return list(self.tokenizer.encode(text).ids)


class Words:
    """A tokenizer.json of the kinds BPE and WordPiece behind BERT's rules for cutting text."""

    def __init__(self, said: dict[str, Any]) -> None:
        model, rules = said["model"], said["normalizer"] or {}
        self.kind, self.vocabulary = model["type"], model["vocab"]
        self.unknown, self.prefix = model["unk_token"], model.get("continuing_subword_prefix") or "##"
        self.longest = model.get("max_input_chars_per_word") or 100
        pairs = [tuple(one.split(" ")) if isinstance(one, str) else tuple(one) for one in model.get("merges", [])]
        self.ranks = {pair: place for place, pair in enumerate(pairs)}
        self.lower, self.clean = rules.get("lowercase", False), rules.get("clean_text", False)
        self.chinese = rules.get("handle_chinese_chars", False)
        accents = rules.get("strip_accents")
        self.strip = self.lower if accents is None else accents
        added = {one["content"]: one["id"] for one in said.get("added_tokens", [])}
        self.added = added
        self.special = re.compile("(" + "|".join(map(re.escape, sorted(added, key=len, reverse=True))) + ")") if added else None
        self.before, self.after = self._frame(said.get("post_processor"))

    @staticmethod
    def _frame(said: dict[str, Any] | None) -> tuple[list[int], list[int]]:
        """The numbers that stand before and after every text."""
        if not said:
            return [], []
        if said["type"] == "BertProcessing":
            return [said["cls"][1]], [said["sep"][1]]
        before: list[int] = []
        after: list[int] = []
        into = before
        for one in said["single"]:
            if "Sequence" in one:
                into = after
            else:
                into += said["special_tokens"][one["SpecialToken"]["id"]]["ids"]
        return before, after

    def ids(self, text: str, longest: int) -> list[int]:
        """The numbers of a text, at most ``longest`` with the special ones."""
        found: list[int] = []
        for piece in self.special.split(text) if self.special else [text]:
            if piece in self.added:
                found.append(self.added[piece])
            else:
                for word in self._cut(self._clean(piece)):
                    found += self._bpe(word) if self.kind == "BPE" else self._wordpiece(word)
        return [*self.before, *found[: longest - len(self.before) - len(self.after)], *self.after]

    def _clean(self, text: str) -> str:
        if self.clean:
            kept = (" " if one in BLANKS else one for one in text
                    if one in "\t\n\r" or not (one in "\0\ufffd" or unicodedata.category(one)[0] == "C"))
            text = "".join(kept)
        if self.chinese:
            text = "".join(f" {one} " if any(low <= ord(one) <= high for low, high in CJK) else one for one in text)
        if self.strip:
            text = "".join(one for one in unicodedata.normalize("NFD", text) if unicodedata.category(one) != "Mn")
        return "".join(one.lower() for one in text) if self.lower else text

    @staticmethod
    def _cut(text: str) -> list[str]:
        """Words at blanks, and every sign of punctuation a word of its own."""
        words, word = list[str](), ""
        for one in text:
            blank = one in BLANKS
            if blank or (one.isascii() and one.isprintable() and not one.isalnum()) or unicodedata.category(one)[0] == "P":
                words += [word] * bool(word) + [one] * (not blank)
                word = ""
            else:
                word += one
        return words + [word] * bool(word)

    def _bpe(self, word: str) -> list[int]:
        pieces = list(word)
        pieces = [one if one in self.vocabulary else self.unknown for one in pieces]
        while len(pieces) > 1:
            ranks = [self.ranks.get(pair, 1 << 60) for pair in zip(pieces, pieces[1:], strict=False)]
            best = min(ranks)
            if best == 1 << 60:
                break
            place = ranks.index(best)
            pieces[place : place + 2] = [pieces[place] + pieces[place + 1]]
        return [self.vocabulary[one] for one in pieces]

    def _wordpiece(self, word: str) -> list[int]:
        found, begin = list[int](), 0
        if len(word) > self.longest:
            return [self.vocabulary[self.unknown]]
        while begin < len(word):
            end = len(word)
            while end > begin and (piece := (self.prefix if begin else "") + word[begin:end]) not in self.vocabulary:
                end -= 1
            if end == begin:
                return [self.vocabulary[self.unknown]]
            found.append(self.vocabulary[piece])
            begin = end
        return found


def main(words: list[str]) -> int:
    """Answer the command line."""
    folder = Path(__file__).resolve().parent
    model = Model(folder)
    if words == ["--check"]:
        wrong = 0
        lines = (folder / "requests.jsonl").read_text(encoding="utf-8").splitlines()
        for line in map(json.loads, lines):
            scores = model.probabilities(line["text"])
            far = max(abs(one - other) for one, other in zip(scores, line["probabilities"], strict=True))
            wrong += model.ids(line["text"]) != line["ids"] or far > model.about["tolerance"]
        sys.stdout.write(json.dumps({"requests": len(lines), "wrong": wrong}) + "\n")
        return 1 if wrong else 0
    texts = sys.stdin.read().splitlines() if words == ["-"] else words
    for answer in model.predict(texts):
        sys.stdout.write(json.dumps(answer, ensure_ascii=False) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
