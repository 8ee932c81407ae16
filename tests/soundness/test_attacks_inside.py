"""Attacks inside the certificates of trained networks; the same attacks find a radius too large."""

import functools
import itertools
import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.stats import norm
from torch import nn
from torch.nn.functional import cross_entropy

from lightning_smooth.attacks import GridAttack, RandomBallAttack, SmoothedSearch
from lightning_smooth.certify import ResolvableCertifier
from lightning_smooth.data import Digits
from lightning_smooth.maths.laws import ExponentialLaw, GaussianLaw
from lightning_smooth.smoothing.parameters import ParameterNoise
from lightning_smooth.transforms import (
    Brightness,
    BrightnessContrast,
    GaussianBlur,
    IntegerTranslation,
)
from lightning_smooth.verify import EnumerationCertifier

SHIFT = 1.2
TRANSFORMS = {
    "brightness": (Brightness(), {"brightness": GaussianLaw(0.4)}, None),
    "blur": (GaussianBlur(), {"variance": ExponentialLaw(1.5)}, None),
    "translation": (
        IntegerTranslation("cyclic"),
        {"dx": GaussianLaw(SHIFT), "dy": GaussianLaw(SHIFT)},
        None,
    ),
    "box": (
        BrightnessContrast(),
        {"brightness": GaussianLaw(0.3), "contrast": GaussianLaw(0.3)},
        {"brightness": (-0.2, 0.2), "contrast": (-0.2, 0.2)},
    ),
}
IMAGES = 6


@functools.cache
def digits():
    """(training images and labels, test images and labels)"""
    data = Digits()
    data.prepare_data()
    data.setup("fit")
    images, labels, _ = data.train_dataloader().dataset.__getitems__(range(1300))
    test = [data.test_item(i) for i in range(IMAGES)]
    return images, labels, torch.stack([image for image, _ in test]), [label for _, label in test]


@functools.cache
def trained(name):
    """A small network, trained for a second on the images that its noise makes."""
    images, labels, _, _ = digits()
    transform, laws, _ = TRANSFORMS[name]
    noise, generator = ParameterNoise(transform, laws), torch.Generator().manual_seed(0)
    width = 16 if name == "translation" else 4
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1, padding_mode="circular"),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, padding=1, padding_mode="circular"),
            nn.ReLU(),
            nn.MaxPool2d(4, 2, 1),
            nn.Flatten(),
            nn.Linear(32 * width, 10),
        )
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(8):
        for batch in torch.randperm(len(images), generator=generator).split(65):
            optimizer.zero_grad()
            drawn = noise.perturbed(images[batch], generator)
            cross_entropy(model(drawn), labels[batch]).backward()
            optimizer.step()
    return model.eval()


def certifier_of(name, n=2000):
    transform, laws, box = TRANSFORMS[name]
    return ResolvableCertifier(transform, laws, box, n=n)


@functools.cache
def certificates(name):
    _, _, images, labels = digits()
    certifier = certifier_of(name)
    found = certifier.certify_batch(
        trained(name), list(images), indices=range(IMAGES), labels=labels
    )
    return sorted(found, key=lambda c: c.index)


def attacked(model, certifier, image, certificate, radius, *, steps):
    """The worst of a grid over all attacks of at most a radius, judged against the certificate."""
    box = certifier.box
    if box is None:
        one_sided = next(iter(certifier.laws.values())).one_sided
        box = {name: (0.0 if one_sided else -1.0, 1.0) for name in certifier.laws}
    scaled = {name: (low * radius, high * radius) for name, (low, high) in box.items()}
    search = SmoothedSearch(certifier, n_rank=100)
    attack = GridAttack(certifier.transform, scaled, steps, search)
    label = torch.tensor([certificate.predicted])
    (outcome,) = attack(model, image[None], label, indices=[certificate.index])
    assert outcome.tried >= steps
    return outcome


@pytest.mark.parametrize(("name", "steps"), [("brightness", 17), ("blur", 17), ("box", 5)])
def test_no_attack_on_a_grid_inside_a_certificate_changes_the_answer(name, steps):
    model, certifier, images = trained(name), certifier_of(name), digits()[2]
    attacks = [
        (c, attacked(model, certifier, images[c.index], c, 0.999 * c.radius, steps=steps))
        for c in certificates(name)
        if not c.abstained
    ]
    assert len(attacks) >= 5
    assert not any(outcome.broken for _, outcome in attacks)
    # Attacks of a size: and they take the network's votes away.
    assert max(c.radius for c, _ in attacks) > {"brightness": 0.5, "blur": 3.0, "box": 1.0}[name]
    assert max(outcome.loss for _, outcome in attacks) > 0


