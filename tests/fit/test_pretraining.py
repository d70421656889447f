"""Pretraining's questions: rows, masks, orders, pairs, spans, and what no token may see."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mofang.core.errors import MofangError
from mofang.engine.arrays import Array
from mofang.fit.loop.loop import Loop
from mofang.fit.loop.mixture import Mixture, Question
from mofang.fit.loop.objective import tensors
from mofang.fit.loop.plan import Plan
from mofang.fit.networks.language import Asked, Generator, Language, Reader, drawn, plain
from mofang.fit.pretraining.architecture import T5, Architecture, Bert, Gpt, Llama
from mofang.fit.pretraining.asking import TARGETS, Asking, Special
from mofang.fit.pretraining.budget import Budget, course_of
from mofang.fit.pretraining.causal import Causal
from mofang.fit.pretraining.denoising import SENTINELS, Denoising, replaced, spans
from mofang.fit.pretraining.masked import Masked, hidden
from mofang.fit.pretraining.permuted import Permuted, seen
from mofang.fit.pretraining.questions import questions_of
from mofang.fit.pretraining.rows import IGNORED, Documents, Packed, Pieces
from mofang.fit.pretraining.sentences import ELSEWHERE, FOLLOWS, NextSentence, cut
from mofang.fit.pretraining.weights import weights_of
from mofang.fit.pretraining.words import Vocabulary, choose_words
from mofang.fit.tokenizing.learning import Wanted, learn

SPECIAL = {"pad": 0, "unk": 1, "cls": 2, "sep": 3, "mask": 4, "bos": 5, "eos": 6}
TEXTS = ["The hotel room was clean. Breakfast was good!", "房间很干净，早餐也不错。服务员非常热情！", "A keyboard for 99 yuan.",
         "这本书的翻译很糟糕，读起来费劲。我后悔了。", "Prices, covers and batteries: all fine. Sounds odd?"]


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Two threads on so small a network only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def vocabularies() -> dict[str, Vocabulary]:
    from tokenizers import Tokenizer

    texts = TEXTS * 20
    kinds: tuple[Any, ...] = ("bpe", "wordpiece", "char")
    return {kind: Vocabulary(Tokenizer.from_str(learn(lambda: iter(texts), Wanted(kind, 400)))) for kind in kinds}


def documents(vocabulary: Vocabulary, texts: list[str] = TEXTS, *, framed: bool = False) -> Documents:
    rows = [vocabulary.tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    rows = [[SPECIAL["bos"], *row, SPECIAL["eos"]] for row in rows] if framed else rows
    offsets = np.cumsum([0, *map(len, rows)])
    return Documents.between(np.array([id for row in rows for id in row], dtype=np.uint16), offsets, SPECIAL)


def asked(cls: Any, vocabulary: Vocabulary, context: int = 24, around: int = 2, **more: Any) -> Any:
    known = Special(0, 2, 3, 4, 6, vocabulary.size, tuple(SPECIAL.values()))
    return cls(Pieces(documents(vocabulary), context - around, around), known, vocabulary, 0, **more)


def network(architecture: Architecture, size: int, context: int, pairs: bool = False, attention: str = "eager") -> Asked:
    torch.manual_seed(0)
    return drawn(architecture.config(size, context, SPECIAL), pairs, attention).eval()


TINY: dict[str, Any] = {"depth": 2, "width": 32, "heads": 2}


@given(lengths=st.lists(st.integers(0, 30), min_size=1, max_size=20), context=st.integers(1, 16), epoch=st.integers(0, 2))
@settings(max_examples=60, deadline=None)
def test_every_token_is_predicted_once_an_epoch(lengths: list[int], context: int, epoch: int) -> None:
    """Nothing is lost at the border of a row, and nothing is asked across the border of a document."""
    tokens = np.arange(100, 100 + sum(lengths), dtype=np.uint32)
    found = Documents.between(tokens, np.cumsum([0, *lengths]), SPECIAL)
    packed = Packed(found, context, 5, 6, seed=3)
    made = packed.arrays(np.arange(len(packed)), epoch)
    targets = made["targets"][made["targets"] != IGNORED]
    assert Counter(targets.tolist()) == Counter([*tokens.tolist(), *[6] * len(found)])
    pairs = zip(made["ids"].reshape(-1).tolist(), made["targets"].reshape(-1).tolist(), strict=True)
    ends = set(found.stops + 100)
    for read, wanted in pairs:
        if read >= 100 and wanted >= 100:
            assert wanted == read + 1 and wanted not in ends
    filled = (made["documents"] > 0).sum()
    assert filled == packed.total and (made["documents"][:-1] > 0).all(), "only the last row may be padded"


def test_positions_restart_with_each_document() -> None:
    packed = Packed(Documents.between(np.arange(10, 22), np.array([0, 3, 12]), SPECIAL), 8, 5, 6, fixed=True)
    made = packed.arrays(np.arange(2), 0)
    assert made["ids"].tolist() == [[5, 10, 11, 12, 5, 13, 14, 15], [16, 17, 18, 19, 20, 21, 0, 0]]
    assert made["targets"].tolist() == [[10, 11, 12, 6, 13, 14, 15, 16], [17, 18, 19, 20, 21, 6, IGNORED, IGNORED]]
    assert made["documents"].tolist() == [[1, 1, 1, 1, 2, 2, 2, 2], [1, 1, 1, 1, 1, 1, 0, 0]]
    assert made["positions"].tolist() == [[0, 1, 2, 3, 0, 1, 2, 3], [0, 1, 2, 3, 4, 5, 0, 0]]


@pytest.mark.parametrize("by", ["own", "eager", "sdpa"])
@pytest.mark.parametrize("architecture", [Gpt(**TINY), Llama(**TINY)], ids=["gpt", "llama"])
def test_packed_loss_equals_that_of_the_documents_alone(vocabularies: dict[str, Vocabulary], architecture: Architecture,
                                                        by: str) -> None:
    """The library's own model on one document after another is what a packed row has to come to."""
    vocabulary = vocabularies["bpe"]
    found = documents(vocabulary)
    config = architecture.config(vocabulary.size, 256, SPECIAL)
    torch.manual_seed(0)
    library = plain(config, False, "eager" if by == "own" else by).eval()
    model = network(architecture, vocabulary.size, 256) if by == "own" else Language(library)
    assert isinstance(model, Generator if by == "own" else Language)
    question = Causal(Packed(found, 256, 5, 6, seed=1))
    assert len(question.packed) == 1
    alone = 0.0
    for start, stop in zip(found.starts, found.stops, strict=True):
        ids = torch.tensor([[5, *found.tokens[start:stop].tolist(), 6]], dtype=torch.long)
        with torch.inference_mode():
            logits = library(input_ids=ids[:, :-1]).logits[0]
            alone += float(torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="sum"))
    assert asked_loss(model, question, np.array([0])) == pytest.approx(alone, rel=1e-5)
    with torch.inference_mode():
        assert float(model(**tensors(question.arrays(np.array([0]), 0)))) == pytest.approx(alone, rel=1e-5), "kept or not"


