"""Training of Wasserstein GANs: whose turn it is, the losses, what is written and refused."""

import warnings
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torchvision.io import read_image

from lightning_smooth.__main__ import main
from lightning_smooth.data import Digits, fakes
from lightning_smooth.errors import InputError
from lightning_smooth.models import Critic, Generator
from lightning_smooth.models.wgan import gradient_penalty
from lightning_smooth.modules import WGANTraining

ROOT = Path(__file__).parents[2]


def module(kind=WGANTraining, size=8, **settings):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        networks = Generator(4, 1, size, width=4), Critic(1, size, width=4)
    return kind(*networks, **settings)


def trainer(tmp_path, **settings):
    return pl.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=tmp_path, num_sanity_val_steps=0, **settings,
    )  # fmt: skip


def draws(seed=3):
    return torch.Generator().manual_seed(seed)


def flat(network):
    return torch.cat([p.detach().flatten() for p in network.parameters()])


class Watched(WGANTraining):
    """Notes whose weights each batch changes."""

    def training_step(self, batch, batch_idx):
        before = flat(self.critic), flat(self.generator)
        super().training_step(batch, batch_idx)
        after = flat(self.critic), flat(self.generator)
        self.moved = [
            *getattr(self, "moved", []),
            tuple(not torch.equal(a, b) for a, b in zip(before, after, strict=True)),
        ]


def test_the_critic_steps_each_batch_and_the_generator_every_few(tmp_path):
    # Five batches an epoch: the count goes on over epochs.
    subject = module(Watched, critic_steps=3)
    judge = trainer(tmp_path, max_epochs=2, limit_train_batches=5, limit_val_batches=0)
    judge.fit(subject, datamodule=Digits(batch_size=16))
    assert [critic for critic, _ in subject.moved] == [True] * 10
    assert [made for _, made in subject.moved] == [k % 3 == 0 for k in range(10)]


def test_one_step_of_each_by_hand(tmp_path):
    seen = []

    class Told(WGANTraining):
        def training_step(self, batch, batch_idx):
            seen.append((batch[0], self._draws(batch[0], batch_idx, self._base_seed)))
            super().training_step(batch, batch_idx)

    def descent(params):
        return torch.optim.SGD(params, lr=0.1)

    subject, other = (module(kind, optimizer=descent) for kind in (Told, WGANTraining))
    judge = trainer(tmp_path, max_epochs=1, limit_train_batches=1, limit_val_batches=0)
    judge.fit(subject, datamodule=Digits(batch_size=16))
    ((images, drawn),) = seen
    generator, critic = other.generator, other.critic
    made = generator(torch.randn(16, 4, generator=drawn)).detach()
    mix = torch.rand(16, generator=drawn)
    loss = critic(made).mean() - critic(images).mean()
    loss = loss + 10 * gradient_penalty(critic, images, made, mix)
    slopes = torch.autograd.grad(loss, list(critic.parameters()))
    with torch.no_grad():
        for parameter, slope in zip(critic.parameters(), slopes, strict=True):
            parameter -= 0.1 * slope
    torch.testing.assert_close(flat(subject.critic), flat(critic))
    loss = -critic(generator(torch.randn(16, 4, generator=drawn))).mean()
    slopes = torch.autograd.grad(loss, list(generator.parameters()))
    with torch.no_grad():
        for parameter, slope in zip(generator.parameters(), slopes, strict=True):
            parameter -= 0.1 * slope
    torch.testing.assert_close(flat(subject.generator), flat(generator))


def test_training_brings_made_images_to_the_real_ones(tmp_path):
    pl.seed_everything(0)
    subject = module(
        critic_steps=2, optimizer=lambda p: torch.optim.Adam(p, lr=1e-2, betas=(0.0, 0.9))
    )
    data, judge = Digits(batch_size=32, val_size=200), trainer(tmp_path, max_epochs=3)

    def distance():
        made = subject(torch.randn(500, 4, generator=draws())).detach()
        real = torch.stack([image for image, _, _ in data.val_dataloader().dataset])
        return float((made.mean(0) - real.mean(0)).norm())

    data.setup("fit")
    before = distance()
    judge.fit(subject, datamodule=data)
    assert distance() < 0.5 * before
    assert {"train/critic_gap", "train/penalty", "val/critic_gap"} <= set(judge.callback_metrics)
    assert read_image(str(tmp_path / "samples.png")).shape == (3, 8 * 10 + 2, 8 * 10 + 2)
    again = Generator(4, 1, 8, width=4, weights=str(tmp_path / "generator.safetensors"))
    assert torch.equal(flat(again), flat(subject.generator))


