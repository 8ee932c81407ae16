"""Surrogate networks: shapes, the encoder's Lipschitz bound, the slopes of F1, files, errors."""

import copy
import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from lightning_smooth.errors import InputError
from lightning_smooth.models import Motion, SurrogateNetwork, fingerprint, load_weights
from lightning_smooth.transforms import (
    BrightnessContrast,
    Compose,
    GaussianBlur,
    Rotation,
    RotationalBlur,
    Scaling,
    Translation,
)

ANGLE = {"angle": (0.0, 10.0)}
CONV = {"encoder": "conv", "features": 2, "widths": (4, 4), "kernel": 3}


def network(transform=None, box=ANGLE, shape=(1, 8, 8), seed=0, **settings):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return SurrogateNetwork(transform or RotationalBlur(), box, shape, **settings).eval()


def stirred(net, seed=1, scale=0.3):
    """The network with all weights moved, as training would."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in net.parameters():
            weight.add_(scale * torch.randn(weight.shape, generator=generator))
    return net


@pytest.mark.parametrize(
    ("shape", "settings", "latents"),
    [
        ((1, 8, 8), {}, (1, 9, 8)),
        ((3, 6, 8), {"features": 0, "parts": 4}, (3, 6, 8)),
        ((3, 6, 8), {"features": 2, "parts": 4}, (3, 8, 8)),
        ((1, 7, 5), {"decoder": "dense", "parts": 9}, (1, 8, 5)),
        ((1, 12, 8), {"decoder_stride": 4}, (1, 13, 8)),
        ((2, 8, 8), {**CONV, "decoder_kernel": 5}, (4, 8, 8)),
        ([1, 8, 8], {**CONV, "decoder": "dense"}, (3, 8, 8)),
    ],
)
def test_latents_have_their_shape_and_add_up(shape, settings, latents):
    net = stirred(network(shape=shape, **settings), scale=0.05)
    assert net.image_shape == tuple(shape)
    assert net.latent_shape == latents
    images, theta = torch.rand(5, *shape), 10 * torch.rand(5, 1)
    with torch.no_grad():
        latents, moved = net.encode(images), net.move(theta)
        assert latents.shape == moved.shape == (5, *net.latent_shape)
        made = net(images, theta)
        assert torch.equal(net.decode(latents + moved), made)
        assert made.shape == images.shape
        each = [net(image[None], angle[None]) for image, angle in zip(images, theta, strict=True)]
        torch.testing.assert_close(made, torch.cat(each), rtol=1e-4, atol=1e-5)
        one = net(images[:1], theta[2:3])[0]
        torch.testing.assert_close(net(images[:1], theta)[2], one, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("settings", [{}, {"decoder": "dense"}, CONV])
def test_it_starts_near_the_identity(settings):
    net, images = network(**settings), torch.rand(3, 1, 8, 8)
    moved = net(images, torch.zeros(3, 1)) - images
    drawn = net.move(torch.zeros(1, 1))[:, :1, :8].expand(3, -1, -1, -1)
    torch.testing.assert_close(moved, drawn / net.share)


def test_the_identity_encoder_is_an_isometry():
    net = stirred(network())
    a, b = torch.rand(2, 4, 1, 8, 8).double()
    assert net.lipschitz() == 1.0
    assert torch.equal((net.encode(a) - net.encode(b)).flatten(1).norm(dim=1),
                       (a - b).flatten(1).norm(dim=1))  # fmt: skip


@pytest.mark.parametrize("settings", [{}, {"angle": 89.0}, {"angle": 5.0}])
def test_no_pair_of_images_exceeds_the_lipschitz_bound(settings):
    net = stirred(network(shape=(1, 8, 8), **{**CONV, **settings}))
    bound = net.lipschitz()
    assert bound <= 1 + 1e-6
    reference = copy.deepcopy(net).double()
    # Pairs that power iteration drives apart, and random ones.
    a = torch.rand(8, 1, 8, 8).double()
    way = torch.randn_like(a)
    with torch.no_grad():
        for _ in range(15):
            _, pull = torch.func.vjp(reference.encode, a)
            (way,) = pull(torch.func.jvp(reference.encode, (a,), (way,))[1])
            way = way / way.flatten(1).norm(dim=1)[:, None, None, None]
        for step in (1e-4, 0.1, 3.0):
            for b in (a + step * way, a + step * torch.randn_like(a)):
                apart = (reference.encode(a) - reference.encode(b)).flatten(1).norm(dim=1)
                assert (apart <= bound * (a - b).flatten(1).norm(dim=1)).all()
        worst = float(
            torch.func.jvp(reference.encode, (a,), (way,))[1].flatten(1).norm(dim=1).max()
        )
    assert worst > 0.9 * net.share


def test_the_bound_is_computed_from_the_weights():
    net = network(**CONV)
    before = net.lipschitz()
    layer = net.phi.layers[-1]
    layer._kept = (layer._kept[0], 3 * layer.kernel())  # as if the scaling were wrong
    assert net.lipschitz() > 2 * before
    with torch.no_grad():
        layer.weight[0] *= 100
    assert net.lipschitz() == pytest.approx(1, abs=2e-6)
    assert net.lipschitz() != before


def jacobians(net, theta):
    """By autograd: (B, L, P)."""
    units = torch.eye(theta.shape[1], dtype=theta.dtype)
    columns = [torch.func.jvp(net.move, (theta,), (unit.expand_as(theta),))[1] for unit in units]
    return torch.stack([column.flatten(1) for column in columns], dim=2)


CASES = [
    (RotationalBlur(), ANGLE, {}),
    (Rotation(), {"angle": (-30.0, 30.0)}, {"motion_hidden": 40}),
    (Scaling(), {"scale": (0.8, 1.25)}, {}),
    (Translation(), {"dx": (-3.0, 3.0), "dy": (0.0, 1.0)}, {}),
    (BrightnessContrast(), {"contrast": (-0.3, 0.2), "brightness": (-0.1, 0.4)}, {}),
    (GaussianBlur(), {"variance": (2.0, 2.0)}, {}),
]


@pytest.mark.parametrize(("transform", "box", "settings"), CASES, ids=lambda v: type(v).__name__)
@pytest.mark.parametrize("seed", [1, 2])
def test_every_slope_is_close_to_one_of_those_listed(transform, box, settings, seed):
    net = stirred(network(transform, box, (1, 4, 4), **settings), seed).double()
    points, radius = net.slopes()
    low, high = (torch.tensor(ends).double() for ends in zip(*net.box.values(), strict=True))
    count = len(box)
    assert points.shape[1:] == (20, count)
    assert points.dtype == torch.float64
    parts = [torch.rand(60, count), 20 * torch.randn(20, count)]
    parts.append(torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * count).view(-1, count))
    wide = torch.where(high > low, high - low, torch.ones_like(high))
    with torch.no_grad():
        found = jacobians(net, low + wide * torch.cat(parts).double())
    # The Frobenius norm is at least the operator norm; the proof bounds it as well.
    near = (found[:, None] - points[None]).square().sum(dim=(2, 3)).amin(dim=1).sqrt()
    assert float(near.max()) <= radius
    size = float(points.square().sum(dim=1).sum(dim=1).mean().sqrt())
    assert radius <= 0.02 * size or len(points) == {1: 257, 2: 33**2}[count]
    assert radius <= 0.1 * size
    if count == 1 and low < high:
        assert float(near.max()) > 0.1 * radius  # the radius is no wild guess


def test_beyond_the_box_f1_is_a_line_along_each_parameter():
    box = {"dx": (-3.0, 3.0), "dy": (0.0, 1.0)}
    net = stirred(network(Translation(), box, (1, 4, 4))).double()
    start = torch.tensor([[1.0, 1.0]]).double()
    ahead = net.move(start + torch.tensor([[0.0, 1.0], [0.0, 2.0], [0.0, 900.0]]).double())
    line = net.move(start) + torch.tensor([1.0, 2.0, 900.0]).double()[:, None, None, None] * (
        ahead[:1] - net.move(start)
    )
    torch.testing.assert_close(ahead, line)
    torch.testing.assert_close(jacobians(net, start + 1e-9), jacobians(net, start - 1e-9))
    torch.testing.assert_close(net.motion.jacobian(start), jacobians(net, start))


def test_slopes_are_those_of_the_weights():
    motion = Motion(ANGLE, (1, 2, 2), directions=2, hidden=3)
    before, radius = motion.slopes()
    with torch.no_grad():
        motion.vectors.mul_(10)
    after, wider = motion.slopes()
    torch.testing.assert_close(after, 10 * before)
    assert wider == pytest.approx(10 * radius)


def test_names_and_order_of_parameters():
    both = Compose([Rotation(), Translation()])
    net = network(both, {"dy": (0.0, 2.0), "angle": (-5.0, 5.0)})
    assert net.names == ("angle", "dy")
    assert net.full_theta(torch.tensor([[3.0, 1.0]])).tolist() == [[3.0, 0.0, 1.0]]
    inner = net.check_box({"dy": (0.0, 1.0), "angle": (-1.0, 1.0)})
    assert list(inner) == ["angle", "dy"]


def test_weights_come_from_a_file_and_are_those_of_the_purpose(tmp_path):
    net = stirred(network(**CONV))
    save_file(net.state_dict(), tmp_path / "x.safetensors")
    torch.save({"state_dict": {f"model.{k}": v for k, v in net.state_dict().items()}},
               tmp_path / "x.ckpt")  # fmt: skip
    for name in ("x.safetensors", "x.ckpt"):
        again = network(seed=5, weights=str(tmp_path / name), **CONV)
        assert fingerprint(again) == fingerprint(net)
    for other in ({"box": {"angle": (0.0, 9.0)}}, {"transform": RotationalBlur(samples=9)}):
        with pytest.raises(InputError, match=r"not those of a surrogate that is meant for Rot"):
            network(**CONV, **other, weights=str(tmp_path / "x.safetensors"))
    fresh = network(seed=5)
    with pytest.raises(InputError, match="do not fit the model"):
        load_weights(fresh, tmp_path / "x.ckpt")
    wide = network(seed=5, **CONV, box={"angle": (0.0, 20.0)})
    before = fingerprint(wide)
    with pytest.raises(InputError, match="angle 0 to 20"):
        nn.Sequential(wide).load_state_dict(nn.Sequential(net).state_dict())
    assert fingerprint(wide) == before


def test_copies_are_the_same_network():
    net, images, theta = stirred(network(**CONV)), torch.rand(2, 1, 8, 8), torch.ones(2, 1)
    for again in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert fingerprint(again) == fingerprint(net)
        assert torch.equal(again(images, theta), net(images, theta))
        assert again.lipschitz() == net.lipschitz()
    others = [
        network(),
        network(box={"angle": (0, 5)}),
        network(**CONV, angle=30.0),
        network(**CONV),
    ]
    assert len({fingerprint(other)["architecture"] for other in others}) == 4


def test_images_and_parameters_it_is_not_meant_for_are_refused():
    net = network()
    images = torch.rand(2, 1, 8, 8)
    meant = r"meant for RotationalBlur\(samples=16\) with angle 0 to 10, on images \(1, 8, 8\)"
    with pytest.raises(InputError, match=meant):
        net.encode(torch.rand(2, 3, 8, 8))
    with pytest.raises(InputError, match=meant):
        net.encode(torch.rand(1, 8, 8))
    for theta in (10.1, -0.1, float("nan")):
        with pytest.raises(InputError, match=meant):
            net(images, torch.tensor([[1.0], [theta]]))
    assert net.move(torch.tensor([[50.0]])).isfinite().all()  # F1 goes on, for noise on theta
    with pytest.raises(InputError, match="column for each of angle, but got"):
        net.move(torch.zeros(2, 2))
    with pytest.raises(InputError, match="as many rows of `theta` as images"):
        net(torch.rand(3, 1, 8, 8), torch.ones(2, 1))
    with pytest.raises(InputError, match="Expected ranges of angle"):
        net.check_box({"radius": (0.0, 1.0)})
    with pytest.raises(InputError, match="got 0 to 11"):
        net.check_box({"angle": (0.0, 11.0)})


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"transform": nn.Identity()}, "`transform` to be a Transform"),
        ({"box": {"radius": (0, 1)}}, "ranges of angle"),
        ({"box": {"angle": (-1, 1)}}, "`angle` in `box`"),
        ({"shape": (8, 8)}, r"\(C, H, W\), but got"),
        ({"shape": (1, 0, 8)}, "`image_shape` to be an integer"),
        ({"encoder": "orthogonal"}, "identity or conv"),
        ({"encoder": "conv", "features": 0}, "`features` to be an integer of at least 1"),
        ({"encoder": "conv", "angle": 90}, "between 0 and 90"),
        ({"decoder": "deep"}, "dense or conv, but got 'deep'"),
        ({"shape": (1, 7, 8)}, "decoder_stride=2 divides with decoder='conv'"),
        ({"shape": (1, 6, 8), "decoder_stride": 4}, "but got 6 x 8: take another stride"),
        ({"decoder_kernel": 4}, "`decoder_kernel` to be odd"),
        ({"directions": 0}, "`directions`"),
        ({"weights": "nowhere.safetensors"}, "does not exist"),
    ],
)
def test_what_is_refused(settings, said):
    with pytest.raises(InputError, match=said):
        network(**settings)
