"""CROWN: by hand, exact on affine networks, within what searches find, and on parameters."""

import itertools

import pytest
import torch
from torch import nn

from lightning_smooth.errors import InputError
from lightning_smooth.verify import (
    ParameterForms,
    PixelBox,
    bounded,
    crown_bounds,
    crown_bounds_of_forms,
    crown_margins,
    interval_bounds,
    margins,
)
from tests.verify.networks import SHAPES, images, network
from tests.verify.test_propagation import DOUBLE, cancelling, linear, searched, square

NAMES = ["tiny", "plain", "cyclic"]
"""Networks small enough for backward bounds of every activation."""


def folds():
    return nn.Sequential(
        nn.Flatten(),
        linear([[1.0, 1.0], [1.0, -1.0]]),
        nn.ReLU(),
        linear([[1.0, 1.0], [1.0, -1.0]]),
    )


def test_two_layers_by_hand():
    """Chords (z + 2) / 2 of z in [-2, 2]: their sum is x_1 + 2, their difference x_2."""
    found = crown_bounds(folds(), square(-1.0, -1.0), square(1.0, 1.0))
    assert found.upper[0].tolist() == pytest.approx([3.0, 2.0], abs=1e-5)
    assert found.lower[0].tolist() == pytest.approx([0.0, -2.0], abs=1e-5)
    interval = interval_bounds(folds(), square(-1.0, -1.0), square(1.0, 1.0))
    assert interval.upper[0].tolist() == pytest.approx([4.0, 2.0], abs=1e-5)
    # x_1 in [1, 2], x_2 in [-1, 3/2]: z_1 in [0, 3.5] passes; z_2 in [-.5, 3] has the lower line
    # z_2, so that the difference is at most z_1 - z_2 = 2 x_2
    found = crown_bounds(folds(), square(1.0, -1.0), square(2.0, 1.5))
    assert found.upper[0, 1].item() == pytest.approx(3.0, abs=1e-5)
    assert found.lower[0, 1].item() == pytest.approx(-2.5, abs=0.6)


def test_intermediate_bounds_are_followed_back():
    """(x + 2) - (x + 1) through activations is 1, which intervals do not see."""
    model = nn.Sequential(
        nn.Flatten(), linear([[1.0], [1.0]], [2.0, 1.0]), nn.ReLU(),
        linear([[1.0, -1.0]]), nn.ReLU(), linear([[1.0]]),
    )  # fmt: skip
    low, high = torch.zeros(1, 1, 1, 1, **DOUBLE), torch.ones(1, 1, 1, 1, **DOUBLE)
    loose = crown_bounds(model, low, high)
    tight = crown_bounds(model, low, high, intermediate="crown")
    assert tight.lower.item() == pytest.approx(1.0, abs=1e-5)
    assert tight.upper.item() == pytest.approx(1.0, abs=1e-5)
    assert bool((loose.lower <= tight.lower) & (tight.upper <= loose.upper))
    assert interval_bounds(model, low, high).upper.item() == pytest.approx(2.0, abs=1e-5)


@pytest.mark.parametrize("intermediate", ["interval", "crown"])
def test_affine_networks_are_bounded_exactly(intermediate):
    model = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3), nn.AvgPool2d(2), nn.Conv2d(3, 2, 2),
        nn.Flatten(), nn.Linear(8, 4), nn.Linear(4, 3),
    ).eval()  # fmt: skip
    model[1].running_mean.uniform_(-1, 1)
    center = torch.rand(2, 2, 6, 6, generator=torch.Generator().manual_seed(0), **DOUBLE)
    slopes = torch.stack([torch.autograd.functional.jacobian(model.double(), c[None])[0, :, 0]
                          for c in center])  # fmt: skip
    middle, away = model(center), 0.1 * slopes.abs().flatten(2).sum(dim=2)
    found = crown_bounds(model, center - 0.1, center + 0.1, intermediate=intermediate)
    torch.testing.assert_close(found.lower, middle - away, rtol=0, atol=2e-5)
    torch.testing.assert_close(found.upper, middle + away, rtol=0, atol=2e-5)
    assert bool((found.lower <= middle - away).all())
    assert bool((found.upper >= middle + away).all())
    interval = interval_bounds(model, center - 0.1, center + 0.1)
    assert float((found.upper - found.lower).sum()) < 0.8 * float(
        (interval.upper - interval.lower).sum()
    )


