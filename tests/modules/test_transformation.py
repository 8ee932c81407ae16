"""Training under a transformation: what it draws, what its loss is, what it refuses."""

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from scipy import stats
from torch import nn
from torch.nn import functional

from lightning_smooth.data import Digits
from lightning_smooth.errors import InputError
from lightning_smooth.maths.laws import ExponentialLaw, GaussianLaw
from lightning_smooth.modules import TransformAugmentation
from lightning_smooth.transforms import BrightnessContrast, GaussianBlur, Rotation

BLUR = (GaussianBlur(), {"variance": ExponentialLaw(2.0)})
LIGHT = (BrightnessContrast(), {"brightness": GaussianLaw(0.1), "contrast": GaussianLaw(0.2)})


def linear():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


def generator():
    return torch.Generator().manual_seed(3)


def test_one_copy_is_cross_entropy_on_transformed_images():
    module = TransformAugmentation(linear(), *BLUR)
    images, labels = torch.rand(6, 1, 8, 8), torch.arange(6)
    loss, logits = module.loss(images, labels, generator())
    blurred = GaussianBlur()(images, module.theta(6, generator()))
    assert torch.equal(logits, module.model(blurred))
    assert float(loss) == pytest.approx(float(functional.cross_entropy(logits, labels)))


def test_copies_are_held_together_as_consistency_says():
    module = TransformAugmentation(linear(), *BLUR, copies=3, consistency=20.0, entropy=0.5)
    images, labels = torch.rand(5, 1, 8, 8), torch.arange(5)
    loss, logits = module.loss(images, labels, generator())
    theta = module.theta(15, generator())
    each = torch.stack(
        [module.model(GaussianBlur()(images, part)) for part in theta.chunk(3)]
    ).double()
    p = each.softmax(dim=2)
    mean = p.mean(dim=0)
    natural = -p[:, torch.arange(5), labels].log().mean()
    apart = (mean * (mean.log() - p.log())).sum(dim=2).mean()
    unsure = -(mean * mean.log()).sum(dim=1).mean()
    assert float(loss) == pytest.approx(float(natural + 20 * apart + 0.5 * unsure), rel=1e-5)
    assert torch.allclose(logits.double(), each[0])


def test_parameters_follow_the_law():
    module = TransformAugmentation(linear(), *LIGHT)
    theta = module.theta(20_000, generator()).numpy()
    assert stats.kstest(theta[:, 0], stats.norm(0, 0.1).cdf).pvalue > 0.01
    assert stats.kstest(theta[:, 1], stats.norm(0, 0.2).cdf).pvalue > 0.01


def test_noise_comes_after_an_attack_in_the_widened_box():
    # With next to no noise, what is left is the attack: uniform in the box, times `widen`.
    laws = {"brightness": GaussianLaw(1e-9), "contrast": GaussianLaw(1e-9)}
    box = {"brightness": (-0.2, 0.4)}
    module = TransformAugmentation(linear(), BrightnessContrast(), laws, box, widen=1.5)
    theta = module.theta(20_000, generator()).numpy()
    assert stats.kstest(theta[:, 0], stats.uniform(-0.3, 0.9).cdf).pvalue > 0.01
    assert np.abs(theta[:, 1]).max() < 1e-7
    # The noise on brightness acts on what the contrast of the attack has made of the image.
    module = TransformAugmentation(linear(), *LIGHT, {"contrast": (1.0, 1.0)}, widen=1.0)
    theta = module.theta(20_000, generator()).numpy()
    assert theta[:, 0].std() == pytest.approx(0.1 * np.exp(-1), rel=0.03)
    assert theta[:, 1].mean() == pytest.approx(1.0, abs=0.01)


def test_rotations_add_attack_and_noise():
    laws = {"angle": GaussianLaw(1e-9)}
    module = TransformAugmentation(linear(), Rotation(), laws, {"angle": (-30.0, 30.0)}, widen=1.0)
    assert stats.kstest(
        module.theta(5000, generator())[:, 0].numpy(), stats.uniform(-30, 60).cdf
    ).pvalue > 0.01  # fmt: skip


def test_pixel_noise_is_for_training_alone():
    module = TransformAugmentation(linear(), *BLUR, sigma=0.5)
    images, labels = torch.full((4000, 1, 8, 8), 0.5), torch.zeros(4000, dtype=torch.long)
    seen = []
    module.model = nn.Sequential(Spy(seen), *module.model)
    module.loss(images, labels, generator())
    assert float(seen[0].std()) == pytest.approx(0.5, rel=0.01)
    assert float(module.law.perturbed(images, generator()).std()) < 1e-6


class Spy(nn.Module):
    def __init__(self, seen):
        super().__init__()
        self.seen = seen

    def forward(self, images):
        self.seen.append(images)
        return images


def test_it_trains_with_a_trainer(tmp_path):
    module = TransformAugmentation(linear(), *BLUR, {"variance": (0, 2)}, copies=2, consistency=1.0)
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=3, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(module, datamodule=Digits(batch_size=64))
    assert float(trainer.callback_metrics["val/noisy_accuracy"]) > 0.5
    assert "train/consistency" in trainer.callback_metrics


def test_what_is_refused():
    with pytest.raises(InputError, match="`copies` of 2 or more"):
        TransformAugmentation(linear(), *BLUR, consistency=1.0)
    with pytest.raises(InputError, match=r"variance, the parameters of .*, but got \['angle'\]"):
        TransformAugmentation(linear(), *BLUR, {"angle": (0, 1)})
    with pytest.raises(InputError, match=r"\(least, greatest\), each at least 0 .*\(39.6, 0\)"):
        TransformAugmentation(linear(), *BLUR, {"variance": (36, 0)})
    with pytest.raises(InputError, match="one or more of variance"):
        TransformAugmentation(linear(), GaussianBlur(), {"angle": GaussianLaw(1.0)})
    with pytest.raises(InputError, match="never below 0"):
        TransformAugmentation(linear(), GaussianBlur(), {"variance": GaussianLaw(1.0)})
