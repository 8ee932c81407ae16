"""Verifiers of ranges against networks whose answers are known everywhere, and dense sampling."""

import dataclasses
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional

from lightning_smooth.errors import InputError
from lightning_smooth.models import LeNet
from lightning_smooth.records.certificate import Certificate
from lightning_smooth.transforms import (
    Brightness,
    BrightnessContrast,
    Rotation,
    Scaling,
    Translation,
)
from lightning_smooth.verify import (
    BoxVerifier,
    Enclosure,
    IntervalEnclosure,
    IntervalVerifier,
    ParameterForms,
    searching,
)
from tests.verify.networks import SHAPES, network

PLAIN = Path(__file__).parents[2] / "checkpoints" / "mnist-plain.safetensors"


class Verifier(BoxVerifier):
    method = "toy"


class BrightnessForms(Enclosure):
    """x + b, as forms in b: exact."""

    def regions(self, image, low, high):
        added = image.expand(len(low), *image.shape)
        slopes = torch.ones_like(added)[:, None]
        return ParameterForms(
            slopes, added - 1e-6, slopes, added + 1e-6, torch.stack([low, high], dim=-1)
        )


def linear(*weights, bias):
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, len(weights)))
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor(weights))
        model[1].bias.copy_(torch.tensor(bias))
    return model


def plain(certificate):
    return dataclasses.replace(certificate, seconds=0.0)


SQUARE = torch.tensor([[[0.2, 0.4], [0.6, 0.8]]])


@pytest.mark.parametrize("enclosure", [IntervalEnclosure, BrightnessForms])
@pytest.mark.parametrize("bound", ["interval", "crown"])
def test_the_radius_of_a_brightness_shift_is_that_of_the_margin(enclosure, bound):
    """The margin is 2 + b at b, of weights of one sign: intervals are exact."""
    model = linear([1.0, 1.0, 1.0, 1.0], [0.5, 0.5, 0.5, 0.5], bias=[0.0, -0.5])
    for end, radius in ((1.0, 0.75), (3.0, 0.25), (0.7, 1.0)):
        # margin (sum + 4 b) / 2 + 1/2 = 1.5 + 2 b: it changes its sign at -0.75
        box = {"brightness": (-end, 2 * end)}
        verifier = Verifier(enclosure(Brightness()), box, (0.0, 0.2, 0.5, 1.0), bound=bound)
        c = verifier(model, SQUARE, index=0)
        assert c.predicted == 0
        assert (radius == 1.0) == (c.radius == 1.0)
        assert radius - 2e-3 <= c.radius <= radius
        assert c.measured.get("nearest", math.inf) >= min(radius, c.radius)
        expected = {r: "held" if r < radius or radius == 1 else "not held" for r in verifier.radii}
        assert c.decisions == {repr(r): said for r, said in expected.items()}
        if radius < 1:
            assert c.measured["nearest_brightness"] < -0.75
            assert c.measured["nearest_class"] == 1


def test_forms_see_what_intervals_do_not():
    """The margin is .1 at every shift: weights of both signs cancel."""
    model = linear([1.0, -1.0, -1.0, 1.0], [0.0, 0.0, 0.0, 0.0], bias=[0.1, 0.0])
    box = {"brightness": (-0.5, 0.5)}
    forms = Verifier(BrightnessForms(Brightness()), box, parts=1)(model, SQUARE, index=0)
    assert (forms.radius, forms.measured["boxes"], forms.uncovered) == (1.0, 1, ())
    pixels = Verifier(IntervalEnclosure(Brightness()), box, parts=1)(model, SQUARE, index=0)
    assert pixels.radius == 1.0
    assert pixels.measured["boxes"] > 30
    assert pixels.measured["boxes"] == 2 * pixels.measured["held"] - 1


class Looks(nn.Module):
    """Class 0 while one pixel is above a threshold."""

    def __init__(self, place, threshold):
        super().__init__()
        self.place, self.threshold = place, threshold

    def forward(self, x):
        rest = x.flatten(1)[:, self.place : self.place + 1] - self.threshold
        return torch.cat([rest, 0 * rest], dim=1)


def spot(row=4, column=13, size=15):
    image = torch.zeros(1, size, size)
    image[0, row, column] = 1
    return image