def test_the_own_encoder_reads_hidden_words_as_the_library_does(vocabularies: dict[str, Vocabulary], tmp_path: Path) -> None:
    vocabulary = vocabularies["wordpiece"]
    question = asked(Masked, vocabulary)
    rows = np.arange(len(question.lengths))
    config = Bert(**TINY).config(vocabulary.size, 24, SPECIAL)
    torch.manual_seed(0)
    library = plain(config, False, "eager").eval()
    own = network(Bert(**TINY), vocabulary.size, 24, attention="own")
    assert isinstance(own, Reader)
    expected = asked_loss(Language(library), question, rows)
    assert asked_loss(own, question, rows) == pytest.approx(expected, rel=1e-5)
    own.files(tmp_path)
    again = type(library).from_pretrained(tmp_path, local_files_only=True).eval()
    assert asked_loss(Language(again), question, rows) == pytest.approx(expected, rel=1e-5)


def asked_loss(model: Asked, question: Asking, rows: Array, epoch: int = 0) -> float:
    arrays = tensors(question.arrays(rows, epoch))
    targets = arrays.pop(TARGETS)
    with torch.inference_mode():
        return float(torch.nn.functional.cross_entropy(model(**arrays), targets, reduction="sum"))


@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "char"])
@pytest.mark.parametrize("framed", [False, True])
def test_shards_with_or_without_ends_are_the_same_documents(vocabularies: dict[str, Vocabulary], kind: str, framed: bool) -> None:
    plain, other = documents(vocabularies[kind]), documents(vocabularies[kind], framed=framed)
    assert [plain.ids(*pair).tolist() for pair in zip(plain.starts, plain.stops, strict=True)] == \
        [other.ids(*pair).tolist() for pair in zip(other.starts, other.stops, strict=True)]


