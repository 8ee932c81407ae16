"""Adversarial and cascade training: what the losses see, and what is refused."""

import pytest
import pytorch_lightning as pl
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

from lightning_smooth.attacks import FGSM, PGD
from lightning_smooth.data import Digits
from lightning_smooth.errors import InputError
from lightning_smooth.models import SmallConvNet
from lightning_smooth.modules import AdversarialTraining, CascadeTraining


def linear(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


def small(seed=0):
    torch.manual_seed(seed)
    return SmallConvNet(1, 8, padding=1)


def batch(size=6):
    generator = torch.Generator().manual_seed(3)
    return torch.rand(size, 1, 8, 8, generator=generator), torch.arange(size) % 10


def generator(seed=5):
    return torch.Generator().manual_seed(seed)


def trainer(**settings):
    return pl.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, **settings,
    )  # fmt: skip


def test_without_an_attack_it_is_plain_training():
    images, labels = batch()
    module = AdversarialTraining(linear())
    loss, logits = module.loss(images, labels, generator())
    assert torch.equal(logits, module.model(images))
    assert torch.equal(loss, functional.cross_entropy(logits, labels))


def test_the_loss_is_that_of_the_worst_images_of_a_linear_model():
    images, labels = 0.4 + 0.2 * batch(1)[0], batch(1)[1]
    module = AdversarialTraining(linear(), FGSM(0.1))
    loss, _ = module.loss(images, labels, generator())
    start = images.clone().requires_grad_()
    (slope,) = torch.autograd.grad(functional.cross_entropy(module.model(start), labels), start)
    worst = images + 0.1 * slope.sign()
    assert loss.item() == pytest.approx(
        functional.cross_entropy(module.model(worst), labels).item(), rel=1e-5
    )
    loss.backward()
    assert module.model[1].weight.grad.abs().sum() > 0


def test_starts_are_fresh_with_the_generator_and_repeat_with_it():
    images, labels = batch()
    module = AdversarialTraining(linear(), PGD(0.3, steps=1, step=0.01))
    found = [module.found(images, labels, generator(seed)) for seed in (5, 5, 6)]
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    assert float((found[0] - images).abs().max()) <= 0.3


def test_validation_shows_images_clean_and_attacked():
    smooth = trainer(max_epochs=1, limit_train_batches=2, limit_val_batches=2)
    smooth.fit(AdversarialTraining(linear(), PGD(0.2, steps=2)), datamodule=Digits())
    figures = {name: float(value) for name, value in smooth.callback_metrics.items()}
    assert figures["val/attacked_accuracy"] <= figures["val/clean_accuracy"]
    assert "val/noisy_accuracy" not in figures


def test_adversarial_training_withstands_what_plain_training_does_not():
    accuracies = []
    for attack in (None, PGD(0.15, steps=3, step=0.5)):
        pl.seed_everything(0)
        module = AdversarialTraining(
            linear(), attack, optimizer=lambda params: torch.optim.Adam(params, lr=0.02)
        )
        smooth = trainer(max_epochs=3)
        data = Digits()
        smooth.fit(module, datamodule=data)
        images, labels = zip(*(data.test_item(i) for i in range(100)), strict=True)
        images, labels = torch.stack(images), torch.tensor([int(x) for x in labels])
        found = PGD(0.15, steps=10)(module.model, images, labels, indices=range(100))
        accuracies.append(sum(o.withstood for o in found))
    assert accuracies[1] > accuracies[0] + 10


def test_cascade_weighs_clean_and_adversarial_images_and_their_embeddings():
    images, labels = batch()
    module = CascadeTraining(linear(), FGSM(0.1), share=0.5, embedding=2.0)
    loss, logits = module.loss(images, labels, generator())
    found = module.found(images[3:], labels[3:], generator())
    seen = module.model(torch.cat([images[:3], found]))
    each = functional.cross_entropy(seen, labels, reduction="none")
    apart = (module.model(found) - module.model(images[3:])).square().sum(dim=1).mean() / 2
    expected = (each[:3].sum() + 0.5 * each[3:].sum()) / (3 + 0.5 * 3) + 2 * apart
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert torch.allclose(logits, seen)


def test_every_second_image_is_made_for_the_source(tmp_path):
    other = small(9).eval()
    path = tmp_path / "first.safetensors"
    save_file(other.state_dict(), path)
    module = CascadeTraining(
        small(), FGSM(0.1), small(1), str(path), PGD(0.2, steps=2, random_start=False)
    )
    images, labels = batch()
    found = module.misleading(images, labels, generator())
    own = FGSM(0.1).found(module.model, images, labels, indices=range(6))
    assert torch.equal(found[::2], own[::2])
    theirs = PGD(0.2, steps=2, random_start=False).found(
        other, images[1::2], labels[1::2], indices=range(3)
    )
    assert torch.allclose(found[1::2], theirs)
    assert not any("source" in name for name in module.state_dict())
    assert "source" not in module.hparams


def test_a_source_comes_with_its_weights_and_its_attack():
    with pytest.raises(InputError, match="together"):
        CascadeTraining(linear(), FGSM(0.1), source=linear())
    with pytest.raises(InputError, match="share"):
        CascadeTraining(linear(), FGSM(0.1), share=-1)