@pytest.mark.parametrize("threshold", [0.05, 0.3, 0.7])
def test_a_class_that_changes_at_a_known_angle_is_held_up_to_there(threshold):
    """Off the image's own place a bright pixel fades; the angle comes from fine steps."""
    image, transform = spot(), Rotation()
    steps = torch.arange(0, 10, 1e-3, dtype=torch.float64)
    seen = torch.stack([
        transform(image[None].double(), sign * steps[:, None]).flatten(1)[:, 4 * 15 + 13]
        for sign in (1, -1)
    ])  # fmt: skip
    flip = float(steps[(seen <= threshold).any(dim=0)][0])
    verifier = IntervalVerifier(transform, {"angle": (-10, 10)}, parts=8)
    c = verifier(Looks(4 * 15 + 13, threshold), image, index=0)
    assert flip / 10 - 2e-3 < c.radius < flip / 10 + 1e-4
    assert flip / 10 - 1e-3 < c.measured["nearest"] < flip / 10 + 2e-3
    assert c.measured["nearest_class"] == 1
    assert c.predicted == 0


@pytest.fixture(scope="module")
def lenet():
    model = LeNet()
    model.load_state_dict(load_file(PLAIN))
    return model.eval()


def digits(count):
    """Scans of digits, as large as MNIST has them."""
    scans = torch.tensor(load_digits().images[:count]).float()[:, None] / 16
    wide = functional.interpolate(scans, size=(20, 20), mode="bilinear", align_corners=False)
    return functional.pad(wide, (4, 4, 4, 4)).clamp(0, 1)


@pytest.mark.parametrize(("stored", "bound", "count"), [("float32", "interval", 3),
                                                        ("uint8", "crown", 1)])  # fmt: skip
@pytest.mark.parametrize(
    ("transform", "box"),
    [
        (Rotation(), {"angle": (-20.0, 30.0)}),
        (Scaling(), {"scale": (0.8, 1.1)}),
        (Translation(), {"dx": (-0.05, 0.05), "dy": (0.0, 0.05)}),
    ],
    ids=lambda one: type(one).__name__,
)
def test_no_attack_within_a_radius_has_another_answer(transform, box, stored, bound, count, lenet):
    verifier = IntervalVerifier(
        transform, box, parts=256 if len(box) == 1 else 6, stored=stored, bound=bound, boxes=40
    )
    images = digits(count)
    found = list(verifier.certify_batch(lenet, list(images), indices=range(count)))
    assert max(c.radius for c in found) > 0.1
    for c in found:
        ends = torch.tensor(list(box.values()), dtype=torch.float64)
        at = torch.tensor(verifier.identity, dtype=torch.float64)
        share = torch.rand(400, len(box), generator=torch.Generator().manual_seed(0))
        inner = torch.lerp(at + c.radius * (ends[:, 0] - at), at + c.radius * (ends[:, 1] - at),
                           share.double())  # fmt: skip
        theta = transform.theta(**{name: inner[:, k] for k, name in enumerate(box)})
        made = transform(images[c.index][None], theta)
        made = (made * 255).round().clamp(0, 255) / 255 if stored == "uint8" else made
        with torch.no_grad():
            assert set(lenet(made).argmax(dim=1).tolist()) == {c.predicted}
        if "nearest" in c.measured:
            theta = transform.theta(**{name: c.measured[f"nearest_{name}"] for name in box})
            made = transform(images[c.index][None], theta)
            made = (made * 255).round().clamp(0, 255) / 255 if stored == "uint8" else made
            with torch.no_grad():
                assert int(lenet(made).argmax()) == c.measured["nearest_class"] != c.predicted


@pytest.mark.parametrize(
    ("name", "end"), [("tiny", 0.4), ("plain", 0.4), ("small", 1e-5), ("vignetted", 1e-5)]
)
def test_networks_of_all_kinds_are_verified(name, end):
    model, transform = network(name), BrightnessContrast()
    image = torch.rand(SHAPES[name], generator=torch.Generator().manual_seed(2))
    box = {"brightness": (-end, end), "contrast": (-end, end)}
    c = IntervalVerifier(transform, box, parts=4, boxes=100)(model, image, index=0)
    grid = torch.linspace(-end, end, 21, dtype=torch.float64)
    theta = torch.cartesian_prod(grid, grid)
    norms = theta.abs().amax(dim=1) / end
    with torch.no_grad():
        answers = model(transform(image[None], theta)).argmax(dim=1)
    nearest = norms[answers != c.predicted]
    assert 0 < c.radius <= min([1.0, *nearest.tolist()])


