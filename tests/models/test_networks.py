"""The networks: shapes, parameter counts by formula, normalisation, and what they refuse."""

from __future__ import annotations

import sys
from pathlib import Path
from unittest import mock
from urllib.error import URLError

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from lightning_smooth.errors import DataError, InputError
from lightning_smooth.models import (
    CifarResNet,
    ConvSmall,
    CyclicConvNet,
    LeNet,
    Normalize,
    SmallConvNet,
    Standardized,
    TimmModel,
    TorchvisionModel,
    read_state_dict,
)
from lightning_smooth.transforms import GaussianBlur


def _parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def test_normalize_by_hand():
    layer = Normalize([0.5, 0.1], [0.5, 0.2])
    image = torch.tensor([0.0, 1.0]).view(1, 2, 1, 1)
    assert layer(image).flatten().tolist() == pytest.approx([-1.0, 4.5])
    assert layer(image + 10).flatten()[0] == pytest.approx(19.0), "noisy images are not clipped"
    assert "mean=[0.5, 0.1]" in repr(layer)


@pytest.mark.parametrize("shape", [(1, 1, 4, 4), (3, 4, 4), (2, 4, 4, 3)])
def test_normalize_checks_channels(shape: tuple[int, ...]):
    with pytest.raises(InputError, match=r"`image` of shape \(B, 3, H, W\)"):
        Normalize([0.5] * 3, [0.5] * 3)(torch.zeros(shape))


@pytest.mark.parametrize(
    ("mean", "std", "name"),
    [
        ([0.5], [0.5, 0.5], "`mean` and `std`"),
        ([], [], "`mean` and `std`"),
        ([0.5], [0.0], "`std`"),
        ([float("nan")], [1.0], "`mean`"),
    ],
)
def test_normalize_refuses(mean: list[float], std: list[float], name: str):
    with pytest.raises(InputError, match=f"Expected {name}"):
        Normalize(mean, std)


def test_small_network_layer_by_layer():
    expected = (9 * 1 * 32 + 32) + (9 * 32 * 32 + 32) + (9 * 32 * 64 + 64) + (9 * 64 * 64 + 64)
    expected += (64 * 4 * 4 * 200 + 200) + (200 * 200 + 200) + (200 * 10 + 10)
    assert _parameters(SmallConvNet()) == expected == 312202
    assert SmallConvNet()(torch.rand(3, 1, 28, 28)).shape == (3, 10)


def test_small_network_on_digits_and_colour():
    digits = SmallConvNet(image_size=8, padding=1, num_classes=7)
    assert digits(torch.rand(2, 1, 8, 8)).shape == (2, 7)
    colour = SmallConvNet(3, 32, mean=[0.5] * 3, std=[0.2] * 3)
    assert isinstance(next(iter(colour.children())), Normalize)
    assert colour(torch.rand(2, 3, 32, 32)).shape == (2, 10)
    assert SmallConvNet(image_size=16)(torch.rand(1, 1, 16, 16)).shape == (1, 10)


@pytest.mark.parametrize("size", [1, 4, 8, 15])
def test_small_network_refuses_images_too_small(size: int):
    with pytest.raises(InputError, match=f"at least 16.*got {size}.*use padding=1"):
        SmallConvNet(image_size=size)


def test_the_strided_network_layer_by_layer():
    expected = (16 * 1 * 16 + 16) + (16 * 16 * 32 + 32) + (49 * 32 * 100 + 100) + (100 * 10 + 10)
    assert _parameters(ConvSmall()) == expected
    wide = ConvSmall(3, 32, num_classes=7, width=2, mean=[0.5] * 3, std=[0.2] * 3)
    assert wide(torch.rand(2, 3, 32, 32)).shape == (2, 7)
    assert wide.head[1].in_features == 64 * 8 * 8
    with pytest.raises(InputError, match="multiple of 4, but got 30"):
        ConvSmall(image_size=30)


