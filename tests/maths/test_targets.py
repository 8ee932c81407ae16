"""Targets: radius and bound are one another's inverse, on the safe side, and read back."""

import json
import math

import numpy as np
import pytest
from scipy.stats import norm

from lightning_smooth.errors import InputError, SmoothError
from lightning_smooth.maths.laws import (
    LAWS,
    ExponentialLaw,
    FoldedGaussianLaw,
    GaussianLaw,
    LaplaceLaw,
    OneSidedUniformLaw,
    UniformLaw,
)
from lightning_smooth.maths.resolvable import (
    box_needed,
    box_probability,
    joint_radius,
    parameter_radii,
)
from lightning_smooth.maths.targets import Ball, ScaledBox, target_from

P = [0.5 + 1e-12, 0.51, 0.6, 0.75, 0.9, 0.99, 0.9999, 1 - 1e-9, math.nextafter(1.0, 0.0)]
RADII = [0.0, 1e-9, 0.01, 0.3, 1.0, 2.7]
PAIR = ("b", "k")
BOTH = {"b": GaussianLaw(0.3), "k": GaussianLaw(0.2)}

BALLS = {
    **{kind: Ball({"a": law(1.3)}, "units") for kind, law in LAWS.items()},
    "plane": Ball(dict.fromkeys(("dx", "dy"), GaussianLaw(1.5)), "pixels"),
}
BOXES = {
    "gaussian": ScaledBox({"a": GaussianLaw(1.5)}, {"a": (-1, 2)}),
    "uniform": ScaledBox({"a": UniformLaw(3.0)}, {"a": (-0.7, 0.7)}),
    "one-sided": ScaledBox({"a": OneSidedUniformLaw(3.0)}, {"a": (0, 0.4)}),
    "folded": ScaledBox({"a": FoldedGaussianLaw(3.0)}, {"a": (0, 0.4)}),
    "mixed": ScaledBox(
        {"v": ExponentialLaw(2.0), "dx": GaussianLaw(4.0), "c": LaplaceLaw(1.0)},
        {"v": (0, 1), "dx": (-2, 1), "c": (-0.1, 0.2)},
    ),
    "some": ScaledBox({"v": ExponentialLaw(2.0), "dx": GaussianLaw(4.0)}, {"dx": (-2, 1)}),
    "coupled": ScaledBox(BOTH, {"b": (-0.1, 0.2), "k": (-0.2, 0.1)}, coupled=PAIR),
    "brightness": ScaledBox(BOTH, {"b": (-0.1, 0.2)}, coupled=PAIR),
    "contrast": ScaledBox(BOTH, {"k": (-0.1, 0.2)}, coupled=PAIR),
    "all": ScaledBox(
        {**BOTH, "v": ExponentialLaw(2.0)},
        {"b": (-0.1, 0.1), "k": (-0.1, 0.1), "v": (0, 0.5)},
        coupled=PAIR,
    ),
}
TARGETS = {**BALLS, **{f"box {name}": box for name, box in BOXES.items()}}


def held(box, p, radius):
    """Whether `radius` times a box is certified by a bound p."""
    scaled = {name: (radius * low, radius * high) for name, (low, high) in box.box.items()}
    return box_probability(p, box.laws, scaled, coupled=box.coupled) > 0.5


@pytest.mark.parametrize("name", BALLS)
def test_what_a_radius_needs_certifies_it_and_hardly_less_does(name):
    ball = BALLS[name]
    for radius in RADII:
        p = ball.needed(radius)
        assert 0.5 < p <= 1
        if p < 1:
            assert ball.radius(p) >= radius
            assert ball.radius(max(0.0, p - 1e-9)) <= radius


@pytest.mark.parametrize("name", BOXES)
def test_a_box_is_certified_at_1_by_what_it_needs_and_by_no_less(name):
    box = BOXES[name]
    p = box.needed(1.0)
    assert 0.5 < p < 1
    assert box.radius(p) >= 1
    assert box.radius(math.nextafter(p, 0.0)) < 1
    for other in P:
        assert (box.radius(other) >= 1) == (other >= p) == held(box, other, 1.0)


@pytest.mark.parametrize("name", BOXES)
def test_the_radius_of_a_box_is_the_largest_that_is_held(name):
    box = BOXES[name]
    for p in P:
        radius = box.radius(p)
        if radius > 0:
            assert held(box, p, radius)
            assert not held(box, p, radius * (1 + 1e-12))
            assert box.needed(radius) <= p
        else:
            assert not held(box, p, 1e-9)


