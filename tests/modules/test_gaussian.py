"""Gaussian augmentation: what the loss sees, and what training refuses."""

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.nn import functional

from lightning_smooth.data import Digits
from lightning_smooth.errors import InputError
from lightning_smooth.models import SmallConvNet
from lightning_smooth.modules import GaussianAugmentation
from lightning_smooth.smoothing.laws import GaussianNoise


def linear():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


def trainer(**settings):
    return pl.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, **settings,
    )  # fmt: skip


def test_the_loss_is_cross_entropy_on_noisy_images():
    module = GaussianAugmentation(linear(), 0.3)
    images, labels = torch.rand(5, 1, 8, 8), torch.arange(5)
    loss, logits = module.loss(images, labels, torch.Generator().manual_seed(1))
    noise = GaussianNoise(0.3).like(images, torch.Generator().manual_seed(1))
    assert torch.equal(logits, module.model(images + noise))
    assert torch.equal(loss, functional.cross_entropy(logits, labels))
    assert float(noise.std()) == pytest.approx(0.3, rel=0.15)


def test_each_image_has_its_own_draw():
    images = torch.zeros(4, 1, 8, 8)
    noise = GaussianNoise(1.0).like(images, torch.Generator().manual_seed(0))
    assert len({float(x[0, 0, 0]) for x in noise}) == 4


class Spy(GaussianAugmentation):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.seen = []

    def loss(self, images, labels, generator):
        self.seen.append(generator.initial_seed())
        return super().loss(images, labels, generator)


def test_noise_is_fresh_in_every_step_and_the_same_in_a_repeated_run():
    runs = []
    for _ in range(2):
        pl.seed_everything(5)
        spy = Spy(linear(), 0.3)
        trainer(max_epochs=2, limit_train_batches=4, limit_val_batches=0).fit(
            spy, datamodule=Digits()
        )
        runs.append(spy.seen)
    assert len(set(runs[0])) == 8
    assert runs[0] == runs[1]


def test_accumulated_batches_do_not_share_noise():
    spy = Spy(linear(), 0.3)
    trainer(
        max_epochs=1, limit_train_batches=4, limit_val_batches=0, accumulate_grad_batches=2
    ).fit(spy, datamodule=Digits())
    assert len(set(spy.seen)) == 4


def test_validation_noise_is_the_same_in_every_epoch():
    module = GaussianAugmentation(linear(), 0.3)
    judge = trainer(limit_val_batches=2)
    first, second = (judge.validate(module, Digits(), verbose=False)[0] for _ in range(2))
    assert first == second
    assert set(first) == {"val/loss", "val/clean_accuracy", "val/noisy_accuracy"}


def test_validation_measures_what_it_says():
    module, data = GaussianAugmentation(linear(), 0.3), Digits(val_size=50, eval_batch_size=64)
    found = trainer().validate(module, data, verbose=False)[0]
    ((images, labels, _),) = list(data.val_dataloader())
    clean = (module.model(images).argmax(1) == labels).float().mean()
    assert found["val/clean_accuracy"] == pytest.approx(float(clean))


def test_the_optimizer_and_the_scheduler_are_those_given():
    module = GaussianAugmentation(
        linear(), 0.3, lambda p: torch.optim.Adam(p, lr=0.01),
        lambda o: torch.optim.lr_scheduler.StepLR(o, 1), "step",
    )  # fmt: skip
    found = module.configure_optimizers()
    assert isinstance(found["optimizer"], torch.optim.Adam)
    assert found["lr_scheduler"]["interval"] == "step"
    assert isinstance(GaussianAugmentation(linear(), 0.3).configure_optimizers(), torch.optim.SGD)


@pytest.mark.parametrize("sigma", [0.0, -0.5, float("nan")])
def test_sigma_must_be_positive(sigma):
    with pytest.raises(InputError, match="sigma"):
        GaussianAugmentation(linear(), sigma)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(64, 7)), "7 classes, but Digits has 10"),
        (nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), "does not take the images of Digits"),
        (nn.Flatten(0), "scores of shape"),
    ],
)
def test_models_that_do_not_fit_the_data_are_refused_before_training(model, words):
    with pytest.raises(InputError, match=words):
        trainer(max_steps=1).fit(GaussianAugmentation(model, 0.3), datamodule=Digits())


@pytest.mark.parametrize(
    ("images", "labels", "words"),
    [
        (torch.rand(2, 1, 8, 8) * 255, [0, 1], r"in \[0, 1\]"),
        (torch.full((2, 1, 8, 8), float("nan")), [0, 1], "NaN"),
        (torch.zeros(2, 1, 8, 8, dtype=torch.uint8), [0, 1], "divide 8-bit images by 255"),
        (torch.rand(2, 1, 8, 8), [0, 10], r"0\.\.9"),
        (torch.rand(2, 1, 8, 8), [-1, 0], r"0\.\.9"),
    ],
)
def test_bad_batches_are_refused(images, labels, words):
    batch = (images, torch.tensor(labels), torch.arange(2))
    loader = torch.utils.data.DataLoader([batch], batch_size=None)
    with pytest.raises(InputError, match=words):
        trainer(max_steps=1).fit(GaussianAugmentation(linear(), 0.3), loader)


def test_a_checkpoint_of_another_model_is_named(tmp_path):
    module = GaussianAugmentation(SmallConvNet(image_size=8, padding=1), 0.3)
    with pytest.raises(InputError, match="does not fit the model") as caught:
        module.on_load_checkpoint({"state_dict": {"other": torch.zeros(1)}})
    assert "is missing" in str(caught.value)
    wrong = {**module.state_dict(), "model.extra": torch.zeros(1)}
    with pytest.raises(InputError, match=r"model\.extra is unknown"):
        module.on_load_checkpoint({"state_dict": wrong})


def test_checkpoints_hold_plain_types_only(tmp_path):
    judge = pl.Trainer(
        accelerator="cpu", max_steps=1, default_root_dir=tmp_path, logger=False,
        limit_val_batches=0, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    judge.fit(GaussianAugmentation(linear(), 0.3), datamodule=Digits())
    path = tmp_path / "x.ckpt"
    judge.save_checkpoint(path)
    stored = torch.load(path, weights_only=True)
    assert stored["hyper_parameters"]["sigma"] == 0.3
