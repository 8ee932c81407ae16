"""Training of Wasserstein GANs with gradient penalty."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from pytorch_lightning.strategies import DDPStrategy
from pytorch_lightning.utilities import rank_zero_only
from safetensors.torch import save_file
from torch import Tensor
from torchvision.utils import save_image

from lightning_smooth.errors import InputError, check_count
from lightning_smooth.models.wgan import Critic, Generator, gradient_penalty
from lightning_smooth.modules.base import Batch
from lightning_smooth.modules.copies import check_weight
from lightning_smooth.modules.pixelcnn import check_generative
from lightning_smooth.smoothing.checks import check_images
from lightning_smooth.smoothing.rng import training_seed


def _adam(params: Any) -> torch.optim.Optimizer:
    return torch.optim.Adam(params, lr=2e-4, betas=(0.0, 0.9))


class WGANTraining(pl.LightningModule):
    """Trains a generator against a critic: the Wasserstein distance of made and real images.

    Each batch, the critic goes down mean f(G(z)) - mean f(x) + penalty (see `gradient_penalty`),
    with z ~ N(0, I); every `critic_steps` batches, the first among them, the generator goes down
    -mean f(G(z)) after that. Each of the two has its optimizer and its scheduler; both schedulers
    step after each batch, or after each epoch.

    Logged: `train/critic_gap`, mean f(x) - mean f(G(z)), an estimate of the distance up to the
    critic's slope, and `train/penalty`; `val/critic_gap` and `test/critic_gap`. No figure of these
    says how good the images are: look at `samples.png`, which the run's folder gets at the end of
    training, beside `generator.safetensors`, the `weights` of a Generator or a DefenseGAN.

    Source: Gulrajani et al. 2017, algorithm 1 (5 critic steps, penalty 10, Adam 1e-4 (0, .9)).

    Args:
        generator: from latents to images.
        critic: from images to scores.
        critic_steps: batches from one step of the generator to the next.
        penalty: weight of the gradient penalty.
        pictures: images in the picture of samples; 0 for no picture.
        optimizer: from parameters to an optimizer.
        scheduler: from an optimizer to a learning rate scheduler; None for a constant rate.
        scheduler_interval: whether schedulers step after each epoch or each step.

    Raises:
        InputError: a network is none of the two kinds, they do not fit each other, or a number is
            out of range; when it is set up: the data's images are of another shape, or it is to
            predict.
    """

    def __init__(
        self,
        generator: Generator,
        critic: Critic,
        critic_steps: int = 5,
        penalty: float = 10.0,
        pictures: int = 64,
        optimizer: OptimizerCallable = _adam,
        scheduler: LRSchedulerCallable | None = None,
        scheduler_interval: Literal["epoch", "step"] = "epoch",
    ) -> None:
        super().__init__()
        if not isinstance(generator, Generator) or not isinstance(critic, Critic):
            raise InputError(
                "Expected `generator` to be a Generator and `critic` a Critic, but got "
                f"{type(generator).__name__} and {type(critic).__name__}."
            )
        if generator.image_shape != critic.image_shape:
            raise InputError(
                f"Expected the critic's images to be the generator's, {generator.image_shape} "
                f"(C, H, W), but got {critic.image_shape}: set in_channels and image_size of both."
            )
        self.automatic_optimization = False
        self.generator, self.critic = generator, critic
        self.critic_steps = check_count("critic_steps", critic_steps)
        self.penalty = check_weight("penalty", penalty)
        self.pictures = check_count("pictures", pictures, least=0)
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.scheduler_interval = scheduler_interval
        self._base_seed = 0

    def forward(self, latents: Tensor) -> Tensor:
        """Images (B, C, S, S) in [0, 1] of latents (B, latent)."""
        images: Tensor = self.generator(latents)
        return images

    def setup(self, stage: str) -> None:
        """Check that networks and data fit together.

        Raises:
            InputError: they do not, or a GAN is to predict classes, which it has not.
        """
        check_generative(stage, "A GAN", "DefenseGAN")
        shape = getattr(getattr(self.trainer, "datamodule", None), "image_shape", None)
        if shape is not None and tuple(shape) != self.generator.image_shape:
            raise InputError(
                f"Expected the generator's images to be of the shape of the data's, {tuple(shape)} "
                f"(C, H, W), but it makes {self.generator.image_shape}: set in_channels and "
                "image_size of both networks."
            )

    def on_fit_start(self) -> None:
        """Take the seed from which the latents of every rank and step are derived."""
        self._base_seed = torch.initial_seed()

    def critic_loss(self, images: Tensor, draws: torch.Generator) -> tuple[Tensor, Tensor]:
        """Gap and penalty, without its weight: the critic goes down penalty * weight - gap."""
        with torch.no_grad():
            made = self(self._latents(images, draws))
        mix = torch.rand(len(images), generator=draws, device=images.device, dtype=images.dtype)
        gap = self.critic(images).mean() - self.critic(made).mean()
        return gap, gradient_penalty(self.critic, images, made, mix)

    def generator_loss(self, images: Tensor, draws: torch.Generator) -> Tensor:
        """Mean of -f(G(z)) over as many latents as there are images."""
        scores: Tensor = self.critic(self(self._latents(images, draws)))
        return -scores.mean()

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """One step of the critic, and every `critic_steps` batches one of the generator."""
        images = self._checked(batch, batch_idx)
        draws = self._draws(images, (self.current_epoch << 32) + batch_idx, self._base_seed)
        of_critic, of_generator = self.optimizers()  # type: ignore[attr-defined]
        with self._step(of_critic):
            gap, penalty = self.critic_loss(images, draws)
            self.manual_backward(self.penalty * penalty - gap)
        # Batches are counted over all epochs, so that short ones do not starve the generator.
        if self.trainer.fit_loop.total_batch_idx % self.critic_steps == 0:
            with self._step(of_generator):
                self.manual_backward(self.generator_loss(images, draws))
        if self.scheduler_interval == "step":
            self._schedule()
        self.log_dict(
            {"train/critic_gap": gap.detach(), "train/penalty": penalty.detach()},
            prog_bar=True, batch_size=len(images),
        )  # fmt: skip

    def on_train_epoch_end(self) -> None:
        """Step the schedulers, where they go by epochs."""
        if self.scheduler_interval == "epoch":
            self._schedule()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Log `val/critic_gap`."""
        self._evaluate("val", batch, batch_idx)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Log `test/critic_gap`."""
        self._evaluate("test", batch, batch_idx)

    def on_fit_end(self) -> None:
        """Write the generator's weights, and the picture of samples."""
        if getattr(self.trainer, "fast_dev_run", False):
            return
        self._write(Path(self.trainer.default_root_dir))

    def configure_optimizers(self) -> Any:
        """Build an optimizer for each network and, if there are any, the schedulers."""
        both = [self.optimizer(net.parameters()) for net in (self.critic, self.generator)]
        if self.scheduler is None:
            return both
        return both, [self.scheduler(one) for one in both]

    @rank_zero_only
    def _write(self, folder: Path) -> None:
        state = {name: value.contiguous() for name, value in self.generator.state_dict().items()}
        folder.mkdir(parents=True, exist_ok=True)
        save_file(state, folder / "generator.safetensors")
        if self.pictures:
            with torch.no_grad():
                empty = torch.empty(self.pictures, device=self.device)
                made = self(self._latents(empty, self._draws(empty, -1, 0)))
            save_image(made, folder / "samples.png")

    def _latents(self, images: Tensor, draws: torch.Generator) -> Tensor:
        shape = (len(images), self.generator.latent)
        return torch.randn(shape, generator=draws, device=images.device, dtype=images.dtype)

    def _draws(self, images: Tensor, step: int, seed: int) -> torch.Generator:
        keyed = training_seed(seed, self.global_rank, step) if step >= 0 else seed
        return torch.Generator(images.device).manual_seed(keyed)

    @contextmanager
    def _step(self, optimizer: Any) -> Iterator[None]:
        """Learn one network's weights alone, within; then step."""
        strategy = self.trainer.strategy
        self.toggle_optimizer(optimizer)
        optimizer.zero_grad()
        if isinstance(strategy, DDPStrategy):
            # DDP waits for a gradient of every weight, of which each pass back has one network's.
            with strategy.block_backward_sync():
                yield
            for group in optimizer.param_groups:
                for weight in group["params"]:
                    weight.grad = strategy.reduce(weight.grad)
        else:
            yield
        optimizer.step()
        self.untoggle_optimizer(optimizer)

    def _schedule(self) -> None:
        if self.scheduler is not None:
            for scheduler in self.lr_schedulers():  # type: ignore[union-attr]
                scheduler.step()

    def _checked(self, batch: Batch, batch_idx: int) -> Tensor:
        images = batch[0]
        if batch_idx == 0 or images.device.type == "cpu":
            check_images(images)
        return images

    def _evaluate(self, name: str, batch: Batch, batch_idx: int) -> None:
        images = self._checked(batch, batch_idx)
        made = self(self._latents(images, self._draws(images, batch_idx, 0)))
        gap = self.critic(images).mean() - self.critic(made).mean()
        self.log(f"{name}/critic_gap", gap, prog_bar=True, sync_dist=True, batch_size=len(images))
