"""PixelCNN: what a pixel's distribution depends on, and that it is one."""

import math

import pytest
import torch

from lightning_smooth.errors import InputError
from lightning_smooth.models import PixelCNN, fingerprint
from lightning_smooth.models.logistics import LEVELS, LogisticMixture


def network(channels=1, dtype=torch.float64, **settings):
    settings = {"width": 6, "dilations": (1, 2), "head": 8, "mixtures": 2, **settings}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = PixelCNN(channels, **settings).to(dtype)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(2)
    return model


def levels(*shape, seed=1):
    drawn = torch.Generator().manual_seed(seed)
    return torch.randint(LEVELS, shape, generator=drawn)


def image(*shape, seed=1):
    return levels(*shape, seed=seed).double() / 255


@pytest.mark.parametrize("channels", [1, 3])
def test_no_value_depends_on_itself_or_on_later_ones(channels):
    model = network(channels)
    before = image(1, channels, 5, 6)
    base = model.logits(before).detach()
    # Raster order: row, column, channel.
    order = torch.arange(5 * 6 * channels).view(5, 6, channels).permute(2, 0, 1)
    for place in range(0, 5 * 6 * channels, 2):
        at = order == place
        changed = before.clone()
        changed[0, at] = (changed[0, at] + 0.5) % 1
        moved = (model.logits(changed).detach() - base).abs().amax(dim=-1)[0]
        assert float(moved[order <= place].max()) == 0
        last = place == 5 * 6 * channels - 1
        assert last or float(moved[order > place].max()) > 1e-9


def test_there_is_no_blind_spot():
    # Two pixels away in each direction: all earlier ones reach the last row's middle.
    model = network(1, width=12)
    inputs = torch.rand(1, 2, 5, 7, dtype=torch.float64, requires_grad=True)
    model.seen = lambda _: inputs
    parameters = model(levels(1, 1, 5, 7))
    (slope,) = torch.autograd.grad(parameters[0, :, 4, 3].square().sum(), inputs)
    reached = slope[0, 0] != 0
    earlier = torch.arange(35).view(5, 7) < 4 * 7 + 3
    assert torch.equal(reached, earlier)


@pytest.mark.parametrize("channels", [1, 3])
def test_probabilities_sum_to_one_and_multiply_to_that_of_the_image(channels):
    model, images = network(channels), image(3, channels, 4, 5)
    logits = model.logits(images)
    assert logits.shape == (3, channels, 4, 5, LEVELS)
    torch.testing.assert_close(logits.logsumexp(-1), torch.zeros_like(images), atol=1e-12, rtol=0)
    own = (images * 255).round().long().unsqueeze(-1)
    expected = logits.gather(-1, own).flatten(1).sum(dim=1)
    torch.testing.assert_close(model.log_prob(images), expected)
    bits = -expected / (math.log(2) * channels * 4 * 5)
    torch.testing.assert_close(model.bits_per_dim(images), bits)


def test_a_model_without_context_has_the_likelihood_of_independent_pixels():
    model = network()
    last = model.head[-1]
    torch.nn.init.zeros_(last.weight)
    images = image(2, 1, 3, 3)
    shared = LogisticMixture(last.bias.detach()[None], 1)
    every = shared.conditional(0, torch.zeros(1, 1).long(), torch.arange(LEVELS))[0]
    expected = every[(images * 255).round().long()].flatten(1).sum(dim=1)
    torch.testing.assert_close(model.log_prob(images).detach(), expected)


def test_images_between_levels_count_as_the_nearest():
    model, images = network(), image(2, 1, 4, 4)
    assert torch.equal(model.log_prob(images + 0.4 / 255), model.log_prob(images))
    assert not torch.equal(model.log_prob(1 - images), model.log_prob(images))


def test_images_of_any_size_and_batches_are_single_images():
    model = network()
    for size in ((1, 1), (2, 9), (16, 3)):
        images = image(3, 1, *size)
        singles = torch.cat([model.log_prob(one) for one in images.split(1)])
        torch.testing.assert_close(model.log_prob(images), singles)


def test_the_border_is_not_black():
    # Without the channel of ones, black to the left and above would be like nothing there.
    model = network()
    black = torch.zeros(1, 1, 12, 12).double()
    corner, middle = (model.logits(black)[0, 0, k, k].detach() for k in (0, 11))
    assert float((corner - middle).abs().max()) > 1e-3


def test_it_learns():
    model = network(1, torch.float32)
    # Stripes: each row repeats its first two pixels, which alone cost bits.
    pairs = levels(64, 1, 4, 2, seed=4).float() / 255
    images = pairs.repeat(1, 1, 1, 4).round()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(90):
        optimizer.zero_grad()
        loss = model.bits_per_dim(images).mean()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 1
    each = model.logits(images).gather(-1, (images * 255).round().long().unsqueeze(-1))[..., 0]
    first, later = each[..., :2].mean(), each[..., 2:].mean()
    assert float(later) > 2 * float(first)


def test_default_weights_are_small_and_can_be_read(tmp_path):
    model = PixelCNN(3)
    assert sum(p.numel() for p in model.parameters()) * 4 < 2_000_000
    torch.save(model.state_dict(), tmp_path / "w.pt")
    again = PixelCNN(3, weights=str(tmp_path / "w.pt"))
    assert fingerprint(again) == fingerprint(model)
    with pytest.raises(InputError, match="do not fit the model, a PixelCNN"):
        PixelCNN(1, weights=str(tmp_path / "w.pt"))


def test_what_is_refused():
    with pytest.raises(InputError, match=r"images \(B, 3, H, W\), but got shape \(2, 1, 4, 4\)"):
        network(3).log_prob(image(2, 1, 4, 4))
    for fault in ({"width": 0}, {"dilations": (1, 0)}, {"mixtures": 0}, {"head": 0}):
        with pytest.raises(InputError, match=f"`{next(iter(fault))}`"):
            PixelCNN(**fault)
    with pytest.raises(InputError, match="one integer a layer"):
        PixelCNN(dilations=())
    with pytest.raises(InputError, match="`in_channels`"):
        PixelCNN(0)
