"""What writing takes: the prompts are read, then every row gets one token a turn; and what it takes to learn from such answers.

The constants are seconds of one core of the machine of ``work.py``. An answer is counted as long as it may become: one that ends
earlier is what the ledger's factor is for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mofang.core.language import say
from mofang.fit.planning.ahead import predicted, require_room, terms_of
from mofang.fit.planning.modules import KNOWN, Network, count
from mofang.fit.planning.work import DENSE_SHARE, TOUCHED_S, WRITTEN_S, Terms, Work, pretraining

if TYPE_CHECKING:
    from mofang.core.run import Run

ROWS_AT_ONCE = 16  # that a writer continues at the same time
TURN_S, LAYER_TURN_S = 0.0012, 0.0007  # of every turn, and of each of its layers: calls, the cache, the choice
READ_S = 1.6e-10  # for each weight and turn: a product with so few rows waits for its weights
CHOSEN_S = 7e-8  # for each word of the vocabulary and row where words are drawn by chance: they are sorted
SHARDS_S = 0.9  # what ``pretraining`` counts for opening its shards, of which there are none here


@dataclass(frozen=True)
class Answers:
    """How much is written: ``prompts`` of ``asked`` tokens, ``answered`` tokens each, greedily or by ``chance``."""

    prompts: float
    asked: float
    answered: float
    chance: bool = True

    @property
    def length(self) -> float:
        """Tokens of a prompt with its answer."""
        return self.asked + self.answered


def writing(config: Mapping[str, Any], answers: Answers) -> Work:
    """The work of one writer, sixteen rows at a time."""
    network = count(config, head="lm")
    turns = math.ceil(answers.prompts / ROWS_AT_ONCE) * answers.answered
    tokens = answers.prompts * answers.answered
    flops = answers.prompts * network.forward_flops(answers.asked)
    flops += tokens * network.forward_flops(answers.length) / max(1.0, answers.length)
    plain = turns * (TURN_S + LAYER_TURN_S * network.shape.layers + READ_S * network.parameters)
    plain += tokens * network.shape.vocabulary * CHOSEN_S * answers.chance
    plain += answers.prompts * answers.asked * network.shape.hidden * network.shape.layers * 40 * TOUCHED_S
    rows = min(answers.prompts, float(ROWS_AT_ONCE))
    memory = {"weights": network.parameters * 4.0, "cache": _cache_bytes(network, rows * answers.length),
              "logits": rows * network.shape.vocabulary * 40.0}
    return Work(("torch", "transformers"), plain, flops, DENSE_SHARE, network.parameters, turns, memory, network)


def reinforcing(config: Mapping[str, Any], answers: Answers, judged: Answers, *, steps: float, updates: int, times: float,
                terms: Terms) -> Work:
    """Learning by rewards: ``answers`` are those of one step, rolled out anew every ``updates`` steps and read twice more (by the
    model and by its reference); ``judged`` are those of held-out prompts, ``times`` times."""
    turns, length = steps / updates, answers.length
    positions = max(1, round(answers.prompts * length))
    learnt = pretraining(config, steps=steps, positions=positions, context=max(8, round(length)),
                         judged=turns * 2 * positions, tokens=positions, named=answers.answered / length, terms=terms)
    rolled, rated = writing(config, answers), writing(config, judged)
    memory = {**learnt.memory, "reference": learnt.parameters * 4.0, "cache": rolled.memory["cache"]}
    return replace(
        learnt,
        plain_s=learnt.plain_s - SHARDS_S + turns * rolled.plain_s + times * rated.plain_s + 2 * WRITTEN_S * learnt.parameters,
        flops=learnt.flops + turns * rolled.flops + times * rated.flops,
        memory=memory,
    )


def foresee_writing(run: Run, config: Mapping[str, Any], answers: Answers, spent_s: float) -> dict[str, Any]:
    """Before ``generate`` writes: the prediction as measures for the ledger; ``spent_s`` CPU seconds went into opening the model.

    Raises ``memory-too-small``, with what would fit.
    """
    if config.get("model_type") not in KNOWN:
        return {}
    work = writing(config, answers)
    found = predicted(run.shop, "generate", replace(work, memory={**work.memory, "weights": 0.0}), spent_s)  # they are there
    require_room(found, lambda limit: say("A smaller --max-tokens would fit.", "请减小 --max-tokens。"))
    return found.measures()


def foresee_reinforcing(run: Run, config: Mapping[str, Any], answers: Answers, judged: Answers, *, adapt: str, steps: float,
                        updates: int, times: float, seconds: float, spent_s: float) -> dict[str, Any]:
    """The same for ``reinforce``."""
    if config.get("model_type") not in KNOWN:
        return {}
    work = reinforcing(config, answers, judged, steps=steps, updates=updates, times=times,
                       terms=terms_of(run.shop, None, None, 0, seconds))
    found = predicted(run.shop, "reinforce" if adapt == "all" else f"reinforce/{adapt}", work, spent_s)
    require_room(found, lambda limit: say("A smaller --group, --rows, --max-tokens or --adapt lora would fit.",
                                          "请减小 --group、--rows、--max-tokens，或改用 --adapt lora。"))
    return found.measures()


def _cache_bytes(network: Network, positions: float) -> float:
    """Keys and values in float32, held twice while a turn puts a token behind them."""
    shape = network.shape
    return positions * shape.layers * 2 * shape.key_heads * shape.head_width * 4.0 * 2
