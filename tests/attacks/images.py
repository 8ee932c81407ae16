"""Models and images that tests of attacks on pixels share; their closed forms are known."""

from collections import OrderedDict

import torch
from torch import nn

SHAPE = (1, 4, 4)


class Linear(nn.Module):
    """Scores W x + b; of two classes, the margin of class 0 over class 1 is linear."""

    def __init__(self, classes=2, seed=0, shape=SHAPE):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        size = torch.Size(shape).numel()
        draw = torch.randn(classes, size, generator=generator, dtype=torch.float64)
        self.weight = nn.Parameter(draw)
        middle = torch.full((size,), 0.5, dtype=torch.float64)
        self.bias = nn.Parameter(-draw @ middle)

    def forward(self, x):
        return x.flatten(1).to(self.weight) @ self.weight.T + self.bias

    def slope(self, labels):
        """Gradient (B, D) of the margin of two classes."""
        return (self.weight[1 - labels] - self.weight[labels]).detach()

    def margin(self, x, labels):
        """How far another class is above the label, (B,)."""
        scores = self(x).detach()
        own = torch.nn.functional.one_hot(labels, scores.shape[1]).bool()
        return scores.masked_fill(own, -torch.inf).amax(dim=1) - scores[own]


class Steps(nn.Module):
    """Rounds to `levels` steps: its gradient is 0 everywhere."""

    def __init__(self, levels=16):
        super().__init__()
        self.levels = levels

    def forward(self, x):
        return (x * self.levels).round() / self.levels


class Jitter(nn.Module):
    """Multiplies an image by 1 + s with s = +-width at random, one for a batch's each row."""

    stochastic = True

    def __init__(self, width=1.0):
        super().__init__()
        self.width = width

    def forward(self, x):
        sign = 2 * torch.randint(0, 2, (len(x), 1, 1, 1), device=x.device) - 1
        return x * (1 + self.width * sign.to(x))


class Coin(nn.Module):
    """Answers class 0 with probability `right`, and class 1 else, whatever the image."""

    stochastic = True

    def __init__(self, right):
        super().__init__()
        self.right = right

    def forward(self, x):
        wrong = (torch.rand(len(x)) >= self.right).to(x)
        return torch.stack([1 - wrong, wrong], dim=1) + 0 * x.flatten(1).sum(dim=1, keepdim=True)


class Rejecting(nn.Module):
    """Two classes of a linear model, and a last score that rejects images brighter than `most`."""

    rejection_class = 2

    def __init__(self, inner, most):
        super().__init__()
        self.inner, self.most = inner, most

    def forward(self, x):
        bright = 1000 * (x.mean(dim=(1, 2, 3)) - self.most)
        return torch.cat([self.inner(x), bright[:, None].to(x)], dim=1)


def quantised(levels=16, seed=0):
    return nn.Sequential(OrderedDict(steps=Steps(levels), head=Linear(seed=seed)))


def network(classes=4, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(96, classes)
    ).double()  # fmt: skip


def pictures(count=6, seed=1, low=0.35, high=0.65, shape=SHAPE):
    """Images far from 0 and 1, so that the box does not matter."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.rand(count, *shape, generator=generator, dtype=torch.float64)
    return low + (high - low) * drawn


def answered(model, images):
    """What a model answers: labels for which it is right without attack."""
    with torch.no_grad():
        return model(images).argmax(dim=1)


def run(attack, model, images, labels=None, indices=None):
    labels = answered(model, images) if labels is None else labels
    return attack.attacked(
        model, images, labels, indices=range(len(images)) if indices is None else indices
    )