@pytest.mark.parametrize(
    ("intermediate", "name"),
    [*(("interval", name) for name in SHAPES), *(("crown", name) for name in NAMES)],
)
def test_bounds_hold_inside_of_boxes_and_are_not_looser(intermediate, name):
    model, center = network(name), images(name)
    away = torch.tensor([0.001, 0.02])[:, None, None, None]
    lower, upper = center - away, center + away
    steps = bounded(model, SHAPES[name])
    rows = margins(torch.tensor([0, 1]), steps.classes)[:, :3]
    found = crown_bounds(steps, lower, upper, rows, intermediate=intermediate)
    interval = interval_bounds(steps, lower.double(), upper.double(), rows)
    assert bool((found.lower >= interval.lower - 1e-9).all())
    assert bool((found.upper <= interval.upper + 1e-9).all())
    width = (found.upper - found.lower).mean(), (interval.upper - interval.lower).mean()
    assert float(width[0]) < 0.95 * float(width[1])
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for _ in range(40):
            part = torch.rand(center.shape, generator=generator).round()
            point = torch.minimum(torch.maximum(lower + 2 * away * part, lower), upper)
            sums = (rows.double() @ model(point).double()[..., None])[..., 0]
            assert bool((found.lower <= sums).all())
            assert bool((sums <= found.upper).all())
    for k in range(2):
        assert bool((searched(model, lower, upper, rows[:, k]) <= found.upper[:, k]).all())
        assert bool((searched(model, lower, upper, -rows[:, k]) <= -found.lower[:, k]).all())


@pytest.mark.parametrize("intermediate", ["interval", "crown"])
def test_sums_in_any_order_keep_within(intermediate):
    """As a score, and as an activation's input, float32 sums that cancel are within bounds."""
    weight, image, sums = cancelling()
    box = image.double().reshape(1, 1, 1, -1)
    last = nn.Sequential(nn.Flatten(), linear([weight.tolist()]))
    found = crown_bounds(last, box, box, intermediate=intermediate)
    assert all(float(found.lower) <= total <= float(found.upper) for total in sums)
    # the first activation changes nothing, the second one is between bounds on both sides of 0
    inner = linear([weight.tolist()], [0.01])
    model = nn.Sequential(nn.Flatten(), nn.ReLU(), inner, nn.ReLU(), linear([[1.0]]))
    found = crown_bounds(model, box, box, intermediate=intermediate)
    shown = [max(0.0, total + 0.01) for total in sums]
    assert 0.005 < min(shown) < max(shown) < 0.015
    assert all(float(found.lower) <= value <= float(found.upper) for value in shown)


@pytest.mark.parametrize("name", ["resnet", "plain", "standardized"])
def test_a_box_of_one_image_is_as_wide_as_rounding(name):
    model, center = network(name), images(name)
    found = crown_bounds(model, center, center)
    interval = interval_bounds(model, center.double(), center.double())
    with torch.no_grad():
        scores = model(center).double()
    assert bool(((found.lower <= scores) & (scores <= found.upper)).all())
    assert bool((found.upper > found.lower).all())
    assert bool((found.upper - found.lower < interval.upper - interval.lower + 1e-9).all())


def test_backward_bounds_for_activations_are_tighter():
    model, center = network("tiny"), images("tiny").double()
    widths = [
        float((b.upper - b.lower).mean())
        for b in (
            crown_bounds(model, center - 0.03, center + 0.03, intermediate=i)
            for i in ("interval", "crown")
        )
    ]
    assert widths[1] < 0.9 * widths[0]


@pytest.mark.parametrize("intermediate", ["interval", "crown"])
def test_a_batch_is_its_boxes_one_by_one(intermediate):
    for name in ("tiny", "plain"):
        model, center = network(name), images(name, 3).double()
        away = torch.tensor([0.001, 0.01, 0.1], **DOUBLE)[:, None, None, None]
        whole = crown_bounds(model, center - away, center + away, intermediate=intermediate)
        for i in range(3):
            low, high = (center - away)[i : i + 1], (center + away)[i : i + 1]
            alone = crown_bounds(model, low, high, intermediate=intermediate)
            # others may be bounded in a batch too: they can but help
            tolerance = (
                1e-9 if intermediate == "interval" else 1e-2 * float(alone.upper.abs().max())
            )
            torch.testing.assert_close(whole.upper[i : i + 1], alone.upper, rtol=0, atol=tolerance)
            torch.testing.assert_close(whole.lower[i : i + 1], alone.lower, rtol=0, atol=tolerance)


def test_margins_are_the_lower_side():
    model, center = network("small"), images("small").double()
    labels = torch.tensor([3, 9])
    found = crown_margins(model, PixelBox(center - 0.01, center + 0.01), labels)
    whole = crown_bounds(model, center - 0.01, center + 0.01, margins(labels, 10))
    torch.testing.assert_close(found, whole.lower)
    with pytest.raises(InputError, match=r"labels \(B,\) in 0..9"):
        crown_margins(model, PixelBox(center, center), torch.tensor([3, 10]))


def brightened(name, low=-0.1, high=0.1):
    """Images k x + b, linear in contrast k and brightness b."""
    center = images(name).double()
    slopes = torch.stack([center, torch.ones_like(center)], dim=1)
    box = torch.tensor([[0.98, 1.02], [low, high]], **DOUBLE).expand(2, -1, -1)
    zero = torch.zeros_like(center)
    return ParameterForms(slopes, zero, slopes, zero, box), center


