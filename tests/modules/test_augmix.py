"""AugMix: every image has draws of its own, torchvision's operations, the published loss."""

import math
from collections import Counter

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch.nn import functional
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as kernels

from lightning_smooth.data import Digits
from lightning_smooth.errors import InputError
from lightning_smooth.models import SmallConvNet
from lightning_smooth.modules import AugMixTraining
from lightning_smooth.modules.augmix import Mixtures, jensen_shannon

OVERLAPPING = {"Brightness", "Color", "Contrast", "Sharpness"}


def images(count=6, shape=(3, 16, 16), seed=0):
    generator = torch.Generator().manual_seed(seed)
    bytes_ = torch.randint(0, 256, (count, *shape), generator=generator, dtype=torch.uint8)
    return bytes_.float() / 255


def module(**settings):
    torch.manual_seed(0)
    return AugMixTraining(SmallConvNet(1, 8, padding=1), **settings)


def one_by_one(mixtures, batch, seed):
    """The mixtures of a batch, each image by itself through torchvision's operations."""
    draws, count = np.random.default_rng(seed), len(batch)
    width, alpha = mixtures.mixture_width, mixtures.alpha
    kept = draws.dirichlet([alpha] * 2, count)
    weights = draws.dirichlet([alpha] * width, count)
    theirs, operations = v2.AugMix(), mixtures.operations(*batch.shape[-2:])
    lengths = draws.integers(1, 4, count * width)
    steps = [
        (draws.integers(len(operations), size=count * width), draws.random(count * width))
        for _ in range(3)
    ]
    out = []
    for i, image in enumerate(batch):
        mixture = kept[i, 0] * image.double()
        for chain in range(width):
            row = chain * count + i
            pixels = (image * 255).round().to(torch.uint8)
            for names, variants in steps[: lengths[row]]:
                ways = operations[names[row]]
                name, magnitude = ways[int(variants[row] * len(ways))]
                pixels = theirs._apply_image_or_video_transform(
                    pixels, name, magnitude, theirs.interpolation, theirs._fill
                )
            mixture += kept[i, 1] * weights[i, chain] * pixels.double() / 255
        out.append(mixture)
    return torch.stack(out)


@pytest.mark.parametrize("overlapping", [False, True])
@pytest.mark.parametrize("shape", [(3, 16, 16), (1, 12, 14)])
def test_a_batch_is_what_each_image_gives_by_itself(shape, overlapping):
    mixtures = Mixtures(severity=10, overlapping=overlapping)
    batch = images(24, shape)
    ours = mixtures(batch, np.random.default_rng(5))
    assert ours.dtype == torch.float32
    assert torch.allclose(ours.double(), one_by_one(mixtures, batch, 5), atol=1e-6)
    assert 0 <= float(ours.min()) <= float(ours.max()) <= 1


def test_operations_are_torchvisions_without_those_that_overlap():
    plain = Mixtures().operations(32, 32)
    names = [{name for name, _ in ways} - {"Identity"} for ways in plain]
    assert set().union(*names) == {
        "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Posterize", "Solarize",
        "AutoContrast", "Equalize",
    }  # fmt: skip
    more = Mixtures(overlapping=True).operations(32, 32)
    assert {n for ways in more for n, _ in ways} - {n for ways in plain for n, _ in ways} == (
        OVERLAPPING
    )
    turns = sorted({round(m, 4) for ways in plain for n, m in ways if n == "Rotate"})
    assert turns == [-6.6667, -3.3333, 3.3333, 6.6667]  # severity 3 of ten, up to 30 degrees
    assert [m for n, m in plain[5]] == [4.0, 4.0, 3.0]
    assert [n for n, _ in plain[5]] == ["Posterize"] * 3


def test_an_operation_is_that_of_the_public_kernels():
    pixels = (images(3) * 255).to(torch.uint8)
    mixtures = Mixtures()
    pairs = {
        ("Rotate", 20.0): kernels.rotate(pixels, 20.0, v2.InterpolationMode.BILINEAR),
        ("Posterize", 2.0): kernels.posterize(pixels, 2),
        ("Solarize", 0.5): kernels.solarize(pixels, 127.5),
        ("AutoContrast", 0.0): kernels.autocontrast(pixels),
        ("Equalize", 0.0): kernels.equalize(pixels),
        ("Brightness", 0.3): kernels.adjust_brightness(pixels, 1.3),
    }
    for (name, magnitude), expected in pairs.items():
        assert torch.equal(mixtures.applied(pixels, name, magnitude), expected), name


def test_each_image_has_draws_of_its_own():
    same = images(1).repeat(40, 1, 1, 1)
    mixed = Mixtures()(same, np.random.default_rng(0))
    assert len({image.numpy().tobytes() for image in mixed}) == 40
    # What another image is has no influence.
    other = same.clone()
    other[3] = 0.25
    again = Mixtures()(other, np.random.default_rng(0))
    kept = [i for i in range(40) if i != 3]
    assert torch.equal(again[kept], mixed[kept])
    assert not torch.equal(again[3], mixed[3])


