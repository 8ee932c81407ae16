"""Stochastic activation pruning: moments by simulation, gradients, and where layers go."""

import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

from lightning_smooth.defenses import StochasticActivationPruning, is_stochastic, pruned
from lightning_smooth.errors import InputError
from lightning_smooth.experiment import built
from lightning_smooth.models import (
    CifarResNet,
    LeNet,
    SmallConvNet,
    Standardized,
    TorchvisionModel,
    Vignetted,
    load_weights,
)


@pytest.mark.parametrize("fraction", [0.3, 1.0, 2.0])
def test_mean_and_variance_are_those_of_the_formula(fraction):
    torch.manual_seed(0)
    one = torch.tensor([0.0, 0.1, -0.5, 1.0, 2.0, 0.4], dtype=torch.float64).view(1, 2, 3)
    count = 40_000
    out = StochasticActivationPruning(fraction)(one.expand(count, -1, -1))
    share = one.abs() / 4
    kept = 1 - (1 - share) ** (6 * fraction)
    variance = torch.where(one == 0, 0.0, one.square() * (1 / kept.clamp_min(1e-9) - 1))
    assert ((out.mean(dim=0) - one[0]).abs() <= 5 * (variance[0] / count).sqrt()).all()
    met = (out != 0).double().mean(dim=0)
    assert ((met - kept[0]).abs() <= 5 * (kept * (1 - kept) / count).sqrt()[0]).all()
    torch.testing.assert_close(out.var(dim=0), variance[0], rtol=0.1, atol=1e-12)


def test_draws_with_replacement_meet_as_often():
    torch.manual_seed(0)
    activations = torch.tensor([[0.2, 1.0, 0.0, 3.0, 0.8]])
    kept = StochasticActivationPruning(0.6).keeping(activations)[0]
    drawn = torch.multinomial(activations.expand(20_000, -1), 3, replacement=True)
    met = functional.one_hot(drawn, 5).amax(dim=1).double().mean(dim=0)
    assert ((met - kept).abs() <= 5 * (kept * (1 - kept) / 20_000).sqrt()).all()


def test_each_example_is_pruned_by_itself():
    layer = StochasticActivationPruning()
    activations = torch.rand(4, 3, 2, 2)
    torch.testing.assert_close(layer.keeping(7 * activations), layer.keeping(activations))
    torch.testing.assert_close(layer.keeping(activations)[2:3], layer.keeping(activations[2:3]))


def test_zeros_stay_and_an_only_activation_is_kept():
    layer = StochasticActivationPruning(0.01)
    activations = torch.tensor([[0.0, 0.0, 0.0], [0.0, 1e-30, 0.0], [0.0, -5.0, 0.0]])
    for _ in range(20):
        torch.testing.assert_close(layer(activations), activations, rtol=1e-6, atol=0)


def test_gradients_go_through_what_is_kept():
    torch.manual_seed(0)
    activations = torch.rand(500, 8, dtype=torch.float64, requires_grad=True)
    layer = StochasticActivationPruning(0.5)
    out = layer(activations)
    (slope,) = torch.autograd.grad(out.sum(), activations)
    kept = out != 0
    assert 0.2 < float(kept.double().mean()) < 0.8
    expected = torch.where(kept, 1 / layer.keeping(activations), 0.0)
    torch.testing.assert_close(slope, expected)
    # the mean gradient is that of the mean
    assert float(slope.mean()) == pytest.approx(1, abs=5 * float(slope.std()) / 4000**0.5)


NETWORKS = [
    (lambda: LeNet(mean=[0.1], std=[0.3]), (1, 28, 28), 3),
    (SmallConvNet, (1, 28, 28), 6),
    (lambda: CifarResNet(8), (3, 32, 32), 7),
    (lambda: Standardized(LeNet(2), laplacians=1), (1, 28, 28), 3),
    (lambda: TorchvisionModel("resnet18", num_classes=10), (3, 32, 32), 17),
]


@pytest.mark.parametrize(("make", "shape", "relus"), NETWORKS)
def test_there_is_a_layer_after_each_relu(make, shape, relus, monkeypatch):
    model = make().eval()
    names = [name for name, _ in model.named_modules()]
    copy = pruned(model, 0.7)
    layers = {n: m for n, m in copy.named_modules() if isinstance(m, StochasticActivationPruning)}
    assert list(layers) == [f"pruning_{i + 1}" for i in range(relus)]
    assert {layer.fraction for layer in layers.values()} == {0.7}
    assert set(copy.state_dict()) == set(model.state_dict()), "its weights fit"
    assert not copy.training
    assert is_stochastic(copy)
    assert not is_stochastic(model)
    assert [name for name, _ in model.named_modules()] == names
    images = torch.rand(2, *shape)
    outputs, seen = [], []

    def relu(x, inplace=False):
        outputs.append(torch.clamp_min(x, 0))
        return outputs[-1]

    def note(self, activations):
        seen.append(activations)
        return activations

    monkeypatch.setattr(StochasticActivationPruning, "forward", note)
    torch.testing.assert_close(copy(images), model(images))
    monkeypatch.setattr(functional, "relu", relu)
    monkeypatch.setattr(nn.ReLU, "forward", lambda self, x: relu(x))
    model(images)
    assert len(outputs) == len(seen) == relus
    for output, activations in zip(outputs, seen, strict=True):
        torch.testing.assert_close(activations, output)


def test_layers_act_and_the_copy_is_its_own(tmp_path):
    torch.manual_seed(0)
    model = LeNet().eval()
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    images = torch.rand(4, 1, 28, 28)
    copy = pruned(model, 0.1)
    assert not torch.equal(copy(images), copy(images))
    with torch.no_grad():
        copy.get_parameter("head.1.weight").zero_()
    assert model.get_parameter("head.1.weight").any()
    load_weights(copy, tmp_path / "weights.safetensors")
    assert torch.equal(copy.get_parameter("head.1.weight"), model.get_parameter("head.1.weight"))
    again = pickle.loads(pickle.dumps(copy))
    torch.manual_seed(1)
    out = copy(images)
    torch.manual_seed(1)
    assert torch.equal(again(images), out)


def test_it_is_built_from_plain_arguments():
    given = {"model": {"class_path": "lightning_smooth.models.LeNet"}, "fraction": 2.0}
    made = built(nn.Module, {"class_path": "lightning_smooth.defenses.pruned", "init_args": given})
    layers = [m for m in made.modules() if isinstance(m, StochasticActivationPruning)]
    assert [layer.fraction for layer in layers] == [2.0] * 3


def test_networks_that_cannot_be_pruned_are_refused():
    class Branching(nn.Module):
        def forward(self, x):
            return functional.relu(x) if x.sum() > 0 else x

    with pytest.raises(InputError, match=r"torch.fx can trace, but Branching"):
        pruned(Branching())
    with pytest.raises(InputError, match="to have ReLUs, but Flatten has none"):
        pruned(nn.Sequential(nn.Flatten()).append(nn.Identity())[0])
    with pytest.raises(InputError, match="`fraction`"):
        pruned(LeNet(), 0)
    with pytest.raises(InputError, match=r"Vignetted is not.*prune the network inside it"):
        pruned(Vignetted(LeNet()))
