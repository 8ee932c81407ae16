"""The adaptive attack, on whom it runs and what it refuses."""

import math

import pytest
import torch
from torch import nn

from lightning_smooth.attacks import (
    AdaptiveAttack,
    GridAttack,
    SmoothedSearch,
)
from lightning_smooth.certify import (
    GaussianCertifier,
    IndivSPTCertifier,
    LipschitzCertifier,
    SoftGaussianCertifier,
)
from lightning_smooth.errors import InputError
from lightning_smooth.smoothing.checks import check_images
from lightning_smooth.transforms import Brightness, GaussianBlur, Rotation
from lightning_smooth.types import ABSTAIN
from tests.attacks.subjects import LABEL, SEARCHES, Peak, batch, network


class Pooled(GaussianCertifier):
    """Smoothed over noise on a quarter of the pixels."""

    def encode(self, images):
        assert images.shape[1:] == (1, 8, 8)
        return nn.functional.avg_pool2d(images, 2)


def test_what_a_certifier_encodes_is_what_is_attacked():
    model, (images, labels) = network(size=4), batch()
    box = {"brightness": (-0.4, 0.4)}
    attacks = [
        AdaptiveAttack(
            Brightness(), box, steps=5, search=SmoothedSearch(kind(0.3, n=100, seed=1), n_rank=20)
        )
        for kind in (Pooled, GaussianCertifier)
    ]
    # Brightness and the mean of four pixels commute.
    pooled = nn.functional.avg_pool2d(images, 2)
    with torch.inference_mode():
        check_images(pooled)
    for one, other in zip(
        attacks[0](model, images, labels, indices=range(6)),
        attacks[1](model, pooled, labels, indices=range(6)),
        strict=True,
    ):
        assert one.theta == pytest.approx(other.theta, abs=1e-6)
        assert one.loss == pytest.approx(other.loss, abs=1e-9)
        for name in ("clean", "predicted", "wrong", "tried"):
            assert getattr(one, name) == getattr(other, name)
        own = attacks[0].search.certifier.predict(model, pooled[one.index], index=one.index)
        assert one.clean == own.predicted


def test_the_draws_that_answer_can_be_others_than_the_certifier_s():
    certifier = GaussianCertifier(0.4, n=5000)
    image, box = torch.full((1, 1, 8, 8), 0.5), {"brightness": (0.0, 0.1)}
    seen = []
    for n in (None, 7):
        model = Peak(-3.0, 0.1)
        model.register_forward_hook(lambda m, i, out: seen.append(len(out)))
        search = SmoothedSearch(certifier, n_rank=10, n=n)
        assert search.n == (n or 5000)
        seen.clear()
        (found,) = GridAttack(Brightness(), box, 2, search)(model, image, LABEL, indices=[0])
        assert 0 <= sum(seen) - (2 * 10 + 2 * search.n) <= 24  # batches that only try the model
        # Seven votes show nothing at alpha = .001.
        assert found.predicted == (1 if n is None else ABSTAIN)
        assert found.parameters["n"] == search.n


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: SmoothedSearch(LipschitzCertifier(1.0, 0.0)), "counts the votes"),
        (lambda: SmoothedSearch(SoftGaussianCertifier(0.5)), "counts the votes"),
        (lambda: SmoothedSearch(IndivSPTCertifier(Rotation(), 30.0, 0.3, [10.0])),
         "counts the votes"),
        (lambda: SmoothedSearch(GaussianCertifier(0.5), n=0), "`n`"),
        (lambda: AdaptiveAttack(Rotation(), {}), "`box`"),
        (lambda: AdaptiveAttack(Rotation(), {"brightness": (0, 1)}), "`box`"),
        (lambda: AdaptiveAttack(Rotation(), {"angle": (3, -3)}), "`angle`"),
        (lambda: AdaptiveAttack(Rotation(), {"angle": (0, math.inf)}), "`angle`"),
        (lambda: AdaptiveAttack(GaussianBlur(), {"variance": (-1, 1)}), "at least 0"),
        *(
            (lambda name=name, value=value: AdaptiveAttack(
                Rotation(), {"angle": (0, 1)}, **{name: value}
            ), f"`{name}`")
            for name, value in (
                ("steps", 0), ("restarts", 0), ("draws", 0), ("step", 0.0), ("step", math.nan),
                ("grid", 1), ("kept", -1), ("seed", -1), ("batch_size", 0), ("steps", 2.5),
            )
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(make, words):
    with pytest.raises(InputError, match=words):
        make()


@pytest.mark.parametrize("search", SEARCHES)
def test_what_comes_in_is_checked(search):
    model, (images, labels) = network(), batch(2)
    attack = AdaptiveAttack(Rotation(), {"angle": (-3, 3)}, search=search(None))
    with pytest.raises(InputError, match=r"0\.\.3"):
        attack(model, images, labels + 4, indices=[0, 1])
    with pytest.raises(InputError, match=r"\[0, 1\]"):
        attack(model, images + 1, labels, indices=[0, 1])
    with pytest.raises(InputError, match="scores"):
        attack(nn.Flatten(0), images, labels, indices=[0, 1])
    assert attack(model, images[:0], labels[:0], indices=[]) == []
