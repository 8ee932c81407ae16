"""Training of PixelCNNs: the loss, what is logged and written, what is refused."""

from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torchvision.io import read_image

from lightning_smooth.__main__ import main
from lightning_smooth.data import Digits, fakes
from lightning_smooth.errors import InputError
from lightning_smooth.models import PixelCNN
from lightning_smooth.modules import PixelCNNTraining

ROOT = Path(__file__).parents[2]


def network(channels=1):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return PixelCNN(channels, width=6, dilations=(1, 2), head=8, mixtures=2)


def trainer(tmp_path, **settings):
    return pl.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=tmp_path, num_sanity_val_steps=0, **settings,
    )  # fmt: skip


def test_the_loss_is_the_mean_of_bits_per_dimension(tmp_path):
    losses = []

    class Told(PixelCNNTraining):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            losses.append((loss.item(), self.model.bits_per_dim(batch[0]).mean().item()))
            return loss

    judge = trainer(tmp_path, max_steps=2, limit_val_batches=0)
    judge.fit(Told(network()), datamodule=Digits(batch_size=16))
    assert len(losses) == 2
    assert all(loss == pytest.approx(bits) for loss, bits in losses)
    assert losses[0] != losses[1]


def test_validation_is_the_mean_over_all_images(tmp_path):
    subject, data = PixelCNNTraining(network()), Digits(val_size=30, eval_batch_size=11)
    (found,) = trainer(tmp_path).validate(subject, datamodule=data, verbose=False)
    images = torch.stack([image for image, _, _ in data.val_dataloader().dataset])
    bits = subject.model.bits_per_dim(images).mean().item()
    assert found["val/bits_per_dim"] == pytest.approx(bits, rel=1e-5)
    (found,) = trainer(tmp_path).test(subject, datamodule=data, verbose=False)
    images = torch.stack([image for image, _, _ in data.test_dataloader().dataset])
    bits = subject.model.bits_per_dim(images).mean().item()
    assert found["test/bits_per_dim"] == pytest.approx(bits, rel=1e-5)


def test_training_lowers_the_bits_and_draws_samples(tmp_path):
    pl.seed_everything(0)
    subject = PixelCNNTraining(
        network(), pictures=6,
        optimizer=lambda p: torch.optim.Adam(p, lr=0.02),
        scheduler=lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 88),
        scheduler_interval="step",
    )  # fmt: skip
    data, judge = Digits(batch_size=32, val_size=60), trainer(tmp_path, max_epochs=2)
    (before,) = judge.validate(subject, datamodule=data, verbose=False)
    judge.fit(subject, datamodule=data)
    after = judge.callback_metrics
    assert float(after["val/bits_per_dim"]) < 0.85 * before["val/bits_per_dim"]
    assert "train/bits_per_dim" in after
    # Six images of 8 x 8 in a row, with 2 pixels between and around.
    assert read_image(str(tmp_path / "samples.png")).shape == (3, 12, 62)
    judge.save_checkpoint(tmp_path / "x.ckpt")
    sizes = {"width": 6, "dilations": (1, 2), "head": 8, "mixtures": 2}
    again = PixelCNN(weights=str(tmp_path / "x.ckpt"), **sizes)
    images = torch.rand(2, 1, 8, 8)
    assert torch.equal(again.log_prob(images), subject.model.log_prob(images))


def test_no_picture_where_none_is_asked_for(tmp_path):
    judge = trainer(tmp_path, max_steps=1, limit_val_batches=0)
    judge.fit(PixelCNNTraining(network(), pictures=0), datamodule=Digits(batch_size=16))
    assert not (tmp_path / "samples.png").exists()


def fitted(name, root, out):
    """Arguments of a batch and a run of an experiment on fakes, after it was trained on them."""
    shared = [
        f"--data.root={root}", "--data.batch_size=2", "--data.val_size=4",
        "--data.eval_batch_size=4", "--data.download=false", "--trainer.accelerator=cpu",
        f"--output.folder={out}", "--trainer.enable_progress_bar=false",
    ]  # fmt: skip
    few = ["--trainer.limit_train_batches=1", "--trainer.max_epochs=1"]
    path = f"configs/{name}_pixelcnn.yaml"
    pictures = f"--model.pictures={2 if name == 'mnist' else 0}"
    assert main(["fit", f"--config={path}", *shared, *few, pictures]) == 0
    return path, shared


def test_its_experiment_trains_a_batch_and_is_tested(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    root, out = tmp_path / "data", tmp_path / "run"
    fakes.write_mnist(root)
    with fakes.fake_mnist(root):
        path, shared = fitted("mnist", root, out)
        assert (out / "samples.png").is_file()
        config = f"--config={out / 'config.yaml'}"
        assert main(["test", config, *shared, "--trainer.limit_test_batches=1"]) == 0
    assert "test/bits_per_dim" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="2"):  # a density is nothing to certify
        main(["run", f"--config={path}", *shared])


def test_its_experiment_in_colour_trains_a_batch(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    root, out = tmp_path / "data", tmp_path / "run"
    fakes.write_cifar10(root)
    with fakes.fake_cifar10(root):
        fitted("cifar10", root, out)
    stored = torch.load(out / "checkpoints" / "last.ckpt", weights_only=True)
    assert stored["state_dict"]["model.above.weight"].shape == (24, 4, 3, 7)


def test_what_is_refused(tmp_path):
    with pytest.raises(InputError, match="`model` to be a PixelCNN, but got Linear"):
        PixelCNNTraining(nn.Linear(1, 1))
    with pytest.raises(InputError, match="`pictures`"):
        PixelCNNTraining(network(), pictures=-1)
    with pytest.raises(InputError, match=r"`in_channels` to be that of the data, 1, .* has 3"):
        trainer(tmp_path).fit(PixelCNNTraining(network(3)), datamodule=Digits())
    with pytest.raises(InputError, match=r"no classes to predict or certify.*PixelDefend"):
        trainer(tmp_path).predict(PixelCNNTraining(network()), datamodule=Digits())
