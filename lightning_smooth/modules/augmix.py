"""AugMix (Hendrycks et al. 2020; THEORY section 11)."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from torchvision.transforms import v2 as transforms

from lightning_smooth.errors import InputError, check_count, check_positive
from lightning_smooth.models.weights import Head
from lightning_smooth.modules.base import SmoothingModule
from lightning_smooth.modules.copies import check_weight
from lightning_smooth.smoothing.checks import check_logits
from lightning_smooth.smoothing.laws import GaussianNoise, NoNoise, PixelLaw
from lightning_smooth.smoothing.rng import training_seed

_LEVELS: Final = 10
_LONGEST: Final = 3
_NOTHING: Final = "Identity"


class AugMixTraining(SmoothingModule):
    """Cross-entropy on the image, and predictions that agree with those for two mixtures of it.

    A mixture of an image x is m x + (1 - m) sum_i w_i chain_i(x), with m of Beta(alpha, alpha), w
    of Dirichlet(alpha), and `width` chains of random operations. With p the predictions for the
    image and for two mixtures, and q their mean, the loss is the mean over images of

        -ln p_1[label]  +  consistency * (KL(p_1 || q) + KL(p_2 || q) + KL(p_3 || q)) / 3.

    The operations, their strengths and their arithmetic are those of torchvision's `v2.AugMix`:
    shears, translations, rotation, posterize, solarize, autocontrast, equalize; with `overlapping`
    also brightness, contrast, color and sharpness, which CIFAR-10-C and its like have among their
    corruptions: accuracy on them then shows what was trained for. Each mixture has draws of its
    own. Mixtures are made here, a batch at a time, on the batch's device: images that drew the same
    operation go through it together. They are not rounded to bytes.

    Source: Hendrycks, Mu, Cubuk, Zoph, Gilmer, Lakshminarayanan, "AugMix: a simple data processing
    method to improve robustness and uncertainty", ICLR 2020, algorithm 1: severity 3, width 3,
    depth 1 to 3, alpha 1, consistency 12, without the overlapping operations; crops and mirror
    images are the data module's.

    Args:
        model: base classifier: (B, C, H, W) in [0, 1] -> logits (B, K). Normalisation is its
            first layer.
        severity: operations are drawn at the `severity` weakest of ten strengths, 1..10.
        width: chains in a mixture.
        depth: operations in a chain; -1 to draw 1, 2 or 3 for each.
        alpha: of Beta and Dirichlet.
        consistency: weight of the divergence; 12 in the paper.
        overlapping: whether to use brightness, contrast, color and sharpness too.
        sigma: standard deviation of Gaussian noise on the image and its mixtures, in units of
            [0, 1], for smoothing; 0 for none.
        optimizer: from parameters to an optimizer.
        scheduler: from the optimizer to a learning rate scheduler; None for a constant rate.
        scheduler_interval: whether the scheduler steps after each epoch or each step.
        weights: file of weights that training starts from; see `SmoothingModule`.
        weights_head: keep the file's last layer, or leave the model's new one.

    Raises:
        InputError: a number is out of its range.
    """

    second: ClassVar[str] = "mixed"

    def __init__(
        self,
        model: nn.Module,
        severity: int = 3,
        width: int = 3,
        depth: int = -1,
        alpha: float = 1.0,
        consistency: float = 12.0,
        overlapping: bool = False,
        sigma: float = 0.0,
        optimizer: OptimizerCallable = lambda params: torch.optim.SGD(
            params, lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True
        ),
        scheduler: LRSchedulerCallable | None = None,
        scheduler_interval: Literal["epoch", "step"] = "epoch",
        weights: str | None = None,
        weights_head: Head = "keep",
    ) -> None:
        super().__init__(model, optimizer, scheduler, scheduler_interval, weights, weights_head)
        self.save_hyperparameters(ignore=["model", "optimizer", "scheduler"])
        self.mixtures = Mixtures(severity, width, depth, alpha, overlapping=overlapping)
        self.consistency = check_weight("consistency", consistency)
        self.sigma = check_weight("sigma", sigma)
        self._law: PixelLaw = GaussianNoise(self.sigma) if self.sigma else NoNoise()

    @property
    def law(self) -> PixelLaw:
        """The noise that the model is trained for."""
        return self._law

    def loss(
        self, images: Tensor, labels: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """See `SmoothingModule.loss`: the logits are those of the first mixture."""
        views = torch.cat([images, self.mixed(images.repeat(2, 1, 1, 1), generator)])
        flat = check_logits(self(self.law.perturbed(views, generator)), len(views)).float()
        logits = flat.reshape(3, len(images), -1)
        natural = self.cross_entropy(logits[0], labels)
        apart = jensen_shannon(logits).mean()
        if self._trainer is not None and self._trainer.training:
            figures = {"train/cross_entropy": natural.detach(), "train/divergence": apart.detach()}
            self.log_dict(figures, on_step=True, on_epoch=False, batch_size=len(images))
        return natural + self.consistency * apart, logits[1]

    def mixed(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """A mixture (B, C, H, W) of each image, a function of the generator's seed."""
        seed = training_seed(generator.initial_seed(), 0, 0)
        mixtures: Tensor = self.mixtures(images, np.random.default_rng(seed))
        return mixtures

    def shown(self, images: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """See `SmoothingModule.shown`: the images, and a mixture of each under noise."""
        return images, self.law.perturbed(self.mixed(images, generator), generator)


class Mixtures(transforms.AugMix):
    """The mixtures of `torchvision.transforms.v2.AugMix` for a batch, with draws for each image.

    Called on a batch, torchvision's own draws its operations once for all images; here images that
    drew the same operation go through it together.

    Args:
        severity: operations are drawn at the `severity` weakest of ten strengths, 1..10.
        width: chains in a mixture.
        depth: operations in a chain; -1 to draw 1, 2 or 3 for each.
        alpha: of Beta and Dirichlet.
        overlapping: whether to use brightness, contrast, color and sharpness too.

    Raises:
        InputError: a number is out of its range.
    """

    def __init__(
        self,
        severity: int = 3,
        width: int = 3,
        depth: int = -1,
        alpha: float = 1.0,
        *,
        overlapping: bool = False,
    ) -> None:
        if check_count("severity", severity) > _LEVELS:
            raise InputError(f"Expected `severity` to be 1..{_LEVELS}, but got {severity}.")
        if depth != -1:
            check_count("depth", depth)
        super().__init__(
            severity,
            check_count("width", width),
            depth,
            check_positive("alpha", alpha),
            all_ops=overlapping,
        )

    def operations(self, height: int, width: int) -> list[list[tuple[str, float]]]:
        """What can be drawn, for images of this size.

        Returns:
            For each operation, equally likely, its variants, equally likely: (name, magnitude).
        """
        space = self._AUGMENTATION_SPACE if self.all_ops else self._PARTIAL_AUGMENTATION_SPACE
        found = []
        for name, (strengths, signed) in space.items():
            values = strengths(_LEVELS, height, width)
            levels = [0.0] if values is None else values[: self.severity].tolist()
            signs = (1, -1) if signed else (1,)
            still = [_NOTHING if signed and not level else name for level in levels]
            found.append(
                [(n, float(s * x)) for n, x in zip(still, levels, strict=True) for s in signs]
            )
        return found

    def applied(self, images: Tensor, name: str, magnitude: float) -> Tensor:
        """One operation on bytes (B, C, H, W), each image by itself."""
        done = self._apply_image_or_video_transform(
            images, name, magnitude, interpolation=self.interpolation, fill=self._fill
        )
        return torch.as_tensor(done)

    def forward(self, *inputs: Any) -> Tensor:
        """Mix each of a batch of images.

        Args:
            *inputs: images (B, C, H, W) in [0, 1], with one or three channels, which are rounded
                to bytes before operations; and a numpy generator, from which all draws come.

        Returns:
            (B, C, H, W) in [0, 1], of the images' dtype.
        """
        images: Tensor
        images, draws = inputs
        count, chains = len(images), self.mixture_width
        kept = draws.dirichlet([self.alpha, self.alpha], count)
        weights = draws.dirichlet([self.alpha] * chains, count) * kept[:, 1:]
        pixels = (images * 255).round().to(torch.uint8)
        drawn = self._chained(pixels.repeat(chains, 1, 1, 1), draws)
        factors = torch.as_tensor(np.hstack([kept[:, :1], weights]), device=images.device)
        factors = factors.to(images.dtype).T.reshape(chains + 1, count, 1, 1, 1)
        mixture = factors[0] * images
        for factor, chain in zip(factors[1:], drawn.reshape(-1, *images.shape), strict=True):
            mixture = mixture + factor * (chain.to(images.dtype) / 255)
        return mixture.clamp(0, 1)

    def _chained(self, pixels: Tensor, draws: np.random.Generator) -> Tensor:
        operations = self.operations(*pixels.shape[-2:])
        most = max(self.chain_depth, 0) or _LONGEST
        least = most if self.chain_depth > 0 else 1
        lengths = draws.integers(least, most + 1, len(pixels))
        for step in range(most):
            names = draws.integers(len(operations), size=len(pixels))
            variants = draws.random(len(pixels))
            for name, ways in enumerate(operations):
                chosen = np.where(names == name, (variants * len(ways)).astype(int), -1)
                chosen[lengths <= step] = -1
                for way, (operation, magnitude) in enumerate(ways):
                    places = _places(chosen == way, pixels.device)
                    if len(places) and operation != _NOTHING:
                        pixels[places] = self.applied(pixels[places], operation, magnitude)
        return pixels


def jensen_shannon(logits: Tensor) -> Tensor:
    """How much predictions disagree: the mean of KL(p_i || mean of the p_i).

    Args:
        logits: (M, B, K) of M views of B images.

    Returns:
        (B,) in nats, from 0, where all agree, to ln M.

    >>> sure = torch.tensor([[[50.0, 0.0]], [[0.0, 50.0]]])
    >>> jensen_shannon(sure), jensen_shannon(sure[:1].repeat(2, 1, 1)).abs()
    (tensor([0.6931]), tensor([0.]))
    """
    logs = logits.log_softmax(dim=2)
    mean = logs.logsumexp(dim=0) - math.log(len(logits))
    return (logs.exp() * (logs - mean)).sum(dim=2).mean(dim=0)


def _places(mask: NDArray[np.bool_], device: torch.device) -> Tensor:
    return torch.from_numpy(np.flatnonzero(mask)).to(device)