def test_masking_is_15_percent_and_80_10_10() -> None:
    random = np.random.default_rng(0)
    special = Special(0, 2, 3, 4, 6, 1000, tuple(SPECIAL.values()))
    counted: Counter[str] = Counter()
    chosen = 0
    for _ in range(400):
        ids = random.integers(7, 1000, 100)
        places = choose_words(np.ones(100, dtype=bool), 0.15, random)
        made = hidden(ids, places, special, random)
        chosen += len(places)
        assert (np.delete(made, places) == np.delete(ids, places)).all()
        counted.update("mask" if new == 4 else "same" if new == old else "other"
                       for new, old in zip(made[places], ids[places], strict=True))
        assert not set(made.tolist()) & {0, 1, 2, 3, 5, 6}, "no other special token is put in"
    assert chosen == 400 * 15
    total = sum(counted.values())
    assert counted["mask"] / total == pytest.approx(0.8, abs=0.02)
    assert counted["other"] / total == pytest.approx(0.1, abs=0.015)
    assert counted["same"] / total == pytest.approx(0.1, abs=0.015)


def test_words_of_both_languages_are_whole(vocabularies: dict[str, Vocabulary]) -> None:
    for kind in ("bpe", "wordpiece", "char"):
        vocabulary = vocabularies[kind]
        ids = documents(vocabulary, ["服务员非常热情，room was clean"]).ids(0, 10_000)
        starts = vocabulary.word_starts(ids)
        pieces = [vocabulary.pieces[id] for id in ids]
        words, word = [], b""
        for piece, begins in zip(pieces, starts, strict=True):
            if begins and word:
                words.append(word)
                word = b""
            word += piece
        words.append(word)
        texts = [one.decode().strip() for one in words if one.strip()]
        assert texts[:3] == ["服务员", "非常", "热情"], kind
        if kind != "char":
            assert "clean" in texts and "room" in texts


def test_whole_words_are_chosen_or_not_at_all() -> None:
    random = np.random.default_rng(1)
    starts = np.zeros(60, dtype=bool)
    starts[::3] = True
    for _ in range(50):
        chosen = set(choose_words(starts, 0.15, random).tolist())
        assert chosen and all({first, first + 1, first + 2} <= chosen or not {first, first + 1, first + 2} & chosen
                              for first in range(0, 60, 3))
    assert choose_words(np.array([True, False, False]), 0.15, random).tolist() == [0, 1, 2], "one long word alone is asked for"


def test_a_row_asks_the_same_again_and_something_else_in_the_next_epoch(vocabularies: dict[str, Vocabulary]) -> None:
    for cls in (Masked, Permuted, NextSentence):
        question = asked(cls, vocabularies["bpe"])
        rows = np.arange(len(question.lengths))
        first, again, other = (question.arrays(rows, epoch) for epoch in (0, 0, 1))
        assert all(np.array_equal(first[name], again[name]) for name in first)
        assert not np.array_equal(first["input_ids"], other["input_ids"]) or cls is Permuted
        alone = question.arrays(rows[2:3], 0)["input_ids"][0]
        assert np.array_equal(first["input_ids"][2][: len(alone)][alone > 0], alone[alone > 0]), "no matter which batch it is in"


