"""Local intrinsic dimensionality where it is known, and the detector's decisions."""

import math

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from lightning_smooth.defenses import Defended, LIDDetector, local_dimension, rejection_class
from lightning_smooth.errors import InputError
from lightning_smooth.experiment import built
from lightning_smooth.models import LeNet


def test_the_estimate_by_hand():
    distances = torch.tensor([[3.0, 1.0, 0.0, 2.0, 50.0], [5.0, 0.0, 0.0, 0.0, 2.0]])
    expected = 3 / (math.log(3) + math.log(1.5))
    assert local_dimension(distances, 3).tolist() == pytest.approx([expected, 0.0])
    flat = local_dimension(torch.ones(1, 5), 4)
    assert float(flat) == pytest.approx(1e6), "all equally far: as many dimensions as it can say"


@pytest.mark.parametrize("dimension", [1, 2, 5])
@pytest.mark.parametrize("neighbours", [10, 20])
def test_points_of_a_known_dimension(dimension, neighbours):
    # In a ball of d dimensions around a point, ln(r_k / r_i) are ordered draws of Exp(d): their sum
    # is Gamma(k - 1, d), and the mean of k / sum is d k / (k - 2).
    torch.manual_seed(0)
    points = torch.randn(3000, 300, dimension + 1, dtype=torch.float64)[..., :dimension]
    points = points / points.norm(dim=2, keepdim=True)
    radii = torch.rand(3000, 300, 1, dtype=torch.float64) ** (1 / dimension)
    distances = (points * radii).norm(dim=2)
    got = local_dimension(distances, neighbours)
    expected = dimension * neighbours / (neighbours - 2)
    assert float(got.mean()) == pytest.approx(expected, abs=5 * float(got.std()) / 3000**0.5)
    assert float(got.std()) / 3000**0.5 < 0.02 * expected


def test_a_subspace_has_its_own_dimension():
    torch.manual_seed(0)
    basis = torch.linalg.qr(torch.randn(30, 3))[0]
    points = (torch.rand(4000, 3) - 0.5) @ basis.mT
    centres = (torch.rand(200, 3) - 0.5) * 0.4 @ basis.mT
    got = local_dimension(torch.cdist(centres, points), 40).mean()
    assert float(got) == pytest.approx(3 * 40 / 38, rel=0.06)


def test_the_estimate_has_its_gradient():
    distances = torch.rand(3, 30, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda d: local_dimension(d, 5), distances)
    near = torch.tensor([[0.0, 0.0, 1.0, 2.0]], requires_grad=True)
    (slope,) = torch.autograd.grad(local_dimension(near, 3).sum(), near)
    assert torch.equal(slope, torch.zeros(1, 4)), "none where too few are left, and no NaN"


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 4)).eval()


def images(count, spread, seed):
    """On a plane within [0, 1]^16, but for `spread`."""
    generator = torch.Generator().manual_seed(seed)
    plane = torch.rand(2, 16, generator=torch.Generator().manual_seed(9)) - 0.5
    points = (torch.rand(count, 2, generator=generator) - 0.5) @ plane + 0.5
    return (points + spread * torch.randn(count, 16, generator=generator)).view(count, 1, 4, 4)


@pytest.fixture
def fitted():
    detector = LIDDetector(network(), ["0", "2"], images(60, 0, 1), neighbours=10, num_classes=4)
    share = detector.fit(images(200, 0, 2), images(200, 0.001, 3), images(200, 0.1, 4))
    assert share > 0.9
    return detector


def test_images_off_the_manifold_are_rejected(fitted):
    clean, attacked = images(300, 0, 5), images(300, 0.1, 6)
    assert rejection_class(Defended(nn.Identity(), fitted)) == fitted.rejection_class == 4
    for batch, rejected in ((clean, False), (attacked, True)):
        scores = fitted(batch)
        assert scores.shape == (300, 5)
        assert torch.equal(scores[:, :4], fitted.model(batch))
        told = scores.argmax(dim=1) == 4
        assert float((told == rejected).double().mean()) > 0.9
        assert torch.equal(told, fitted.log_odds(fitted.dimensions(batch)) > 0)


def test_dimensions_are_those_of_the_layers(fitted):
    batch = images(7, 0.05, 7)
    seen = fitted.dimensions(batch)
    for column, layer in enumerate((fitted.model[0], fitted.model[:3])):
        distances = (layer(batch)[:, None] - layer(fitted.reference)).square().sum(dim=2).sqrt()
        torch.testing.assert_close(seen[:, column], local_dimension(distances, 10))
    assert fitted.dimensions(images(300, 0, 5))[:, 0].mean() < 4, "a plane has 2: 2 k / (k - 2)"
    assert not fitted.model[0]._forward_hooks