def test_budgets_end_a_search(lenet):
    image, box = digits(1)[0], {"angle": (-30.0, 30.0)}
    few = IntervalVerifier(Rotation(), box, boxes=7, parts=512)(lenet, image, index=0)
    assert few.measured["boxes"] == 7
    assert 0 < few.radius < 0.2
    assert few.decisions["1.0"] == "undecided"
    assert len(few.uncovered) == 2
    short = IntervalVerifier(Rotation(), box, seconds=1e-9, parts=512, batch=4)
    c = short(lenet, image, index=0)
    assert (c.measured["timed_out"], c.measured["boxes"]) == (1, 4)
    assert few.measured["timed_out"] == 0
    assert c.radius < few.radius
    assert IntervalVerifier(Rotation(), box).for_validation(n0=1, n=9).boxes == 9


def test_a_radius_of_nothing_asks_for_the_answer_alone(lenet):
    verifier = IntervalVerifier(Rotation(), {"angle": (-30.0, 30.0)}, radii=[0.0])
    c = verifier(lenet, digits(1)[0], index=0, label=3)
    assert (c.radius, c.measured["boxes"], c.decisions) == (0.0, 0, {"0.0": "held"})
    assert c.predicted == int(lenet(digits(1)).argmax())


def test_images_share_nothing_and_the_network_is_taken_apart_once(lenet, monkeypatch):
    taken = []

    def counted(model, shape):
        taken.append(shape)
        return bounded(model, shape)

    bounded = searching.bounded
    monkeypatch.setattr(searching, "bounded", counted)
    verifier = IntervalVerifier(Rotation(), {"angle": (-2.0, 2.0)}, parts=4)
    images = list(digits(3))
    found = sorted(verifier.certify_batch(lenet, images, indices=range(3)), key=lambda c: c.index)
    assert len(taken) == 1
    for c, image in zip(found, images, strict=True):
        assert plain(verifier(lenet, image, index=c.index)) == plain(c)
        assert c.seconds > 0
    assert not any(module.training for module in lenet.modules())


def test_what_is_recorded(lenet):
    verifier = IntervalVerifier(Rotation(), {"angle": (-30.0, 30.0)}, parts=40, boxes=60)
    c = verifier(lenet, digits(2)[1], index=4, label=1)
    assert (c.n, c.n0, c.hits, c.p_lower, c.alpha, dict(c.ledger)) == (0, 0, 0, 0.0, 0.0, {})
    assert (c.method, c.guarantee, c.radius_unit) == ("interval", "certified", "box")
    assert Certificate.from_json(c.to_json()) == c
    settings = verifier.describe()
    assert all(settings[name] == value for name, value in c.parameters.items() if name in settings)
    assert settings["alpha"] == 0
    assert settings["boxes"] == 60


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"precision": "bf16"}, "`precision` to be float32"),
        ({"box": {"angle": (1.0, 2.0)}}, "around"),
        ({"box": {"dx": (-1.0, 1.0)}}, "parameters of Rotation"),
        ({"radii": []}, "`radii`"),
        ({"radii": [1.5]}, "`radii`"),
        ({"parts": 0}, "`parts`"),
        ({"boxes": 0}, "`boxes`"),
        ({"batch": 0}, "`batch`"),
        ({"seconds": 0.0}, "`seconds`"),
        ({"stored": "int8"}, "`stored`"),
        ({"bound": "best"}, "`bound`"),
        ({"transform": Brightness(), "box": {"brightness": (-1, 1)}, "stored": "uint8"}, "bytes"),
    ],
)
def test_mistakes_are_named(changed, words):
    given = {"transform": Rotation(), "box": {"angle": (-1.0, 1.0)}} | changed
    with pytest.raises(InputError, match=words):
        IntervalVerifier(**given)


def test_a_network_without_bounds_is_refused_before_any_image():
    class Never(Enclosure):
        def regions(self, image, low, high):
            raise AssertionError

    verifier = Verifier(Never(Rotation()), {"angle": (-1.0, 1.0)})
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2), nn.Sigmoid())
    with pytest.raises(InputError, match="Sigmoid"):
        list(verifier.certify_batch(model, [SQUARE, SQUARE], indices=[0, 1]))