def test_no_place_sees_itself_when_it_is_asked_for() -> None:
    """The proof in small: ranks by hand."""
    sees = seen(4, np.array([2, 0]))
    assert sees[:4, :4].tolist() == [[True, True, True, True], [False, True, False, True], [False, True, True, True],
                                     [False, True, False, True]]
    assert sees[4].tolist() == [False, True, False, True, True, False], "the query of place 2 comes first: it sees 1 and 3"
    assert sees[5].tolist() == [False, True, True, True, False, True], "that of place 0 sees place 2 as well"
    assert not sees[:4, 4:].any()


def test_permuted_answers_do_not_depend_on_what_they_must_not_know(vocabularies: dict[str, Vocabulary]) -> None:
    """Change a token that is asked for: its own logits and those before it in the order stay the same to the bit."""
    vocabulary = vocabularies["bpe"]
    question, model = asked(Permuted, vocabulary), network(Bert(**TINY), vocabulary.size, 24)
    for row in range(len(question.lengths)):
        arrays = tensors(question.arrays(np.array([row]), 0))
        arrays.pop(TARGETS)
        count = len(arrays["where"])
        length = arrays["input_ids"].shape[1] - count
        places = arrays["position_ids"][0, length:]
        with torch.inference_mode():
            before = model(**arrays)
            for order in range(count):
                changed = {**arrays, "input_ids": arrays["input_ids"].clone()}
                changed["input_ids"][0, places[order]] = 50 + row
                after = model(**changed)
                assert torch.equal(before[: order + 1], after[: order + 1])
                if order + 1 < count and int(arrays["input_ids"][0, places[order]]) != 50 + row:
                    assert not torch.equal(before[order + 1 :], after[order + 1 :]), "what comes later does see it"


def test_next_sentences_follow_or_are_from_another_document(vocabularies: dict[str, Vocabulary]) -> None:
    vocabulary = vocabularies["bpe"]
    question = asked(NextSentence, vocabulary, context=60, around=3)
    answers = Counter(question.pair(row, epoch)[2] for row in range(len(question.lengths)) for epoch in range(200))
    assert answers[FOLLOWS] / sum(answers.values()) == pytest.approx(0.5, abs=0.06)
    found = question.pieces
    for row in range(len(found)):
        for epoch in range(10):
            first, second, answer = question.pair(row, epoch)
            own = found.ids(row).tolist()
            assert own[: len(first)] == first.tolist() and len(first) + len(second) + 3 <= 60
            if answer == FOLLOWS:
                assert own[len(first) :] == second.tolist()
            else:
                elsewhere = [found.ids(other).tolist() for other in range(len(found)) if found.of[other] != found.of[row]]
                assert any(second.tolist() == other[at : at + len(second)] for other in elsewhere for at in range(len(other)))
    arrays = question.arrays(np.array([0]), 0)
    kinds, ids = arrays["token_type_ids"][0], arrays["input_ids"][0]
    assert ids[0] == 2 and (ids == 3).sum() == 2 and kinds[: list(ids).index(3) + 1].sum() == 0 and kinds[-1] == 1
    ends = np.array([False, False, True, False])
    assert cut(np.array([0, 2, 1, 1, 1, 1, 1, 0]), ends) == 2 and cut(np.array([1, 1, 1, 1]), ends) == 2
    assert ELSEWHERE == 1


def test_spans_by_hand() -> None:
    """ "Thank you for inviting me to your party last week", after figure 2 of the T5 paper."""
    ids = np.array([10, 11, 12, 13, 14, 15, 16, 17, 18, 19])
    noise = np.array([0, 0, 1, 1, 0, 0, 0, 0, 1, 0], dtype=bool)
    assert replaced(ids, noise, 199).tolist() == [10, 11, 199, 14, 15, 16, 17, 198, 19]
    assert replaced(ids, ~noise, 199).tolist() == [199, 12, 13, 198, 18, 197]
    for length in (1, 2, 3, 10, 100, 512):
        found = spans(length, np.random.default_rng(length))
        assert len(found) == length and found.sum() == max(1, round(0.15 * length))
        runs = int((np.diff(found.astype(int)) == 1).sum()) + int(found[0])
        assert runs == max(1, round(max(1, round(0.15 * length)) / 3))


