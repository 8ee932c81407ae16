"""Bounds of a surrogate's speed, against its images at dense parameters."""

import pytest
import torch

from lightning_smooth.errors import InputError
from lightning_smooth.models.speed import surrogate_speed
from lightning_smooth.models.surrogate import SurrogateNetwork
from lightning_smooth.transforms import RotationalBlur, Translation


def network(encoder, decoder, seed=0, **settings):
    torch.manual_seed(seed)
    made = SurrogateNetwork(
        RotationalBlur(), {"angle": (0.0, 10.0)}, (1, 12, 12),
        encoder=encoder, decoder=decoder, parts=16, **settings,
    )  # fmt: skip
    torch.nn.init.normal_(made.decoder.synthesis.weight, std=0.1)
    if decoder == "conv":
        torch.nn.init.normal_(made.decoder.maps)
    return made.double().eval().requires_grad_(False)


def measured(made, latent, edges, inside=20):
    """The largest speed that differences of images show in each interval."""
    count = len(edges) - 1
    places = torch.linspace(float(edges[0]), float(edges[-1]), inside * count + 1).double()
    images = made.decode(latent + made.move(places[:, None]))
    speeds = images.diff(dim=0).flatten(1).norm(dim=1) / places.diff()
    return speeds.view(count, inside).amax(dim=1)


@pytest.mark.parametrize("encoder", ["identity", "conv"])
@pytest.mark.parametrize(("decoder", "stride"), [("dense", 2), ("conv", 2), ("conv", 4)])
def test_no_image_moves_faster_and_fine_intervals_are_tight(encoder, decoder, stride):
    made = network(encoder, decoder, decoder_stride=stride)
    latent = made.encode(torch.rand(1, 1, 12, 12, dtype=torch.float64))
    ratios = []
    for count in (8, 64, 512):
        edges = torch.linspace(0, 10, count + 1, dtype=torch.float64)
        bound, seen = surrogate_speed(made, latent[0], edges), measured(made, latent, edges)
        assert (bound >= seen).all()
        ratios.append(float((bound / seen).median()))
    assert ratios[0] > ratios[1] > ratios[2]
    assert ratios[2] < 1.4


def test_a_surrogate_that_stands_still_has_speed_0():
    made = network("identity", "dense")
    torch.nn.init.zeros_(made.decoder.synthesis.weight)
    made.motion.vectors[:, :, :12] = 0
    edges = torch.linspace(0, 10, 5, dtype=torch.float64)
    latent = made.encode(torch.rand(1, 1, 12, 12, dtype=torch.float64))[0]
    assert float(surrogate_speed(made, latent, edges).max()) < 1e-6


def test_one_parameter_alone():
    made = SurrogateNetwork(Translation(), {"dx": (-1.0, 1.0), "dy": (-1.0, 1.0)}, (1, 8, 8))
    with pytest.raises(InputError, match="one parameter"):
        surrogate_speed(made, torch.zeros(made.latent_shape), torch.tensor([0.0, 1.0]))
