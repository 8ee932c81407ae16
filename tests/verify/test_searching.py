"""The search of one image, where bounds fail."""

import torch
from torch import nn

from lightning_smooth.transforms import Brightness
from lightning_smooth.verify import IntervalEnclosure, IntervalVerifier, PixelBox, searching


class Steep(nn.Module):
    """Overflows over wide boxes, and not over an image."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 2)
        with torch.no_grad():
            self.one.weight.fill_(1e10)
            self.one.bias.zero_()
            self.two.weight.copy_(torch.tensor([[1e10] * 4, [0.0] * 4]))
            self.two.bias.copy_(torch.tensor([1.0, 0.0]))

    def forward(self, x):
        return self.two(self.one(x.flatten(1)).relu())


def test_boxes_that_are_too_wide_for_a_network_are_cut_and_not_refused():
    high = torch.tensor([0.0, 1e15], dtype=torch.float64).view(2, 1, 1, 1).expand(2, 1, 2, 2)
    region = PixelBox(torch.zeros_like(high), high)
    classifier = IntervalVerifier(Brightness(), {"brightness": (-1, 1)}).smooth(Steep())
    classifier.network = searching.bounded(Steep(), (1, 2, 2))
    found = searching.Search(
        IntervalEnclosure(Brightness()), ["brightness"], classifier, torch.zeros(1, 2, 2), 0,
        stored="exact", bound="crown", intermediate="interval",
    )  # fmt: skip
    assert found._held(region).tolist() == [True, False]
