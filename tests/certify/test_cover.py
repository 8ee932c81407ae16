"""Certificates of ranges, against linear classifiers whose truth is known at every parameter."""

import dataclasses
import json
import math

import pytest
import torch
from torch import nn

from lightning_smooth.certify import CoverCertifier
from lightning_smooth.certify.costs import widths
from lightning_smooth.errors import InputError
from lightning_smooth.records.audit_case import subject
from lightning_smooth.records.certificate import Certificate
from lightning_smooth.transforms import (
    Brightness,
    BrightnessContrast,
    DefocusBlur,
    GaussianBlur,
    IntegerTranslation,
    MotionBlur,
    Occlusion,
    Pixelate,
    Rotation,
    RotationalBlur,
    Scaling,
    Translation,
    ZoomBlur,
)

GENERATOR = torch.Generator().manual_seed(0)
IMAGE = torch.rand(1, 10, 10, generator=GENERATOR)
FEW = {"n0": 20, "n": 2000}


class Plane(nn.Module):
    """Class 1 where <weight, x> is above a cut."""

    def __init__(self, weight, cut):
        super().__init__()
        self.weight = nn.Parameter(weight / weight.norm())
        self.cut = cut

    def score(self, x):
        return (x.flatten(1) * self.weight.flatten().to(x)).sum(dim=1) - self.cut

    def forward(self, x):
        score = self.score(x)
        return torch.stack([-score, score], dim=1)


def shades(margin):
    """The mean of the image plus `margin` is where its class changes under darkening."""
    weight = torch.ones(1, 10, 10)
    return Plane(weight, float(IMAGE.sum() / 10) - 10 * margin)


def digit(seed, cut):
    smooth = nn.functional.interpolate(
        torch.randn(1, 1, 5, 5, generator=torch.Generator().manual_seed(seed)), 10, mode="bilinear"
    )
    return Plane(smooth[0], float((IMAGE * smooth[0] / smooth.norm()).sum()) - cut)


def test_brightness_is_certified_up_to_where_a_linear_classifier_changes():
    # Smoothing does not move a plane: the truth is that of the plane itself.
    certifier = CoverCertifier(Brightness(), {"brightness": (-0.4, 0.4)}, 0.3, n=4000, anchors=40)
    certificate = certifier(shades(0.2), IMAGE, index=0, label=1)
    assert certificate.predicted == 1
    assert 0.9 * 0.5 < certificate.radius <= 0.5
    assert certificate.decisions == {
        "0.0": "held", "0.25": "held", "0.5": "not held", "0.75": "not held", "1.0": "not held"
    }  # fmt: skip
    assert len(certificate.anchors) > 2


TRANSFORMS = {
    "rotation": (Rotation(), {"angle": (-40.0, 40.0)}),
    "scaling": (Scaling(), {"scale": (0.7, 1.4)}),
    "shift": (Translation(), {"dx": (-3.0, 3.0)}),
    "both shifts": (Translation(), {"dx": (-1.5, 1.5), "dy": (-1.5, 1.5)}),
    "rotational blur": (RotationalBlur(samples=6), {"angle": (0.0, 30.0)}),
    "zoom blur": (ZoomBlur(samples=6), {"zoom": (0.0, 0.5)}),
    "defocus": (DefocusBlur(), {"radius": (0.0, 4.0)}),
    "blur": (GaussianBlur(), {"variance": (0.0, 3.0)}),
    "motion": (MotionBlur(), {"length": (0.0, 5.0)}),
    "motion, any direction": (
        MotionBlur(),
        {"length": (0.0, 2.0), "angle": (-90.0, 90.0)},
    ),
    "pixelate": (Pixelate(), {"strength": (0.0, 0.8)}),
    "light": (BrightnessContrast(), {"brightness": (-0.1, 0.1), "contrast": (-0.2, 0.2)}),
}


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_class_holds_at_every_parameter_that_is_certified(name, seed):
    transform, box = TRANSFORMS[name]
    model = digit(seed, 0.5)
    certifier = CoverCertifier(transform, box, 0.25, **FEW)
    certificate = certifier(model, IMAGE, index=seed)
    assert certificate.predicted == 1
    parts = torch.rand(3000, len(box), dtype=torch.float64, generator=GENERATOR)
    theta = transform.identity().repeat(len(parts), 1)
    for column, (key, (low, high)) in enumerate(box.items()):
        place = transform.names.index(key)
        origin = theta[:, place]
        low, high = (origin + certificate.radius * (end - origin) for end in (low, high))
        theta[:, place] = low + (high - low) * parts[:, column]
        inside = certificate.radius if certificate.radius == 1 else certificate.radius - 1e-6
        theta[:3, place] = origin[0] + inside / max(certificate.radius, 1e-9) * torch.tensor(
            [0.0, low[0] - origin[0], high[0] - origin[0]], dtype=torch.float64
        )
    assert (model.score(transform(IMAGE[None].double(), theta)) > 0).all()