def test_the_same_grid_finds_a_radius_of_brightness_that_is_too_large():
    # Class 1 where the mean is above 0.3: of a grey image of 0.7, the exact radius is 0.4.
    model, image = MeanAbove(0.3), torch.full((1, 8, 8), 0.7)
    certifier = certifier_of("brightness")
    c = certifier(model, image, index=0)
    assert 0.3 < c.radius <= 0.4
    for factor, broken in ((0.999, False), (2.0, True)):
        found = attacked(model, certifier, image, c, factor * c.radius, steps=17)
        assert found.broken is broken
        assert found.theta["brightness"] < -0.5 * factor * c.radius


def test_the_same_grid_finds_a_radius_of_blur_that_is_too_large():
    # A wave's amplitude falls by a constant rate a variance; class 1 while it is above 0.05.
    wave = torch.cos(math.pi * (torch.arange(8) + 0.5) / 8 * 3)
    image = (0.5 + 0.5 * wave).expand(1, 8, 8)
    rate = 1 - math.cos(3 * math.pi / 8)
    exact = math.log(0.5 / 0.05) / rate - 1.5 * math.log(2)  # exponential noise of mean 1.5
    model, certifier = AmplitudeAbove(wave, 0.05), certifier_of("blur")
    c = certifier(model, image, index=0)
    assert 0.8 * exact < c.radius <= exact
    for factor, broken in ((0.999, False), (2.0, True)):
        found = attacked(model, certifier, image, c, factor * c.radius, steps=17)
        assert found.broken is broken
        assert found.theta["variance"] > 0.5 * factor * c.radius


def test_the_same_grid_finds_a_box_that_is_too_large():
    model, image = MeanAbove(0.3), torch.full((1, 8, 8), 0.8)
    certifier = certifier_of("box")
    c = certifier(model, image, index=0)
    assert c.radius > 0.5
    for factor, broken in ((0.999, False), (2.0, True)):
        found = attacked(model, certifier, image, c, factor * c.radius, steps=6)
        assert found.broken is broken
        assert max(found.theta.values()) < 0


class MeanAbove(nn.Module):
    """Class 1 where the mean is above a threshold."""

    def __init__(self, threshold):
        super().__init__()
        self.threshold = threshold

    def forward(self, x):
        above = x.mean(dim=(1, 2, 3)) - self.threshold
        return torch.stack([-above, above], dim=1)


class AmplitudeAbove(nn.Module):
    """Class 1 where a wave along the rows has more than an amplitude."""

    def __init__(self, wave, threshold):
        super().__init__()
        self.register_buffer("wave", wave / wave.square().sum())
        self.threshold = threshold

    def forward(self, x):
        above = (x.mean(dim=(1, 2)) * self.wave).sum(dim=1) - self.threshold
        return torch.stack([-above, above], dim=1)


def wrapped_gaussian(size, sigma):
    """P(round(N(0, sigma^2)) = k modulo size), for k from 0."""
    steps = np.arange(-20 * size, 20 * size + 1)
    mass = norm.cdf((steps + 0.5) / sigma) - norm.cdf((steps - 0.5) / sigma)
    return np.bincount(steps % size, weights=mass, minlength=size)


@torch.no_grad()
def exact_probabilities(model, image, sigma):
    """(H, W, K): probability of each class at each whole shift (dy, dx): no draw, no error."""
    height, width = image.shape[1:]
    rolled = [np.roll(image.numpy(), (dy, dx), (1, 2)) for dy, dx in np.ndindex(height, width)]
    answers = model(torch.from_numpy(np.stack(rolled))).argmax(dim=1).numpy()
    classes = np.eye(int(answers.max()) + 2)[answers].reshape(height, width, -1)
    down, across = wrapped_gaussian(height, sigma), wrapped_gaussian(width, sigma)
    found = np.empty_like(classes)
    for dy, dx in np.ndindex(height, width):
        ahead = np.roll(classes, (-dy, -dx), (0, 1))  # the noise comes after the attack
        found[dy, dx] = np.einsum("y,x,yxk->k", down, across, ahead)
    return found


def least_probability(probabilities, answer, radius):
    """The least probability of a class at the whole shifts of a norm below a radius."""
    height, width = probabilities.shape[:2]
    reach = range(-math.floor(radius), math.floor(radius) + 1)
    return min(
        probabilities[dy % height, dx % width, answer]
        for dx, dy in itertools.product(reach, repeat=2)
        if math.hypot(dx, dy) < radius
    )


