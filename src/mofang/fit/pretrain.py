"""Pretrain a network on the texts of shards: the weights that later models start from, or a small generator."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from mofang.core.canonical import canonical
from mofang.core.errors import MofangError
from mofang.core.run import Run, used
from mofang.core.stage import OnDisk, stage
from mofang.core.variant import Variant
from mofang.fit.base import BASE_FORMAT, SAMPLES, TOKENIZER, Base, folder_of
from mofang.fit.family import Conditions
from mofang.fit.loop.learning import GradientDescent, Learning
from mofang.fit.loop.machine import multiply_rate, threads
from mofang.fit.loop.probe import choosing, known_choices, with_choices
from mofang.fit.planning.ahead import foresee_pretraining, named_share
from mofang.fit.pretraining.architecture import Architecture, Gpt, begin_and_end
from mofang.fit.pretraining.budget import Budget, Course, course_of
from mofang.fit.pretraining.files import model_files, tokenizer_files
from mofang.fit.pretraining.rows import Documents
from mofang.fit.pretraining.shape import Shape, shape_of
from mofang.fit.pretraining.starting import Start, is_hub_name, kind_of, start_from
from mofang.fit.pretraining.weights import weights_of
from mofang.fit.tokenizer import Shards, open_shards

if TYPE_CHECKING:
    from mofang.core.shop import Shop
    from mofang.fit.loop.cursor import Outcome
    from mofang.fit.loop.mixture import Question

UNKNOWN_MOST = 0.01  # a larger share of unknown tokens is said aloud
SAID_FROM_S = 60
ROWS_OVER, DECAY, WARM_UP = 2, 0.1, 0.05  # batches are bounded by their positions, not by their rows
NEVER = 1_000_000  # validations without improvement before it stops; --patience sets another number
LINE_TOKENS, LINE_TOP, LINE_TEMPERATURE = 64, 40, 0.8


def start_digest(shop: Shop, settings: dict[str, Any]) -> str:
    """The content of the folder that weights come from, so that another one is another run; a hub's name and revision."""
    name = settings["start"]
    if not name or is_hub_name(name):
        return with_choices(shop, f"{name}@{settings['revision']}" if name else "")
    try:
        return with_choices(shop, start_from(name, settings["revision"]).digest)
    except MofangError:  # the run will say what is missing
        return ""


