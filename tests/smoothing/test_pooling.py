"""Max-pooling as pairs of maxima: the same bits."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lightning_smooth.certify import GaussianCertifier
from lightning_smooth.models import LeNet, SmallConvNet, Vignetted
from lightning_smooth.smoothing import NoiseKey
from lightning_smooth.smoothing.execution import Speed, laid_out, prepare
from lightning_smooth.smoothing.laws import GaussianNoise
from lightning_smooth.smoothing.pooling import PairedMaxPool2d, PooledFirst, pooled


def poolings(model: nn.Module) -> list[nn.Module]:
    return [m for m in model.modules() if isinstance(m, nn.MaxPool2d)]


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("model", [LeNet(), SmallConvNet(), Vignetted(LeNet())], ids=repr)
def test_networks_answer_the_same_bits(
    model: nn.Module, channels_last: bool, precision: torch.dtype
) -> None:
    images = torch.rand(6, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    fast = pooled(model.eval(), images)
    batch = laid_out(images, channels_last=channels_last)
    with torch.inference_mode(), torch.autocast("cpu", precision, enabled=precision.itemsize == 2):
        assert torch.equal(fast(batch), model(batch))
    assert all(isinstance(m, PairedMaxPool2d) for m in poolings(fast))
    assert not any(isinstance(m, PairedMaxPool2d) for m in poolings(model))


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("size", [(2, 3, 8, 8), (2, 3, 7, 9), (1, 1, 2, 2), (3, 6, 6)])
def test_it_is_max_pooling(size: tuple[int, ...], relu: bool, inplace: bool) -> None:
    x = torch.randn(size, generator=torch.Generator().manual_seed(1))
    x.view(-1)[:3] = torch.tensor([float("nan"), -0.0, float("inf")])
    steps = [nn.ReLU(inplace=inplace)] * relu + [nn.MaxPool2d(2)]
    told = nn.Sequential(*steps)(x.clone())
    got = pooled(nn.Sequential(*steps), torch.randn(2, 1, 4, 4))(x.clone())
    assert torch.equal(got.nan_to_num(7.0), told.nan_to_num(7.0))


def calls(model: nn.Module, images: Tensor) -> list[tuple[int, ...]]:
    """Shapes of what ReLU is taken of."""
    seen: list[tuple[int, ...]] = []
    relu = torch.nn.functional.relu
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torch.nn.functional.relu", lambda x, **k: seen.append(x.shape) or relu(x))
        model(images)
    return [tuple(shape[-2:]) for shape in seen]


def test_relu_is_taken_of_a_quarter() -> None:
    images = torch.rand(2, 1, 28, 28)
    model = LeNet().eval()
    assert calls(model, images)[:2] == [(24, 24), (8, 8)]
    assert calls(pooled(model, images), images)[:2] == [(12, 12), (4, 4)]


def test_a_relu_in_place_that_others_may_see_stays_first() -> None:
    first = nn.Sequential(nn.ReLU(inplace=True), nn.MaxPool2d(2))
    assert calls(pooled(first, torch.randn(2, 1, 4, 4)), torch.randn(2, 1, 4, 4)) == [(4, 4)]
    after = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(inplace=True), nn.MaxPool2d(2))
    assert calls(pooled(after, torch.randn(2, 1, 4, 4)), torch.randn(2, 1, 4, 4)) == [(2, 2)]


@pytest.mark.parametrize(
    "pooling",
    [
        nn.MaxPool2d(3),
        nn.MaxPool2d(2, stride=1),
        nn.MaxPool2d(2, padding=1),
        nn.MaxPool2d(2, ceil_mode=True),
        nn.MaxPool2d(2, dilation=2),
    ],
    ids=repr,
)
def test_other_poolings_stay(pooling: nn.Module) -> None:
    model = nn.Sequential(nn.ReLU(), pooling)
    assert pooled(model, torch.randn(2, 1, 7, 7)) is model


def test_hooks_are_served_by_the_model_itself() -> None:
    model = LeNet().eval()
    model.features[1].register_forward_hook(lambda *_: None)
    assert pooled(model, torch.rand(2, 1, 28, 28)) is model


class Steps(nn.Module):
    """Reads what comes between the steps of a Sequential."""

    def __init__(self, *, bias: bool = False, inplace: bool = False) -> None:
        super().__init__()
        self.steps = nn.Sequential(
            nn.Conv2d(1, 2, 1, bias=bias), nn.ReLU(inplace=inplace), nn.MaxPool2d(2)
        )
        self.again = nn.Sequential(nn.ReLU(inplace=inplace), nn.MaxPool2d(2))

    def forward(self, x: Tensor) -> Tensor:
        between = self.steps[1](self.steps[0](x))
        twice = self.steps[:2](x), self.again(x.clone()), self.steps(x)
        kinds = [m.kernel_size for m in self.modules() if isinstance(m, nn.MaxPool2d)]
        y = self.steps[0](x)
        seen = self.again(y), y * len(kinds), self.steps[2](between), between, *twice
        return torch.cat([part.flatten(1) for part in seen], dim=1)


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_a_model_that_reads_between_the_steps_answers_the_same(bias: bool, inplace: bool) -> None:
    model = Steps(bias=bias, inplace=inplace).eval()
    fast = pooled(model, torch.randn(2, 1, 4, 4))
    assert any(isinstance(m, PooledFirst) for m in fast.modules())
    for images in (torch.randn(5, 1, 6, 6), torch.zeros(1, 1, 6, 6), -torch.rand(2, 1, 6, 6)):
        assert torch.equal(fast(images), model(images))


class Odd(nn.Module):
    def __init__(self, answer: object) -> None:
        super().__init__()
        self.pool, self.answer = nn.MaxPool2d(2), answer

    def forward(self, x: Tensor) -> object:
        return self.answer

    def __deepcopy__(self, memo: object) -> Odd:
        raise TypeError("not to be copied")


@pytest.mark.parametrize("model", [Odd({}), nn.Sequential(nn.Conv2d(1, 1, 3), nn.MaxPool2d([3]))])
def test_what_cannot_be_compared_stays(model: nn.Module) -> None:
    assert pooled(model, torch.randn(2, 1, 5, 5)) is model


def test_certification_runs_it() -> None:
    model, image = LeNet().eval(), torch.rand(1, 28, 28)
    with torch.inference_mode():
        ready = prepare(model, image, batch_size=8, speed=Speed(), long=False)
    assert isinstance(ready.model, nn.Module)
    assert all(isinstance(m, PairedMaxPool2d) for m in poolings(ready.model))


class Negative(nn.Module):
    """Class 1 where a ReLU between two steps lets something through."""

    def __init__(self) -> None:
        super().__init__()
        self.f = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.ReLU(), nn.MaxPool2d(2))
        nn.init.constant_(self.f[0].weight, -1.0)

    def forward(self, x: Tensor) -> Tensor:
        between = self.f[1](self.f[0](x))
        self.f[2](between)
        mean = between.mean(dim=(1, 2, 3))
        return torch.stack([-mean, 0 * mean + 1e-3 - mean], dim=1)


def test_votes_are_those_of_the_model() -> None:
    model, image = Negative(), torch.full((1, 8, 8), 0.1)
    classifier = GaussianCertifier(0.25).smooth(model)
    counts = classifier.votes(image, NoiseKey(0, 0, "estimation"), 500)
    noise = GaussianNoise(0.25)
    blocks = [
        noise.block(NoiseKey(0, 0, "estimation"), b, (1, 8, 8), torch.device("cpu"))
        for b in range(4)
    ]
    told = model(image + torch.cat(blocks)[:500]).argmax(dim=1).bincount(minlength=2)
    assert counts.tolist() == told.tolist()
