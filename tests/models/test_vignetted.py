"""A network behind a vignette: what it sees, and that the rest of the package takes it."""

import copy

import pytest
import torch
from torch import nn

from lightning_smooth.errors import InputError
from lightning_smooth.models import (
    CifarResNet,
    LeNet,
    SmallConvNet,
    Standardized,
    Vignetted,
    fingerprint,
    load_weights,
)
from lightning_smooth.smoothing.execution import laid_out, takes_channels_last
from lightning_smooth.smoothing.folding import folded
from lightning_smooth.transforms import Vignette


def seeded(kind, *arguments, **settings):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return kind(*arguments, **settings).eval()


class Spy(nn.Module):
    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, images):
        self.seen.append(images)
        return images.flatten(1)


@pytest.mark.parametrize(
    ("shape", "margin", "kept"),
    [("circle", None, 448), ("rectangle", None, 400), ("circle", 0, 616)],
)
def test_the_network_sees_the_noisy_image_inside_and_nothing_outside(shape, margin, kept):
    spy = Spy()
    noisy = torch.randn(2, 3, 28, 28)
    Vignetted(spy, shape, margin)(noisy)
    mask = Vignette(shape, margin=margin).mask(28, 28)
    assert int(mask.sum()) == kept
    assert torch.equal(spy.seen[0][:, :, mask], noisy[:, :, mask])
    assert not spy.seen[0][:, :, ~mask].any()


def test_scores_and_gradients_do_not_depend_on_noise_outside():
    model = Vignetted(seeded(LeNet))
    mask = model.vignette.mask(28, 28)
    image = torch.rand(2, 1, 28, 28, requires_grad=True)
    with torch.no_grad():
        assert torch.equal(model(image), model(image + 100 * torch.randn(28, 28) * ~mask))
        assert not torch.equal(model(image), model.model(image))
    model(image).square().sum().backward()
    assert not image.grad[:, :, ~mask].any()
    assert image.grad[:, :, mask].abs().sum() > 0


def test_normalisation_is_the_network_s_and_comes_after():
    network = seeded(LeNet, mean=[0.5], std=[0.5])
    image = torch.rand(1, 1, 28, 28)
    with torch.no_grad():
        plain = seeded(LeNet)
        expected = plain((Vignette()(image) - 0.5) / 0.5)
        torch.testing.assert_close(Vignetted(network)(image), expected)


def test_it_has_no_weights_of_its_own_and_gives_them_all_a_gradient():
    network = SmallConvNet(image_size=8, padding=1)
    model = Vignetted(network, margin=1)
    assert {f"model.{name}" for name in network.state_dict()} == set(model.state_dict())
    model(torch.rand(8, 1, 8, 8)).square().sum().backward()
    assert all(float(p.grad.abs().sum()) > 0 for p in model.parameters())
    again = copy.deepcopy(model).eval()
    image = torch.rand(1, 1, 8, 8)
    assert torch.equal(again(image), model.eval()(image))


def test_fingerprints_tell_the_vignette():
    network = seeded(LeNet)
    models = [network, Vignetted(network), Vignetted(network, margin=1)]
    models.append(Vignetted(network, "rectangle", 1))
    assert len({fingerprint(model)["architecture"] for model in models}) == 4


@pytest.mark.parametrize("channels", [1, 3])
def test_channels_last_batches_stay_so(channels):
    pair = laid_out(torch.rand(2, channels, 28, 28), channels_last=True)
    spy = Spy()
    Vignetted(spy)(pair)
    assert spy.seen[0].stride() == pair.stride()
    assert takes_channels_last(Vignetted(LeNet(channels)), pair)


def test_batch_norm_is_folded_behind_it():
    model = Vignetted(seeded(CifarResNet, 8))
    image = torch.rand(2, 3, 32, 32)
    fast = folded(model, image)
    assert fast is not None
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fast.modules())
    with torch.no_grad():
        torch.testing.assert_close(fast(image), model(image), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "wrap",
    [Vignetted, lambda net: Vignetted(Standardized(net)), lambda net: Standardized(Vignetted(net))],
)
def test_files_fit_the_network_inside(wrap, tmp_path):
    source = seeded(LeNet)
    path = tmp_path / "file.pt"
    for state in (source, Vignetted(source), Standardized(Vignetted(source))):
        model = wrap(LeNet())
        torch.save({"state_dict": state.state_dict()}, path)
        load_weights(model, path)
        loaded = [p for _, p in model.named_parameters()]
        assert len(loaded) == 8
        assert all(torch.equal(a, b) for a, b in zip(loaded, source.parameters(), strict=True))


def test_an_open_normalisation_is_refused_behind_it_too(tmp_path):
    network = CifarResNet(8)
    bare = {k: v for k, v in network.state_dict().items() if not k.startswith("normalize")}
    torch.save(bare, tmp_path / "file.pt")
    with pytest.raises(InputError, match="which nobody chose"):
        load_weights(Vignetted(network), tmp_path / "file.pt")


def test_what_is_refused():
    with pytest.raises(InputError, match="circle or rectangle, but got 'oval'"):
        Vignetted(nn.Flatten(), "oval")
    with pytest.raises(InputError, match="`margin`"):
        Vignetted(nn.Flatten(), margin=-1)
    with pytest.raises(InputError, match="keeps a pixel, but got 8 x 8: reduce the margin"):
        Vignetted(nn.Flatten(), margin=9)(torch.rand(1, 1, 8, 8))
