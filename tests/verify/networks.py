"""Small networks and boxes that the tests of bounds share."""

import torch
from torch import nn

from lightning_smooth.models import (
    CifarResNet,
    CyclicConvNet,
    LeNet,
    Normalize,
    SmallConvNet,
    Standardized,
    Vignetted,
)

SHAPES = {
    "lenet": (1, 16, 16),
    "small": (1, 8, 8),
    "resnet": (3, 8, 8),
    "resnet-pad": (3, 8, 8),
    "cyclic": (1, 8, 8),
    "vignetted": (1, 8, 8),
    "standardized": (1, 8, 8),
    "plain": (2, 6, 6),
    "tiny": (1, 8, 8),
}


class Plain(nn.Module):
    """Steps that our networks do not have, called as functions."""

    def __init__(self):
        super().__init__()
        self.normalize = Normalize([0.4, 0.6], [0.2, 0.3])
        self.one = nn.Conv2d(2, 4, 3, padding="same", groups=2)
        self.two = nn.Conv2d(4, 4, (2, 3), stride=(1, 2), padding=(1, 0), dilation=(2, 1))
        self.norm = nn.BatchNorm2d(4)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.fc = nn.Linear(16, 3)

    def forward(self, x):
        x = torch.relu(self.one(self.normalize(x)))
        y = self.norm(x - 0.25 * nn.functional.avg_pool2d(x, 3, 1, padding=1)).relu()
        z = nn.functional.max_pool2d(self.two(y), 2, stride=1)
        y = torch.cat([self.pool(y), nn.functional.adaptive_avg_pool2d(z, (3, 3)) / 2], dim=1)
        y = nn.functional.dropout(1 - y, training=self.training)[:, ::2, :2, 1:]
        return self.fc(y.contiguous().view(y.size(0), -1))


def tiny():
    """Activations in four places, few enough to be followed back one by one."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 8, 3, stride=2), nn.ReLU(),
        nn.MaxPool2d(2, stride=1), nn.Flatten(), nn.Linear(32, 20), nn.ReLU(), nn.Linear(20, 5),
    )  # fmt: skip


def network(name, seed=0):
    """A network of random weights, with BatchNorm statistics that do something."""
    size = SHAPES[name][1]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = {
            "lenet": lambda: LeNet(image_size=size, mean=[0.1], std=[0.3]),
            "small": lambda: SmallConvNet(image_size=size, padding=1),
            "resnet": lambda: CifarResNet(8),
            "resnet-pad": lambda: CifarResNet(8, shortcut="pad"),
            "cyclic": lambda: CyclicConvNet(image_size=size),
            "vignetted": lambda: Vignetted(SmallConvNet(image_size=size, padding=1), margin=1),
            "standardized": lambda: Standardized(
                SmallConvNet(2, image_size=size, padding=1), laplacians=1
            ),
            "plain": Plain,
            "tiny": tiny,
        }[name]()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.3)
                module.running_var.uniform_(0.5, 2)
                nn.init.uniform_(module.weight, -0.5, 1.5)
                nn.init.normal_(module.bias, 0, 0.3)
    return model.eval()


def images(name, count=2, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, *SHAPES[name], generator=generator)
