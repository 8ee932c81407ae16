"""Thermometer codes by hand, and the ramps beside the steps."""

import pytest
import torch

from lightning_smooth.defenses import SoftThermometer, Thermometer
from lightning_smooth.errors import InputError


def test_codes_by_hand():
    images = torch.tensor([[0.0, 0.25], [0.26, 0.5], [0.99, 1.0]]).view(1, 1, 3, 2)
    code = Thermometer(4)(images)
    assert code.shape == (1, 4, 3, 2)
    expected = [[0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1], [1, 1, 1, 1]]
    assert code[0].flatten(1).mT.tolist() == expected


def test_levels_of_a_channel_lie_together():
    images = torch.tensor([0.1, 0.6, 0.9]).view(1, 3, 1, 1)
    assert Thermometer(2)(images).flatten().tolist() == [1, 0, 1, 1, 1, 1]
    soft = SoftThermometer(2)(images).flatten().tolist()
    assert soft == pytest.approx([0.2, 0, 1, 0.2, 1, 0.8])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("levels", [1, 10, 16, 49])
def test_a_pixel_on_a_level_is_not_above_it(levels, dtype):
    images = torch.tensor([k / levels for k in range(levels)], dtype=dtype).view(1, 1, 1, -1)
    code = Thermometer(levels)(images)
    assert code.dtype == dtype
    assert torch.equal(code[0, :, 0], torch.ones(levels, levels, dtype=dtype).triu(1))


def test_ramps_sum_to_the_pixel_and_end_in_the_steps():
    images = torch.rand(2, 3, 5, 5, dtype=torch.float64)
    soft, hard = SoftThermometer(16)(images), Thermometer(16)(images)
    torch.testing.assert_close(soft.view(2, 3, 16, 5, 5).mean(dim=2), images)
    assert torch.equal(soft.ceil(), hard)
    assert soft.shape == hard.shape == (2, 48, 5, 5)


def test_steps_have_no_gradient_and_ramps_their_own():
    images = torch.tensor([0.3, 0.8]).view(1, 2, 1, 1).requires_grad_()
    assert not Thermometer(4)(images).requires_grad
    weights = torch.arange(1.0, 9).view(1, 8, 1, 1)
    (slope,) = torch.autograd.grad((weights * SoftThermometer(4)(images)).sum(), images)
    # .3 lies in the second of its levels, .8 in its fourth; each ramp has slope 4
    assert slope.flatten().tolist() == [2 * 4, 8 * 4]


def test_logistic_steps_by_hand_and_their_slope():
    images = torch.rand(2, 3, 4, 4, dtype=torch.float64).requires_grad_()
    soft = SoftThermometer(8, width=0.5)(images)
    level = torch.arange(8.0, dtype=torch.float64).view(1, 1, 8, 1, 1) / 8
    expected = 1 / (1 + torch.exp(-(images[:, :, None] - level) * 8 / 0.5))
    torch.testing.assert_close(soft, expected.flatten(1, 2))
    (slope,) = torch.autograd.grad(soft.sum(), images)
    torch.testing.assert_close(slope, (expected * (1 - expected) * 16).sum(dim=2))


def test_logistic_steps_have_a_slope_where_ramps_are_flat_and_end_in_the_steps():
    ends = torch.tensor([0.0, 1.0]).view(1, 1, 1, 2).requires_grad_()
    far = torch.zeros(1, 16, 1, 2)
    far[:, 3:14] = 1.0  # levels that neither 0 nor 1 lies in
    (ramps,) = torch.autograd.grad((far * SoftThermometer(16)(ends)).sum(), ends)
    (logistic,) = torch.autograd.grad((far * SoftThermometer(16, width=1)(ends)).sum(), ends)
    assert not ramps.any()
    assert (logistic > 0.1).all()
    images = (torch.arange(100.0).view(1, 1, 10, 10) + 0.3) / 100  # not on a level
    sharp = SoftThermometer(16, width=1e-4)(images)
    torch.testing.assert_close(sharp, Thermometer(16)(images), rtol=0, atol=1e-6)


def test_a_width_is_above_0_and_shown():
    assert "levels=16, width=0.5" in repr(SoftThermometer(width=0.5))
    assert "width" not in repr(SoftThermometer())
    for width in (0, -1.0, float("inf")):
        with pytest.raises(InputError, match="`width`"):
            SoftThermometer(width=width)