def test_the_decoder_reads_its_targets_one_step_late(vocabularies: dict[str, Vocabulary]) -> None:
    vocabulary = vocabularies["bpe"]
    question = asked(Denoising, vocabulary, around=1, first=vocabulary.size + SENTINELS - 1)
    arrays = question.arrays(np.arange(3), 0)
    targets = np.full(arrays["decoder_input_ids"].size, IGNORED)
    targets[arrays["where"]] = arrays[TARGETS]
    targets = targets.reshape(arrays["decoder_input_ids"].shape)
    for read, wanted in zip(arrays["decoder_input_ids"], targets, strict=True):
        count = int((wanted != IGNORED).sum())
        assert read[0] == 0 and read[1:count].tolist() == wanted[: count - 1].tolist() and wanted[count - 1] == 6
    ids = question.pieces.ids(0).tolist()
    left = [id for id in arrays["input_ids"][0].tolist() if id < vocabulary.size and id not in (0, 6)]
    gone = [id for id in targets[0].tolist() if 6 < id < vocabulary.size]
    assert Counter(left + gone) == Counter(ids), "what is cut out is in the targets, and nothing else is lost"


OVERFIT: list[tuple[str, Architecture, str]] = [
    ("clm", Gpt(**TINY), "bpe"), ("clm", Llama(**TINY), "bpe"), ("mlm", Bert(**TINY), "bpe"), ("plm", Bert(**TINY), "bpe"),
    ("nsp", Bert(**TINY), "bpe"), ("denoise", T5(**TINY), "bpe"),
]


@pytest.mark.parametrize(("name", "architecture", "kind"), OVERFIT, ids=[f"{name}-{one.tag}" for name, one, _ in OVERFIT])
def test_a_tiny_text_is_learnt_by_heart(vocabularies: dict[str, Vocabulary], name: str, architecture: Architecture,
                                        kind: str, tmp_path: Path) -> None:
    vocabulary = vocabularies[kind]
    found = documents(vocabulary, ["房间很干净。早餐也不错！", "A keyboard for 99 yuan."])
    parts = {"train": found, "validation": found}
    (question,) = questions_of({name: 1.0}, parts, vocabulary.tokenizer, SPECIAL, context=32, seed=0, whole_words=False)
    model = network(architecture, vocabulary.size + SENTINELS, 32, pairs=name == "nsp")
    mixture = Mixture([Question(question.train, question.train, 1.0)], 64, 100, 0)
    plan = Plan(200, 4e-3, rows=8, positions=128, patience=200, weight_decay=0.0, checkpoint_s=1e9)
    loop = Loop(model, mixture, plan, tmp_path)
    first = mixture.judge(model.eval(), torch.device("cpu")).loss
    loop.network.train()
    for epoch in range(plan.epochs):
        loop.cursor.epoch = epoch
        for group in loop._groups(epoch):
            loop._step(group)
    last = mixture.judge(model.eval(), torch.device("cpu")).loss
    assert last < 0.25 * first and last < (0.3 if name in ("clm", "nsp") else 1.0), (first, last)


def test_a_mixture_draws_by_weight_from_the_step(vocabularies: dict[str, Vocabulary]) -> None:
    parts = {"train": documents(vocabularies["bpe"]), "validation": documents(vocabularies["bpe"])}
    weights = weights_of(("mlm:0.6", "nsp:0.2", "plm:0.2"), "bert")
    questions = questions_of(weights, parts, vocabularies["bpe"].tokenizer, SPECIAL, context=32, seed=0, whole_words=True)
    mixture = Mixture(questions, 64, 100, 5)
    drawn_names = [mixture.question(step).name for step in range(2000)]
    shares = {name: count / 2000 for name, count in Counter(drawn_names).items()}
    assert shares == pytest.approx({"mlm": 0.6, "nsp": 0.2, "plm": 0.2}, abs=0.03)
    assert drawn_names == [mixture.question(step).name for step in range(2000)]
    model = network(Bert(**TINY), vocabularies["bpe"].size, 32, pairs=True)
    judged = mixture.judge(model, torch.device("cpu"))
    losses = [judged.figures[f"{name}_loss"] for name in ("mlm", "nsp", "plm")]
    assert judged.loss == pytest.approx(0.6 * losses[0] + 0.2 * losses[1] + 0.2 * losses[2])
    assert judged.figures["mlm_perplexity"] == pytest.approx(math.exp(losses[0])) and "nsp_perplexity" not in judged.figures


