"""Models, images and searches that tests of attacks share."""

import torch
from torch import nn

from lightning_smooth.attacks import BaseSearch, SmoothedSearch
from lightning_smooth.certify import GaussianCertifier

LABEL = torch.tensor([1])


class Peak(nn.Module):
    """Class 1 where the mean is farther than `width` from `place`."""

    def __init__(self, place, width):
        super().__init__()
        self.place, self.width = place, width

    def forward(self, x):
        score = 30 * ((x.mean(dim=(1, 2, 3)) - self.place).abs() - self.width)
        return torch.stack([-score, score], dim=1)


def network(size=8):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.Tanh(), nn.Flatten(), nn.Dropout(),
        nn.Linear(6 * size**2, 4),
    ).double()  # fmt: skip


def batch(count=6, size=8):
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(count, 1, size, size, generator=generator, dtype=torch.float64)
    return images, torch.randint(4, (count,), generator=generator)


SEARCHES = [
    lambda size: BaseSearch(size),
    lambda size: SmoothedSearch(GaussianCertifier(0.2, n=60, batch_size=size), n_rank=10),
]