@stage(version=2, source_digest=start_digest)
def pretrain(
    run: Run,
    shards: Shards,
    base: Base | None = None,
    *,
    architecture: Architecture = Gpt(),
    objectives: tuple[str, ...] = (),
    start: Annotated[str, OnDisk()] = "",
    revision: str = "main",
    context: Annotated[int, Field(ge=8, le=1 << 17)] = 256,
    tokens: Annotated[int, Field(ge=0)] = 0,
    seconds: Annotated[float, Field(ge=0)] = 0.0,
    batch_tokens: Annotated[int, Field(ge=8)] = 4096,
    learning_rate: Annotated[float, Field(ge=0)] = 0.0,
    checks: Annotated[int, Field(ge=1, le=1000)] = 10,
    whole_words: bool = True,
    lines: Annotated[int, Field(ge=0, le=100)] = 5,
    prompt: str = "",
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0,
    learning: Learning = Learning(),
) -> Base:
    """Pretrain a network on the texts of shards, from drawn weights or from a base.

    ``architecture`` (bert, gpt, llama, t5) has one dial, ``size``, from which depth, width, heads and learning rate
    follow. ``objectives`` are mlm (masked), plm (permuted), nsp (next sentence), clm (causal) and denoise (spans), alone
    or mixed by weight (``mlm:0.8,nsp:0.2``: a step asks one of them). ``base``, or ``start`` (a folder, package:NAME/FOLDER
    or a hub's owner/name with its ``revision``), is continued; its own shape then counts. ``steps`` or ``tokens`` say how
    long, ``seconds`` at most how long; left out, 20 tokens a weight and at most 20 passes. Validation looks ``checks``
    times and the best weights are kept. ``learning`` are the flags of the loop. A generator writes ``lines`` lines.
    """
    began_s = used()[0]
    begun, about = _begun(run, base, start, revision), shards.read_json("about.json")
    kind = kind_of(begun.config) if begun else architecture.tag
    weights = weights_of(objectives, kind)
    tokenizer_json = _text(shards, "tokenizer.json")
    shape = shape_of(architecture, begun, weights, about, tokenizer_json, context)
    _warn_of_unknown(run, about)
    questions = _questions(run, shards, about, weights, context=context, seed=seed, whole_words=whole_words)
    whole = questions[0].train.lengths
    whole_epoch = isinstance(learning.optimizer, GradientDescent)
    positions = int(whole.sum()) if whole_epoch else batch_tokens * learning.accumulate
    course = course_of(Budget(learning.steps, tokens, seconds), positions=positions, epoch_tokens=int(whole.sum()),
                       parameters=shape.parameters(), rate=multiply_rate(), checks=checks)
    run.measure(**foresee_pretraining(
        run, shape.config, used()[0] - began_s, steps=course.steps * positions / batch_tokens, positions=batch_tokens,
        context=context, seconds=seconds, judged=(course.steps / course.judge_steps + 1) * about["tokens"]["validation"],
        tokens=sum(about["tokens"].values()), named=named_share(weights), learning=learning))
    _announce(run, course, seconds)
    asked = _Asked(weights, context, course, learning_rate or shape.learning_rate, batch_tokens, seconds, seed, learning)
    network, outcome = _learn(run, shape, questions, asked, about)
    files = model_files(network, run.scratch / "written")
    files |= tokenizer_files(tokenizer_json if begun is None else (begun.folder / TOKENIZER).read_text(encoding="utf-8"),
                             about["special"], kind, context)
    for name, data in files.items():
        run.write_bytes(name, data)
    if lines and "clm" in weights:
        _sample(run, network, tokenizer_json, about, lines, prompt, seed)
    return _told(run, shape, asked, outcome, about)


@dataclass(frozen=True)
class _Asked:
    """What a run was asked for, as it is written down."""

    weights: dict[str, float]
    context: int
    course: Course
    learning_rate: float
    batch_tokens: int
    seconds: float
    seed: int
    learning: Learning


def _begun(run: Run, base: Base | None, start: str, revision: str) -> Start | None:
    """Where weights come from, if not drawn."""
    if base is not None and start:
        raise MofangError("start-twice", start=start)
    if base is not None:
        return Start(folder_of(base, run.scratch), f"base {base.digest[:12]}")
    if not start:
        return None
    found = start_from(start, revision)
    run.licence(*found.licences)
    return found


def _questions(run: Run, shards: Shards, about: dict[str, Any], weights: dict[str, float], **how: Any) -> list[Question]:
    """What is asked of the documents of both parts."""
    from tokenizers import Tokenizer

    parts = {name: Documents.between(part.tokens, part.offsets, about["special"])
             for name, part in open_shards(shards, run.scratch).items()}
    for name, documents in parts.items():
        if not len(documents):
            raise MofangError("shards-without", part=name)
    from mofang.fit.pretraining.questions import questions_of

    tokenizer = Tokenizer.from_str(_text(shards, TOKENIZER))
    return questions_of(weights, parts, tokenizer, about["special"], **how)


def _learn(run: Run, shape: Shape, questions: list[Question], asked: _Asked, about: dict[str, Any]) -> tuple[Any, Outcome]:
    """Train to the end of the course; the best weights are in the network."""
    from mofang.fit.loop.mixture import Mixture
    from mofang.fit.loop.plan import Plan
    from mofang.fit.loop.start import fit_network

    whole, course, batch = questions[0].train.lengths, asked.course, asked.batch_tokens
    learning = replace(asked.learning, steps=course.steps)
    mixture = Mixture(questions, max(batch, int(whole.max())), about["bytes"]["validation"], asked.seed)
    plan = Plan(course.epochs, asked.learning_rate, rows=max(1, round(ROWS_OVER * batch / float(whole.mean()))), positions=batch,
                weight_decay=DECAY, warm_up=WARM_UP, patience=NEVER, seed=asked.seed, seconds=asked.seconds,
                judge_steps=course.judge_steps)
    conditions = Conditions(asked.seed, asked.seconds, run.scratch, run.progress, learning=learning)

    def build() -> Any:
        network = shape.build()
        network.smoothing = learning.label_smoothing
        return network

    with choosing(known_choices(run.shop)):
        return fit_network(build, mixture, plan, conditions)


