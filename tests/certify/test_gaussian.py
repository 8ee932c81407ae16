"""CERTIFY and PREDICT: counts, bounds, abstentions, and what they refuse."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import nn

from lightning_smooth.certify import GaussianCertifier
from lightning_smooth.errors import InputError, SoundnessError
from lightning_smooth.maths.confidence import clopper_pearson_lower
from lightning_smooth.maths.radius import gaussian_radius
from lightning_smooth.records.certificate import Certificate
from lightning_smooth.smoothing import NoiseKey
from lightning_smooth.smoothing.rng import standard_normal


class Brightness(nn.Module):
    """Class 1 where the mean pixel is above a threshold, else class 0: linear."""

    def __init__(self, threshold=0.5, classes=3):
        super().__init__()
        self.threshold, self.classes = threshold, classes

    def forward(self, x):
        score = x.mean(dim=(1, 2, 3)) - self.threshold
        rest = torch.full((len(x), self.classes - 2), -9.0)
        return torch.cat([-score[:, None], score[:, None], rest], dim=1)


IMAGE = torch.full((1, 4, 4), 0.6)


def same(a, b):
    return dataclasses.replace(a, seconds=0.0) == dataclasses.replace(b, seconds=0.0)


def test_counts_are_those_of_a_plain_loop():
    certifier = GaussianCertifier(0.5, n0=50, n=300, seed=3)
    certificate = certifier(Brightness(), IMAGE, index=7, label=1)
    draws = torch.cat(
        [
            standard_normal(NoiseKey(3, 7, "estimation"), b, (1, 4, 4), torch.device("cpu"))
            for b in range(3)
        ]
    )[:300]
    hits = sum(int((IMAGE + 0.5 * noise).mean() > 0.5) for noise in draws)
    assert certificate.votes == {0: 300 - hits, 1: hits}
    assert certificate.candidate == 1
    assert certificate.hits == hits
    assert sum(certificate.votes0.values()) == certificate.n0 == 50
    assert certificate.p_lower == clopper_pearson_lower(hits, 300, 0.001)
    assert certificate.radius == gaussian_radius(certificate.p_lower, 0.5)
    assert certificate.correct
    assert certificate.guarantee == "certified"
    assert math.fsum(certificate.ledger.values()) <= certificate.alpha


@pytest.mark.parametrize("batch_size", [1, 7, 64, 100, 128, 256, 1000])
def test_batch_sizes_do_not_change_the_certificate(batch_size):
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))
    reference = GaussianCertifier(0.5, n=777)(model, IMAGE, index=0)
    other = GaussianCertifier(0.5, n=777, batch_size=batch_size)(model, IMAGE, index=0)
    assert same(reference, other)


def test_the_order_of_images_does_not_change_certificates():
    certifier, model = GaussianCertifier(0.5, n=200), Brightness()
    images = torch.rand(5, 1, 4, 4)
    forth = [certifier(model, images[i], index=i) for i in range(5)]
    back = [certifier(model, images[i], index=i) for i in reversed(range(5))]
    assert all(same(a, b) for a, b in zip(forth, reversed(back), strict=True))


def test_seed_and_index_change_the_draws():
    model = Brightness()
    votes = {
        tuple(GaussianCertifier(0.5, n=1000, seed=s)(model, IMAGE, index=i).votes.items())
        for s in range(2)
        for i in range(2)
    }
    assert len(votes) == 4


def test_a_coin_is_abstained_on():
    certificate = GaussianCertifier(0.5, n=1000)(Brightness(0.6), IMAGE, index=0, label=1)
    assert certificate.abstained
    assert certificate.predicted == -1
    assert certificate.radius == 0
    assert not certificate.correct
    assert not certificate.holds_at(0.0)


def test_all_hits_give_the_largest_radius():
    certifier = GaussianCertifier(0.01, n=1000)
    certificate = certifier(Brightness(0.0), IMAGE, index=0)
    assert certificate.hits == 1000
    assert certificate.radius == certifier.largest_radius == pytest.approx(0.0246, abs=5e-5)


def test_the_label_has_no_influence():
    certifier = GaussianCertifier(0.5, n=200)
    one, two = (certifier(Brightness(), IMAGE, index=0, label=label) for label in (0, 1))
    assert same(dataclasses.replace(one, label=None), dataclasses.replace(two, label=None))


def test_modes_are_put_back_and_dropout_is_off():
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.9), nn.Linear(16, 3)).train()
    model[2].eval()
    a = GaussianCertifier(0.1, n=200)(model, IMAGE, index=0)
    b = GaussianCertifier(0.1, n=200)(model, IMAGE, index=0)
    assert same(a, b)
    assert [m.training for m in model.modules()] == [True, True, True, False]


def test_models_that_refuse_channels_last_are_certified_all_the_same():
    class Viewer(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(2, 4, 3)
            self.head = nn.Linear(16, 3)

        def forward(self, x):
            return self.head(self.conv(x).view(len(x), 16))

    assert GaussianCertifier(0.5, n=200)(Viewer(), torch.rand(2, 4, 4), index=0).n == 200


def test_double_precision_models_get_double_precision_images():
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).double()
    assert GaussianCertifier(0.5, n=200)(model, IMAGE, index=0).n == 200


def test_half_precision_models_are_certified_at_the_image_as_it_came():
    # Rounding x before the noise is added would certify another image; x + e is rounded instead.
    seen = []

    class Watcher(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1, dtype=torch.bfloat16))

        def forward(self, x):
            seen.append(x)
            return torch.stack([x.sum((1, 2, 3)), -x.sum((1, 2, 3))], dim=1)

    image = torch.rand(1, 4, 4)
    GaussianCertifier(0.5, n0=1, n=128)(Watcher(), image, index=0)
    noise = standard_normal(NoiseKey(0, 0, "estimation"), 0, (1, 4, 4), torch.device("cpu"))
    assert seen[-1].dtype == torch.bfloat16
    assert torch.equal(seen[-1], (image + 0.5 * noise).bfloat16())


def test_validation_never_sees_the_draws_that_certify():
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 10))
    certifier = GaussianCertifier(0.5, n0=500, n=500)
    validation = certifier.for_validation(n0=500, n=500)
    one, other = (c(model, IMAGE, index=3) for c in (certifier, validation))
    assert one.votes != other.votes
    assert one.votes0 != other.votes0
    assert (validation.sigma, validation.alpha) == (certifier.sigma, certifier.alpha)


def test_draws_without_finite_scores_are_no_hits():
    class Fragile(Brightness):
        def forward(self, x):
            scores = super().forward(x)
            return torch.where(x[:, 0, 0, :1] > 0.6, torch.nan, scores)

    certificate = GaussianCertifier(0.5, n=1000)(Fragile(0.0), IMAGE, index=0)
    voted = sum(certificate.votes.values())
    assert 300 < voted < 700
    assert certificate.hits <= voted < certificate.n == 1000


def test_the_image_is_named_in_its_certificate():
    certifier = GaussianCertifier(0.5, n=10)
    one = certifier(Brightness(), IMAGE, index=0)
    other = certifier(Brightness(), IMAGE + 1e-6, index=0)
    assert one.image == certifier(Brightness(), IMAGE.clone(), index=1).image
    assert one.image != other.image


def test_numpy_and_tensor_numbers_become_plain_ones():
    c = GaussianCertifier(0.5, n=10)(Brightness(), IMAGE, index=np.int64(3), label=np.int64(1))
    assert Certificate.from_json(c.to_json()) == c
    assert type(c.label) is int


def test_predict_answers_and_abstains():
    certifier = GaussianCertifier(0.5, n=1000)
    sure = certifier.predict(Brightness(0.4), IMAGE, index=0)
    assert sure.predicted == 1
    assert sure.p_value <= 0.001
    coin = certifier.predict(Brightness(0.6), IMAGE, index=0)
    assert coin.abstained
    assert coin.p_value > 0.001
    assert sum(coin.votes.values()) == 1000


def test_predict_draws_are_not_the_certificate_s():
    certifier = GaussianCertifier(0.5, n=1000)
    certificate = certifier(Brightness(), IMAGE, index=0)
    assert certifier.predict(Brightness(), IMAGE, index=0).votes != certificate.votes


def test_round_trip_through_json_keeps_every_bit():
    certificate = GaussianCertifier(0.3, n=200)(Brightness(), IMAGE, index=0, label=1)
    assert Certificate.from_json(certificate.to_json()) == certificate


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"sigma": 0}, "`sigma`"),
        ({"sigma": -0.5}, "`sigma`"),
        ({"sigma": float("nan")}, "`sigma`"),
        ({"sigma": 0.5, "alpha": 0.0}, "`alpha`"),
        ({"sigma": 0.5, "alpha": 1.0}, "`alpha`"),
        ({"sigma": 0.5, "n": 0}, "`n`"),
        ({"sigma": 0.5, "n0": 0}, "`n0`"),
        ({"sigma": 0.5, "batch_size": 0}, "`batch_size`"),
        ({"sigma": 0.5, "seed": -1}, "`seed`"),
        ({"sigma": None}, "`sigma`"),
        ({"sigma": "0.5"}, "`sigma`"),
        ({"sigma": 0.5, "n": float("inf")}, "`n`"),
        ({"sigma": 0.5, "alpha": None}, "`alpha`"),
        ({"sigma": 0.5, "precision": "fp8"}, "`precision`"),
    ],
)
def test_settings_out_of_range_are_named(settings, words):
    with pytest.raises(InputError, match=words):
        GaussianCertifier(**settings)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (torch.rand(4, 4), r"\(C, H, W\)"),
        (torch.rand(1, 0, 4), "with pixels"),
        (torch.rand(1, 1, 4, 4), r"\(C, H, W\)"),
        (torch.full((1, 4, 4), 255, dtype=torch.uint8), "divide 8-bit images by 255"),
        (torch.full((1, 4, 4), 255.0), "make the normalisation the first layer"),
        (torch.full((1, 4, 4), -0.1), r"in \[0, 1\]"),
        (torch.full((1, 4, 4), float("nan")), "NaN"),
        ("image", "got str"),
    ],
)
def test_images_that_are_none_are_refused(image, words):
    with pytest.raises(InputError, match=words):
        GaussianCertifier(0.5, n=10)(Brightness(), image, index=0)


def test_labels_outside_the_classes_are_refused():
    with pytest.raises(InputError, match=r"0\.\.2, the model's 3 classes"):
        GaussianCertifier(0.5, n=10)(Brightness(), IMAGE, index=0, label=3)
    with pytest.raises(InputError, match="`label`"):
        GaussianCertifier(0.5, n=10)(Brightness(), IMAGE, index=0, label=-1)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (nn.Flatten(0), "scores of shape"),
        (nn.Sequential(nn.Flatten(), nn.Linear(16, 1)), "at least two classes"),
        (
            nn.Sequential(nn.Flatten(), nn.Linear(16, 3), nn.Threshold(9e9, float("nan"))),
            "no finite scores",
        ),
    ],
)
def test_models_that_are_no_classifiers_are_refused(model, words):
    with pytest.raises(InputError, match=words):
        GaussianCertifier(0.5, n=10)(model, IMAGE, index=0)


class Cheat(GaussianCertifier):
    """Returns a certificate with given fields changed."""

    def __init__(self, **changes):
        super().__init__(0.5, n=200)
        self.changes = changes

    def _plan(self, smoothed, image, *, index):
        certificate = yield from super()._plan(smoothed, image, index=index)
        return dataclasses.replace(certificate, **self.changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"ledger": {"estimation": 0.001, "again": 0.001}},
        {"p_lower": 0.9999},
        {"predicted": 2},
        {"predicted": -1, "radius": 0.1},
        {"hits": 201},
    ],
)
def test_certificates_that_contradict_themselves_never_leave(changes):
    with pytest.raises(SoundnessError):
        Cheat(**changes)(Brightness(), IMAGE, index=0)


class Overflowing(nn.Module):
    """No finite scores for images that are nearly black."""

    def forward(self, x):
        mean = x.mean(dim=(1, 2, 3))
        score = torch.where(mean < 0.08, torch.inf, mean)
        return torch.stack([0.5 - score, score], dim=1)


def test_an_image_without_scores_is_not_certified_and_does_not_stop_the_others():
    images = [torch.full((1, 4, 4), value) for value in (0.9, 0.0, 0.8)]
    certifier = GaussianCertifier(0.05, n=100)
    with pytest.warns(UserWarning, match="for any of 100 noisy copies of image 1: it cannot"):
        found = [*certifier.certify_batch(Overflowing(), images, indices=[0, 1, 2])]
    assert [c.abstained for c in found] == [False, True, False]
    assert (found[1].hits, found[1].radius) == (0, 0.0)
