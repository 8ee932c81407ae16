"""Training of surrogate networks: a transformation as a sum in latent space."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any, Final, Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor
from torch.nn import functional
from torchvision.utils import save_image

from lightning_smooth.errors import InputError, check_count
from lightning_smooth.models.surrogate import SurrogateNetwork
from lightning_smooth.modules.base import Batch
from lightning_smooth.modules.boxes import UniformAttack, plain_box
from lightning_smooth.modules.copies import check_weight
from lightning_smooth.smoothing.checks import check_images
from lightning_smooth.smoothing.rng import training_seed
from lightning_smooth.smoothing.smoothed import evaluating

STEP: Final = 0.05
"""Step of the finite difference of latents, as a share of a parameter's range."""


class SurrogateTransform(pl.LightningModule):
    """Trains H(F1(theta) + F2(x)) to be tau(theta, x), for theta uniform in the network's box.

    The loss of an image x and its own draw of theta is the mean square over pixels of
    H(F1(theta) + F2(x) + sigma e) - tau(theta, x), e ~ N(0, I), plus `smoothness` times the mean
    square over latents of r (d/dtheta F2(tau(theta, x)) - F1'(theta')), r the width of the
    parameter's range and theta' another draw: the slopes that GSmooth's certificate compares, of
    any two parameters. The derivative of F2 is a difference over `STEP` of the range to either
    side. Any transformation can be trained, whether it composes or not; nothing is differentiated
    through it.

    Logged: `train/loss`, `train/fit_error` and, with smoothness, `train/motion_error`; in
    validation and test, without noise and over a grid of the box, `fit_error` (root mean square
    over images, pixels and grid), `fit_error@V` at each parameter V of the grid, and
    `largest_error`, the largest l2 norm of any image's error. At the end of training the run's
    folder gets `surrogate.png`: for some validation images three rows, the real ones, the
    surrogate's, and their difference about grey.

    Source: Hao et al. 2022 (GSmooth), section 4; THEORY section 7. The smoothness term is ours.

    Args:
        model: the network; it knows its transformation and its box.
        sigma: standard deviation of noise on latents in training; 0 for none.
        smoothness: weight of the latents' motion; 0 for none.
        points: values of each parameter on the grid of validation.
        pictures: validation images in the picture; 0 for no picture.
        optimizer: from parameters to an optimizer.
        scheduler: from the optimizer to a learning rate scheduler; None for a constant rate.
        scheduler_interval: whether the scheduler steps after each epoch or each step.

    Raises:
        InputError: `model` is no SurrogateNetwork, or a number is out of range; when it is set up:
            the data's images are not those that the network is meant for, or it is to predict.
    """

    def __init__(
        self,
        model: SurrogateNetwork,
        sigma: float = 0.0,
        smoothness: float = 0.0,
        points: int = 5,
        pictures: int = 4,
        optimizer: OptimizerCallable = lambda params: torch.optim.Adam(params, lr=2e-3),
        scheduler: LRSchedulerCallable | None = None,
        scheduler_interval: Literal["epoch", "step"] = "epoch",
    ) -> None:
        super().__init__()
        if not isinstance(model, SurrogateNetwork):
            raise InputError(
                f"Expected `model` to be a SurrogateNetwork, but got {type(model).__name__}."
            )
        self.model = model
        self.sigma = check_weight("sigma", sigma)
        self.smoothness = check_weight("smoothness", smoothness)
        self.points = check_count("points", points, least=2)
        self.pictures = check_count("pictures", pictures, least=0)
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.scheduler_interval = scheduler_interval
        self.save_hyperparameters(
            {
                **{name: getattr(self, name) for name in ("sigma", "smoothness", "points")},
                "transform": repr(model.transform),
                "box": plain_box(model.box),
            }
        )
        still = {p.name: p.identity for p in model.transform.parameters}
        self._draws = UniformAttack(
            model.transform,
            {name: (low - still[name], high - still[name]) for name, (low, high) in self._ranges},
        )
        self._grid = self._over_the_box()
        names = [",".join(f"{value:g}" for value in theta) for theta in self._grid.tolist()]
        self._places = [f"fit_error@{name}" for name in names]
        self._squares: list[Tensor] = []
        self._shown: Tensor | None = None
        self._base_seed = 0

    @property
    def _ranges(self) -> list[tuple[str, tuple[float, float]]]:
        return list(self.model.box.items())

    def _over_the_box(self) -> Tensor:
        axes = [
            torch.linspace(low, high, self.points if low < high else 1, dtype=torch.float64)
            for _, (low, high) in self._ranges
        ]
        values = itertools.product(*(axis.tolist() for axis in axes))
        return torch.tensor(list(values), dtype=torch.float64)

    def forward(self, images: Tensor, theta: Tensor) -> Tensor:
        """The surrogate of tau(theta, x): (B, C, H, W). See `SurrogateNetwork`."""
        transformed: Tensor = self.model(images, theta)
        return transformed

    def setup(self, stage: str) -> None:
        """Check that network and data fit together.

        Raises:
            InputError: they do not, or a surrogate is to predict classes, which it has not.
        """
        if stage == "predict":
            raise InputError(
                "A surrogate is a transformation: it has no classes to predict or certify. Give "
                "its checkpoint as `weights` to a SurrogateNetwork where a surrogate is asked for."
            )
        shape = getattr(getattr(self.trainer, "datamodule", None), "image_shape", None)
        if shape is not None and tuple(shape) != self.model.image_shape:
            raise InputError(
                f"Expected `image_shape` to be that of the data, {tuple(shape)} (C, H, W), but the "
                f"surrogate is meant for {self.model.meant}."
            )

    def on_fit_start(self) -> None:
        """Take the seed from which the draws of every rank and step are derived."""
        self._base_seed = torch.initial_seed()

    def theta(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw parameters (count, P), float64, on the CPU, uniform in the box."""
        full = self._draws.draw(count, generator) + self.model.transform.identity()
        return full[:, [self.model.transform.names.index(name) for name in self.model.names]]

    def fit_error(self, images: Tensor, theta: Tensor, generator: torch.Generator) -> Tensor:
        """Mean square of the surrogate's error at parameters (B, P), under noise on latents."""
        latents = self.model.encode(images) + self.model.move(theta.to(images))
        if self.sigma:
            noise = torch.empty_like(latents).normal_(generator=generator)
            latents = latents + self.sigma * noise
        return functional.mse_loss(self.model.decode(latents), self._real(images, theta))

    def motion_error(self, images: Tensor, theta: Tensor) -> Tensor:
        """Mean square of what latents' motion at each theta differs from F1' at the next one."""
        slopes = self.model.motion.jacobian(theta.roll(1, dims=0).to(images))
        found = []
        for place, (_, (low, high)) in enumerate(self._ranges):
            ends = [theta.clone(), theta.clone()]
            for end, side in zip(ends, (-STEP, STEP), strict=True):
                end[:, place] = (end[:, place] + side * (high - low)).clamp(low, high)
            before, after = (self.model.encode(self._real(images, end)).flatten(1) for end in ends)
            apart = (ends[1] - ends[0])[:, [place]].clamp_min(1e-12).to(images)
            moved = (after - before) / apart - slopes[:, :, place]
            found.append(((high - low) * moved).square().mean())
        return torch.stack(found).sum()

    def _real(self, images: Tensor, theta: Tensor) -> Tensor:
        with torch.no_grad():
            return self.model.transform(images, self.model.full_theta(theta))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss under fresh parameters and noise."""
        images = self._checked(batch, batch_idx)
        step = (self.current_epoch << 32) + batch_idx
        seed = training_seed(self._base_seed, self.global_rank, step)
        generator = torch.Generator(images.device).manual_seed(seed)
        theta = self.theta(len(images), generator)
        fit = self.fit_error(images, theta, generator)
        figures = {"fit_error": fit.detach().sqrt()}
        loss = fit
        if self.smoothness:
            motion = self.motion_error(images, theta)
            figures["motion_error"] = motion.detach().sqrt()
            loss = fit + self.smoothness * motion
        figures["loss"] = loss.detach()
        self.log_dict(
            {f"train/{name}": value for name, value in figures.items()},
            on_step=True, on_epoch=False, prog_bar=True, batch_size=len(images),
        )  # fmt: skip
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Measure the errors over the grid; see the class."""
        images = self._checked(batch, batch_idx)
        if batch_idx == 0:
            self._shown = images[: self.pictures]
        self._squares.append(self.squared_errors(images))

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Measure the errors over the grid; see the class."""
        self._squares.append(self.squared_errors(self._checked(batch, batch_idx)))

    def on_validation_epoch_end(self) -> None:
        """Log the errors of all images."""
        self._log_errors("val")

    def on_test_epoch_end(self) -> None:
        """Log the errors of all images."""
        self._log_errors("test")

    def squared_errors(self, images: Tensor) -> Tensor:
        """Squared l2 errors (G, B) of images (B, C, H, W) at G parameters of the grid."""
        latents, found = self.model.encode(images), []
        for theta in torch.split(self._grid, 1):
            made = self.model.decode(latents + self.model.move(theta.to(images)))
            wrong = made - self._real(images, theta)
            found.append(wrong.flatten(1).square().sum(dim=1))
        return torch.stack(found)

    def _checked(self, batch: Batch, batch_idx: int) -> Tensor:
        images = batch[0]
        if batch_idx == 0 or images.device.type == "cpu":
            check_images(images)
        return images

    def _log_errors(self, name: str) -> None:
        if not self._squares:
            return
        squares, self._squares = torch.cat(self._squares, dim=1).double(), []
        counted = torch.cat([squares.sum(dim=1), squares.new_tensor([squares.shape[1]])])
        reduce = self.trainer.strategy.reduce
        *sums, images = reduce(counted, reduce_op="sum").tolist()
        largest = float(reduce(squares.max(), reduce_op="max"))
        pixels = images * math.prod(self.model.image_shape)
        at = zip(self._places, sums, strict=True)
        figures = {place: math.sqrt(total / pixels) for place, total in at}
        figures["fit_error"] = math.sqrt(math.fsum(sums) / (pixels * len(sums)))
        figures["largest_error"] = math.sqrt(largest)
        for key, value in figures.items():
            self.log(f"{name}/{key}", value, prog_bar="@" not in key, rank_zero_only=False)

    def on_fit_end(self) -> None:
        """Write the picture of real images, surrogates and differences."""
        trainer, shown = self.trainer, self._shown
        if shown is None or not len(shown) or getattr(trainer, "fast_dev_run", False):
            return
        if trainer.is_global_zero:
            save_image(
                self.picture(shown),
                Path(trainer.default_root_dir) / "surrogate.png",
                nrow=len(self._grid),
            )

    def picture(self, images: Tensor) -> Tensor:
        """Tiles (3 B G, C, H, W) in [0, 1]: three rows an image, G parameters of the grid each."""
        rows = []
        with evaluating(self.model):
            for image in images:
                real = self._real(image[None], self._grid)
                made = self(image[None], self._grid.to(image))
                rows += [real, made, (made - real) / 2 + 0.5]
        return torch.cat(rows).clamp(0, 1)

    def configure_optimizers(self) -> Any:
        """Build the optimizer and, if there is one, the scheduler."""
        optimizer = self.optimizer(self.parameters())
        if self.scheduler is None:
            return optimizer
        entry = {"scheduler": self.scheduler(optimizer), "interval": self.scheduler_interval}
        return {"optimizer": optimizer, "lr_scheduler": entry}
