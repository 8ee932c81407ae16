"""The walk of a PixelCNN: one forward pass in pieces."""

import pytest
import torch
from scipy import stats

from lightning_smooth.errors import InputError
from lightning_smooth.models import PixelCNN
from lightning_smooth.models.logistics import LEVELS, LogisticMixture, to_levels
from lightning_smooth.models.raster import sample, walk


def network(channels=1, dtype=torch.float64, **settings):
    settings = {"width": 6, "dilations": (1, 3, 2), "head": 8, "mixtures": 2, **settings}
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = PixelCNN(channels, **settings).to(dtype)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(2)
    return model


@pytest.mark.parametrize("size", [(5, 7), (1, 1), (9, 2)])
@pytest.mark.parametrize("channels", [1, 3])
def test_distributions_are_those_of_the_forward_pass(channels, size):
    model, drawn = network(channels), torch.Generator().manual_seed(0)
    every, seen = torch.arange(LEVELS), {}

    def choose(row, column, mixture):
        chosen = mixture.draw(drawn)
        seen[row, column] = [mixture.conditional(c, chosen, every) for c in range(channels)]
        return chosen

    levels = walk(model, 3, size, choose)
    assert levels.shape == (3, channels, *size)
    assert list(seen) == [(r, c) for r in range(size[0]) for c in range(size[1])]
    whole = model.logits(levels.double() / 255)
    for (row, column), found in seen.items():
        torch.testing.assert_close(
            torch.stack(found, dim=1), whole[:, :, row, column], atol=1e-9, rtol=1e-9
        )


def test_each_row_and_each_pixel_is_computed_once():
    model, counts = network(), {"rows": 0, "pixels": 0}
    model.above.register_forward_hook(lambda *_: counts.update(rows=counts["rows"] + 1))

    def choose(row, column, mixture):
        counts["pixels"] += 1
        return torch.zeros(2, 1, dtype=torch.int64)

    walk(model, 2, (6, 5), choose)
    assert counts == {"rows": 6, "pixels": 30}


def test_samples_of_a_model_without_context_have_its_frequencies():
    model = network(dtype=torch.float32)
    torch.nn.init.zeros_(model.head[-1].weight)
    drawn = sample(model, 400, (5, 10), torch.Generator().manual_seed(1))
    assert drawn.shape == (400, 1, 5, 10)
    shared = LogisticMixture(model.head[-1].bias.detach()[None], 1)
    share = shared.conditional(0, torch.zeros(1, 1).long(), torch.arange(LEVELS))[0].exp()
    counts = torch.bincount(to_levels(drawn).flatten(), minlength=LEVELS).view(32, 8).sum(1)
    expected = share.double().view(32, 8).sum(1)
    assert stats.chisquare(counts, counts.sum() * expected / expected.sum()).pvalue > 0.001


def test_a_seed_gives_the_same_samples():
    model = network(dtype=torch.float32)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        one = sample(model, 2, (4, 4))
        torch.manual_seed(5)
        again, other = sample(model, 2, (4, 4)), sample(model, 2, (4, 4))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert not one.requires_grad


def test_what_is_refused():
    with pytest.raises(InputError, match="`count`"):
        sample(network(), 0)
    with pytest.raises(InputError, match="`size`"):
        sample(network(), 1, (0, 3))
    with pytest.raises(InputError, match=r"`size` to be \(H, W\)"):
        sample(network(), 1, (3,))