@pytest.mark.parametrize("name", TARGETS)
def test_the_radius_grows_with_the_bound_and_starts_above_one_half(name):
    target = TARGETS[name]
    radii = [target.radius(p) for p in P]
    assert radii == sorted(radii)
    assert radii[3] > 0
    assert target.radius(0.0) == target.radius(0.3) == target.radius(0.5) == 0
    needed = [target.needed(r) for r in RADII]
    assert needed == sorted(needed)
    assert needed[0] <= math.nextafter(0.5, 1.0) + 1e-15


@pytest.mark.parametrize("p", [0.6, 0.9, 0.999])
def test_balls_are_joint_radii_and_lines_are_their_laws(p):
    laws = dict.fromkeys(("dx", "dy"), GaussianLaw(1.5))
    assert Ball(laws, "pixels").radius(p) == joint_radius(p, laws)
    for kind, law in LAWS.items():
        assert BALLS[kind].radius(p) == law(1.3).radius(p)
        # A box of one parameter is as large as its radius.
        box = ScaledBox({"a": law(1.3)}, {"a": (0, 0.5)})
        assert 0.5 * box.radius(p) == pytest.approx(law(1.3).radius(p), rel=1e-9)
        assert box.needed(1.0) == pytest.approx(law(1.3).needed(0.5), rel=1e-9)
    radii = parameter_radii(p, BOTH, coupled=PAIR)
    for name in PAIR:
        box = ScaledBox(BOTH, {name: (-0.1, 0.1)}, coupled=PAIR)
        assert 0.1 * box.radius(p) == pytest.approx(radii[name], rel=1e-9)


def test_a_square_of_shifts_is_certified_up_to_its_corner():
    laws = dict.fromkeys(("dx", "dy"), GaussianLaw(1.5))
    box = ScaledBox(laws, {"dx": (-1, 1), "dy": (-1, 0.5)})
    corner = Ball(laws, "pixels").radius(0.95) / math.sqrt(2)
    assert box.radius(0.95) == pytest.approx(corner, rel=1e-9)


def test_exponential_noise_and_a_shift_are_the_closed_form():
    # 1 - (1 - p) e^(r v / m) and then a Gaussian shift of r d / s: held up to PPF(...) = r d / s.
    target = ScaledBox(
        {"v": ExponentialLaw(2.0), "dx": GaussianLaw(4.0)}, {"v": (0, 1), "dx": (-2, 2)}
    )
    radius = target.radius(0.99)
    assert norm.ppf(1 - 0.01 * math.exp(radius / 2)) == pytest.approx(radius / 2, rel=1e-9)


@pytest.mark.parametrize("name", TARGETS)
def test_descriptions_read_back_bit_for_bit(name):
    target = TARGETS[name]
    laws = {key: law.describe() for key, law in target.laws.items()}
    text = json.dumps([laws, target.describe()])
    again = target_from(*json.loads(text))
    assert (type(again), again.unit) == (type(target), target.unit)
    assert again.describe() == target.describe()
    for p in P:
        assert again.radius(p) == target.radius(p)
    for radius in RADII:
        assert again.needed(radius) == target.needed(radius)


GAUSSIAN = {"kind": "gaussian", "scale": 1.0}


@pytest.mark.parametrize(
    ("laws", "described"),
    [
        ({}, {"unit": "pixels"}),
        ({}, {"box": {}}),
        ({"a": 5}, {"unit": "pixels"}),
        ({"a": "gaussian"}, {"unit": "pixels"}),
        ({"a": None}, {"unit": "pixels"}),
        ({"a": {"kind": "cauchy", "scale": 1.0}}, {"unit": "pixels"}),
        ({"a": {"kind": "gaussian", "scale": "wide"}}, {"unit": "pixels"}),
        ({"a": {"kind": "gaussian", "scale": -1.0}}, {"unit": "pixels"}),
        ({"a": {"kind": "gaussian"}}, {"unit": "pixels"}),
        ({"a": {"kind": ["gaussian"]}}, {"unit": "pixels"}),
        ({"a": GAUSSIAN}, {}),
        ({"a": GAUSSIAN}, {"box": 3}),
        ({"a": GAUSSIAN}, {"box": {"a": 3}}),
        ({"a": GAUSSIAN}, {"box": {"a": [0, 1, 2]}}),
        ({"a": GAUSSIAN}, {"box": {"a": ["low", "high"]}}),
        ({"a": GAUSSIAN}, {"box": {"a": [None, 1]}}),
        ({"a": GAUSSIAN}, {"box": {"a": [math.nan, 1]}}),
        ({"a": GAUSSIAN}, {"box": {"b": [0, 1]}}),
        ({"a": GAUSSIAN}, {"box": {"a": [0, 1]}, "coupled": ["a", "b"]}),
        ({"a": GAUSSIAN}, {"box": {"a": [0, 1]}, "coupled": ["a"]}),
        ({"a": GAUSSIAN}, {"box": {"a": [0, 1]}, "coupled": 7}),
        ({"a": GAUSSIAN, "b": {"kind": "laplace", "scale": 1.0}}, {"unit": "pixels"}),
        ({"a": GAUSSIAN, "b": {"kind": "gaussian", "scale": 2.0}}, {"unit": "pixels"}),
    ],
)
def test_what_describes_no_target_is_a_sentence(laws, described):
    with pytest.raises(SmoothError, match="Expected"):
        target_from(laws, described)


