"""PixelDefend against the published algorithm, one forward pass of the network for each pixel."""

import pytest
import torch
from jsonargparse import ArgumentParser
from torch import nn

from lightning_smooth.defenses import PixelDefend
from lightning_smooth.errors import InputError
from lightning_smooth.models import PixelCNN
from lightning_smooth.models.logistics import LEVELS, to_levels


def network(channels=1, dtype=torch.float64, **settings):
    settings = {"width": 6, "dilations": (1, 2), "head": 8, "mixtures": 3, **settings}
    with torch.random.fork_rng():
        torch.manual_seed(2)
        model = PixelCNN(channels, **settings).to(dtype)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(2)
    return model


def image(*shape, seed=1):
    drawn = torch.Generator().manual_seed(seed)
    return torch.randint(LEVELS, shape, generator=drawn).double() / 255


@torch.no_grad()
def plain(model, images, bound):
    """Song et al.'s algorithm 1, one image, one value, one forward pass at a time."""
    made = images.clone()
    _, channels, height, width = images.shape
    for number in range(len(images)):
        for row in range(height):
            for column in range(width):
                for channel in range(channels):
                    logits = model.logits(made[number : number + 1])[0, channel, row, column]
                    own = round(float(images[number, channel, row, column]) * 255)
                    low, high = max(0, own - bound), min(255, own + bound)
                    best = low + int(logits[low : high + 1].argmax())
                    made[number, channel, row, column] = best / 255
    return made


@pytest.mark.parametrize("bound", [3, 16, 255])
@pytest.mark.parametrize("channels", [1, 3])
def test_it_is_the_published_algorithm(channels, bound):
    model, images = network(channels), image(2, channels, 5, 4)
    found = PixelDefend(model, bound / 255)(images)
    expected = plain(model, images, bound)
    assert torch.equal((found * 255).round(), (expected * 255).round())
    assert not torch.equal(found, images)


def test_a_known_distribution_by_hand():
    # Every pixel on its own, most likely at level 100: values move there as far as they may.
    model = network(mixtures=1)
    last = model.head[-1]
    with torch.no_grad():
        last.weight.zero_()
        last.bias.copy_(torch.tensor([0.0, 2 * 100 / 255 - 1, -4.0]))
    given = torch.tensor([0, 90, 99, 100, 108, 250]).double()
    found = PixelDefend(model, 16 / 255)(given.view(1, 1, 2, 3) / 255)
    assert (found * 255).round().flatten().tolist() == [16, 100, 100, 100, 100, 234]


@pytest.mark.parametrize("steps", [1, 2, 8, 16, 31])
def test_no_value_moves_farther_than_the_bound_in_levels(steps):
    images = image(3, 1, 6, 6)
    found = PixelDefend(network(), steps / 255)(images)
    moved = (to_levels(found) - to_levels(images)).abs()
    assert int(moved.max()) == steps
    assert torch.equal(found, to_levels(found).double() / 255)


def test_images_between_levels_are_rounded_first():
    images, defence = image(2, 1, 4, 4) * 0.99, PixelDefend(network(), 8 / 255)
    assert torch.equal(defence(images), defence(to_levels(images).double() / 255))
    rounded = PixelDefend(network(), 0.0)(images)
    assert torch.equal(rounded, to_levels(images).double() / 255)


def test_images_become_more_likely():
    model = network(1, width=8)
    images = image(6, 1, 8, 8)
    found = PixelDefend(model, 16 / 255)(images)
    assert (model.log_prob(found) > model.log_prob(images)).all()


def test_a_batch_is_its_images_one_by_one():
    images = image(5, 1, 4, 6)
    whole = PixelDefend(network())(images)
    assert torch.equal(PixelDefend(network(), batch_size=2)(images), whole)
    assert torch.equal(PixelDefend(network(), batch_size=1)(images), whole)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shape_and_dtype_stay_and_no_gradient_comes_back(dtype):
    defence = PixelDefend(network(3, torch.float32))
    images = image(2, 3, 4, 4).to(dtype).requires_grad_()
    found = defence(images)
    assert (found.shape, found.dtype) == (images.shape, dtype)
    assert not found.requires_grad
    with torch.inference_mode():
        assert torch.equal(defence(images.detach().clone()), found)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(defence(images), found)
    assert defence(torch.zeros(0, 3, 4, 4)).shape == (0, 3, 4, 4)
    assert getattr(defence, "stochastic", False) is False


def test_it_is_built_from_plain_arguments_and_a_file(tmp_path):
    source = network(1, torch.float32)
    torch.save(source.state_dict(), tmp_path / "w.pt")
    parser = ArgumentParser()
    parser.add_argument("--defence", type=nn.Module)
    sizes = {"width": 6, "dilations": [1, 2], "head": 8, "mixtures": 3}
    given = {
        "class_path": "lightning_smooth.defenses.PixelDefend",
        "init_args": {
            "model": {"class_path": "lightning_smooth.models.PixelCNN", "init_args": sizes},
            "bound": 0.1,
            "weights": str(tmp_path / "w.pt"),
        },
    }
    defence = parser.instantiate(parser.parse_object({"defence": given})).defence
    images = image(2, 1, 4, 4).float()
    assert torch.equal(defence(images), PixelDefend(source, 0.1)(images))
    assert "bound=0.1" in repr(defence)


def test_what_is_refused(tmp_path):
    with pytest.raises(InputError, match="`model` to be a PixelCNN, but got Linear"):
        PixelDefend(nn.Linear(1, 1))
    for bound in (-0.1, 16, True):
        with pytest.raises(InputError, match="`bound` to be in"):
            PixelDefend(network(), bound)
    with pytest.raises(InputError, match="`batch_size`"):
        PixelDefend(network(), batch_size=0)
    with pytest.raises(InputError, match="of 1 channels, those of the PixelCNN, but got 3"):
        PixelDefend(network())(image(1, 3, 4, 4))
    with pytest.raises(InputError, match="`images` to be"):
        PixelDefend(network())(torch.zeros(1, 1, 4, 4, dtype=torch.uint8))
    with pytest.raises(InputError, match="does not exist"):
        PixelDefend(network(), weights=str(tmp_path / "none.safetensors"))
