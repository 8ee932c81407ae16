"""Certificates in a surrogate's latents, against the smoothed classifier itself."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from scipy.special import ndtri
from torch import nn

from lightning_smooth.certify import CoverCertifier, GSmoothCertifier, PathCertifier
from lightning_smooth.certify.path import Decoded
from lightning_smooth.certify.ranges import MOST_CELLS
from lightning_smooth.errors import InputError
from lightning_smooth.models.surrogate import SurrogateNetwork
from lightning_smooth.records.audit_case import subject
from lightning_smooth.records.certificate import Certificate
from lightning_smooth.smoothing import NoiseKey
from lightning_smooth.transforms import MotionBlur, Occlusion, Rotation, Translation

IMAGE = torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(0))
BOX = {"angle": (-25.0, 25.0)}
DRAWS = 20_000


def surrogate(encoder="conv", seed=0, transform=None, box=None):
    torch.manual_seed(seed)
    made = SurrogateNetwork(
        transform or Rotation(), box or BOX, (1, 8, 8), encoder=encoder, parts=8, directions=3
    )
    with torch.no_grad():
        nn.init.normal_(made.decoder.synthesis.weight, std=0.1)
        made.motion.vectors.mul_(2.0)
    return made.eval()


class Tilted(nn.Module):
    """Two classes on either side of a plane, which IMAGE has a distance from."""

    def __init__(self, seed, margin):
        super().__init__()
        weight = torch.randn(64, generator=torch.Generator().manual_seed(seed))
        self.weight = nn.Parameter(weight / weight.norm())
        self.cut = float(IMAGE.flatten() @ self.weight) - margin

    def forward(self, x):
        score = x.flatten(1) @ self.weight - self.cut
        return torch.stack([-score, score], dim=1)


def probabilities(certifier, model, latents, draws=DRAWS):
    """P(class 1) at each latent, with the same draws for all: what they differ by is exact."""
    classifier = certifier.smooth(model)
    generator = torch.Generator().manual_seed(7)
    noise = classifier.law.like(torch.zeros(draws, *latents.shape[1:]), generator)
    with torch.no_grad():
        hits = [classifier.model(latent + noise).argmax(dim=1).float().mean() for latent in latents]
    return np.array([float(h) for h in hits])


SCALES = {"angle": 8.0}
FEW = {"n0": 20, "n": 2000, "sigma": 0.4}
CERTIFIERS = {
    "path": lambda: PathCertifier(surrogate("conv"), SCALES, **FEW),
    "path, identity": lambda: PathCertifier(surrogate("identity"), SCALES, **FEW),
    "path, latents alone": lambda: PathCertifier(surrogate("conv"), **FEW),
    "gsmooth": lambda: GSmoothCertifier(surrogate("conv"), SCALES, **FEW),
    "theorem 2": lambda: GSmoothCertifier(surrogate("conv"), SCALES, best=False, **FEW),
}


@pytest.mark.parametrize("name", CERTIFIERS)
@pytest.mark.parametrize("seed", [0, 1])
def test_probabilities_change_by_no_more_than_it_costs(name, seed):
    certifier = CERTIFIERS[name]()
    cells = certifier.cells(IMAGE.double())
    costs = certifier.costs(cells)
    chosen = torch.linspace(0, len(costs.latents) - 1, 9).long()
    p = probabilities(certifier, Tilted(seed, 0.1), costs.latents[chosen])
    shown = ndtri(p.clip(0.5 / DRAWS, 1 - 0.5 / DRAWS))
    error = 5 * np.sqrt(p * (1 - p) / DRAWS) / np.exp(-(shown**2) / 2) * np.sqrt(2 * np.pi)
    for first, vertex in enumerate(chosen.tolist()):
        for second, other in enumerate(chosen.tolist()):
            nearby = (cells.corners == other).any(dim=1).numpy()
            cost = costs.cells[vertex][nearby].min()
            assert abs(shown[first] - shown[second]) <= cost + error[first] + error[second]
    assert p.max() - p.min() > 0.02  # there is something to bound


@pytest.mark.parametrize("name", CERTIFIERS)
def test_the_class_holds_wherever_it_is_certified(name):
    certifier, model = CERTIFIERS[name](), Tilted(1, 0.35 if "path" in name else 0.9)
    certificate = certifier(model, IMAGE, index=0, label=1)
    assert certificate.predicted == 1
    assert certificate.radius > 0.03
    assert certificate.guarantee == ("certified" if "path" in name else "surrogate")
    angles = certificate.radius * torch.linspace(-25, 25, 41)[:, None]
    if certificate.guarantee == "certified":
        images = Rotation()(IMAGE[None], angles)
    else:
        network = certifier.surrogate
        with torch.no_grad():
            images = network.decode(network.encode(IMAGE[None]) + network.move(angles))
    p = probabilities(certifier, model, certifier.encoded(images), draws=4000)
    assert (p > 0.5 - 3 * np.sqrt(0.25 / 4000)).all()


def test_noise_on_parameters_moves_a_certificate_towards_what_moves_with_it():
    # Latents that move as F1 does cost 1/scale a degree, and no more than noise in latents alone.
    network = surrogate("identity")
    alone = PathCertifier(network, **FEW)
    both = PathCertifier(network, SCALES, **FEW)
    slopes, _ = network.slopes()
    start = np.zeros(slopes.shape[1])
    along = slopes.mean(dim=0)[:, 0].numpy() * 5
    pair = np.stack([start, along])
    assert both.shift.pairs(pair)[0, 1] < 0.9 * alone.shift.pairs(pair)[0, 1]


def test_with_an_isometry_and_no_noise_on_parameters_it_is_the_cover():
    settings = {"radii": [1.0], "n": 2000}
    path = PathCertifier(surrogate("identity"), sigma=0.3, **settings)
    cover = CoverCertifier(Rotation(), BOX, 0.3, **settings)
    cells = cover.cells(IMAGE.double())
    np.testing.assert_allclose(path.costs(cells).cells, cover.costs(cells).cells, rtol=1e-6)


@pytest.mark.parametrize("name", ["path", "gsmooth", "theorem 2"])
def test_records_are_computed_again(name):
    certificate = CERTIFIERS[name]()(Tilted(1, 0.35), IMAGE, index=2)
    again = Certificate.from_json(certificate.to_json())
    assert again == certificate
    found = subject(again, {})
    assert not found.failure
    assert found.verdicts[1].radius == pytest.approx(certificate.radius, abs=1e-12)
    assert found.recomputed.guarantee == certificate.guarantee


def test_the_rate_of_theorem_2_is_bracketed_in_the_record():
    certificate = CERTIFIERS["theorem 2"]()(Tilted(1, 0.35), IMAGE, index=2)
    lower, upper = (certificate.measured[f"rate_{end}"] for end in ("lower", "upper"))
    assert 1 / 8 <= lower <= upper <= 1.2 * lower
    # What is not below it: the rate at a pair of parameters, by differentiation.
    network = surrogate("conv").double()
    latent = network.encode(IMAGE[None].double())

    def moved(angle):
        image = network.decode(latent + network.move(angle[None, None]))
        return network.encode(image).flatten()

    rates = []
    for angle in torch.linspace(-25, 25, 11, dtype=torch.float64):
        speed = torch.autograd.functional.jvp(moved, angle, torch.ones_like(angle))[1]
        slope = network.motion.jacobian(torch.zeros(1, 1, dtype=torch.float64))[0, :, 0]
        rates.append(np.hypot(1 / 8, float((speed - slope).norm()) / 0.4))
    assert max(rates) <= upper * 1.001


def test_the_best_k_costs_no_more_than_theorem_2():
    best, paper = (CERTIFIERS[name]() for name in ("gsmooth", "theorem 2"))
    cells = best.cells(IMAGE.double())
    assert (best.costs(cells).cells <= paper.costs(cells).cells * (1 + 1e-6) + 1e-6).all()


def test_intervals_are_split_where_the_surrogate_moves_fast():
    made = surrogate("identity")
    with torch.no_grad():  # a fit of a jump
        made.motion.inner[0, 0], made.motion.shift[0, 0] = 300.0, -150.0
        made.motion.outer[0, 0] = 3.0
    whole = GSmoothCertifier(made, sigma=1e4, cells=40).cells(IMAGE)
    split = GSmoothCertifier(made, sigma=0.5, cells=40).cells(IMAGE)
    assert len(whole.low) == 40
    assert 60 < len(split.low) < MOST_CELLS
    assert float(split.stray.max()) <= 2.5 * 0.1 * 0.5 < float(whole.stray.max()) / 3
    assert torch.equal(split.low[1:], split.high[:-1])
    assert set(whole.low.flatten().tolist()) <= set(split.low.flatten().tolist())
    rough = GSmoothCertifier(made, sigma=0.001, cells=40).cells(IMAGE)
    assert MOST_CELLS - 16 < len(rough.low) <= MOST_CELLS


@pytest.mark.parametrize("jump", [3e2, 1e6])
def test_between_vertices_the_surrogate_strays_no_further_than_it_says(jump):
    made = surrogate("identity", box={"angle": (0.0, 10.0)})
    with torch.no_grad():
        made.motion.inner[0, 0], made.motion.shift[0, 0] = jump, -jump / 2
        made.motion.outer[0, 0] = 3.0
    certifier = GSmoothCertifier(made, sigma=0.25, cells=16)
    cells, exact = certifier.cells(IMAGE), copy.deepcopy(made).double()
    latent = made.encode(IMAGE[None]).double()
    ends = cells.images[cells.corners].flatten(2)
    for part in (0.0, 0.1, 0.5, 0.8, 1.0):
        theta = cells.low + part * (cells.high - cells.low)
        with torch.no_grad():
            images = exact.decode(latent + exact.move(theta)).flatten(1)
        away = (ends - images[:, None]).norm(dim=2).amin(dim=1)
        assert (away <= cells.stray + 1e-9).all()


def test_the_surrogate_is_bound_to_the_records():
    first = PathCertifier(surrogate("conv", seed=0), sigma=0.4)
    second = PathCertifier(surrogate("conv", seed=1), sigma=0.4)
    assert first.describe() != second.describe()


def test_the_classifier_decodes_before_it_answers():
    certifier, model = PathCertifier(surrogate("conv"), sigma=0.4), Tilted(0, 0.1)
    classifier = certifier.smooth(model)
    assert isinstance(classifier.model, Decoded)
    latents = certifier.encode(IMAGE[None])
    assert latents.shape[1:] == certifier.surrogate.latent_shape
    wanted = model(certifier.surrogate.decode(latents))
    torch.testing.assert_close(classifier.model(latents), wanted)


def test_batches_change_nothing():
    certifier, model = CERTIFIERS["path"](), Tilted(1, 0.35)
    alone = certifier(model, IMAGE, index=3)
    both = certifier.certify_batch(model, [IMAGE.flip(1), IMAGE], indices=[9, 3])
    (same,) = (c for c in both if c.index == 3)
    assert dataclasses.replace(same, seconds=0) == dataclasses.replace(alone, seconds=0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PathCertifier(surrogate(), box={"angle": (-30.0, 5.0)}), "wider"),
        (lambda: PathCertifier(surrogate(), {"scale": 1.0}), "scales"),
        (lambda: PathCertifier(surrogate(), {"angle": 0.0}), "scales"),
        (lambda: PathCertifier(surrogate(), sigma=0.0), "sigma"),
        (lambda: GSmoothCertifier(surrogate(), best=False), "scales"),
        (
            lambda: GSmoothCertifier(
                surrogate(transform=Translation(), box={"dx": (-1.0, 1.0), "dy": (-1.0, 1.0)})
            ),
            "one parameter",
        ),
        (
            lambda: PathCertifier(surrogate(transform=Occlusion(), box={"side": (0.0, 3.0)})),
            "variation",
        ),
        (
            lambda: PathCertifier(surrogate())(Tilted(0, 0.1), torch.rand(1, 9, 9), index=0),
            "8",
        ),
    ],
)
def test_what_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_a_surrogate_of_any_transformation_has_a_surrogate_s_certificate():
    network = surrogate(transform=MotionBlur(), box={"length": (0.0, 3.0)})
    certificate = GSmoothCertifier(network, {"length": 1.0}, **FEW)(Tilted(1, 0.5), IMAGE, index=0)
    assert certificate.guarantee == "surrogate"
    assert certificate.radius > 0


@pytest.mark.parametrize(
    "box", [{"length": (0.0, 3.0)}, {"length": (0.0, 1.0), "angle": (-40.0, 60.0)}]
)
def test_motion_blur_has_a_certificate_of_its_own_images(box):
    network, model = surrogate(transform=MotionBlur(), box=box), Tilted(1, 1.5)
    certifier = PathCertifier(network, dict.fromkeys(box, 8.0), **FEW)
    certificate = certifier(model, IMAGE, index=0)
    assert certificate.guarantee == "certified"
    assert certificate.radius > 0
    ends = torch.tensor(list(box.values()), dtype=torch.float64) * certificate.radius
    share = torch.rand(20, len(box), generator=torch.Generator().manual_seed(0)).double()
    parts = ends[:, 0] + (ends[:, 1] - ends[:, 0]) * share
    theta = MotionBlur().theta(**{name: parts[:, k] for k, name in enumerate(box)})
    latents = certifier.encoded(MotionBlur()(IMAGE[None].double(), theta))
    p = probabilities(certifier, model, latents, draws=4000)
    assert (p > 0.5 - 3 * np.sqrt(0.25 / 4000)).all()


def test_bounds_and_noise_are_not_rounded_to_bfloat16():
    full, half = (
        PathCertifier(surrogate("conv"), SCALES, precision=precision, **FEW)
        for precision in ("float32", "bf16")
    )
    noise = full.law.block(NoiseKey(0, 0, "estimation"), 0, (2, 8, 8), torch.device("cpu"))
    with torch.autocast("cpu", torch.bfloat16):
        again = half.law.block(NoiseKey(0, 0, "estimation"), 0, (2, 8, 8), torch.device("cpu"))
        latent = half.encode(IMAGE[None])
    assert torch.equal(noise, again)
    assert torch.equal(latent, full.encode(IMAGE[None]))
    certificate = half(Tilted(1, 0.5), IMAGE, index=0)
    assert certificate.parameters["precision"] == "bf16"


def test_a_certifier_keeps_the_surrogate_that_it_was_given():
    network = surrogate("conv")
    certifier = PathCertifier(network, SCALES, **FEW)
    before = certifier.describe()
    with torch.no_grad():
        network.motion.vectors.mul_(5)
    assert certifier.describe() == before
    assert all(p.requires_grad for p in network.parameters())
    slopes, _ = certifier.surrogate.slopes()
    assert float(slopes.abs().max()) < float(network.slopes()[0].abs().max())


@pytest.mark.parametrize("count", [2, 4])
def test_points_of_a_hull_are_near_one_of_its_corners(count):
    generator = torch.Generator().manual_seed(0)
    corners = torch.randn(200, count, 5, generator=generator)
    weights = torch.rand(200, 50, count, generator=generator) ** 3
    points = weights / weights.sum(dim=2, keepdim=True) @ corners
    nearest = torch.cdist(points, corners).amin(dim=2).amax(dim=1)
    widest = torch.cdist(corners, corners).amax(dim=(1, 2))
    factor = np.sqrt((1 - 1 / count) / 2)
    assert (nearest <= factor * widest + 1e-6).all()
    assert (nearest > 0.7 * factor * widest).any()
