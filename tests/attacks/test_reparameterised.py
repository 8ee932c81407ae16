"""Attacks on latents: they break what a projection defends, and stay on what a generator gives."""

from collections import OrderedDict

import pytest
import torch
from torch import nn

from lightning_smooth.attacks import (
    BPDA,
    PGD,
    Bypass,
    ReparameterisedAttack,
    ReparameterisedCarliniWagner,
)  # fmt: skip
from lightning_smooth.errors import InputError
from tests.attacks.images import Linear, answered, run

LATENT = 5


class Plane(nn.Module):
    """h(z) = 1/2 + A z, A of orthonormal columns: a plane through the grey image."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(7)
        drawn = torch.randn(16, LATENT, generator=generator, dtype=torch.float64)
        self.basis = nn.Parameter(torch.linalg.qr(drawn).Q)

    def forward(self, z):
        return (0.5 + z.flatten(1) @ self.basis.T).reshape(-1, 1, 4, 4)


class Projection(nn.Module):
    """The nearest image of the plane, without a gradient: g(h(z)) = h(z)."""

    def __init__(self, plane):
        super().__init__()
        self.register_buffer("basis", plane.basis.detach())

    def forward(self, x):
        with torch.no_grad():
            flat = (x - 0.5).flatten(1) @ self.basis @ self.basis.T
        return (0.5 + flat).reshape(x.shape)


def defended():
    plane = Plane()
    model = nn.Sequential(OrderedDict(defense=Projection(plane), model=Linear(seed=5)))
    latents = 0.1 * torch.randn(12, LATENT, generator=torch.Generator().manual_seed(1)).double()
    images = plane(latents).detach()
    return plane, model, images


def closest(plane, model, images, labels):
    """l2 distance to the boundary on the plane, where the slope is its part in the plane."""
    part = model.model.slope(labels) @ plane.basis.detach()
    return -model.model.margin(images, labels) / part.norm(dim=1), part


@pytest.mark.parametrize("norm", ["l2", "linf", "l1"])
def test_a_projection_that_hides_gradients_falls_on_its_own_range(norm):
    plane, model, images = defended()
    bound = {"l2": 0.15, "linf": 0.06, "l1": 0.25}[norm]
    with pytest.raises(InputError, match="shattered"):
        run(PGD(bound, norm), model, images)
    for gradient in (Bypass(["defense"]), BPDA({"defense": "identity"})):
        attack = ReparameterisedAttack(
            plane, LATENT, bound, norm, steps=60, restarts=1, fit=60, gradient=gradient
        )
        found = run(attack, model, images)
        assert 2 < int(found.success.sum()) < 12
        assert float(found.norm.max()) <= bound
    if norm == "l2":
        labels = answered(model, images)
        reach, _ = closest(plane, model, images, labels)
        assert bool(found.success[reach < 0.9 * bound].all())
        assert not bool(found.success[reach > bound].any())


def test_what_is_fooled_in_the_ball_is_h_of_z():
    plane, model, images = defended()
    attack = ReparameterisedAttack(
        plane, [LATENT], 0.3, steps=80, restarts=2, fit=60, gradient=Bypass(["defense"])
    )
    found = run(attack, model, images)
    assert int(found.success.sum()) > 3
    points = found.clipped[found.success]
    torch.testing.assert_close(model.defense(points), points, rtol=0, atol=1e-6)


def test_the_nearest_fooled_point_of_the_range():
    plane, model, images = defended()
    labels = answered(model, images)
    attack = ReparameterisedCarliniWagner(
        plane, LATENT, steps=60, searches=6, rate=0.03, fit=120, gradient=Bypass(["defense"])
    )
    found = run(attack, model, images)
    reach, _ = closest(plane, model, images, labels)
    inside = reach < 0.3  # where the box does not matter
    assert bool(found.success[inside].all())
    assert int(inside.sum()) > 3
    assert bool((found.norm[inside] >= reach[inside] - 1e-9).all())
    assert bool((found.norm[inside] <= 1.1 * reach[inside] + 0.015).all())


def test_starts_are_brought_near_the_image_and_keyed():
    plane, model, images = defended()
    labels = answered(model, images)
    far = ReparameterisedAttack(plane, LATENT, 1e-6, steps=1, restarts=1, fit=0, rate=0.1,
                                gradient=Bypass(["defense"]))  # fmt: skip
    near = ReparameterisedAttack(plane, LATENT, 1e-6, steps=1, restarts=1, fit=150, rate=0.1,
                                 gradient=Bypass(["defense"]))  # fmt: skip
    raw = [run(a, model, images, labels).raw for a in (far, near)]
    assert float((raw[0] - images).flatten(1).norm(dim=1).min()) > 0.3
    assert float((raw[1] - images).flatten(1).norm(dim=1).max()) < 0.02
    some = near.attacked(model, images[[8, 3]], labels[[8, 3]], indices=[8, 3])
    torch.testing.assert_close(some.raw, raw[1][[8, 3]])


def test_the_generator_is_put_back_and_its_weights_take_no_gradient():
    plane, model, images = defended()
    plane.train()
    run(ReparameterisedAttack(plane, LATENT, 0.1, steps=2, restarts=1, fit=2,
                              gradient=Bypass(["defense"])), model, images)  # fmt: skip
    assert plane.training
    assert plane.basis.requires_grad
    assert plane.basis.grad is None


def test_inputs():
    plane, model, images = defended()
    with pytest.raises(InputError, match=r"images \(1, 4, 4\).*latent \(5,\).*\(16,\)"):
        run(ReparameterisedAttack(nn.Linear(5, 16).double(), 5, 0.1), model, images)
    for settings, name in (
        ({"latent": 0}, "latent"), ({"latent": [3, 0]}, "latent"), ({"penalty": 0.0}, "penalty"),
        ({"bound": 0.0}, "bound"), ({"fit": -1}, "fit"), ({"steps": 0}, "steps"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=name):
            ReparameterisedAttack(plane, **{"latent": LATENT, "bound": 0.1, **settings})
