"""How many floating-point operations a position costs, for the share of the machine's peak that a step reaches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import nn

from mofang.fit.loop.objective import Batch


class Operations:
    """Counts the first step's operations, forward and back; a network that has ``operations(batch)`` says them itself.

    Where the count finds nothing (an operator it does not know), 6 for each weight in a matrix and position.
    """

    def __init__(self, network: nn.Module) -> None:
        self.says: Callable[[Batch], float] | None = getattr(network, "operations", None)
        self.network = network
        self.found = 0.0
        self._each = 0.0
        self._counting = True

    @contextmanager
    def counted(self, batch: Batch) -> Iterator[None]:
        """Count what happens inside, while the first step lasts."""
        if not self._counting:
            yield
        elif self.says is not None:
            self.found += (told := self.says(batch))
            if not told:
                self.says = None
            yield
        else:
            from torch.utils.flop_counter import FlopCounterMode

            with FlopCounterMode(display=False) as counter:
                yield
            self.found += counter.get_total_flops()

    def each(self, positions: float) -> float:
        """Operations a position, once a step of so many positions was counted."""
        if self._counting and positions:
            self._each, self._counting = self.found / positions or 6.0 * self._weights(), False
        return self._each

    def _weights(self) -> float:
        embedded = {id(value) for module in self.network.modules() if isinstance(module, nn.Embedding | nn.EmbeddingBag)
                    for value in module.parameters(recurse=False)}
        trained = (value for value in self.network.parameters() if value.requires_grad and value.ndim > 1)
        return float(sum(value.numel() for value in trained if id(value) not in embedded))