def _resnet_parameters(depth: int, classes: int) -> int:
    """Sum over the layers of He et al. 2016, section 4.2, with 1 x 1 convolution shortcuts."""
    n = (depth - 2) // 6
    total = 9 * 3 * 16 + 2 * 16
    wide = 16
    for width in (16, 32, 64):
        total += 9 * wide * width + 9 * width * width + 4 * width
        total += (wide * width + 2 * width) if wide != width else 0
        total += (n - 1) * (2 * 9 * width * width + 4 * width)
        wide = width
    return total + 64 * classes + classes


@pytest.mark.parametrize(
    ("depth", "classes", "known"), [(20, 10, 272474), (110, 10, 1730714), (8, 100, None)]
)
def test_resnet_parameters(depth: int, classes: int, known: int | None):
    model = CifarResNet(depth, classes)
    assert _parameters(model) == _resnet_parameters(depth, classes)
    assert known in (None, _parameters(model))
    weighted = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(weighted) == depth + 2, "and two shortcuts"


def test_shortcuts_without_weights():
    model = CifarResNet(20, shortcut="pad")
    # He et al. 2016 give .27 million; with the two 1 x 1 convolutions it is 272,474
    removed = (16 * 32 + 2 * 32) + (32 * 64 + 2 * 64)
    assert _parameters(model) == 272474 - removed == 269722
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(convolutions) == 20
    around = model.layer2[0].shortcut(torch.arange(16.0).view(1, 16, 1, 1).expand(2, 16, 5, 4))
    assert around.shape == (2, 32, 3, 2)
    assert around[1, :, 0, 0].tolist() == [0.0] * 8 + list(range(16)) + [0.0] * 8
    image = torch.rand(1, 16, 4, 4)
    assert torch.equal(model.layer2[0].shortcut(image)[:, 8:24], image[:, :, ::2, ::2])
    assert isinstance(model.layer1[0].shortcut, nn.Identity)
    assert model(torch.rand(2, 3, 32, 32)).shape == (2, 10)
    with pytest.raises(InputError, match="`shortcut` to be 'conv' or 'pad', but got 'A'"):
        CifarResNet(8, shortcut="A")


def test_resnet_s_own_normalisation_is_a_default_and_no_choice():
    assert CifarResNet(8).normalization_assumed
    assert CifarResNet(8, std=[0.25] * 3).normalization_assumed
    assert not CifarResNet(8, mean=[0.5] * 3, std=[0.25] * 3).normalization_assumed
    assert not CifarResNet(8, mean=None, std=None).normalization_assumed
    with pytest.raises(InputError, match=r"`std` to be one number a channel.*got 'imagenet'"):
        CifarResNet(8, mean=[0.5] * 3, std="imagenet")


def test_resnet_normalises_first_and_takes_other_images():
    model = CifarResNet(8).eval()
    first = next(iter(model.children()))
    assert isinstance(first, Normalize)
    assert first.mean.flatten().tolist() == pytest.approx([0.4914, 0.4822, 0.4465])
    bare = CifarResNet(8, mean=None, std=None).eval()
    bare.load_state_dict({k: v for k, v in model.state_dict().items() if "normalize" not in k})
    image = torch.rand(2, 3, 32, 32)
    assert torch.allclose(model(image), bare(first(image)))
    grey = CifarResNet(8, in_channels=1, mean=[0.1], std=[0.3])
    assert grey(torch.rand(2, 1, 28, 28)).shape == (2, 10)


def test_resnet_gradients_reach_every_weight():
    model = CifarResNet(8)
    model(torch.rand(4, 3, 32, 32)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


@pytest.mark.parametrize(("depth", "near"), [(18, "14 and 20"), (21, "20 and 26"), (2, "8 and 14")])
def test_resnet_depth(depth: int, near: str):
    with pytest.raises(InputError, match=rf"`depth` to be 6n\+2.*got {depth}.*{near}"):
        CifarResNet(depth)


def test_one_of_mean_and_std():
    with pytest.raises(InputError, match="`mean` and `std` together"):
        SmallConvNet(mean=[0.5])
    with pytest.raises(InputError, match="`mean` and `std` together"):
        TorchvisionModel("resnet18", std=[0.5] * 3)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "squeezenet1_1", "googlenet"])