def test_bits_per_byte_of_a_network_that_knows_nothing(vocabularies: dict[str, Vocabulary]) -> None:
    """Even chances for each of V tokens cost log2(V) bits a token, whatever the tokens are."""
    vocabulary = vocabularies["bpe"]
    model = network(Gpt(**TINY), vocabulary.size, 32)
    for value in model.parameters():
        torch.nn.init.zeros_(value)
    found = documents(vocabulary)
    size = sum(len(text.encode()) for text in TEXTS)
    question = Causal(Packed(found, 32, 5, 6, fixed=True))
    mixture = Mixture([Question(question, question, 1.0)], 64, size, 0)
    judged = mixture.judge(model, torch.device("cpu"))
    tokens = int(found.lengths.sum()) + len(found)
    assert judged.figures["perplexity"] == pytest.approx(vocabulary.size, rel=1e-4)
    assert judged.figures["bits_per_byte"] == pytest.approx(tokens * math.log2(vocabulary.size) / size, rel=1e-4)


def test_the_dial_derives_the_parts_and_each_can_be_set() -> None:
    base = Gpt(size="base")
    assert (base.layers, base.wide, base.headed, base.learning_rate) == (12, 768, 12, pytest.approx(6e-4, rel=0.01))
    assert Bert(size="base").config(30522, 512, SPECIAL)["intermediate_size"] == 3072
    assert (Gpt(depth=3).wide, Gpt(width=96, heads=3).headed, Gpt(inner=7).config(9, 8, SPECIAL)["n_inner"]) == (192, 3, 7)
    with pytest.raises(MofangError) as uneven:
        Gpt(width=100, heads=3).config(9, 8, SPECIAL)
    assert uneven.value.code == "heads-uneven"


@pytest.mark.parametrize(("objectives", "kind", "code"), [
    (("mln",), "bert", "objective-unknown"), (("clm",), "bert", "objective-unsuited"), (("mlm",), "gpt", "objective-unsuited"),
    (("mlm:x",), "bert", "objective-weight"), (("mlm:-1",), "bert", "objective-weight"), (("mlm:nan",), "bert", "objective-weight"),
    (("mlm", "mlm"), "bert", "objective-weight")])
def test_objectives_that_cannot_be_are_refused(objectives: tuple[str, ...], kind: str, code: str) -> None:
    with pytest.raises(MofangError) as refused:
        weights_of(objectives, kind)
    assert refused.value.code == code


def test_a_budget_becomes_steps_and_checks() -> None:
    how: dict[str, Any] = {"positions": 1000, "epoch_tokens": 100_000, "parameters": 10**6, "rate": 1e11, "checks": 10}
    course = course_of(Budget(500, 0, 0), **how)
    assert (course.steps, course.judge_steps, course.rounds) == (500, 50, 10) and course.epochs >= 5
    assert course_of(Budget(0, 500_000, 0), **how).steps == 500
    assert course_of(Budget(0, 0, 0), **how).steps == 2000, "20 tokens a weight, at most 20 epochs"
    for budget, code in ((Budget(0, 0, 0.5), "pretraining-budget"), (Budget(1, 1, 0), "budget-twice")):
        with pytest.raises(MofangError) as refused:
            course_of(budget, **how)
        assert refused.value.code == code
    assert course_of(Budget(0, 0, 60), **how).seconds > 60, "the loop shortens what it plans"