@pytest.mark.parametrize("intermediate", ["interval", "crown"])
def test_forms_hold_for_what_they_describe_and_beat_pixels(intermediate):
    model = network("tiny")
    forms, center = brightened("tiny", -0.02, 0.02)
    rows = margins(torch.tensor([1, 2]), 5)
    found = crown_bounds_of_forms(model, forms, rows, intermediate=intermediate)
    pixels = crown_bounds(model, *forms.pixels, rows, intermediate=intermediate)
    assert bool((found.lower >= pixels.lower - 1e-9).all())
    assert float((found.upper - found.lower).mean()) < 0.9 * float(
        (pixels.upper - pixels.lower).mean()
    )
    with torch.no_grad():
        for k, b in itertools.product(
            torch.linspace(0.98, 1.02, 9), torch.linspace(-0.02, 0.02, 9)
        ):
            sums = (rows @ model((k * center + b).float())[..., None])[..., 0].double()
            assert bool((found.lower <= sums).all())
            assert bool((sums <= found.upper).all())


def test_forms_of_an_affine_network_are_exact():
    """Over k in [.98, 1.02] and b in [-.1, .1], a score is w.x k + sum(w) b."""
    forms, center = brightened("plain")
    weight = torch.randn(3, 72, generator=torch.Generator().manual_seed(0))
    model = nn.Sequential(nn.Flatten(), linear(weight.tolist()))
    found = crown_bounds_of_forms(model, forms)
    along = center.flatten(1) @ weight.double().T
    away = 0.02 * along.abs() + 0.1 * weight.double().sum(dim=1).abs()
    torch.testing.assert_close(found.upper, along + away, rtol=0, atol=1e-3)
    torch.testing.assert_close(found.lower, along - away, rtol=0, atol=1e-3)
    assert bool((found.upper >= along + away).all())


def test_forms_that_differ_bound_from_both_sides():
    """p - 1 <= x <= p + 1 with p in [0, 2], and [0, 2] kept as well: x is in [0, 2]."""
    one = torch.ones(1, 1, 1, 1, **DOUBLE)
    box = torch.tensor([[[0.0, 2.0]]], **DOUBLE)
    forms = ParameterForms(one[:, None], -one, one[:, None], one, box)
    assert [float(b) for b in forms.pixels] == pytest.approx([-1.0, 3.0])
    kept = ParameterForms(one[:, None], -one, one[:, None], one, box, (0 * one, 2 * one))
    model = nn.Sequential(nn.Flatten(), linear([[2.0], [-1.0]]))
    assert crown_bounds_of_forms(model, forms).upper[0].tolist() == pytest.approx([6, 1], abs=1e-5)
    assert crown_bounds_of_forms(model, kept).upper[0].tolist() == pytest.approx([4, 0], abs=1e-5)


def test_a_box_is_a_set_of_forms_without_slopes():
    model, center = network("plain"), images("plain").double()
    flat = torch.zeros(2, 1, *SHAPES["plain"], **DOUBLE)
    box = torch.tensor([[[-1.0, 1.0]]], **DOUBLE).expand(2, -1, -1)
    forms = ParameterForms(flat, center - 0.01, flat, center + 0.01, box)
    found = crown_bounds_of_forms(model, forms)
    expected = crown_bounds(model, center - 0.01, center + 0.01)
    torch.testing.assert_close(found.lower, expected.lower, rtol=0, atol=1e-6)


def test_it_runs_where_gradients_are_off():
    model, center = network("small"), images("small")
    expected = crown_bounds(model, center - 0.01, center + 0.01)
    with torch.inference_mode():
        found = crown_bounds(model, center - 0.01, center + 0.01)
    assert torch.equal(found.lower, expected.lower)
    assert not expected.lower.requires_grad


def test_errors_say_what_to_do():
    forms, center = brightened("plain")
    with pytest.raises(InputError, match="`intermediate` to be one of"):
        crown_bounds(network("plain"), center, center, intermediate="none")
    with pytest.raises(InputError, match=r"`up_b` of shape \(2, 2, 6, 6\)"):
        ParameterForms(forms.low_a, forms.low_b, forms.up_a, forms.up_b[:1], forms.box)
    with pytest.raises(InputError, match="`low_a` of shape"):
        ParameterForms(forms.low_b, forms.low_b, forms.up_a, forms.up_b, forms.box)
    with pytest.raises(InputError, match="least value above"):
        ParameterForms(forms.low_a, forms.low_b, forms.up_a, forms.up_b, forms.box.flip(-1))
    with pytest.raises(InputError, match="finite"):
        ParameterForms(forms.low_a * float("nan"), forms.low_b, forms.up_a, forms.up_b, forms.box)
    with pytest.raises(InputError, match="`within`"):
        ParameterForms(forms.low_a, forms.low_b, forms.up_a, forms.up_b, forms.box,
                       (center[:1], center[:1]))  # fmt: skip