def test_no_whole_shift_inside_a_certificate_changes_the_exact_answer():
    model, images, shifts = trained("translation"), digits()[2], []
    for c in certificates("translation"):
        if c.abstained:
            continue
        probabilities = exact_probabilities(model, images[c.index], SHIFT)
        np.testing.assert_allclose(probabilities.sum(axis=2), 1, rtol=1e-12)
        assert c.p_lower <= probabilities[0, 0, c.predicted]
        assert least_probability(probabilities, c.predicted, c.radius) > 0.5
        shifts.append(c.radius)
    assert len(shifts) >= 5
    assert max(shifts) > 2  # twelve shifts, at least


def test_the_draws_of_a_translation_have_the_exact_probabilities():
    model, image = trained("translation"), digits()[2][0]
    (c,) = [c for c in certificates("translation") if c.index == 0]
    exact = exact_probabilities(model, image, SHIFT)[0, 0]
    for answer, p in enumerate(exact):
        spread = math.sqrt(c.n * p * (1 - p)) + 1
        assert abs(c.votes.get(answer, 0) - c.n * p) < 4.5 * spread


def test_the_same_check_finds_a_radius_of_translation_that_is_too_large():
    # A point at column 36 of 64; class 1 in columns 32 to 63: g answers 1 for shifts of up to 4.
    class Right(nn.Module):
        def forward(self, x):
            halves = x.sum(dim=(1, 2)).unflatten(1, (2, 32)).sum(dim=2)
            return halves.float()

    image = torch.zeros(1, 1, 64)
    image[0, 0, 36] = 1
    laws = {"dx": GaussianLaw(2.0), "dy": GaussianLaw(2.0)}
    c = ResolvableCertifier(IntegerTranslation("cyclic"), laws, n=4000)(Right(), image, index=0)
    assert c.predicted == 1
    assert 3.5 < c.radius <= 4.5  # the noise is rounded: half a pixel beyond 4 is on the edge
    probabilities = exact_probabilities(Right(), image, 2.0)
    assert probabilities[0, 0, 1] == pytest.approx(norm.cdf(4.5 / 2), abs=1e-12)
    assert least_probability(probabilities, 1, c.radius) > 0.5
    assert least_probability(probabilities, 1, 1.5 * c.radius) < 0.5


@pytest.mark.parametrize(
    ("padding", "mode"), [("cyclic", None), ("reflected", "reflect"), ("zero", "constant")]
)
def test_an_enumerated_radius_is_that_of_brute_force(padding, mode):
    model, images, radii = trained("translation"), digits()[2], set()
    certifier = EnumerationCertifier(IntegerTranslation(padding), 4.0)
    for c in certifier.certify_batch(model, list(images), indices=range(IMAGES)):
        pixels = images[c.index].numpy()
        shifts = [s for s in itertools.product(range(-4, 5), repeat=2) if math.hypot(*s) <= 4]
        moved = [
            np.roll(pixels, (dy, dx), (1, 2))
            if mode is None
            else ndimage.shift(pixels, (0, dy, dx), order=0, mode=mode)
            for dx, dy in shifts
        ]
        with torch.no_grad():
            answers = model(torch.from_numpy(np.stack(moved))).argmax(dim=1).tolist()
        assert c.predicted == answers[shifts.index((0, 0))]
        others = [math.hypot(*s) for s, a in zip(shifts, answers, strict=True) if a != c.predicted]
        assert c.measured.get("nearest") == min(others, default=None)
        assert c.radius == min(4.0, math.nextafter(min(others, default=math.inf), 0))
        radii.add(c.radius)
    assert len(radii) >= 2


def test_random_attacks_succeed_beyond_an_enumerated_radius_alone():
    model, images, transform = trained("translation"), digits()[2], IntegerTranslation("zero")
    certifier, beyond = EnumerationCertifier(transform, 6.0), 0
    for index in range(IMAGES):
        c = certifier(model, images[index], index=index)
        nearest = c.measured["nearest"]
        for radius, found in ((c.radius, False), (nearest, True)):
            attack = RandomBallAttack(transform, radius, k=600)
            label = torch.tensor([c.predicted])
            (outcome,) = attack(model, images[[index]], label, indices=[index])
            assert (outcome.wrong > 0) is found
            beyond += found
    assert beyond == IMAGES