@pytest.mark.parametrize(
    ("laws", "box", "words"),
    [
        ({"a": GaussianLaw(1.0)}, {"a": (0.1, 1)}, "around 0"),
        ({"a": GaussianLaw(1.0)}, {"a": (-1, -0.1)}, "around 0"),
        ({"a": GaussianLaw(1.0)}, {"a": (0, 0)}, "more than the point 0"),
        ({"a": GaussianLaw(1.0)}, {}, "more than the point 0"),
        ({"a": GaussianLaw(1.0)}, {"a": (1, -1)}, "in order"),
        ({"a": GaussianLaw(1.0)}, {"a": (0, math.inf)}, "finite"),
        ({"a": GaussianLaw(1.0)}, {"c": (0, 1)}, r"\['c'\]"),
        ({"a": ExponentialLaw(1.0)}, {"a": (-0.1, 1)}, "at least 0 under exponential"),
        ({"a": OneSidedUniformLaw(1.0)}, {"a": (-0.1, 1)}, "Use a two-sided law"),
        ({"a": FoldedGaussianLaw(1.0)}, {"a": (-0.1, 1)}, "Use a two-sided law"),
    ],
)
def test_boxes_that_cannot_be_are_refused(laws, box, words):
    with pytest.raises(InputError, match=words):
        ScaledBox(laws, box)


@pytest.mark.parametrize(
    "laws",
    [
        {"a": GaussianLaw(1.0), "b": GaussianLaw(2.0)},
        {"a": GaussianLaw(1.0), "b": LaplaceLaw(1.0)},
        {"a": LaplaceLaw(1.0), "b": LaplaceLaw(1.0)},
        {"a": ExponentialLaw(1.0), "b": ExponentialLaw(1.0)},
    ],
)
def test_laws_without_a_norm_in_common_need_a_box(laws):
    with pytest.raises(InputError, match=r"Expected a `box`.*no one radius for a, b"):
        Ball(laws, "units")


def test_coupled_parameters_have_gaussian_noise_both():
    box = {"b": (-0.1, 0.1), "k": (-0.1, 0.1)}
    for laws in ({"b": GaussianLaw(1.0), "k": LaplaceLaw(1.0)}, {"b": GaussianLaw(1.0)}):
        with pytest.raises(InputError, match=r"Gaussian|noise"):
            ScaledBox(laws, box, coupled=PAIR)


def test_coupling_costs():
    box = {"b": (-0.1, 0.2), "k": (-0.2, 0.1)}
    coupled, free = ScaledBox(BOTH, box, coupled=PAIR), ScaledBox(BOTH, box)
    assert coupled.needed(1.0) > free.needed(1.0) + 0.001
    assert coupled.needed(1.0) == box_needed(BOTH, box, coupled=PAIR)


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf])
def test_radii_and_bounds_out_of_range_are_refused(name, value):
    with pytest.raises(InputError):
        TARGETS[name].needed(value)
    with pytest.raises(InputError):
        TARGETS[name].radius(value)


def test_huge_and_tiny_boxes_are_no_different():
    laws = {"a": GaussianLaw(1.0)}
    for size in np.logspace(-9, 6, 6):
        radius = ScaledBox(laws, {"a": (-size, size)}).radius(0.9999999)
        assert size * radius == pytest.approx(laws["a"].radius(0.9999999), rel=1e-9)