@pytest.mark.parametrize("name", ["rotation", "zoom blur", "pixelate", "light"])
def test_all_of_a_range_is_certified_where_the_class_is_safe(name):
    transform, box = TRANSFORMS[name]
    model = digit(0, 3.0)
    certificate = CoverCertifier(transform, box, 0.25, **FEW)(model, IMAGE, index=0)
    assert certificate.radius == 1.0
    assert set(certificate.decisions.values()) == {"held"}


def levels(image, score):
    """A plane between an image and the same with fewer pixels, the image at `score` of it."""
    other = Pixelate()(image[None], torch.tensor([[0.05]]))[0]
    model = Plane(other - image, 0.0)
    model.cut = float(model.score(image[None])) - score
    return model


def test_the_image_itself_is_not_held_by_what_holds_its_neighbours():
    # Class 0 at the image, and class 1 at the next level of pixelation, whose cells begin at 0.
    model = levels(IMAGE, -0.03)
    certifier = CoverCertifier(Pixelate(), {"strength": (0.0, 0.1)}, 0.25, **FEW)
    found = certifier.certify_batch(model, [IMAGE] * 30, indices=range(30))
    assert all(c.predicted != 1 for c in found)


@pytest.mark.parametrize("radii", [[1.0], [0.5], [0.0, 0.25, 0.5]])
@pytest.mark.parametrize("end", [1.5, 3.0])
def test_whole_shifts_at_ties_are_tested(end, radii):
    shift = IntegerTranslation(padding="zero")
    certifier = CoverCertifier(shift, {"dx": (-end, end)}, 0.25, radii=radii, anchors=40, **FEW)
    for seed in range(4):
        model = digit(seed, 0.7)
        certificate = certifier(model, IMAGE, index=seed)
        if certificate.predicted != 1:
            continue
        reach = end * certificate.radius * (1 if certificate.radius == 1 else 1 - 1e-6)
        theta = torch.linspace(-reach, reach, 101)[:, None]
        theta = shift.theta(dx=theta[:, 0])
        assert (model.score(shift(IMAGE[None], theta)) > 0).all()


@pytest.mark.parametrize("radii", [[0.0, 0.25, 0.5], [0.5], [0.0]])
def test_decisions_and_radius_agree_at_the_edge_of_a_cell(radii):
    certifier = CoverCertifier(Rotation(), {"angle": (-10.0, 10.0)}, 0.25, radii=radii, **FEW)
    certificate = certifier(digit(0, 3.0), IMAGE, index=0)
    assert certificate.radius == radii[-1]
    assert set(certificate.decisions.values()) == {"held"}
    assert audited(certificate)[1].decisions == certificate.decisions


def test_a_range_that_no_draws_would_cover_is_undecided():
    certifier = CoverCertifier(Rotation(), {"angle": (-10.0, 10.0)}, 0.02, stray=0.5, n0=20, n=2000)
    certificate = certifier(digit(0, 3.0), IMAGE, index=0)
    assert certificate.abstained
    assert set(certificate.decisions.values()) == {"undecided"}
    assert Certificate.from_json(certificate.to_json()) == certificate
    assert audited(certificate)[1].certified is False


@pytest.fixture(scope="module")
def made():
    certifier = CoverCertifier(Rotation(), {"angle": (-40.0, 40.0)}, 0.25, **FEW)
    return certifier, certifier(digit(1, 0.6), IMAGE, index=3, label=1)


def audited(certificate):
    found = subject(certificate, {})
    assert not found.failure, found.failure
    return found.verdicts


def test_a_record_says_all_and_is_computed_again(made):
    _, certificate = made
    assert Certificate.from_json(certificate.to_json()) == certificate
    _, exact, most = audited(certificate)
    assert exact.certified
    assert certificate.radius == pytest.approx(exact.radius, abs=1e-12)
    assert exact.decisions == certificate.decisions
    assert certificate.n == sum(anchor.looks[-1][0] for anchor in certificate.anchors)
    assert certificate.ledger == {"anchors": 0.001}
    assert most.radius >= exact.radius


def test_a_record_that_covers_more_than_its_counts_show_is_found(made):
    _, certificate = made
    line = json.loads(certificate.to_json())
    line["anchors"][0]["cost"] = 9.0
    _, exact, _ = audited(Certificate.from_json(json.dumps(line)))
    assert exact.radius < certificate.radius


def test_a_record_with_other_counts_contradicts_itself(made):
    _, certificate = made
    line = json.loads(certificate.to_json())
    line["anchors"][0]["looks"][-1][1] -= 1
    assert subject(Certificate.from_json(json.dumps(line)), {}).failure
    assert subject(dataclasses.replace(certificate, ledger={"anchors": 0.002}), {}).failure
    assert subject(dataclasses.replace(certificate, anchors=certificate.anchors[:1]), {}).failure


