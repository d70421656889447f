"""How likely a generator finds each of some words behind a prompt: the prompt is read once, the words side by side behind it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mofang.fit.networks.generator import Generator


class Likely(nn.Module):
    """The mean log-probability of each label's tokens after the prompt, less ``centre``, times ``sharpness``.

    Every label sees the prompt and its own beginning, and no other label. A mean, because the sum would favour short words.
    """

    def __init__(self, generator: Generator, words: Sequence[Sequence[int]]) -> None:
        super().__init__()
        self.generator = generator
        self.centre = nn.Parameter(torch.zeros(len(words)), requires_grad=False)
        self.sharpness = nn.Parameter(torch.ones(()), requires_grad=False)
        owners = torch.tensor([label for label, ids in enumerate(words) for _ in ids])
        places = torch.tensor([place for ids in words for place in range(len(ids))])
        fixed = {
            "words": torch.tensor([one for ids in words for one in ids]),
            "places": places,
            # what each token follows: the end of the prompt (0), or the token of its label before it (from 1)
            "follows": torch.where(places == 0, 0, torch.arange(len(owners))),
            "among": (owners[:, None] == owners[None]) & torch.ones(len(owners), len(owners), dtype=torch.bool).tril(),
            "share": torch.nn.functional.one_hot(owners, len(words)).float() / torch.bincount(owners).float(),
        }
        for name, value in fixed.items():
            self.register_buffer(name, value, persistent=False)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Scores float32 [B, K] of prompts int64 [B, L], padded on the right."""
        return (self.raw(input_ids, attention_mask) - self.centre) * self.sharpness

    def raw(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The mean log-probabilities themselves."""
        rows, length = input_ids.shape
        words, places, among = self.words, self.places, self.among
        assert isinstance(words, Tensor) and isinstance(places, Tensor) and isinstance(among, Tensor)
        count = words.shape[0]
        lengths = attention_mask.sum(dim=1, keepdim=True)
        ids = torch.cat([input_ids, words[None].expand(rows, -1)], dim=1)
        where = torch.cat([(attention_mask.cumsum(dim=1) - 1).clamp(min=0), lengths + places[None]], dim=1)
        present = attention_mask[:, None, :].bool()
        order = torch.arange(length, device=input_ids.device)
        above = torch.cat([present & (order[None, :, None] >= order[None, None, :]),
                           torch.zeros(1, 1, count, dtype=torch.bool, device=ids.device).expand(rows, length, -1)], dim=2)
        below = torch.cat([present.expand(-1, count, -1), among[None].expand(rows, -1, -1)], dim=2)
        states = self.generator.states_seeing(ids, torch.cat([above, below], dim=1), where)
        last = (lengths - 1).clamp(min=0)[:, :, None].expand(-1, 1, states.shape[2])
        before = torch.cat([states.gather(1, last), states[:, length:]], dim=1)[:, self.follows]  # type: ignore[index]
        said = torch.log_softmax(self.generator.logits(before).float(), dim=2)
        found = said.gather(2, words[None, :, None].expand(rows, -1, 1))[:, :, 0]
        scores: Tensor = found @ self.share  # type: ignore[operator]
        return scores