def test_torchvision_classifiers(name: str):
    with torch.random.fork_rng():
        model = TorchvisionModel(name, 7).train()
    assert isinstance(next(iter(model.children())), Normalize)
    assert model(torch.rand(2, 3, 64, 64)).shape == (2, 7)


def test_torchvision_is_torchvisions_own_network():
    torch.manual_seed(0)
    model = TorchvisionModel("resnet18", 10).eval()
    own = torchvision.models.resnet18(num_classes=10).eval()
    own.load_state_dict(model.model.state_dict())
    image = torch.rand(1, 3, 64, 64)
    mean, std = (
        torch.tensor(v).view(1, 3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    )
    assert torch.allclose(model(image), own((image - mean) / std), atol=1e-6)


def test_torchvision_unknown_names():
    with pytest.raises(InputError, match=r"but got 'resnet5O': did you mean .*resnet50"):
        TorchvisionModel("resnet5O")
    with pytest.raises(InputError, match=r"`weights` of resnet18.*IMAGENET1K_V1.*got 'IMAGENET'"):
        TorchvisionModel("resnet18", weights="IMAGENET")


def test_torchvision_weights_without_network():
    with (
        mock.patch("torch.hub.load_state_dict_from_url", side_effect=URLError("no route")),
        mock.patch(
            "torchvision.models._api.load_state_dict_from_url", side_effect=URLError("no route")
        ),
        pytest.raises(
            DataError, match=r"resnet18.*could not be downloaded.*no route.*weights=None"
        ),
    ):
        TorchvisionModel("resnet18", weights="DEFAULT")


@pytest.mark.parametrize(
    ("name", "head"),
    [("resnet18", "fc"), ("squeezenet1_1", "classifier.1"), ("mobilenet_v2", "classifier.1")],
)
def test_named_weights_with_another_number_of_classes(name: str, head: str):
    state = torchvision.models.get_model(name).state_dict()
    with mock.patch("torchvision.models._api.load_state_dict_from_url", return_value=state):
        model = TorchvisionModel(name, 5, weights="DEFAULT")
        same = TorchvisionModel(name, 1000, weights="DEFAULT")
    assert model.eval()(torch.rand(2, 3, 64, 64)).shape == (2, 5)
    kept = model.model.state_dict()
    assert all(torch.equal(kept[k], v) for k, v in state.items() if not k.startswith(head))
    assert torch.equal(same.model.get_submodule(head).weight, state[f"{head}.weight"])


def test_weights_from_a_file(tmp_path: Path):
    model = TorchvisionModel("resnet18", 4)
    state = model.model.state_dict()
    torch.save({"state_dict": state, "best": 1.0}, tmp_path / "w.pth")
    save_file(state, tmp_path / "w.safetensors")
    for file in ("w.pth", "w.safetensors"):
        again = TorchvisionModel("resnet18", 4, weights=str(tmp_path / file))
        assert all(torch.equal(again.model.state_dict()[k], v) for k, v in state.items())
    with pytest.raises(InputError, match=r"`weights` to fit ResNet.*fc\.weight"):
        TorchvisionModel("resnet18", 5, weights=str(tmp_path / "w.pth"))


class _Evil:
    def __reduce__(self):
        return (print, ("must not run",))


def test_files_that_are_no_weights(tmp_path: Path, capsys):
    with pytest.raises(InputError, match=r"nowhere\.pt does not exist"):
        read_state_dict(tmp_path / "nowhere.pt")
    for name, content in (("a.pt", b"junk"), ("b.safetensors", b"junk"), ("c.pt", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=f"{name} cannot be read"):
            read_state_dict(tmp_path / name)
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(InputError, match=r"list\.pt holds list"):
        read_state_dict(tmp_path / "list.pt")
    torch.save({"w": _Evil()}, tmp_path / "evil.pt")
    with pytest.raises(InputError, match=r"evil\.pt cannot be read"):
        read_state_dict(tmp_path / "evil.pt")
    assert capsys.readouterr().out == ""


def test_timm_model():
    timm = pytest.importorskip("timm")
    model = TimmModel("resnet10t", 6).eval()
    assert isinstance(next(iter(model.children())), Normalize)
    cfg = timm.create_model("resnet10t").pretrained_cfg
    assert model.normalize.std.flatten().tolist() == pytest.approx(list(cfg["std"]))
    assert model(torch.rand(2, 3, 64, 64)).shape == (2, 6)
    with pytest.raises(InputError, match=r"got 'resnet10x': did you mean .*resnet10t"):
        TimmModel("resnet10x", 6)


def test_timm_not_installed():
    with (
        mock.patch.dict(sys.modules, {"timm": None}),
        pytest.raises(InputError, match=r"pip install lightning-smooth\[timm\]"),
    ):
        TimmModel("resnet18", 10)


def test_the_published_mnist_network_has_this_size():
    # 20 x 25 + 20, 50 x 500 + 50, 800 x 500 + 500, 500 x 10 + 10
    assert _parameters(LeNet()) == 520 + 25_050 + 400_500 + 5_010
    assert LeNet(3, 32, num_classes=7)(torch.rand(2, 3, 32, 32)).shape == (2, 7)
    with pytest.raises(InputError, match="image_size"):
        LeNet(image_size=12)


def test_standardized_images_have_one_brightness_and_contrast():
    model = Standardized(LeNet())
    image = torch.rand(3, 1, 28, 28)
    with torch.no_grad():
        assert torch.allclose(model(image), model(3.0 * (image - 0.4)), atol=1e-5)
        plain = LeNet()
        plain.load_state_dict(model.model.state_dict())
        by_hand = (image - image.mean((1, 2, 3), True)) / image.std((1, 2, 3), False, keepdim=True)
        assert torch.allclose(model(image), plain(by_hand), atol=1e-5)


def test_standardized_has_a_gradient_at_an_image_without_contrast():
    image = torch.full((1, 1, 28, 28), 0.5, requires_grad=True)
    Standardized(LeNet())(image).sum().backward()
    assert image.grad.isfinite().all()
    with pytest.raises(InputError, match="eps"):
        Standardized(LeNet(), eps=0.0)


def test_standardized_shows_what_a_blur_has_left():
    seen = []
    model = Standardized(Kept(seen), laplacians=2)
    torch.manual_seed(0)
    image = torch.rand(2, 1, 6, 7, dtype=torch.float64)
    model(image)
    (maps,) = seen
    assert maps.shape == (2, 3, 6, 7)
    assert torch.allclose(maps.mean((2, 3)), torch.zeros(2, 3).double(), atol=1e-12)
    assert torch.allclose(maps.std((2, 3), False), torch.ones(2, 3).double(), atol=1e-9)
    # half the second difference of the heat kernel: d/da of the blur at a = 0, here by differences
    step = torch.full((1, 1), 1e-6, dtype=torch.float64)
    slope = (GaussianBlur()(image, step) - image) / 1e-6
    slope = (slope - slope.mean((2, 3), True)) / slope.std((2, 3), False, keepdim=True)
    assert torch.allclose(maps[:, 1:2], slope, atol=1e-4)


class Kept(torch.nn.Module):
    def __init__(self, seen):
        super().__init__()
        self.seen = seen

    def forward(self, images):
        self.seen.append(images)
        return images.flatten(1)


def test_cyclic_translations_by_four_pixels_change_no_score():
    torch.manual_seed(0)
    model = CyclicConvNet(3, 12, num_classes=5).eval()
    image = torch.rand(2, 3, 12, 12)
    with torch.no_grad():
        scores = model(image)
        assert scores.shape == (2, 5)
        assert torch.allclose(model(image.roll((-4, 8), (2, 3))), scores, atol=1e-5)
        assert not torch.allclose(model(image.roll((1, 0), (2, 3))), scores, atol=1e-5)
    with pytest.raises(InputError, match="a multiple of 4"):
        CyclicConvNet(image_size=30)
