"""Teach a generator which of two answers people preferred."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from mofang.core.run import Run, used
from mofang.core.stage import stage
from mofang.data.records import Records
from mofang.fit.train import Model

if TYPE_CHECKING:
    import torch

    from mofang.engine.encode import Record
    from mofang.fit.generation.opened import Opened
    from mofang.fit.generation.preferences import Preferred

REFERENCE = "reference-{side}.npy"
SAMPLED = 64  # pairs whose lengths are looked at to foretell the rest


@stage(version=2)
def prefer(
    run: Run,
    model: Model,
    records: Records,
    *,
    prompt: str = "prompt",
    chosen: str = "chosen",
    rejected: str = "rejected",
    beta: Annotated[float, Field(gt=0, le=10)] = 0.1,
    adapt: Literal["all", "lora"] = "all",
    rank: Annotated[int, Field(ge=1, le=512)] = 8,
    epochs: Annotated[int, Field(ge=1)] = 2,
    learning_rate: Annotated[float, Field(gt=0)] = 1e-5,
    tokens: Annotated[int, Field(ge=64)] = 4096,
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.1,
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0,
    seconds: Annotated[float, Field(ge=0)] = 0.0,
) -> Model:
    """Teach a generator by pairs of answers, of which one was preferred (direct preference optimisation).

    Records hold a ``prompt`` (words, or a conversation as JSON), the ``chosen`` answer and the ``rejected`` one. The chosen
    one becomes likelier than the other, measured against the model as it was: ``beta`` holds it near, and the reference is
    asked once. A share of the prompts is held out; on them stands the margin that the model gained.
    """
    import torch

    from mofang.fit.family import Conditions
    from mofang.fit.generation.fitting import Adapting, fit_generator
    from mofang.fit.generation.opened import open_generator
    from mofang.fit.generation.preferences import Preferences
    from mofang.fit.generation.renewed import read_rows, sides_of, stored_sample, write_renewed
    from mofang.fit.loop.loop import Plan
    from mofang.fit.loop.machine import threads

    began_s, rows = used()[0], read_rows(records, (prompt, chosen, rejected))
    train, held = sides_of([str(one[prompt]) for one in rows], validation, seed)
    opened = open_generator(model)
    torch.set_num_threads(threads())
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    run.measure(**_foreseen(run, opened, rows, (prompt, chosen, rejected), adapt, tokens, seconds,
                            (epochs * len(train), len(held)), began_s))
    named = {"train": [rows[one] for one in train], "validation": [rows[one] for one in held]}
    pairs = {
        side: _pairs(opened, some, (prompt, chosen, rejected), run.scratch / REFERENCE.format(side=side), device)
        for side, some in named.items()
    }
    objective = Preferences(pairs["train"], pairs["validation"], beta, opened.context)
    plan = Plan(epochs, learning_rate, rows=32, positions=tokens, patience=epochs, seed=seed, seconds=seconds)
    fitted = fit_generator(
        lambda: opened.network,
        opened.encoder,
        objective,
        stored_sample(model),
        plan,
        Conditions(seed, seconds, run.scratch, run.progress),
        opened.about["architecture"], Adapting(adapt, rank),
    )
    taught = {"beta": beta, "adapt": adapt, "rows": {"train": len(train), "validation": len(held)}, "seed": seed}
    write_renewed(run, model, fitted, taught, "log_likelihood", seed)
    return run.result(Model)


def _foreseen(run: Run, opened: Opened, rows: list[Record], names: tuple[str, str, str], adapt: str, tokens: int,
              seconds: float, counts: tuple[int, int], began_s: float) -> dict[str, Any]:
    """What it will take, from the lengths of the first pairs; ``counts`` are pairs learnt from in all epochs, and held out."""
    from mofang.fit.generation.answers import read_conversations
    from mofang.fit.planning.ahead import foresee_preferring

    column, some = opened.encoder.columns[0], rows[:SAMPLED]
    both = [read_conversations(opened.encoder, [{column: row[names[0]]} for row in some], [str(row[side]) for row in some])
            for side in names[1:]]
    pair = float(sum(one.lengths.sum() for one in both)) / len(some)
    longest = int(max(one.lengths.max() for one in both))
    return foresee_preferring(
        run, opened.about["architecture"]["config"], adapt=adapt, learnt_tokens=counts[0] * pair,
        read_tokens=(len(rows) + counts[1]) * pair, positions=tokens, context=max(8, min(longest, opened.context)),
        seconds=seconds, spent_s=used()[0] - began_s)


def _pairs(opened: Opened, rows: list[Record], names: tuple[str, str, str], place: Path, device: torch.device) -> Preferred:
    """Both sides of every pair as token ids, and what the reference gives them; kept in ``place`` over a kill."""
    from mofang.fit.generation.answers import read_conversations
    from mofang.fit.generation.likelihood import measure
    from mofang.fit.generation.preferences import Preferred

    prompt, *sides = names
    column = opened.encoder.columns[0]
    asked = [{column: row[prompt]} for row in rows]
    chosen, rejected = (read_conversations(opened.encoder, asked, [str(row[side]) for row in rows]) for side in sides)
    if place.is_file():
        stored = np.load(place)
    else:
        network = opened.network.to(device)
        stored = np.stack([measure(network, one, device)[0] for one in (chosen, rejected)])
        beside = place.with_suffix(".tmp.npy")
        np.save(beside, stored)
        beside.replace(place)
    return Preferred(chosen, rejected, stored[0], stored[1])
