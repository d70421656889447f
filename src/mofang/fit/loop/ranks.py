"""Several processes train one network: each has all of it (ddp), a part of every weight (fsdp), or a part of every layer
(tensor).

Gradients are summed once a step, after all micro-batches, over every parameter that learns. PyTorch's own wrapper for
copies fails where a weight gets no gradient, thaws later, or a network is asked for more than ``forward``; ours does not,
and pays for it by not overlapping the exchange with the way back (docs/decisions/024-several-processes.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from mofang.core.errors import MofangError
from mofang.engine.arrays import Array
from mofang.fit.loop.checkpoint import FORMAT, point_to, write_checkpoint
from mofang.fit.loop.optimizers import Steps
from mofang.fit.loop.parted import write_parts
from mofang.fit.loop.placement import Alone, Placement, below
from mofang.fit.loop.rows import clip_gradients

How = Literal["ddp", "fsdp", "tensor"]
BUCKET_BYTES = 25 * 2**20  # gradients that are exchanged at once
ASKED = ("loss", "states", "logits", "encode")  # what an objective may call on a network beside it itself
# Matrices whose columns, and then whose rows, can lie on different ranks with one exchange a pair.
PAIRS = (
    (("attention.self.query", "attention.self.key", "attention.self.value"), "attention.output.dense"),
    (("intermediate.dense",), "output.dense"),
    (("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"), "self_attn.o_proj"),
    (("mlp.gate_proj", "mlp.up_proj"), "mlp.down_proj"),
)


def placed(how: How) -> Placement:
    """Where this process trains: alone, or with the others of its process group."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return Alone()
    return {"ddp": Copies, "fsdp": Shards, "tensor": Slices}[how]()


