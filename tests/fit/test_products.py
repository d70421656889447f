"""Products and attention by hand give the values and the slopes of the plain operators, adapters and ragged rows included."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from mofang.fit.loop.probe import Choices, choosing
from mofang.fit.networks.gpt2 import Conv1D
from mofang.fit.networks.kernels import Frozen, Masks
from mofang.fit.networks.mixing import mixed, stretches
from mofang.fit.networks.products import Adapted, Trained, fuses, suits
from mofang.fit.networks.projection import LoraLinear, project


def slopes(layers: list[nn.Module], way: str) -> Iterator[Tensor]:
    """The output and all slopes, with what the layers are taught."""
    torch.manual_seed(1)
    values = torch.randn(3, 7, 16).bfloat16().requires_grad_()
    with choosing(Choices("bf16", bias=way)):
        found = layers[0](values) if isinstance(layers[0], Conv1D) else project(values, layers, Frozen())
    (found * torch.randn(found.shape).bfloat16()).sum().backward()
    yield from (found.detach().float(), values.grad.float())
    for one in layers:
        for parameter in one.parameters():
            if parameter.grad is not None:
                yield parameter.grad.clone()
                parameter.grad = None


def lora(outer: int) -> LoraLinear:
    made = LoraLinear(nn.Linear(16, outer), 4, 8.0)
    nn.init.normal_(made.lora_B.weight)
    return made


def still(outer: int) -> nn.Module:
    return nn.Linear(16, outer).requires_grad_(False)


CASES = {"trained": [nn.Linear(16, 8), nn.Linear(16, 24)], "adapted": [lora(8), still(12), lora(8)], "kept": [still(8)],
         "half": [nn.Linear(16, 8), still(8)], "turned": [Conv1D(16, 24)], "bare": [nn.Linear(16, 8, bias=False)]}


@pytest.mark.skipif(not fuses(), reason="this torch or processor has no such product")
@pytest.mark.parametrize("case", CASES)
def test_products_by_hand(case: str) -> None:
    plain, byhand = list(slopes(CASES[case], "native")), list(slopes(CASES[case], "fused"))
    assert len(plain) == len(byhand) > 1
    for wanted, found in zip(plain, byhand, strict=True):
        assert (wanted - found).abs().max() <= 0.02 * wanted.abs().max(), case


def test_products_by_hand_are_for_short_numbers_of_a_processor_only() -> None:
    values, layer = torch.randn(2, 16), nn.Linear(16, 8)
    with choosing(Choices("bf16", bias="fused")):
        assert not suits(values, list(layer.parameters()))
        assert not suits(values.bfloat16(), list(layer.bfloat16().parameters()))
    assert not suits(values.bfloat16(), list(nn.Linear(16, 8).parameters())), "unmeasured, nothing is taken"
    assert issubclass(Trained, torch.autograd.Function) and issubclass(Adapted, torch.autograd.Function)


@pytest.mark.parametrize("counts", [[4], [3, 3, 9, 9, 12], [1, 2, 3, 4, 5, 60, 61, 64], [7] * 40 + [8] * 3], ids=str)
def test_attention_by_hand(counts: list[int]) -> None:
    torch.manual_seed(2)
    joint = torch.randn(sum(counts), 3 * 16, requires_grad=True)
    slope = torch.randn(sum(counts), 16)
    found = {}
    for way in ("plain", "sdpa"):
        chosen = Choices(attention_by={f"float32/{kind}/16": way for kind in ("full", "padded")})
        parts = stretches(counts, 2, torch.float32)
        assert sum(part.positions for part in parts) == sum(counts) and sum(part.rows for part in parts) == len(counts)
        mixed(joint, parts, 2, 0.0, chosen, Masks("bytes", True)).backward(slope, inputs=[joint])
        found[way], joint.grad = (mixed(joint, parts, 2, 0.0, chosen, Masks("bytes", True)).detach(), joint.grad), None
    for one, other in zip(found["plain"], found["sdpa"], strict=True):
        assert (one - other).abs().max() < 1e-5


@pytest.mark.parametrize("way", ["bytes", "native"])
def test_dropout_within_attention_has_the_slopes_of_its_masks(way: str) -> None:
    """The slope along a direction is the difference of two values under the same masks."""
    counts = [2, 5, 5, 9]
    torch.manual_seed(3)
    joint = torch.randn(21, 3 * 8, dtype=torch.float64)
    direction = torch.randn_like(joint)
    parts = stretches(counts, 2, torch.float64)

    def value(place: Tensor) -> Tensor:
        torch.manual_seed(4)
        return mixed(place, parts, 2, 0.25, Choices(), Masks(way, True)).square().sum()

    joint.requires_grad_()
    value(joint).backward()
    # the softmax is float32 inside, so the difference is taken over a wide step
    step = 1e-2
    wanted = (value(joint.detach() + step * direction) - value(joint.detach() - step * direction)) / (2 * step)
    assert float((joint.grad * direction).sum()) == pytest.approx(float(wanted), rel=2e-3)
    torch.manual_seed(4)
    assert not torch.equal(mixed(joint.detach(), parts, 2, 0.25, Choices(), Masks(way, True)),
                           mixed(joint.detach(), parts, 2, 0.0, Choices(), Masks(way, True)))
