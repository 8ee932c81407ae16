"""Residual networks for CIFAR-sized images, of depth 6n+2.

Source: He, Zhang, Ren, Sun 2016, section 4.2; the shortcut with a 1 x 1 convolution and the
normalisation constants are those of Cohen, Rosenfeld, Kolter 2019 (THEORY section 1). The shortcut
without weights is option A of He et al., with the new channels on both sides, as akamaster's
pytorch_resnet_cifar10 has them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn
from torch.nn import functional

from lightning_smooth.errors import InputError, check_count
from lightning_smooth.models.normalize import CIFAR10_MEAN, CIFAR10_STD, normalization

WIDTHS = (16, 32, 64)
Shortcut = Literal["conv", "pad"]
Numbers = Sequence[float] | Literal["cifar10"] | None


class PadShortcut(nn.Module):
    """Every `stride`-th pixel, and `channels` channels of zeros on either side: no weights.

    >>> PadShortcut(2, 1)(torch.ones(1, 1, 3, 3))[0, :, 0, 0].tolist()
    [0.0, 1.0, 0.0]
    """

    def __init__(self, stride: int, channels: int) -> None:
        super().__init__()
        self.stride = stride
        self.channels = channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, C, H, W) to (B, C + 2 channels, H / stride, W / stride), rounded up."""
        x = x[:, :, :: self.stride, :: self.stride]
        return functional.pad(x, (0, 0, 0, 0, self.channels, self.channels))

    def extra_repr(self) -> str:
        """Show the numbers in the model's repr."""
        return f"stride={self.stride}, channels={self.channels}"


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions with BatchNorm, and a shortcut around them.

    Args:
        inputs: channels that come in.
        outputs: channels that go out.
        stride: of the first convolution.
        shortcut: what the shortcut is where stride or width change the shape: a 1 x 1 convolution
            with BatchNorm, or `PadShortcut`; elsewhere it is the identity.
    """

    def __init__(
        self, inputs: int, outputs: int, *, stride: int = 1, shortcut: Shortcut = "conv"
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride == 1 and inputs == outputs:
            return
        if shortcut == "pad":
            self.shortcut = PadShortcut(stride, (outputs - inputs) // 2)
        else:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False),
                nn.BatchNorm2d(outputs),
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, inputs, H, W) to (B, outputs, H / stride, W / stride)."""
        out = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


class CifarResNet(nn.Module):
    """ResNet-(6n+2): three stages of n basic blocks, 16, 32 and 64 channels wide.

    Takes images in [0, 1] of shape (B, C, H, W) and returns logits (B, num_classes).

    Args:
        depth: number of weighted layers, 6n+2: 20, 32, 44, 56, 110.
        num_classes: number of logits.
        in_channels: channels of an image.
        mean: subtracted from each channel first; cifar10 for the published numbers, None for no
            normalisation.
        std: divides each channel after that; likewise. Weights from a file that does not say its
            normalisation ask for numbers here: a default is no choice.
        shortcut: conv for 1 x 1 convolutions where the shape changes (Cohen et al. 2019), pad for
            shortcuts without weights (He et al. 2016, option A; 269,722 parameters at depth 20).

    Raises:
        InputError: `depth` is not 6n+2, or another argument is out of range.

    >>> model = CifarResNet(20)
    >>> model(torch.zeros(2, 3, 32, 32)).shape, sum(p.numel() for p in model.parameters())
    (torch.Size([2, 10]), 272474)
    """

    def __init__(
        self,
        depth: int = 20,
        num_classes: int = 10,
        *,
        in_channels: int = 3,
        mean: Numbers = "cifar10",
        std: Numbers = "cifar10",
        shortcut: Shortcut = "conv",
    ) -> None:
        super().__init__()
        if check_count("depth", depth) < 8 or (depth - 2) % 6:
            below = max(8, depth - (depth - 2) % 6)
            raise InputError(
                f"Expected `depth` to be 6n+2 (8, 14, 20, ..., 110), but got {depth}: the nearest "
                f"are {below} and {below + 6}."
            )
        check_count("num_classes", num_classes)
        check_count("in_channels", in_channels)
        if shortcut not in ("conv", "pad"):
            raise InputError(f"Expected `shortcut` to be 'conv' or 'pad', but got {shortcut!r}.")
        blocks = (depth - 2) // 6
        self.normalization_assumed = isinstance(mean, str) or isinstance(std, str)
        self.normalize = normalization(
            _numbers("mean", mean, CIFAR10_MEAN), _numbers("std", std, CIFAR10_STD)
        )
        self.conv1 = nn.Conv2d(in_channels, WIDTHS[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.layer1 = _stage(WIDTHS[0], WIDTHS[0], blocks=blocks, stride=1, shortcut=shortcut)
        self.layer2 = _stage(WIDTHS[0], WIDTHS[1], blocks=blocks, stride=2, shortcut=shortcut)
        self.layer3 = _stage(WIDTHS[1], WIDTHS[2], blocks=blocks, stride=2, shortcut=shortcut)
        self.fc = nn.Linear(WIDTHS[2], num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return logits (B, num_classes) of images (B, C, H, W) in [0, 1]."""
        x = functional.relu(self.bn1(self.conv1(self.normalize(image))))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: torch.Tensor = self.fc(x.mean(dim=(2, 3)))
        return logits


def _numbers(name: str, value: Numbers, published: Sequence[float]) -> Sequence[float] | None:
    if not isinstance(value, str):
        return value
    if value != "cifar10":
        raise InputError(
            f"Expected `{name}` to be one number a channel, 'cifar10' or None, but got {value!r}."
        )
    return published


def _stage(
    inputs: int, outputs: int, *, blocks: int, stride: int, shortcut: Shortcut
) -> nn.Sequential:
    first = BasicBlock(inputs, outputs, stride=stride, shortcut=shortcut)
    return nn.Sequential(first, *(BasicBlock(outputs, outputs) for _ in range(blocks - 1)))
