"""PixelDefend's stand-in: the identity, plus what a value says of later ones, by hand."""

import pytest
import torch
from torch import nn

from lightning_smooth.attacks import BPDA, PGD
from lightning_smooth.attacks.replaced import replaced
from lightning_smooth.defenses import Defended, PixelDefend, SoftPixelDefend
from lightning_smooth.errors import InputError
from tests.attacks.images import Linear
from tests.defenses.test_pixeldefend import image, network

BOUND = 40 / 255


def both(channels=1, **settings):
    model = network(channels)
    soft = SoftPixelDefend(model, BOUND, samples=9, **settings).eval()
    return PixelDefend(model, BOUND), soft


def pulled(soft, images, result, slope):
    leaf = images.clone().requires_grad_()
    (found,) = torch.autograd.grad(soft(leaf, result), leaf, slope)
    return found


def jacobian(soft, images, result):
    """A (n, n) of the means by the result, value by value."""
    made = torch.autograd.functional.jacobian(lambda y: soft.means(images, y), result)
    return made.reshape(result.numel(), result.numel())


@pytest.mark.parametrize("channels", [1, 2])
def test_means_depend_on_earlier_values_alone(channels):
    defence, soft = both(channels)
    images = image(1, channels, 3, 4)
    matrix = jacobian(soft, images, defence(images))
    # Raster order: by pixel, then by channel.
    order = torch.arange(matrix.shape[0]).view(channels, 12).mT.flatten()
    ordered = matrix[order][:, order]
    assert torch.equal(ordered, ordered.tril(-1))
    assert float(ordered.abs().max()) > 1e-3


def test_with_no_term_it_is_the_identity():
    defence, soft = both(terms=0)
    images = image(2, 1, 3, 4)
    slope = torch.randn(2, 1, 3, 4, dtype=torch.float64)
    result = defence(images)
    assert torch.equal(pulled(soft, images, result, slope), slope)
    assert torch.equal(soft(images, result), result)


@pytest.mark.parametrize("terms", [1, 3, 12])
def test_the_way_back_is_the_sum_of_powers(terms):
    defence, soft = both(terms=terms)
    images, slope = image(1, 1, 3, 4), torch.randn(1, 1, 3, 4, dtype=torch.float64)
    result = defence(images)
    matrix = jacobian(soft, images, result)
    expected = term = slope.flatten()
    for _ in range(terms):
        term = matrix.mT @ term
        expected = expected + term
    found = pulled(soft, images, result, slope).flatten()
    torch.testing.assert_close(found, expected)
    if terms == 12:  # as many as there are pixels: the whole inverse
        inverse = torch.linalg.inv(torch.eye(12, dtype=torch.float64) - matrix)
        torch.testing.assert_close(found, inverse.mT @ slope.flatten())


def test_sharp_means_are_the_purified_values():
    model = network()
    soft = SoftPixelDefend(model, BOUND, temperature=1e-8, samples=81)
    images = image(3, 1, 4, 4)
    result = PixelDefend(model, BOUND)(images)
    torch.testing.assert_close(soft.means(images, result).detach(), result, rtol=0, atol=1e-6)


def test_bpda_hands_it_what_the_defence_made():
    defence, soft = both(terms=2)
    model = Defended(defence, Linear(shape=(1, 3, 4))).eval()
    images = image(2, 1, 3, 4)
    with replaced({"defense": soft}).installed(model):
        leaf = images.clone().requires_grad_()
        scores = model(leaf)
        (found,) = torch.autograd.grad(scores[:, 0].sum(), leaf)
    assert torch.equal(scores, model(images))
    weight = model.model.weight[0].detach().reshape(1, 1, 3, 4).expand(2, -1, -1, -1)
    torch.testing.assert_close(found, pulled(soft, images, defence(images), weight))


def test_it_climbs_where_the_defence_has_no_gradient():
    defence, soft = both(terms=4)
    model = Defended(defence, Linear(seed=1, shape=(1, 3, 4))).eval()
    images = image(6, 1, 3, 4) / 2 + 0.25
    labels = model(images).argmax(dim=1)
    attack = PGD(0.2, steps=15, step=0.2, gradient=BPDA({"defense": soft}))
    found = attack.attacked(model, images, labels, indices=range(6))
    before, after = (model.model.margin(defence(x), labels) for x in (images, found.clipped))
    assert bool((after > before).all())


def test_inputs():
    for settings, name in (
        ({"terms": -1}, "terms"),
        ({"temperature": 0.0}, "temperature"),
        ({"samples": 1}, "samples"),
    ):
        with pytest.raises(InputError, match=f"`{name}`"):
            SoftPixelDefend(network(), **settings)
    with pytest.raises(InputError, match="PixelCNN"):
        SoftPixelDefend(nn.Linear(1, 1))
    assert "terms=4, temperature=1, samples=17" in repr(SoftPixelDefend(network()))
