"""Wide residual networks for CIFAR-sized images, of depth 6n+4.

Source: Zagoruyko and Komodakis 2016, "Wide residual networks", with the basic block B(3, 3) of
pre-activation residuals (He et al. 2016, "Identity mappings in deep residual networks").
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from lightning_smooth.errors import InputError, check_count
from lightning_smooth.models.normalize import CIFAR10_MEAN, CIFAR10_STD, normalization
from lightning_smooth.models.resnet import WIDTHS, Numbers, _numbers


class PreactivationBlock(nn.Module):
    """BatchNorm, ReLU and a 3 x 3 convolution, twice, and a shortcut around them.

    Where stride or width change the shape, the shortcut is a 1 x 1 convolution of the first
    activation; elsewhere it is the identity of the input.

    Args:
        inputs: channels that come in.
        outputs: channels that go out.
        stride: of the first convolution.
        dropout: probability that dropout zeroes a value between the convolutions.
    """

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.dropout: nn.Module = nn.Dropout(dropout) if dropout else nn.Identity()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.shortcut: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, inputs, H, W) to (B, outputs, H / stride, W / stride)."""
        active = functional.relu(self.bn1(x))
        out = functional.relu(self.bn2(self.conv1(active)))
        out = self.conv2(self.dropout(out))
        short: torch.Tensor = x if self.shortcut is None else self.shortcut(active)
        total: torch.Tensor = out + short
        return total


class WideResNet(nn.Module):
    """WRN-depth-width: three stages of n pre-activation blocks, 16, 32 and 64 times `width` wide.

    Takes images in [0, 1] of shape (B, C, H, W) and returns logits (B, num_classes).

    Args:
        depth: number of weighted layers, 6n+4: 16, 22, 28, 34, 40.
        width: factor on the channels of a stage, the published k: 2 of WRN-40-2, 10 of WRN-28-10.
        num_classes: number of logits.
        in_channels: channels of an image.
        dropout: probability of dropout within a block, 0 for none.
        mean: subtracted from each channel first; cifar10 for the published numbers, None for no
            normalisation.
        std: divides each channel after that; likewise.

    Raises:
        InputError: `depth` is not 6n+4, or another argument is out of range.

    >>> model = WideResNet(40, 2)
    >>> model(torch.zeros(2, 3, 32, 32)).shape, sum(p.numel() for p in model.parameters())
    (torch.Size([2, 10]), 2243546)
    """

    def __init__(
        self,
        depth: int = 40,
        width: int = 2,
        num_classes: int = 10,
        *,
        in_channels: int = 3,
        dropout: float = 0.0,
        mean: Numbers = "cifar10",
        std: Numbers = "cifar10",
    ) -> None:
        super().__init__()
        if check_count("depth", depth) < 10 or (depth - 4) % 6:
            below = max(10, depth - (depth - 4) % 6)
            raise InputError(
                f"Expected `depth` to be 6n+4 (10, 16, 22, 28, 34, 40, ...), but got {depth}: the "
                f"nearest are {below} and {below + 6}."
            )
        check_count("width", width)
        check_count("num_classes", num_classes)
        check_count("in_channels", in_channels)
        if isinstance(dropout, bool) or not 0 <= dropout < 1:
            raise InputError(f"Expected `dropout` to be in [0, 1), but got {dropout!r}.")
        blocks = (depth - 4) // 6
        channels = [WIDTHS[0], *(width * base for base in WIDTHS)]
        self.normalization_assumed = isinstance(mean, str) or isinstance(std, str)
        self.normalize = normalization(
            _numbers("mean", mean, CIFAR10_MEAN), _numbers("std", std, CIFAR10_STD)
        )
        self.conv1 = nn.Conv2d(in_channels, channels[0], 3, padding=1, bias=False)
        self.layer1 = _stage(*channels[:2], blocks=blocks, stride=1, dropout=dropout)
        self.layer2 = _stage(*channels[1:3], blocks=blocks, stride=2, dropout=dropout)
        self.layer3 = _stage(*channels[2:4], blocks=blocks, stride=2, dropout=dropout)
        self.bn = nn.BatchNorm2d(channels[3])
        self.fc = nn.Linear(channels[3], num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(self.fc.bias)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return logits (B, num_classes) of images (B, C, H, W) in [0, 1]."""
        x = self.layer3(self.layer2(self.layer1(self.conv1(self.normalize(image)))))
        logits: torch.Tensor = self.fc(functional.relu(self.bn(x)).mean(dim=(2, 3)))
        return logits


def _stage(inputs: int, outputs: int, *, blocks: int, stride: int, dropout: float) -> nn.Sequential:
    first = PreactivationBlock(inputs, outputs, stride=stride, dropout=dropout)
    rest = (PreactivationBlock(outputs, outputs, dropout=dropout) for _ in range(blocks - 1))
    return nn.Sequential(first, *rest)
