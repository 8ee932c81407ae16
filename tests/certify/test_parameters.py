"""Certificates of transformations: counts, targets, decisions, and what is refused."""

import dataclasses
import json
import math

import pytest
import torch
from torch import nn

from lightning_smooth.certify import (
    BaseSPTCertifier,
    GaussianCertifier,
    ResolvableCertifier,
    SequentialBaseSPTCertifier,
    SequentialResolvableCertifier,
)
from lightning_smooth.certify.parameters import ParameterCertifier
from lightning_smooth.errors import InputError
from lightning_smooth.maths.confidence import clopper_pearson_lower
from lightning_smooth.maths.laws import ExponentialLaw, GaussianLaw, LaplaceLaw, UniformLaw
from lightning_smooth.maths.resolvable import box_needed, box_probability
from lightning_smooth.maths.sequential import stopping
from lightning_smooth.records.certificate import Certificate
from lightning_smooth.smoothing import NoiseKey
from lightning_smooth.transforms import (
    Brightness,
    BrightnessContrast,
    Commuting,
    Compose,
    Contrast,
    GaussianBlur,
    IntegerTranslation,
    Parameter,
    Rotation,
    SampledGaussianBlur,
    Transform,
    Translation,
)

IMAGE = torch.rand(1, 6, 6, generator=torch.Generator().manual_seed(0))
PAIR = ("brightness", "contrast")


def network(seed=0, classes=3):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(96, classes, bias=False)
    )


class MeanAbove(nn.Module):
    """Class 1 where the mean is above a threshold."""

    def __init__(self, threshold):
        super().__init__()
        self.threshold = threshold

    def forward(self, x):
        score = x.mean(dim=(1, 2, 3)) - self.threshold
        return torch.stack([-score, score], dim=1)


CHAIN = Commuting([GaussianBlur(ends="cyclic"), IntegerTranslation(), BrightnessContrast()])
LAWS = {
    "variance": ExponentialLaw(0.5),
    "dx": GaussianLaw(0.7),
    "brightness": GaussianLaw(0.3),
    "contrast": GaussianLaw(0.2),
}
BOX = {"variance": (0, 0.1), "brightness": (-0.05, 0.1), "contrast": (-0.1, 0.05)}
CASES = {
    "blur": (GaussianBlur(), {"variance": ExponentialLaw(1.0)}, None, "pixels²"),
    "shift": (
        IntegerTranslation(),
        dict.fromkeys(("dx", "dy"), GaussianLaw(1.0)),
        None,
        "whole pixels",
    ),
    "brightness": (Brightness(), {"brightness": LaplaceLaw(0.2)}, None, "value"),
    "chain": (CHAIN, LAWS, BOX, "box"),
}


def plain(certificate):
    return dataclasses.replace(certificate, seconds=0.0)