def test_validation_is_the_gap_of_means(tmp_path):
    subject = module()
    data = Digits(val_size=30, eval_batch_size=30)
    (found,) = trainer(tmp_path).validate(subject, datamodule=data, verbose=False)
    (again,) = trainer(tmp_path).validate(subject, datamodule=data, verbose=False)
    assert found == again
    images = torch.stack([image for image, _, _ in data.val_dataloader().dataset])
    latents = subject._latents(images, subject._draws(images, 0, 0))
    gap = subject.critic(images).mean() - subject.critic(subject(latents)).mean()
    assert found["val/critic_gap"] == pytest.approx(gap.item(), abs=1e-6)


@pytest.mark.parametrize("interval", ["step", "epoch"])
def test_schedulers_step_after_batches_or_epochs(interval, tmp_path):
    rates = []

    class Told(WGANTraining):
        def training_step(self, batch, batch_idx):
            rates.append(tuple(o.param_groups[0]["lr"] for o in self.optimizers()))
            super().training_step(batch, batch_idx)

    subject = module(
        Told, critic_steps=2, scheduler_interval=interval,
        optimizer=lambda p: torch.optim.SGD(p, lr=1.0),
        scheduler=lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.5),
    )  # fmt: skip
    judge = trainer(tmp_path, max_epochs=2, limit_train_batches=2, limit_val_batches=0)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*lr_scheduler.step.*")
        judge.fit(subject, datamodule=Digits(batch_size=8))
    expected = [1.0, 0.5, 0.25, 0.125] if interval == "step" else [1.0, 1.0, 0.5, 0.5]
    assert rates == [(rate, rate) for rate in expected]


def test_every_step_has_draws_of_its_own(tmp_path):
    drawn = []

    class Told(WGANTraining):
        def critic_loss(self, images, draws):
            drawn.append(float(torch.randn(1, generator=draws)))
            return super().critic_loss(images, draws)

    for seed in (0, 0, 1):
        pl.seed_everything(seed)
        judge = trainer(tmp_path, max_epochs=2, limit_train_batches=2, limit_val_batches=0)
        judge.fit(module(Told, pictures=0), datamodule=Digits(batch_size=8))
    assert drawn[:4] == drawn[4:8]
    assert len(set(drawn)) == 8


def test_its_experiment_trains_and_is_tested(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    root, out = tmp_path / "data", tmp_path / "run"
    fakes.write_mnist(root)
    path = "configs/mnist_wgan.yaml"
    with fakes.fake_mnist(root):
        shared = [
            f"--data.root={root}", "--data.batch_size=8", "--data.val_size=8",
            "--data.download=false", "--trainer.accelerator=cpu", f"--output.folder={out}",
            "--trainer.enable_progress_bar=false",
        ]  # fmt: skip
        few = ["--trainer.limit_train_batches=1", "--trainer.max_epochs=1"]
        assert main(["fit", f"--config={path}", *shared, *few]) == 0
        assert (out / "samples.png").is_file()
        assert (out / "generator.safetensors").is_file()
        assert main(["test", f"--config={out / 'config.yaml'}", *shared]) == 0
    assert "test/critic_gap" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="2"):  # a generator is nothing to certify
        main(["run", f"--config={path}", *shared])


def test_what_is_refused(tmp_path):
    with pytest.raises(InputError, match="Generator and `critic` a Critic, but got Linear and"):
        WGANTraining(nn.Linear(1, 1), Critic())
    with pytest.raises(InputError, match=r"generator's, \(1, 28, 28\) .* got \(1, 32, 32\)"):
        WGANTraining(Generator(), Critic(1, 32))
    for fault in ({"critic_steps": 0}, {"penalty": -1.0}, {"pictures": -1}):
        with pytest.raises(InputError, match=f"`{next(iter(fault))}`"):
            module(**fault)
    with pytest.raises(InputError, match=r"\(1, 8, 8\) .*but it makes \(1, 12, 12\)"):
        trainer(tmp_path).fit(module(size=12), datamodule=Digits())
    with pytest.raises(InputError, match=r"no classes to predict or certify.*DefenseGAN"):
        trainer(tmp_path).predict(module(), datamodule=Digits())
