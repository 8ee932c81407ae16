"""Wide residual networks: their size, their arithmetic, and that bounds follow them."""

import pytest
import torch
from torch.nn import functional

from lightning_smooth.errors import InputError
from lightning_smooth.models import WideResNet
from lightning_smooth.smoothing.folding import folded
from lightning_smooth.verify import bounded, interval_bounds


def test_parameters_of_the_published_networks():
    counts = {
        (depth, width): sum(p.numel() for p in WideResNet(depth, width).parameters())
        for depth, width in ((40, 2), (16, 4))
    }
    assert counts == {(40, 2): 2_243_546, (16, 4): 2_748_890}


def test_the_large_one_has_the_published_size():
    with torch.device("meta"):
        model = WideResNet(28, 10)
    assert sum(p.numel() for p in model.parameters()) == 36_479_194


def test_answers_are_those_of_a_plain_computation():
    torch.manual_seed(0)
    model = WideResNet(10, 2, num_classes=7).eval()
    state = model.state_dict()
    for name, value in state.items():
        if name.endswith("running_mean"):
            value.normal_(0, 0.2)
        elif name.endswith("running_var"):
            value.uniform_(0.5, 2)

    def norm(x, name):
        keys = ("running_mean", "running_var", "weight", "bias")
        return functional.batch_norm(x, *(state[f"{name}.{key}"] for key in keys))

    image = torch.rand(2, 3, 32, 32)
    x = functional.conv2d(model.normalize(image), state["conv1.weight"], padding=1)
    for layer, stride in (("layer1.0", 1), ("layer2.0", 2), ("layer3.0", 2)):
        active = norm(x, f"{layer}.bn1").relu()
        out = functional.conv2d(active, state[f"{layer}.conv1.weight"], stride=stride, padding=1)
        out = norm(out, f"{layer}.bn2").relu()
        out = functional.conv2d(out, state[f"{layer}.conv2.weight"], padding=1)
        x = out + functional.conv2d(active, state[f"{layer}.shortcut.weight"], stride=stride)
    x = norm(x, "bn").relu().mean((2, 3))
    expected = x @ state["fc.weight"].T + state["fc.bias"]
    assert torch.allclose(model(image), expected, atol=1e-4)


def test_bounds_follow_it_and_norms_are_folded():
    torch.manual_seed(0)
    model = WideResNet(10, 1).eval()
    image = torch.rand(1, 3, 16, 16)
    found = interval_bounds(bounded(model, (3, 16, 16)), image - 0.002, image + 0.002)
    for _ in range(20):
        answers = model(image + 0.002 * (2 * torch.rand_like(image) - 1))
        assert bool(((found.lower <= answers) & (answers <= found.upper)).all())
    assert folded(model, image.repeat(2, 1, 1, 1)) is not None


def test_dropout_is_between_the_convolutions():
    model = WideResNet(10, 1, dropout=0.5)
    image = torch.rand(4, 3, 16, 16)
    model.train()
    assert not torch.equal(model(image), model(image))
    model.eval()
    assert torch.equal(model(image), model(image))


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"depth": 39}, "34 and 40"), ({"depth": 4}, "10 and 16"), ({"width": 0}, "width"),
     ({"dropout": 1.0}, "dropout"), ({"num_classes": 0}, "num_classes")],
)  # fmt: skip
def test_mistakes(settings, said):
    with pytest.raises(InputError, match=said):
        WideResNet(**settings)
