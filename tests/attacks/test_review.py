"""Models that reject, that draw and do not say so, that round; substitutes with weights."""

import pytest
import torch
from torch import nn

from lightning_smooth.attacks import BPDA, PGD, RandomNoise
from lightning_smooth.errors import InputError


class Rejecting(nn.Module):
    """Of the one pixel: answers 1 above .525, rejects between .475 and that."""

    rejection_class = 2

    def forward(self, images):
        x = images.flatten(1)[:, :1]
        return torch.cat([0.5 - x, x - 0.5, 0.05 - (x - 0.5).abs()], dim=1) * 10


class Drawing(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.ones(1))

    def forward(self, images):
        x = images.flatten(1).mean(dim=1, keepdim=True) * self.w
        return torch.cat([x, 0 * x], dim=1) + torch.randn(len(images), 2)


@pytest.mark.parametrize(
    "attack",
    [PGD(0.3, steps=8, random_start=False, loss="margin"), RandomNoise(0.3, draws=50)],
    ids=["PGD", "random"],
)
def test_a_rejected_point_ends_no_search(attack):
    images = torch.full((3, 1, 1, 1), 0.4)
    found = attack.attacked(Rejecting(), images, torch.zeros(3, dtype=torch.long), indices=range(3))
    assert found.success.all()
    assert (found.clipped > 0.525).all()


def test_a_model_that_draws_without_a_word_is_refused():
    with pytest.raises(InputError, match="stochastic = True"):
        PGD(0.1, steps=1)(
            Drawing(), torch.rand(4, 1, 2, 2), torch.zeros(4).long(), indices=range(4)
        )
    Drawing.stochastic = True
    try:
        attack = PGD(0.1, steps=1)
        (one, *_) = attack(
            Drawing(), torch.rand(4, 1, 2, 2), torch.zeros(4).long(), indices=range(4)
        )
        assert one.evaluations == 20
    finally:
        del Drawing.stochastic


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_model_that_would_round_its_images_is_refused(dtype):
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).to(dtype)
    with pytest.raises(InputError, match="float32 or float64"):
        PGD(0.1)(model, torch.rand(1, 1, 2, 2), torch.tensor([0]), indices=[0])


def test_substitutes_of_other_weights_are_other_attacks():
    def described(value):
        soft = nn.Linear(2, 2)
        nn.init.constant_(soft.weight, value)
        nn.init.zeros_(soft.bias)
        return PGD(0.1, gradient=BPDA({"0": soft})).describe()

    assert described(1.0) == described(1.0)
    assert described(1.0) != described(2.0)
