"""A small residual network for images of about 28 to 64 pixels (He et al. 2016, section 4.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mofang.fit.networks.starting import Activation, activation

SHIFT_SHARE = 14
STEM_SHRINKS_FROM = 48


class Block(nn.Module):
    """Two 3x3 convolutions and a way round them."""

    def __init__(self, before: int, after: int, stride: int, between: Activation = "relu") -> None:
        super().__init__()
        self.between = activation(between)
        self.first = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(after)
        self.second = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(after)
        same = stride == 1 and before == after
        self.around = (
            nn.Identity()
            if same
            else nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))
        )

    def forward(self, images: Tensor) -> Tensor:
        """[B, before, H, W] to [B, after, H / stride, W / stride]."""
        inner = self.between(self.first_norm(self.first(images)))
        found: Tensor = self.between(self.second_norm(self.second(inner)) + self.around(images))
        return found


class ResnetNetwork(nn.Module):
    """``depth`` is 6n + 2: three stages of n blocks, each twice as wide and half as large as the one
    before.
    """

    def __init__(
        self, channels: int, side: int, classes: int, depth: int, width: int, between: Activation = "relu"
    ) -> None:
        super().__init__()
        stride = 2 if side >= STEM_SHRINKS_FROM else 1
        self.stem = nn.Sequential(
            nn.Conv2d(channels, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), activation(between)
        )
        blocks, before = [], width
        for stage in range(3):
            for number in range((depth - 2) // 6):
                after = width * 2**stage
                blocks.append(Block(before, after, 2 if stage and not number else 1, between))
                before = after
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(before, classes)

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits [B, K] of pixels [B, C, H, W]."""
        found: Tensor = self.head(self.blocks(self.stem(pixels)).mean(dim=(2, 3)))
        return found


def shifted(arrays: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
    """Each image moved by up to a fourteenth of its side, its edge pixels repeated."""
    pixels = arrays["pixels"]
    rows, channels, height, width = pixels.shape
    most = max(1, min(height, width) // SHIFT_SHARE)
    padded = nn.functional.pad(pixels, (most, most, most, most), mode="replicate")
    moves = torch.randint(0, 2 * most + 1, (2, rows, 1), generator=generator).to(pixels.device)
    down = (moves[0] + torch.arange(height, device=pixels.device))[:, None, :, None]
    across = (moves[1] + torch.arange(width, device=pixels.device))[:, None, None, :]
    which = torch.arange(rows, device=pixels.device)[:, None, None, None]
    every = torch.arange(channels, device=pixels.device)[None, :, None, None]
    return {"pixels": padded[which, every, down, across]}
