"""Batches in a layout that convolutions recognise: the same numbers, whatever came in."""

import pytest
import torch
from torch import nn

from lightning_smooth.smoothing.execution import laid_out, takes_channels_last

WAYS = {
    "contiguous": lambda x: x,
    "channels last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "part of a batch": lambda x: torch.cat([x, x + 1, x])[len(x) : 2 * len(x)] - 1,
    "view of a part": lambda x: torch.cat([x - 1, x, x])[len(x) : 2 * len(x)],
    "every other": lambda x: torch.stack([x, x + 1], dim=1).flatten(0, 1)[::2],
    "expanded": lambda x: x[:1].expand(len(x), -1, -1, -1),
    "turned": lambda x: x.transpose(2, 3).contiguous().transpose(2, 3),
    "flipped memory": lambda x: x.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("size", [(5, 7), (1, 7), (5, 1)])
def test_the_numbers_stay_and_the_strides_say_the_layout(way, channels, channels_last, size):
    images = WAYS[way](torch.rand(4, channels, *size))
    out = laid_out(images, channels_last=channels_last)
    assert torch.equal(out, images)
    height, width = size
    column = channels if channels_last else 1
    across = 1 if channels_last else height * width
    assert out.stride() == (channels * height * width, across, width * column, column)


@pytest.mark.parametrize("channels_last", [False, True])
def test_what_is_laid_out_already_is_not_copied(channels_last):
    for channels in (1, 3):
        once = laid_out(torch.rand(4, channels, 5, 7), channels_last=channels_last)
        assert laid_out(once, channels_last=channels_last).data_ptr() == once.data_ptr()


@pytest.mark.parametrize("channels", [1, 3])
def test_gradients_pass_through(channels):
    images = torch.rand(2, channels, 4, 5, requires_grad=True)
    weight = torch.rand(2, channels, 4, 5)
    (laid_out(images, channels_last=True) * weight).sum().backward()
    assert torch.equal(images.grad, weight)


def test_a_model_that_views_its_features_refuses_channels_last():
    class Viewer(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 4, 3)

        def forward(self, x):
            return self.conv(x).view(len(x), -1)

    pair = torch.rand(2, 1, 8, 8)
    assert not takes_channels_last(Viewer(), pair)
    assert takes_channels_last(nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten()), pair)


def test_running_out_of_memory_is_not_taken_for_a_refusal():
    class Large(nn.Module):
        def forward(self, x):
            raise torch.OutOfMemoryError("none left")

    with pytest.raises(torch.OutOfMemoryError):
        takes_channels_last(Large(), torch.rand(2, 1, 8, 8))