def drawn(certifier, stream, n, index):
    blocks = [
        certifier.law.block(NoiseKey(certifier.seed, index, stream), b, (1, 6, 6), IMAGE.device)
        for b in range(-(-n // 128))
    ]
    return torch.cat(blocks)[:n]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("kind", [ResolvableCertifier, BaseSPTCertifier])
def test_counts_and_radius_are_those_of_a_plain_loop(name, kind):
    transform, laws, box, unit = CASES[name]
    certifier, model = kind(transform, laws, box, n0=30, n=300, seed=5), network()
    c = certifier(model, IMAGE, index=4, label=2)
    for stream, n, votes in (("selection", 30, c.votes0), ("estimation", 300, c.votes)):
        counts = [0, 0, 0]
        for theta in drawn(certifier, stream, n, 4):
            counts[int(model(transform(IMAGE[None], theta[None])).argmax())] += 1
        assert votes == {k: count for k, count in enumerate(counts) if count}
    assert c.candidate == max(c.votes0, key=c.votes0.get)
    assert (c.hits, c.n, c.n0) == (c.votes.get(c.candidate, 0), 300, 30)
    assert c.p_lower == clopper_pearson_lower(c.hits, 300, 0.001)
    assert c.ledger == {"estimation": 0.001}
    assert c.radius_unit == unit
    if box is None:
        expected = next(iter(laws.values())).radius(c.p_lower)
        assert c.radius == expected
    else:
        assert c.radius == certifier.target.radius(c.p_lower)
        held = box_probability(c.p_lower, laws, box, coupled=PAIR) > 0.5
        assert held == (c.radius >= 1)
    assert (c.method, c.guarantee) == (
        ("resolvable", "certified") if kind is ResolvableCertifier else ("base spt", "estimated")
    )
    assert c.parameters["transform"] == repr(transform)
    assert c.parameters["laws"] == {name: law.describe() for name, law in laws.items()}
    assert c.parameters["generator"] == "numpy-philox"
    assert Certificate.from_json(c.to_json()) == c


@pytest.mark.parametrize("batch_size", [3, 100, 128, 500])
@pytest.mark.parametrize("sequential", [False, True])
def test_batches_and_neighbours_change_nothing(batch_size, sequential):
    kind = SequentialResolvableCertifier if sequential else ResolvableCertifier
    own = {"radii": [0.0, 1.0]} if sequential else {}
    settings = {"transform": CHAIN, "laws": LAWS, "box": BOX, "n": 500, **own}
    images, model = torch.rand(6, 1, 6, 6, generator=torch.Generator().manual_seed(1)), network()
    alone = [kind(**settings)(model, images[i], index=i) for i in range(6)]
    order = [5, 2, 0, 3, 1, 4]
    together = kind(**settings, batch_size=batch_size).certify_batch(
        model, images[order], indices=order
    )
    found = sorted(map(plain, together), key=lambda c: c.index)
    assert found == list(map(plain, alone))


def test_the_order_in_which_laws_and_box_are_given_does_not_matter():
    backwards = dict(reversed(LAWS.items()))
    turned = dict(reversed(BOX.items()))
    one = ResolvableCertifier(CHAIN, LAWS, BOX, n=200)
    other = ResolvableCertifier(CHAIN, backwards, turned, n=200)
    model = network()
    assert plain(one(model, IMAGE, index=0)) == plain(other(model, IMAGE, index=0))
    assert json.dumps(one.describe()) == json.dumps(other.describe())


def test_the_certificate_in_bf16_is_of_images_transformed_in_float32():
    seen = []

    class Watcher(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

        def forward(self, x):
            seen.append(x.clone())
            return torch.stack([x.sum((1, 2, 3)), -x.sum((1, 2, 3))], dim=1)

    laws = {"variance": ExponentialLaw(1.0)}
    certifier = ResolvableCertifier(GaussianBlur(), laws, n0=1, n=128, precision="bf16")
    certifier(Watcher(), IMAGE, index=0)
    theta = drawn(certifier, "estimation", 128, 0)
    torch.testing.assert_close(seen[-1], GaussianBlur()(IMAGE[None], theta), atol=1e-6, rtol=0)


def test_all_hits_give_the_largest_radius():
    certifier = ResolvableCertifier(Brightness(), {"brightness": GaussianLaw(0.1)}, n=1000)
    c = certifier(MeanAbove(-5.0), IMAGE, index=0)
    assert c.radius == certifier.largest_radius == pytest.approx(0.1 * 2.463, abs=1e-4)


def test_a_coin_is_abstained_on():
    certifier = ResolvableCertifier(Brightness(), {"brightness": GaussianLaw(0.1)}, n=1000)
    c = certifier(MeanAbove(float(IMAGE.mean())), IMAGE, index=0)
    assert c.abstained
    assert (c.predicted, c.radius) == (-1, 0)


@pytest.mark.parametrize("rule", ["looks", "betting"])
@pytest.mark.parametrize("boxed", [False, True])
def test_decisions_are_those_of_the_bound_at_prefixes_of_one_stream(rule, boxed):
    laws = {"brightness": GaussianLaw(0.2), "contrast": GaussianLaw(0.2)} if boxed else {
        "brightness": GaussianLaw(0.2)
    }  # fmt: skip
    transform = BrightnessContrast() if boxed else Brightness()
    box = {"brightness": (-0.1, 0.1), "contrast": (-0.05, 0.1)} if boxed else None
    radii = [0.0, 0.5, 1.0] if boxed else [0.0, 0.1, 0.2]
    certifier = SequentialResolvableCertifier(transform, laws, radii, box, n=2000, rule=rule)
    decided = set()
    for index, margin in enumerate((0.02, 0.1, 0.2, 0.3, 0.5)):
        model = MeanAbove(float(IMAGE.mean()) - margin)
        c = certifier(model, IMAGE, index=index)
        votes = model(transform(IMAGE[None], drawn(certifier, "estimation", 2000, index)))
        hits = votes.argmax(1) == c.candidate
        assert all(int(hits[:n].sum()) == counted for n, counted in c.looks)
        assert c.looks[-1] == (c.n, c.hits)
        assert c.p_lower == stopping(rule, 2000, 0.001).running([h for _, h in c.looks])
        held = []
        for radius in radii:
            scaled = {k: (radius * low, radius * high) for k, (low, high) in (box or {}).items()}
            needed = (
                box_needed(laws, scaled, coupled=PAIR) if box else laws["brightness"].needed(radius)
            )
            assert (c.decisions[repr(radius)] == "held") == (c.p_lower >= needed)
            held += [radius] if c.p_lower >= needed else []
        assert c.radius == max(held, default=0.0)
        assert c.guarantee == "certified"
        decided |= set(c.decisions.values())
    assert decided >= {"held", "not held"}


def test_decisions_agree_with_a_fixed_number_of_draws():
    laws = {"variance": ExponentialLaw(1.0)}
    fixed = ResolvableCertifier(GaussianBlur(), laws, n=4000)
    sequential = SequentialResolvableCertifier(GaussianBlur(), laws, [0.0, 0.3, 0.8], n=4000)
    generator, drawn_all, agreed = torch.Generator().manual_seed(2), 0, 0
    for index in range(12):
        model, image = network(index), torch.rand(1, 6, 6, generator=generator)
        one, other = (c(model, image, index=index) for c in (fixed, sequential))
        drawn_all += other.n
        agreed += other.radius == max(
            (r for r in sequential.radii if one.p_lower >= sequential.probability_for(r)), default=0
        )
    assert agreed >= 11
    assert drawn_all < 12 * 4000 / 3


def test_an_estimate_says_so_also_where_it_decides():
    laws = {"angle": GaussianLaw(20.0)}
    c = SequentialBaseSPTCertifier(Rotation(), laws, [5.0], n=500)(network(), IMAGE, index=0)
    assert (c.guarantee, c.method, c.radius_unit) == (
        "estimated", "base spt sequential", "degrees",
    )  # fmt: skip
    fixed = BaseSPTCertifier(Rotation(), laws, n=500).for_validation(n0=5, n=10)
    assert type(fixed) is BaseSPTCertifier
    assert fixed(network(), IMAGE, index=0).guarantee == "estimated"


class Unsaid(Transform):
    """Composes in a way of its own, and not as brightness and contrast do."""

    parameters = (Parameter(name="a", unit="none"),)
    composition = "resolvable"

    def _apply(self, images, theta):
        return images * (1 + theta.reshape(-1, 1, 1, 1) ** 3)


@pytest.mark.parametrize("kind", [ResolvableCertifier, SequentialResolvableCertifier])
@pytest.mark.parametrize(
    ("transform", "laws", "words"),
    [
        (Rotation(), {"angle": GaussianLaw(10.0)}, r"Rotation\(\) does not.*BaseSPTCertifier"),
        (Translation(), {"dx": GaussianLaw(2.0)}, "does not.*BaseSPTCertifier"),
        (IntegerTranslation("zero"), {"dx": GaussianLaw(2.0)}, "other paddings can be enumerated"),
        (IntegerTranslation("reflected"), {"dx": GaussianLaw(2.0)}, "enumerated"),
        (SampledGaussianBlur(), {"variance": ExponentialLaw(1.0)}, "does not"),
        (Compose([Brightness(), Contrast()]), {"brightness": GaussianLaw(0.1)}, "does not"),
        (Compose([GaussianBlur()]), {"variance": ExponentialLaw(1.0)}, "does not"),
        (BrightnessContrast(), {"brightness": GaussianLaw(0.1)}, "laws of both"),
        (CHAIN, {"dx": GaussianLaw(0.1), "contrast": GaussianLaw(0.1)}, "laws of both"),
        (Unsaid(), {"a": GaussianLaw(0.1)}, "composes in another way"),
    ],
)
def test_what_does_not_compose_is_not_certified(kind, transform, laws, words):
    own = {"radii": [0.0]} if kind is SequentialResolvableCertifier else {}
    for box in (None, {name: (0.0, 0.01) for name in laws}):
        with pytest.raises(InputError, match=words):
            kind(transform, laws, box=box, **own)


def test_the_class_that_says_neither_cannot_be_made():
    with pytest.raises(TypeError, match="abstract"):
        ParameterCertifier(GaussianBlur(), {"variance": ExponentialLaw(1.0)})


@pytest.mark.parametrize("kind", [ResolvableCertifier, BaseSPTCertifier])
@pytest.mark.parametrize(
    ("transform", "laws", "box", "words"),
    [
        (CHAIN, LAWS, None, "`box` of attacks.*no unit in common: give"),
        (BrightnessContrast(), dict.fromkeys(PAIR, GaussianLaw(0.1)), None, "`box` of attacks"),
        (IntegerTranslation(), {"dx": GaussianLaw(1.0), "dy": GaussianLaw(2.0)}, None, "`box`"),
        (IntegerTranslation(), dict.fromkeys(("dx", "dy"), UniformLaw(1.0)), None, "`box`"),
        (BrightnessContrast(), dict.fromkeys(PAIR, LaplaceLaw(0.1)), {"contrast": (0, 1)}, "Gauss"),
        (CHAIN, LAWS, {"dy": (-1, 1)}, r"parameters with noise.*\['dy'\]"),
        (CHAIN, LAWS, {"variance": (-0.1, 0.1)}, "at least 0 under exponential"),
        (CHAIN, LAWS, {"dx": (1, 2)}, "around 0"),
        (CHAIN, LAWS, {"dx": (0, 0)}, "more than the point 0"),
        (CHAIN, LAWS, {}, "more than the point 0"),
        (CHAIN, LAWS, {"dx": (0, math.inf)}, "finite"),
        (GaussianBlur(), {"sigma": ExponentialLaw(1.0)}, None, r"one or more of variance"),
        (GaussianBlur(), {}, None, "but got none"),
        (GaussianBlur(), {"variance": GaussianLaw(1.0)}, None, "never below 0: ExponentialLaw"),
    ],
)
def test_laws_and_boxes_that_do_not_fit_are_refused_with_the_way_out(
    kind, transform, laws, box, words
):
    with pytest.raises(InputError, match=words):
        kind(transform, laws, box)


@pytest.mark.parametrize("radii", [[], [-0.1], [0.1, 9.0], [math.nan]])
def test_radii_that_cannot_be_decided_are_refused(radii):
    with pytest.raises(InputError, match=r"from 0 to 0\.2463 value"):
        SequentialResolvableCertifier(
            Brightness(), {"brightness": GaussianLaw(0.1)}, radii, n=1000, rule="looks", alpha=0.002
        )


def test_a_part_of_a_chain_needs_no_law_for_the_rest():
    # Neither brightness nor contrast is drawn: the chain is a blur and a translation.
    shifts = dict.fromkeys(("dx", "dy"), GaussianLaw(1.0))
    certifier = ResolvableCertifier(CHAIN, shifts, n=1000)
    assert certifier.radius_unit == "whole pixels"
    assert certifier.radius_of(0.9) == GaussianLaw(1.0).radius(0.9)
    boxed = ResolvableCertifier(CHAIN, {**shifts, "variance": ExponentialLaw(0.5)}, {"dx": (-1, 1)})
    assert boxed.target.describe() == {"box": {"dx": [-1.0, 1.0]}}
    theta = certifier.law.block(NoiseKey(0, 0, "estimation"), 0, (1, 6, 6), IMAGE.device)
    assert theta[:, [0, 3, 4]].abs().max() == 0


@pytest.mark.parametrize("name", CASES)
def test_validation_keeps_law_and_box_and_draws_elsewhere(name):
    transform, laws, box, _ = CASES[name]
    model = network(2)
    for certifier in (
        ResolvableCertifier(transform, laws, box, n0=400, n=400, seed=3, alpha=0.01),
        SequentialResolvableCertifier(
            transform, laws, [0.0], box, n0=400, n=400, seed=3, alpha=0.01
        ),
    ):
        validation = certifier.for_validation(n0=400, n=400)
        assert type(validation) is ResolvableCertifier
        assert (validation.law.laws, validation.box) == (certifier.law.laws, certifier.box)
        assert (validation.alpha, validation.seed, validation.draws) == (0.01, 3, 800)
        c = validation(model, IMAGE, index=1)
        for stream, votes in (("selection", c.votes0), ("estimation", c.votes)):
            theta = drawn(validation, f"validation {stream}", 400, 1)
            counts = model(transform(IMAGE[None], theta)).argmax(1).bincount(minlength=3)
            assert votes == {k: int(v) for k, v in enumerate(counts) if v}


@pytest.mark.parametrize("name", CASES)
def test_descriptions_are_plain_and_tell_settings_apart(name):
    transform, laws, box, _ = CASES[name]
    one = ResolvableCertifier(transform, dict(laws), box and dict(box), n=100)
    same = ResolvableCertifier(transform, laws, box, n=100, batch_size=7)
    assert json.loads(json.dumps(one.describe())) == one.describe() == same.describe()
    wider = {name: type(law)(*[2 * v for v in vars(law).values()]) for name, law in laws.items()}
    others = [
        ResolvableCertifier(transform, laws, box, n=101),
        ResolvableCertifier(transform, laws, box, n=100, seed=1),
        BaseSPTCertifier(transform, laws, box, n=100),
        *([ResolvableCertifier(transform, laws, {**box, "dx": (-1, 1)}, n=100)] if box else
          [ResolvableCertifier(transform, wider, box, n=100)]),
        SequentialResolvableCertifier(transform, laws, [0.0], box, n=100),
    ]  # fmt: skip
    descriptions = [json.dumps(c.describe()) for c in (one, *others)]
    assert len(set(descriptions)) == len(descriptions)


def test_predict_asks_the_same_smoothed_classifier():
    laws = {"brightness": GaussianLaw(0.2)}
    certifier = ResolvableCertifier(Brightness(), laws, n=1000)
    sure = certifier.predict(MeanAbove(float(IMAGE.mean()) - 0.3), IMAGE, index=0)
    assert (sure.predicted, sure.p_value <= 0.001) == (1, True)
    theta = drawn(certifier, "prediction", 1000, 0)
    hits = int((theta[:, 0] > -0.3).sum())
    assert abs(sure.votes[1] - hits) <= 1  # but for a draw within rounding of the threshold
    assert certifier.predict(MeanAbove(float(IMAGE.mean())), IMAGE, index=0).abstained


def test_pixels_and_parameters_are_different_noise():
    gaussian = GaussianCertifier(0.2, n=100).describe()
    parameter = ResolvableCertifier(Brightness(), {"brightness": GaussianLaw(0.2)}, n=100)
    assert gaussian["method"] != parameter.describe()["method"]