def test_all_votes_of_the_anchors_are_kept(made):
    _, certificate = made
    assert certificate.votes[1] == certificate.hits
    assert sum(certificate.votes.values()) == certificate.n
    assert certificate.measured["anchor_alpha"] * 64 == certificate.alpha


def test_what_a_test_was_to_show_is_kept_where_it_did_not():
    certifier = CoverCertifier(Brightness(), {"brightness": (-0.4, 0.4)}, 0.3, n=4000, anchors=40)
    certificate = certifier(shades(0.2), IMAGE, index=0)
    *_, last = certificate.anchors
    assert certificate.decisions["1.0"] == "not held"
    assert last.needed > last.p_lower
    assert any(anchor.needed is None for anchor in certificate.anchors)
    audited(certificate)
    held = dataclasses.replace(last, needed=None)
    assert subject(
        dataclasses.replace(certificate, anchors=(*certificate.anchors[:-1], held)), {}
    ).failure


def test_batches_and_their_order_change_nothing(made):
    certifier, certificate = made
    other = IMAGE.flip(2)
    found = {
        c.index: c
        for c in certifier.certify_batch(
            digit(1, 0.6), [other, IMAGE], indices=[9, 3], labels=[0, 1]
        )
    }
    assert dataclasses.replace(found[3], seconds=0.0) == dataclasses.replace(
        certificate, seconds=0.0
    )


def test_too_few_anchors_are_undecided():
    box = {"angle": (-40.0, 40.0)}
    certificate = CoverCertifier(Rotation(), box, 0.1, anchors=2, **FEW)(
        digit(0, 3.0), IMAGE, index=0
    )
    assert certificate.decisions["1.0"] == "undecided"
    assert 0 < certificate.radius < 1


@pytest.mark.parametrize(
    ("transform", "box", "size", "sigma"),
    [
        (Brightness(), {"brightness": (-0.5, 0.5)}, 16, 0.005),
        (Scaling(), {"scale": (0.7, 1.3)}, 16, 0.02),
        (Rotation(), {"angle": (-50.0, 50.0)}, 10, 0.02),
    ],
)
def test_a_range_that_would_take_more_cells_than_allowed_has_nearly_as_many(
    transform, box, size, sigma
):
    image = torch.rand(1, size, size, generator=torch.Generator().manual_seed(3)).double()
    certifier = CoverCertifier(transform, box, sigma, **FEW)
    cells = certifier.cells(image)
    assert float(widths(cells).max()) > certifier.step
    assert 3000 < len(cells.low) <= 4096


def test_a_class_that_is_never_shown_is_an_abstention():
    certificate = CoverCertifier(Rotation(), {"angle": (-9.0, 9.0)}, 0.25, **FEW)(
        digit(0, 0.0), IMAGE, index=0
    )
    assert certificate.abstained
    assert certificate.radius == 0
    assert certificate.p_lower <= 0.5
    assert audited(certificate)[1].certified is False


def test_bytes_cost_more_than_float32():
    bounds = [
        CoverCertifier(Rotation(), {"angle": (-9.0, 9.0)}, 0.25, stored=stored, **FEW)
        for stored in ("exact", "float32", "uint8")
    ]
    slack = [c.costs(c.cells(IMAGE.double())).slack for c in bounds]
    assert slack[0] < slack[1] < slack[2]
    assert slack[2] - slack[1] == pytest.approx(10 * 0.5 / 255, rel=0.01)


def test_validation_has_streams_of_its_own(made):
    certifier, certificate = made
    model = digit(1, 0.6)
    own = certifier.for_validation(n0=20, n=2000)(model, IMAGE, index=3)
    assert own.votes0 != certificate.votes0 or own.anchors != certificate.anchors
    assert math.isclose(own.radius, certificate.radius, abs_tol=0.15)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"box": {"angle": (5.0, 9.0)}}, "around"),
        ({"box": {"angle": (0.0, 0.0)}}, "more than a point"),
        ({"box": {"scale": (0.5, 1.0)}}, "angle"),
        ({"radii": [0.5, 2.0]}, "radii"),
        ({"radii": []}, "radii"),
        ({"reach": 9.0}, "reach"),
        ({"sigma": 0.0}, "sigma"),
        ({"anchors": 0}, "anchors"),
        ({"stored": "png"}, "stored"),
        (
            {
                "transform": Brightness(),
                "box": {"brightness": (-0.1, 0.1)},
                "stored": "uint8",
            },
            "uint8",
        ),
    ],
)
def test_what_is_refused(arguments, message):
    settings = {"transform": Rotation(), "box": {"angle": (-9.0, 9.0)}, "sigma": 0.25, **arguments}
    with pytest.raises(InputError, match=message):
        CoverCertifier(**settings)


def test_a_transformation_without_a_bound_is_refused():
    with pytest.raises(InputError, match="variation"):
        CoverCertifier(Occlusion(), {"side": (0.0, 4.0)}, 0.25)