def test_operations_are_equally_likely(monkeypatch):
    counts = Counter()

    def counted(self, pixels, name, magnitude):
        counts[name] += len(pixels)
        return pixels

    monkeypatch.setattr(Mixtures, "applied", counted)
    Mixtures(depth=1)(torch.zeros(3000, 1, 2, 2), np.random.default_rng(0))
    # 9 operations; of those with a sign, one strength in three is none at all.
    assert len(counts) == 9
    for name, count in counts.items():
        expected = 1000 * (
            1.0 if name[0] in "PE" or name in ("Solarize", "AutoContrast") else 2 / 3
        )
        assert abs(count - expected) < 5 * math.sqrt(expected), name


def test_mixing_weights_are_those_of_the_paper():
    """Black images whose chains are white: the mixture is 1 - m, m of Beta(1, 1)."""

    class White(Mixtures):
        def _chained(self, pixels, draws):
            return torch.full_like(pixels, 255)

    mixed = White()(torch.zeros(4000, 1, 1, 1), np.random.default_rng(0)).flatten()
    quantiles = torch.quantile(mixed, torch.tensor([0.1, 0.5, 0.9]))
    assert torch.allclose(quantiles, torch.tensor([0.1, 0.5, 0.9]), atol=0.03)
    steep = White(alpha=0.1)(torch.zeros(4000, 1, 1, 1), np.random.default_rng(0)).flatten()
    assert float(((steep < 0.05) | (steep > 0.95)).float().mean()) > 0.6


def test_divergence_by_hand_and_its_bounds():
    half, sure = torch.tensor([0.5, 0.5]), torch.tensor([1.0 - 1e-7, 1e-7])
    found = jensen_shannon(torch.stack([half, half, sure]).log()[:, None])
    # q = (2/3, 1/3): 2/3 KL(half || q) + 1/3 KL(sure || q)
    by_hand = 2 / 3 * 0.5 * (math.log(0.75) + math.log(1.5)) + math.log(1.5) / 3
    assert float(found) == pytest.approx(by_hand, abs=1e-5)
    logits = torch.randn(3, 50, 10, generator=torch.Generator().manual_seed(0)) * 5
    p = logits.double().softmax(2)
    q = p.mean(0)
    brute = (p * (p / q).log()).sum(2).mean(0)
    assert torch.allclose(jensen_shannon(logits).double(), brute, atol=1e-5)
    assert bool((jensen_shannon(logits) <= math.log(3)).all())
    assert float(jensen_shannon(logits[:1].repeat(3, 1, 1)).abs().max()) < 1e-6
    apart = 1e4 * torch.eye(3)[:, None].requires_grad_()
    worst = jensen_shannon(apart)
    assert float(worst.detach()) == pytest.approx(math.log(3), abs=1e-6)
    (gradient,) = torch.autograd.grad(worst.sum(), apart)
    assert bool(gradient.isfinite().all())


@pytest.mark.parametrize("sigma", [0.0, 0.3])
def test_loss_is_that_of_the_paper(sigma):
    one = module(sigma=sigma, consistency=12.0)
    batch, labels = images(5, (1, 8, 8)), torch.tensor([0, 1, 2, 3, 4])
    loss, logits = one.loss(batch, labels, torch.Generator().manual_seed(3))
    generator = torch.Generator().manual_seed(3)
    views = torch.cat([batch, one.mixed(batch.repeat(2, 1, 1, 1), generator)])
    if sigma:
        views = views + sigma * torch.randn(views.shape, generator=generator)
    scores = one.model(views).reshape(3, 5, -1)
    p = scores.softmax(2)
    apart = sum(functional.kl_div(p.mean(0).log(), q, reduction="batchmean") for q in p) / 3
    expected = functional.cross_entropy(scores[0], labels) + 12 * apart
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)
    assert torch.allclose(logits, scores[1], atol=1e-5)


def test_draws_follow_the_seed_of_a_step():
    one, batch = module(), images(4, (1, 8, 8))
    first, again, other = (
        one.mixed(batch, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_training_logs_keeps_its_settings_and_goes_on(tmp_path):
    one = module(severity=2, overlapping=True)
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=1, limit_train_batches=3, limit_val_batches=1, logger=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path,
    )  # fmt: skip
    before = [p.clone() for p in one.parameters()]
    trainer.fit(one, datamodule=Digits(batch_size=16))
    assert any(not torch.equal(a, b) for a, b in zip(before, one.parameters(), strict=True))
    metrics = trainer.callback_metrics
    assert {"train/divergence", "train/cross_entropy", "val/mixed_accuracy"} <= set(metrics)
    assert 0 <= float(metrics["train/divergence"]) <= math.log(3)
    path = tmp_path / "last.ckpt"
    trainer.save_checkpoint(path)
    kept = torch.load(path, weights_only=True)["hyper_parameters"]
    assert (kept["severity"], kept["overlapping"], kept["consistency"]) == (2, True, 12.0)
    tuned = AugMixTraining(SmallConvNet(1, 8, padding=1), weights=str(path))
    tuned._load_weights()
    for ours, theirs in zip(tuned.model.parameters(), one.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"severity": 11}, "severity"), ({"severity": 0}, "severity"), ({"width": 0}, "width"),
     ({"depth": 0}, "depth"), ({"depth": -2}, "depth"), ({"alpha": 0.0}, "alpha"),
     ({"consistency": -1.0}, "consistency"), ({"sigma": -0.1}, "sigma")],
)  # fmt: skip
def test_mistakes(settings, said):
    with pytest.raises(InputError, match=said):
        module(**settings)