class Copies:
    """Every rank holds the whole network and takes its share of each batch."""

    def __init__(self) -> None:
        self.ranks, self.rank = dist.get_world_size(), dist.get_rank()
        self.is_first = self.rank == 0
        own = int(torch.cuda.current_device()) if torch.cuda.is_available() else 0
        self.device = torch.device("cuda", own) if torch.cuda.is_available() else torch.device("cpu")

    def wrap(self, network: nn.Module) -> nn.Module:
        """The network on this rank's device, with the first rank's weights."""
        network.to(self.device)
        for value in network.state_dict().values():
            dist.broadcast(value, 0)
        return network

    def share(self, rows: Array) -> Array:
        """Every n-th row, so that shares are as long as each other."""
        return rows[self.rank :: self.ranks]

    def total(self, value: float) -> float:
        """The sum over all ranks, in double precision."""
        found = torch.tensor(value, dtype=torch.float64, device=self.device)
        dist.all_reduce(found)
        return float(found)

    def clip(self, network: nn.Module, most: float) -> float:
        """Average the gradients over the ranks, then clip by their norm."""
        learning = [value for value in network.parameters() if value.requires_grad]
        self._exchange(learning)
        if any(value.grad is not None and value.grad.is_sparse for value in learning):
            return clip_gradients(learning, most)
        return float(nn.utils.clip_grad_norm_(learning, most or float("inf")))

    def _exchange(self, learning: list[nn.Parameter]) -> None:
        there = torch.tensor([value.grad is not None for value in learning], dtype=torch.float32, device=self.device)
        dist.all_reduce(there)
        dense: list[Tensor] = []
        for value, ranks in zip(learning, there.tolist(), strict=True):
            if not ranks:
                continue
            if value.grad is None:
                value.grad = torch.zeros_like(value)
            if value.grad.is_sparse:
                value.grad = self._summed(value.grad.coalesce())
            else:
                dense.append(value.grad)
        for bucket in _buckets(dense):
            flat = torch._utils._flatten_dense_tensors(bucket)
            dist.all_reduce(flat)
            for own, whole in zip(bucket, torch._utils._unflatten_dense_tensors(flat.div_(self.ranks), bucket), strict=True):
                own.copy_(whole)

    def _summed(self, gradient: Tensor) -> Tensor:
        """Rows of a table that the ranks touched, averaged; a rank sends only its own."""
        rows, values = gradient.indices()[0], gradient.values()
        most = int(max(self._each(len(rows))))
        if not most:
            return gradient
        padded = torch.cat([rows, rows.new_full((most - len(rows),), -1)])
        filled = torch.cat([values, values.new_zeros((most - len(rows), *values.shape[1:]))])
        all_rows = [torch.empty_like(padded) for _ in range(self.ranks)]
        all_values = [torch.empty_like(filled) for _ in range(self.ranks)]
        dist.all_gather(all_rows, padded)
        dist.all_gather(all_values, filled)
        joint = torch.cat(all_rows)
        kept = joint >= 0
        return torch.sparse_coo_tensor(joint[kept].unsqueeze(0), torch.cat(all_values)[kept] / self.ranks, gradient.shape).coalesce()

    def _each(self, value: int) -> list[int]:
        own = torch.tensor([value], device=self.device)
        found = [torch.empty_like(own) for _ in range(self.ranks)]
        dist.all_gather(found, own)
        return [int(one) for one in found]

    def weights(self, network: nn.Module) -> dict[str, Tensor]:
        """All weights, whole, on every rank."""
        return {name: whole(value.detach()) for name, value in network.state_dict().items()}

    def put(self, network: nn.Module, weights: dict[str, Tensor]) -> None:
        """Set all weights; of a divided one each rank takes its part."""
        with torch.no_grad():
            for name, value in network.state_dict().items():
                value.copy_(like(weights[name], value))

    def state(self, network: nn.Module, steps: Steps) -> dict[str, Tensor]:
        """Weights and the optimizers' state, named as one process names them."""
        found = {f"network/{name}": self.stored(value.detach()) for name, value in network.state_dict().items()}
        for number, part, order in _orders(network, steps):
            for place, values in part.state_dict()["state"].items():
                for name, value in values.items():
                    if isinstance(value, Tensor):
                        found[f"optimizer/{number}/{order[place]}/{name}"] = self.stored(value)
        return found

    def stored(self, value: Tensor) -> Tensor:
        """A tensor as it goes into a checkpoint: whole."""
        return whole(value)

    def load(self, network: nn.Module, steps: Steps, tensors: dict[str, Tensor]) -> None:
        """Go on from what any number of ranks wrote."""
        self.put(network, below(tensors, "network/"))
        given = below(tensors, "optimizer/")
        for number, part, order in _orders(network, steps):
            states: dict[int, dict[str, Tensor]] = {}
            values = [value for group in part.param_groups for value in group["params"]]
            for place, value in enumerate(values):
                prefix = f"{number}/{order[place]}/"
                held = below(given, prefix)
                if held:
                    states[place] = {name: like(one, value) if one.shape == value.shape else one for name, one in held.items()}
            part.load_state_dict({"state": states, "param_groups": part.state_dict()["param_groups"]})

    def write(self, folder: Path, step: int, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """The first rank writes; the others wait."""
        if self.is_first:
            write_checkpoint(folder, step, tensors, state)
        dist.barrier()


class Shards(Copies):
    """Every rank holds a part of each weight and gathers a layer while it works on it (FSDP2, ``fully_shard``)."""

    def wrap(self, network: nn.Module) -> nn.Module:
        """The network, a group of weights for each layer, one for the rest."""
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

        network.to(self.device)
        mesh = init_device_mesh(self.device.type, (self.ranks,))
        for layer in layers_of(network):
            fully_shard(layer, mesh=mesh)
        fully_shard(network, mesh=mesh)
        for name in ASKED:
            if callable(getattr(network, name, None)):
                register_fsdp_forward_method(network, name)
        return network

    def clip(self, network: nn.Module, most: float) -> float:
        """The gradients come averaged; clip by the norm over all parts."""
        found = nn.utils.clip_grad_norm_(network.parameters(), most or float("inf"))
        return float(whole(found))

    def stored(self, value: Tensor) -> Tensor:
        """As it is: every rank writes its own part."""
        return value

    def write(self, folder: Path, step: int, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """All ranks write their parts; then the first makes them the newest checkpoint."""
        name = f"checkpoint-{step}"
        digests = write_parts(folder / name, tensors)
        if self.is_first:
            point_to(folder, step, {"format": FORMAT, "folder": name, "files": digests, "state": state})
        dist.barrier()


class Slices(Copies):
    """Every rank computes a slice of each layer for all rows: matrices by columns, then by rows (Shoeybi et al. 2019)."""

    def __init__(self) -> None:
        super().__init__()
        self.slices, self.ranks = self.ranks, 1  # of the data there is one share

    def wrap(self, network: nn.Module) -> nn.Module:
        """The network with its pairs of matrices divided; refused where it has none that are known."""
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

        super().wrap(network)
        mesh = init_device_mesh(self.device.type, (self.slices,))
        found = list(pairs_of(network, self.slices))
        if not found:
            raise MofangError("placement-unsuited", placement="tensor", network=type(network).__name__, ranks=self.slices)
        for columns, row in found:
            plan = {**dict.fromkeys(columns, ColwiseParallel()), row: RowwiseParallel()}
            parallelize_module(network, mesh, plan)  # type: ignore[arg-type]
        return network

    def share(self, rows: Array) -> Array:
        """All rows: what is shared are the layers."""
        return rows

    def total(self, value: float) -> float:
        """The first rank's value: all have the same, but for their clocks."""
        found = torch.tensor(value, dtype=torch.float64, device=self.device)
        dist.broadcast(found, 0)
        return float(found)

    def clip(self, network: nn.Module, most: float) -> float:
        """Every rank has the gradients of its slices, and equal ones of what is not divided."""
        gradients = [value.grad for value in network.parameters() if value.grad is not None]
        norms = [whole(torch.linalg.vector_norm(one)) for one in gradients]
        norm = float(torch.linalg.vector_norm(torch.stack(norms))) if norms else 0.0
        if most and norm > most:
            for one in gradients:
                one.mul_(most / (norm + 1e-6))
        return norm


def whole(value: Tensor) -> Tensor:
    """A tensor that is divided over the ranks, gathered; any other as it is."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def like(value: Tensor, other: Tensor) -> Tensor:
    """A whole tensor, divided as the other is."""
    value = value.to(other.device)
    return distribute_tensor(value, other.device_mesh, other.placements, src_data_rank=None) if isinstance(other, DTensor) else value


def layers_of(network: nn.Module) -> Iterator[nn.Module]:
    """The layers of a network's stacks, outermost ones only."""
    stacks = [(name, module) for name, module in network.named_modules() if isinstance(module, nn.ModuleList)]
    outer = [module for name, module in stacks if not any(name.startswith(f"{other}.") for other, _ in stacks)]
    for stack in outer:
        yield from (layer for layer in stack if any(True for _ in layer.parameters()))


def pairs_of(network: nn.Module, ranks: int) -> Iterator[tuple[list[str], str]]:
    """Names of matrices to divide by columns with the one to divide by rows, where all are plain layers that fit."""
    modules = dict(network.named_modules())
    for name, block in modules.items():
        if isinstance(block, nn.Sequential):
            linear = [f"{name}.{place}" for place, one in enumerate(block) if isinstance(one, nn.Linear)]
            yield from (([first], second) for first, second in zip(linear[::2], linear[1::2], strict=False)
                        if _fits(modules, [first], second, ranks))
        elif not type(block).__module__.startswith("mofang."):  # our own layers join their matrices
            for columns, row in PAIRS:
                named, last = [f"{name}.{one}" for one in columns], f"{name}.{row}"
                if _fits(modules, named, last, ranks):
                    yield named, last


def _fits(modules: dict[str, nn.Module], columns: list[str], row: str, ranks: int) -> bool:
    found = [modules.get(one) for one in [*columns, row]]
    return all(isinstance(one, nn.Linear) for one in found) and found[-1].in_features % ranks == 0  # type: ignore[union-attr, operator]


def _buckets(tensors: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """Tensors of one type together, up to a size."""
    held: dict[torch.dtype, list[Tensor]] = {}
    size: dict[torch.dtype, int] = {}
    for one in tensors:
        held.setdefault(one.dtype, []).append(one)
        size[one.dtype] = size.get(one.dtype, 0) + one.numel() * one.element_size()
        if size[one.dtype] >= BUCKET_BYTES:
            yield held.pop(one.dtype)
            size.pop(one.dtype)
    yield from held.values()


def _orders(network: nn.Module, steps: Steps) -> Iterator[tuple[int, torch.optim.Optimizer, list[int]]]:
    """For each optimizer the place that its parameters would have in one process, where divided ones stand with the others."""
    known = {id(value): place for place, value in enumerate(network.parameters())}
    for number, part in enumerate(steps.parts):
        values = [value for group in part.param_groups for value in group["params"]]
        order = sorted(range(len(values)), key=lambda place, values=values: (values[place].ndim <= 1, known[id(values[place])]))  # type: ignore[misc]
        yield number, part, [order.index(place) for place in range(len(values))]