def _sample(run: Run, network: Any, tokenizer_json: str, about: dict[str, Any], lines: int, prompt: str, seed: int) -> None:
    """Lines that the generator writes, for the end of the report."""
    from tokenizers import Tokenizer

    from mofang.fit.networks.sampling import Drawing, sample_lines

    begin, end = begin_and_end(about["special"])
    how = Drawing(lines, LINE_TOKENS, LINE_TEMPERATURE, LINE_TOP, seed, prompt)
    with run.progress("Writing a few lines", "正在试写几行"):
        found = sample_lines(network, Tokenizer.from_str(tokenizer_json), begin, end, how)
    run.write_json(SAMPLES, {**asdict(how), "lines": found})


def _told(run: Run, shape: Shape, asked: _Asked, outcome: Outcome, about: dict[str, Any]) -> Base:
    """The record of the run."""
    best = max(outcome.curves, key=lambda row: row["validation_score"])
    done = int(outcome.curves[-1]["step"])
    parameters = shape.parameters()
    figures = {"validation_loss": outcome.judged.loss, **outcome.judged.figures}
    run.write_json("curves.json", outcome.curves)
    run.write_bytes("steps.jsonl", b"".join(canonical(row) + b"\n" for row in outcome.steps))
    run.write_json("about.json", {
        "format": BASE_FORMAT, "architecture": shape.architecture.to_dict(), "kind": shape.kind,
        "objectives": asked.weights, "parameters": parameters, "weights": shape.weights_from, "context": asked.context,
        "figures": figures, "best_step": best["step"], "steps": done, "epochs": best["epoch"], "stopped": outcome.stopped,
        "precision": outcome.precision,
        "learning": {name: _plain(getattr(asked.learning, name)) for name in asked.learning.chosen},
        "learning_rate": asked.learning_rate, "batch_tokens": asked.batch_tokens, "seconds": asked.seconds, "seed": asked.seed,
        "threads": threads(), "device": outcome.device, "licences": sorted({*run.input_licences, *run.added_licences}),
        "vocabulary": {name: about[name] for name in ("size", "kind", "unknown_share", "special")},
        "texts": {name: about[name] for name in ("documents", "tokens", "bytes")},
    })
    run.measure(parameters=parameters, steps=done, **{name: round(value, 6) for name, value in figures.items()},
                stopped=outcome.stopped, threads=threads(), device=outcome.device, precision=outcome.precision, **outcome.speed)
    return run.result(Base)


def _plain(value: Any) -> Any:
    return value.to_dict() if isinstance(value, Variant) else value


def _text(shards: Shards, name: str) -> str:
    with shards.open(name) as file:
        return file.read().decode()


def _warn_of_unknown(run: Run, about: dict[str, Any]) -> None:
    share = float(about["unknown_share"])
    if share > UNKNOWN_MOST:
        run.announce("{share} of the tokens are unknown: the vocabulary does not cover these texts, and gaps will be learnt.",
                     "有 {share} 的词元是未知的：词表没有覆盖这些文本，网络会学会写出空缺。", share=f"{share:.1%}")


def _announce(run: Run, course: Course, seconds: float) -> None:
    expected = min(course.seconds, seconds) if seconds else course.seconds
    if expected > SAID_FROM_S:
        run.announce("Pretraining will take about {minutes} min.", "预训练约需 {minutes} 分钟。", minutes=max(1, round(expected / 60)))
