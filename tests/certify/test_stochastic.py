"""Models that draw: what certifiers may take them for, and what they refuse."""

import random

import pytest
import torch
from torch import nn

from lightning_smooth.certify import GaussianCertifier, LipschitzCertifier
from lightning_smooth.errors import InputError
from lightning_smooth.maths.confidence import clopper_pearson_lower
from lightning_smooth.smoothing.execution import Speed
from lightning_smooth.smoothing.folding import folded
from lightning_smooth.smoothing.sharing import Share
from lightning_smooth.transforms import IntegerTranslation
from lightning_smooth.verify import EnumerationCertifier

IMAGE = torch.full((1, 4, 4), 0.5)


class Coin(nn.Module):
    """Class 0 with probability .8, for each image anew, or once for all of a batch."""

    stochastic = True

    def __init__(self, once: bool = False, before: nn.Module | None = None) -> None:
        super().__init__()
        self.once = once
        self.before = before or nn.Identity()

    def forward(self, images):
        self.before(images)
        hit = torch.rand(1 if self.once else len(images)).expand(len(images)) < 0.8
        return torch.stack([hit.float(), (~hit).float()], dim=1)


class Flipping(nn.Module):
    """A convolution and its BatchNorm, whose answer python's own generator flips."""

    stochastic = True

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2)

    def forward(self, images):
        scores = self.norm(self.convolution(images)).mean((2, 3))
        return scores.flip(1) if random.random() < 0.4 else scores


def certifier(**more):
    return GaussianCertifier(0.5, n0=50, n=2000, **more)


def test_a_model_that_draws_for_each_image_is_certified_at_its_own_rate():
    torch.manual_seed(0)
    found = certifier()(Coin(), IMAGE, index=0)
    assert found.predicted == 0
    assert found.p_lower == clopper_pearson_lower(found.hits, 2000, 0.001)
    assert 0.75 < found.p_lower < 0.8


def test_one_draw_for_a_batch_is_no_independent_draw():
    torch.manual_seed(0)
    with pytest.raises(InputError, match="draws once for a batch"):
        certifier()(Coin(once=True), IMAGE, index=0)


def test_batch_statistics_are_seen_in_a_model_that_draws_too():
    norm = nn.BatchNorm2d(1, track_running_stats=False)
    with pytest.raises(InputError, match="before is a BatchNorm without running statistics"):
        certifier()(Coin(before=norm), IMAGE, index=0)


@pytest.mark.parametrize(
    "made",
    [
        lambda: LipschitzCertifier(1.0, rounding=1e-3),
        lambda: EnumerationCertifier(IntegerTranslation("cyclic"), 1.0),
    ],
)
def test_no_verdict_without_a_probability_rests_on_one_answer_of_many(made):
    with pytest.raises(InputError, match="always answers alike"):
        made()(Coin(), IMAGE, index=0)


def test_processes_do_not_share_the_draws_of_a_model_that_draws():
    share = Share(0, 2, lambda counts: counts)
    with pytest.raises(InputError, match="shard: images"):
        list(certifier().certify_batch(Coin(), [IMAGE], indices=[0], share=share))
    alone = Share(0, 1, lambda counts: counts)
    assert list(certifier().certify_batch(Coin(), [IMAGE], indices=[0], share=alone))


def test_what_a_model_draws_is_not_folded_into_its_weights():
    images = torch.rand(4, 1, 4, 4)
    model = Flipping().eval()
    assert folded(model, images) is None
    Flipping.stochastic = False
    try:
        # Python's coin falls once where the way of the tensors is traced.
        assert any(folded(model, images) is not None for _ in range(40))
    finally:
        Flipping.stochastic = True
    random.seed(1)
    with pytest.raises(InputError, match="draws once for a batch"):
        certifier(speed=Speed(fold_batchnorm=True))(model, IMAGE, index=0)
