"""What every defence from images to images keeps, and how it is built from a file."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from lightning_smooth import defenses
from lightning_smooth.defenses import (
    JPEG,
    BitDepth,
    CropRescale,
    Defended,
    Quilting,
    RandomResizePad,
    SoftThermometer,
    StochasticActivationPruning,
    Thermometer,
    TotalVariation,
    is_stochastic,
)
from lightning_smooth.errors import InputError
from lightning_smooth.experiment import built

MAKE = {
    "bits": lambda channels: BitDepth(3),
    "jpeg": lambda channels: JPEG(75),
    "variation": lambda channels: TotalVariation(iterations=40),
    "crop": lambda channels: CropRescale(0.6),
    "crop in pixels": lambda channels: CropRescale(7),
    "resize": lambda channels: RandomResizePad(8, 12, 12, fill=0.25),
    "quilting": lambda channels: Quilting(
        torch.rand(40, channels, 5, 5, generator=torch.Generator().manual_seed(0))
    ),
}
DIFFERENTIABLE = {"crop", "crop in pixels", "resize"}
DRAWS = {"variation", "crop", "crop in pixels", "resize", "quilting"}


@pytest.fixture(params=MAKE, ids=lambda name: name.replace(" ", "-"))
def name(request):
    return request.param


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shape_type_and_range_are_kept(name, channels, dtype):
    torch.manual_seed(1)
    images = torch.rand(6, channels, 12, 12, dtype=dtype)
    images[0], images[1] = 0, 1
    before = images.clone()
    out = MAKE[name](channels)(images)
    assert out.shape == images.shape
    assert out.dtype == dtype
    assert out.min() >= 0
    assert out.max() <= 1
    assert torch.equal(images, before), "the images are not written to"


def test_draws_come_from_the_global_generator_in_eval_mode(name):
    defense = MAKE[name](1).eval()
    images = torch.rand(4, 1, 12, 12)
    assert is_stochastic(defense) == (name in DRAWS)
    outs = []
    for seed in (3, 3, 4):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            outs.append(defense(images))
    assert torch.equal(outs[0], outs[1])
    assert torch.equal(outs[0], outs[2]) == (name not in DRAWS)


def test_images_of_a_batch_have_draws_of_their_own(name):
    images = torch.rand(1, 1, 12, 12).expand(8, 1, 12, 12)
    torch.manual_seed(0)
    out = MAKE[name](1)(images)
    assert (out != out[:1]).any() == (name in DRAWS)


def test_gradients_are_none_or_the_true_ones(name):
    defense = MAKE[name](1)
    images = torch.rand(2, 1, 12, 12, dtype=torch.float64, requires_grad=True)
    weights = torch.rand(2, 1, 12, 12, dtype=torch.float64)

    def loss(x):
        torch.manual_seed(5)
        return (weights * defense(x)).sum()

    out = loss(images)
    assert out.requires_grad == (name in DIFFERENTIABLE)
    if name in DIFFERENTIABLE:
        (slope,) = torch.autograd.grad(out, images)
        way, step = torch.rand_like(images), 1e-5
        expected = (loss(images + step * way) - loss(images - step * way)) / (2 * step)
        torch.testing.assert_close((slope * way).sum(), expected, rtol=1e-8, atol=1e-8)


def test_works_in_inference_mode(name):
    with torch.inference_mode():
        assert MAKE[name](1)(torch.rand(2, 1, 12, 12)).shape == (2, 1, 12, 12)


@pytest.mark.parametrize("shape", [(1, 12, 12), (12, 12)])
def test_one_image_is_no_batch(name, shape):
    with pytest.raises(InputError, match="Expected `images` to be"):
        MAKE[name](1)(torch.rand(shape))


def test_bytes_are_no_images(name):
    with pytest.raises(InputError, match="divide 8-bit images"):
        MAKE[name](1)(torch.zeros(1, 1, 12, 12, dtype=torch.uint8))


def test_the_state_round_trips(name):
    images = torch.rand(2, 1, 12, 12)
    defense, other = MAKE[name](1), MAKE[name](1)
    for buffer in other.buffers():
        buffer.zero_()
    other.load_state_dict(defense.state_dict())
    torch.manual_seed(0)
    out = defense(images)
    torch.manual_seed(0)
    assert torch.equal(out, other(images))


BUILT = [
    ("BitDepth", {"bits": 2}, "bits=2"),
    ("CropRescale", {"size": 20}, "size=20"),
    ("CropRescale", {"size": 0.5}, "size=0.5"),
    ("JPEG", {"quality": 30}, "quality=30"),
    ("RandomResizePad", {"low": 24, "high": 26, "padded": 28}, "low=24, high=26, padded=28"),
    ("SoftThermometer", {"levels": 4}, "levels=4"),
    ("StochasticActivationPruning", {"fraction": 2}, "fraction=2"),
    ("Thermometer", {"levels": 4}, "levels=4"),
    ("TotalVariation", {"weight": 0.1}, "keep=0.5, weight=0.1"),
]


def build(given):
    return built(nn.Module, given)


@pytest.mark.parametrize(("kind", "given", "shown"), BUILT)
def test_it_is_built_from_plain_arguments(kind, given, shown):
    made = build(
        {
            "class_path": "lightning_smooth.defenses.Defended",
            "init_args": {
                "defense": {"class_path": f"lightning_smooth.defenses.{kind}", "init_args": given},
                "model": {"class_path": "lightning_smooth.models.LeNet"},
                "passes": 2,
            },
        }
    )
    assert isinstance(made, Defended)
    assert type(made.defense) is getattr(defenses, kind)
    assert shown in repr(made.defense)
    assert "passes=2" in repr(made)


def test_a_bank_is_built_from_a_file(tmp_path):
    quilting = Quilting(torch.rand(30, 3, 4, 4), tile=4, neighbours=3, overlap=1)
    save_file(quilting.state_dict(), tmp_path / "bank.safetensors")
    given = {"weights": str(tmp_path / "bank.safetensors"), "tile": 4, "overlap": 1}
    made = build({"class_path": "lightning_smooth.defenses.Quilting", "init_args": given})
    assert torch.equal(made.bank, quilting.bank)
    assert "patches=30, tile=4, neighbours=10, overlap=1" in repr(made)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: BitDepth(0), "`bits`"),
        (lambda: BitDepth(9), "`bits` to be at most 8"),
        (lambda: JPEG(0), "`quality`"),
        (lambda: JPEG(101), "`quality` to be 1 to 100"),
        (lambda: Thermometer(0), "`levels`"),
        (lambda: SoftThermometer(1.5), "`levels`"),
        (lambda: TotalVariation(0), "`keep`"),
        (lambda: TotalVariation(keep=1.1), "`keep`"),
        (lambda: TotalVariation(weight=0), "`weight`"),
        (lambda: TotalVariation(iterations=0), "`iterations`"),
        (lambda: CropRescale(0), "`size`"),
        (lambda: CropRescale(1.2), "`size`"),
        (lambda: CropRescale(True), "`size`"),
        (lambda: RandomResizePad(5, 4, 6), "`low` <= `high` <= `padded`"),
        (lambda: RandomResizePad(5, 7, 6), "`low` <= `high` <= `padded`"),
        (lambda: RandomResizePad(4, 5, 6, fill=2), "`fill`"),
        (lambda: StochasticActivationPruning(0), "`fraction`"),
        (lambda: Defended(nn.Identity(), nn.Identity(), passes=0), "`passes`"),
        (lambda: Quilting(), "either `bank` or `weights`, but got neither"),
        (lambda: Quilting(torch.rand(9, 1, 5, 5), weights="x"), "but got both"),
        (lambda: Quilting(torch.rand(9, 1, 5, 5)), "at least `neighbours`=10 patches, but got 9"),
        (lambda: Quilting(torch.rand(20, 1, 4, 4)), r"\(N, C, 5, 5\)"),
        (lambda: Quilting(torch.rand(20, 1, 5, 5) + 1), r"`bank` in \[0, 1\]"),
        (lambda: Quilting(torch.full((20, 1, 5, 5), torch.nan)), r"`bank` in \[0, 1\]"),
        (lambda: Quilting(torch.rand(20, 1, 5, 5), overlap=5), "`overlap` to be below `tile`"),
    ],
)
def test_bad_arguments_are_named(make, words):
    with pytest.raises(InputError, match=words):
        make()