def test_rejection_does_not_drown_in_large_scores(fitted):
    clean, attacked = images(200, 0, 5), images(200, 0.1, 6)
    before = [fitted(batch).argmax(dim=1) == 4 for batch in (clean, attacked)]
    with torch.no_grad():
        fitted.model[3].bias += 1e9
    after = [fitted(batch).argmax(dim=1) == 4 for batch in (clean, attacked)]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_the_threshold_is_a_probability(fitted):
    batch = torch.cat([images(50, spread, 8) for spread in (0.002, 0.005, 0.01, 0.02, 0.03, 0.05)])
    counts = []
    for threshold in (0.1, 0.5, 0.9):
        fitted.threshold = threshold
        odds = (fitted.dimensions(batch) - fitted.mean) / fitted.scale @ fitted.slope
        likely = (odds + fitted.intercept).sigmoid()
        told = fitted(batch).argmax(dim=1) == 4
        assert torch.equal(told, likely > threshold)
        counts.append(int(told.sum()))
    assert counts[0] > counts[1] > counts[2]


def test_scores_have_the_true_gradient(fitted):
    fitted.double()
    batch = images(5, 0.05, 9).double().requires_grad_()
    (slope,) = torch.autograd.grad(fitted(batch)[:, 4].sum(), batch)
    way = torch.rand_like(batch)
    up, down = (fitted(batch + s * way)[:, 4].sum() for s in (1e-6, -1e-6))
    torch.testing.assert_close((slope * way).sum(), (up - down) / 2e-6, rtol=1e-5, atol=1e-6)


def test_the_state_round_trips(fitted, tmp_path):
    save_file(fitted.state_dict(), tmp_path / "detector.safetensors")
    settings = {
        "neighbours": 10,
        "num_classes": 4,
        "weights": str(tmp_path / "detector.safetensors"),
    }
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 4)).eval()
    other = LIDDetector(model, ["0", "2"], **settings)
    assert other.reference.shape == (60, 1, 4, 4)
    batch = images(9, 0.05, 5)
    assert torch.equal(other(batch), fitted(batch))
    with pytest.raises(InputError, match="give the same network and layers"):
        LIDDetector(network(), ["0"], **settings)


def test_it_is_built_from_a_file(tmp_path):
    detector = LIDDetector(LeNet(), ["features.1", "head.2"], torch.rand(30, 1, 28, 28))
    detector.fit(*torch.rand(3, 8, 1, 28, 28))
    save_file(detector.state_dict(), tmp_path / "detector.safetensors")
    made = built(
        nn.Module,
        {
            "class_path": "lightning_smooth.defenses.LIDDetector",
            "init_args": {
                "model": {"class_path": "lightning_smooth.models.LeNet"},
                "layers": ["features.1", "head.2"],
                "weights": str(tmp_path / "detector.safetensors"),
            },
        },
    )
    batch = torch.rand(3, 1, 28, 28)
    assert torch.equal(made(batch), detector(batch))


def test_modes_are_put_back():
    detector = LIDDetector(network(), ["0"], images(60, 0, 1), neighbours=10, num_classes=4)
    detector.train()
    detector.model[2].eval()
    detector.fit(images(20, 0, 2), images(20, 0, 3), images(20, 0.1, 4))
    assert detector.training
    assert detector.model[1].training
    assert not detector.model[2].training


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"layers": ["9"]}, "`layers` to name modules.*it has 0, 1, 2, 3"),
        ({"layers": []}, "`layers` to name modules"),
        ({"layers": "0"}, "`layers` to name modules"),
        ({"reference": None}, "`reference` or `weights`, but got neither"),
        ({"weights": "x"}, "`reference` or `weights`, but got both"),
        ({"reference": torch.rand(10, 1, 4, 4)}, "more than `neighbours`=10 images, but got 10"),
        ({"neighbours": 1}, "`neighbours`"),
        ({"num_classes": 0}, "`num_classes`"),
        ({"threshold": 1.0}, "`threshold`"),
    ],
)
def test_bad_arguments_are_named(given, words):
    usual = {"layers": ["0"], "reference": torch.rand(11, 1, 4, 4), "neighbours": 10}
    with pytest.raises(InputError, match=words):
        LIDDetector(network(), **{**usual, **given})


def test_calls_that_cannot_be_answered(fitted):
    with pytest.raises(InputError, match="a fitted detector"):
        LIDDetector(network(), ["0"], images(30, 0, 1))(images(1, 0, 1))
    with pytest.raises(InputError, match="`noisy` to be images of shape"):
        fitted.fit(images(9, 0, 1), torch.rand(9, 1, 5, 5), images(9, 0, 1))
    with pytest.raises(InputError, match="`attacked` to be images"):
        fitted.fit(images(9, 0, 1), images(9, 0, 1), images(0, 0, 1))
    fitted.rejection_class = 7
    with pytest.raises(InputError, match="to give 7 scores"):
        fitted(images(2, 0, 1))
    fitted.model[3] = nn.Identity()
    unused = nn.Sequential(nn.Flatten(), nn.Linear(16, 4))
    unused.extra = nn.Identity()
    unused.forward = lambda x: unused[1](unused[0](x))
    aside = LIDDetector(unused, ["extra"], images(30, 0, 1), num_classes=4)
    with pytest.raises(InputError, match="did not run extra"):
        aside.dimensions(images(2, 0, 1))
