"""Group relative policy optimisation (Shao et al. 2024): answers are sampled in groups, and those that earn more than their
group become likelier, near the model as it was."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mofang.engine.arrays import Array
from mofang.engine.encode.chat import ChatEncoder
from mofang.fit.generation.likelihood import token_log_probabilities
from mofang.fit.generation.packing import packed_batch
from mofang.fit.generation.writer import Manner, Written, write
from mofang.fit.loop.objective import Batch, Judged
from mofang.fit.networks.generator import Generator

SEED_STRIDE = 1_000_003
JUDGED_SEED = 2**31 - 1
SPREAD_LEAST = 1e-4
ROLLOUT = "rollout.npz"
Rate = Callable[[Sequence[str], Sequence[Mapping[str, Any]]], Array]


@dataclass(frozen=True)
class Prompts:
    """Prompts as token ids, with the records that rewards look at."""

    ids: list[list[int]]
    records: list[Mapping[str, Any]]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Terms:
    """``group`` answers a prompt, each sample used for ``updates`` steps; ratios clipped to 1 ± ``clip``; ``kl`` weighs the
    distance from the reference (Schulman's unbiased estimate)."""

    group: int
    updates: int
    clip: float
    kl: float


class Policy:
    """The clipped ratio times each answer's advantage in its group, minus the weighed distance from the reference, over all
    tokens of the answers.

    A batch asks the network itself, so answers follow from weights, seed and step. Those that serve more than one step
    are kept in ``scratch``, so that a killed run goes on with them.
    """

    def __init__(self, train: Prompts, validation: Prompts, encoder: ChatEncoder, reference: Generator, rate: Rate,
                 manner: Manner, terms: Terms, scratch: Path) -> None:
        self.train, self.validation, self.encoder, self.reference = train, validation, encoder, reference
        self.rate, self.manner, self.terms, self.scratch = rate, manner, terms, scratch
        self.network: Generator | None = None

    @property
    def lengths(self) -> Array:
        """Tokens of each prompt with the longest answer."""
        return np.array([len(one) + self.manner.max_tokens for one in self.train.ids], np.int64)

    def batch(self, rows: Array, epoch: int, step: int) -> Batch:
        """Sampled answers of these rows (or those of the step before, while they still serve), with their advantages."""
        turn, again = divmod(step, self.terms.updates)
        place = self.scratch / ROLLOUT
        if again and place.is_file():
            with np.load(place) as stored:
                if int(stored["turn"]) == turn:
                    return _batch({name: stored[name] for name in stored.files})
        made = self._roll_out(rows, turn)
        if self.terms.updates > 1:
            beside = place.with_suffix(".tmp.npz")
            np.savez(beside, **{"turn": np.int64(turn), **made})  # type: ignore[arg-type]  # names, not flags
            beside.replace(place)
        return _batch(made)

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Summed over the tokens of all answers."""
        assert isinstance(network, Generator)
        arrays, terms = batch.arrays, self.terms
        now, origin = token_log_probabilities(network, arrays)
        advantages = arrays["advantages"][origin]
        ratio = torch.exp(now - arrays["before"])
        gained = torch.minimum(ratio * advantages, ratio.clamp(1 - terms.clip, 1 + terms.clip) * advantages)
        apart = arrays["reference"] - now
        return -(gained - terms.kl * (torch.exp(apart) - apart - 1)).sum()

    def judge(self, network: nn.Module, device: torch.device) -> Judged:
        """The mean reward of answers to held-out prompts, always by the same chance."""
        assert isinstance(network, Generator)
        self.network = network if self.network is None else self.network
        answers = self._write(network, self.validation.ids, JUDGED_SEED)
        rewards = self.rate([one.text for one in answers], self.validation.records)
        reward = float(rewards.mean()) if len(rewards) else 0.0
        figures = {"reward": reward, "tokens": float(np.mean([len(one.ids) for one in answers])) if answers else 0.0}
        return Judged(reward, -reward, figures)

    def _roll_out(self, rows: Array, turn: int) -> dict[str, Array]:
        assert self.network is not None, "the network that writes is given before the first batch"
        group = self.terms.group
        prompts = [self.train.ids[int(row)] for row in rows for _ in range(group)]
        records = [self.train.records[int(row)] for row in rows for _ in range(group)]
        training = self.network.training
        answers = self._write(self.network, prompts, (self.manner.seed * SEED_STRIDE + turn) % JUDGED_SEED)
        rewards = self.rate([one.text for one in answers], records)
        conversations = [self._row(prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)]
        arrays = packed_batch(conversations, self.encoder.max_length)
        self.network.eval()
        with torch.no_grad():
            device = next(self.network.parameters()).device
            there = {name: value.to(device) for name, value in arrays.items()}
            before, _ = token_log_probabilities(self.network, there)
            reference, _ = token_log_probabilities(self.reference.to(device), there)
        self.network.train(training)
        found = {name: value.numpy() for name, value in arrays.items()}
        return {**found, "advantages": advantages_of(rewards, group), "before": before.cpu().numpy(),
                "reference": reference.cpu().numpy()}

    def _row(self, prompt: list[int], answer: Written) -> tuple[Array, Array]:
        """An answer after its prompt, with its end where the model itself ended it."""
        end = sorted(self.encoder.ends)[:1] if answer.finish == "end" else []
        said = [*answer.ids, *end]
        kept = prompt[-(self.encoder.max_length - len(said)) :]
        return np.array([*kept, *said], np.int64), np.array([False] * len(kept) + [True] * len(said))

    def _write(self, network: Generator, prompts: list[list[int]], seed: int) -> list[Written]:
        manner = replace(self.manner, seed=seed)
        return write(network, prompts, manner, self.encoder.ends, self.encoder.decode, self.encoder.max_length)


def advantages_of(rewards: Array, group: int) -> Array:
    """By how many standard deviations each reward is above its group's mean, float32 [N]; 0 where all earn alike."""
    grouped = rewards.reshape(-1, group)
    spread = grouped.std(axis=1, keepdims=True)
    above = grouped - grouped.mean(axis=1, keepdims=True)
    found: Array = np.where(spread > SPREAD_LEAST, above / np.maximum(spread, SPREAD_LEAST), 0)
    return found.reshape(-1).astype(np.float32)


def _batch(arrays: Mapping[str, Array]) -> Batch:
    made = {name: torch.from_numpy(value) for name, value in arrays.items() if name != "turn"}
    return Batch(made, max(1, int(made["learnt"].sum())))
