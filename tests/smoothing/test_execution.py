"""Folded, measured, compiled: the same answers, and never a stale copy."""

import copy

import pytest
import torch
from torch import nn

from lightning_smooth.certify import GaussianCertifier
from lightning_smooth.errors import InputError
from lightning_smooth.models import CifarResNet
from lightning_smooth.smoothing.execution import Speed, prepare
from lightning_smooth.smoothing.folding import folded

IMAGES = torch.rand(4, 3, 8, 8)


def trained(*layers):
    """A network whose BatchNorms have seen data."""
    torch.manual_seed(0)
    model = nn.Sequential(*layers)
    with torch.no_grad():
        for _ in range(3):
            model(torch.randn(32, 3, 8, 8) * 3 + 1)
    return model.eval()


def plain():
    return trained(
        nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 4, 3, bias=False),
        nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(64, 3),
    )  # fmt: skip


def norms(model):
    return sum(isinstance(m, nn.BatchNorm2d) for m in model.modules())


def called(graph_module):
    modules = dict(graph_module.named_modules())
    return [modules[str(n.target)] for n in graph_module.graph.nodes if n.op == "call_module"]


def test_folding_gives_the_same_function_in_fewer_steps():
    model = plain()
    before = copy.deepcopy(model.state_dict())
    fast = folded(model, IMAGES)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in called(fast))
    torch.testing.assert_close(fast(IMAGES), model(IMAGES), rtol=1e-4, atol=1e-5)
    assert norms(model) == 2
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_residual_networks_with_normalisation_are_folded():
    model = CifarResNet(8, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2)).train()
    with torch.no_grad():
        model(torch.rand(16, 3, 32, 32))
    images = torch.rand(4, 3, 32, 32)
    fast = folded(model.eval(), images)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in called(fast))
    torch.testing.assert_close(fast(images), model(images), rtol=1e-3, atol=1e-4)


class Shared(nn.Module):
    """The convolution's answer is read twice, so that its BatchNorm cannot be folded."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3)

    def forward(self, x):
        y = self.conv(x)
        return (self.norm(y) + y).flatten(1)


class Twice(Shared):
    """The convolution is used twice, once without the BatchNorm."""

    def forward(self, x):
        return (self.norm(self.conv(x)) + self.conv(x)).flatten(1)


class Moody(Shared):
    """Its way depends on its input."""

    def forward(self, x):
        return self.norm(self.conv(x if x.mean() > 0 else -x)).flatten(1)


class Binary(nn.Conv2d):
    """A convolution by the signs of its weights."""

    def forward(self, x):
        return nn.functional.conv2d(x, self.weight.sign())


class Instance(nn.BatchNorm2d):
    """What BatchNorm is not."""

    def forward(self, x):
        return nn.functional.instance_norm(x)


class Tied(Shared):
    """The convolution's weights are read by themselves, too."""

    def forward(self, x):
        other = nn.functional.conv_transpose2d(x, self.conv.weight, padding=2)
        return (self.norm(self.conv(x)) + other).flatten(1)


class Dictionary(Shared):
    def forward(self, x):
        return {"scores": self.norm(self.conv(x))}


def normed(convolution, norm=None):
    return nn.Sequential(convolution, norm or nn.BatchNorm2d(3), nn.Flatten())


UNFOLDED = [
    Shared(), Twice(), Moody(), nn.Flatten(), Tied(), Dictionary(),
    normed(Binary(3, 3, 3, bias=False)), normed(nn.Conv2d(3, 3, 3, bias=False), Instance(3)),
    normed(nn.utils.parametrizations.spectral_norm(nn.Conv2d(3, 3, 3))),
    normed(nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3, track_running_stats=False)),
]  # fmt: skip


@pytest.mark.parametrize("model", UNFOLDED, ids=lambda model: type(model).__name__)
def test_what_cannot_be_folded_runs_as_it_is(model):
    assert folded(model.eval(), IMAGES) is None


def test_hooks_are_not_lost():
    model = plain()
    model[1].register_forward_hook(lambda module, inputs, out: out * 2)
    assert folded(model, IMAGES) is None


def test_weights_that_changed_are_those_that_are_certified():
    model = plain()
    certifier = GaussianCertifier(0.1, n=64, n0=8)
    certifier(model, IMAGES[0], index=0)
    with torch.no_grad():
        model[-1].weight.zero_()
        model[-1].bias.copy_(torch.tensor([0.0, 0.0, 9.0]))
    assert certifier(model, IMAGES[0], index=0).votes == {2: 64}


def test_certificates_say_that_it_was_folded():
    one = GaussianCertifier(0.1, n=500)(plain(), IMAGES[0], index=0)
    other = GaussianCertifier(0.1, n=500, speed=Speed(fold_batchnorm=False))(
        plain(), IMAGES[0], index=0
    )
    assert one.parameters["batchnorm"] == "folded"
    assert "batchnorm" not in other.parameters
    assert one.votes == other.votes


def test_a_long_certification_is_preceded_by_a_measurement_and_counts_the_same():
    model = plain()
    long = GaussianCertifier(0.5, n=10_000)(model, IMAGES[0], index=0)
    fixed = GaussianCertifier(0.5, n=10_000, batch_size=128, speed=Speed(layout="contiguous"))(
        model, IMAGES[0], index=0
    )
    assert long.votes == fixed.votes


@pytest.mark.parametrize("layout", ["auto", "contiguous", "channels_last"])
def test_what_the_user_fixes_is_taken(layout):
    way = prepare(
        plain(), IMAGES[0], batch_size=37, speed=Speed(layout=layout), long=layout != "auto"
    )
    assert way.batch_size == 37
    assert way.channels_last == (layout != "contiguous")


class Viewer(nn.Module):
    def forward(self, x):
        return nn.functional.avg_pool2d(x, 2).view(len(x), -1)


def test_a_layout_that_the_model_refuses_is_a_sentence():
    with torch.inference_mode():
        assert not prepare(
            Viewer(), IMAGES[0], batch_size=None, speed=Speed(), long=True
        ).channels_last
    with pytest.raises(InputError, match="Leave the layout to auto"):
        GaussianCertifier(0.1, n=10, speed=Speed(layout="channels_last"))(
            Viewer(), IMAGES[0], index=0
        )
    with pytest.raises(InputError, match="layout"):
        Speed(layout="sideways")


def test_a_compiled_model_sees_full_batches_and_votes_the_same(monkeypatch):
    shapes = []

    def compiled(model, dynamic):
        assert dynamic is False

        def call(x):
            shapes.append(tuple(x.shape))
            return model(x)

        return call

    monkeypatch.setattr(torch, "compile", compiled)
    one = GaussianCertifier(0.5, n0=50, n=333, speed=Speed(compile=True))(
        plain(), IMAGES[0], index=0
    )
    assert set(shapes) == {(128, 3, 8, 8)}
    assert one.votes == GaussianCertifier(0.5, n0=50, n=333)(plain(), IMAGES[0], index=0).votes
    assert one.parameters["compiled"] is True


@pytest.mark.slow
def test_torch_compile_itself():
    model = plain()
    one = GaussianCertifier(0.5, n=333, speed=Speed(compile=True))(model, IMAGES[0], index=0)
    other = GaussianCertifier(0.5, n=333)(model, IMAGES[0], index=0)
    assert sum(abs(one.votes[c] - other.votes.get(c, 0)) for c in one.votes) <= 2
    assert one.parameters["compiled"] is True
