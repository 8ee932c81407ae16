"""SmoothAdv (Salman et al. 2019), and the training of SPT (Fischer et al. 2020)."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn

from lightning_smooth.attacks.norms import steepest
from lightning_smooth.errors import InputError, check_count, check_positive
from lightning_smooth.models.weights import Head
from lightning_smooth.modules.base import Batch
from lightning_smooth.modules.boxes import UniformAttack, plain_box
from lightning_smooth.modules.copies import NoisyCopies, held, searching
from lightning_smooth.transforms.base import Transform
from lightning_smooth.transforms.preprocessing import Preprocessing
from lightning_smooth.types import Box


class SmoothAdv(NoisyCopies):
    """Cross-entropy on noisy copies of adversarial images of the soft smoothed classifier.

    For each image x of a batch:

    1. With `transform`, x becomes tau(xi, x), xi uniform in `box`; with `preprocessing`, its
       vignette and blur follow. Both are fixed before the search.
    2. m draws of N(0, sigma^2 I). With q(x) the mean of the predictions for the m noisy copies of
       x, `steps` times x_adv <- P(x_adv + step_size * g / |g|), g the gradient of
       -ln q(x_adv)[label], from x on; P goes to the l2 ball of radius `epsilon` around x, then to
       [0, 1], which leaves it in the ball. The network is in eval mode for it.
    3. The loss is the mean over images and copies of the cross-entropy at x_adv, under the same m
       draws. `train/noisy_accuracy` is that of x_adv, too.

    epsilon and step size grow linearly over the first `warmup_epochs` epochs. Where g is 0 the
    image stays; the authors' code moves it at random there, and goes to [0, 1] before the ball.

    Validation and test show the images that are certified: `clean_accuracy` is that of x after
    `preprocessing`; `noisy_accuracy` and `loss` are of one noisy copy of tau(xi, x) after it, xi
    uniform in `box`, without a search. Images that a Trainer predicts are preprocessed as well.

    SPT's base classifiers are those of copies 1, steps 1 and epsilon .2: one l2 step, under noise
    and random rotations, vignette and blur. Around the network goes `models.Vignetted`.

    Source: Salman et al. 2019, "Provably robust deep learning via adversarially trained smoothed
    classifiers" (github.com/Hadisalman/smoothing-adversarial: projected gradients, and all draws
    in the loss). Settings of Jeong et al. (github.com/jh-jeong, smoothing-consistency and
    smoothmix), MNIST, any sigma: m = 4, 10 steps, epsilon 255/256, ten of 90 epochs of warm-up; a
    step of theirs sees 256 / m images. SPT: Fischer et al. 2020, THEORY section 6; their scripts
    (github.com/eth-sri/transformation-smoothing) have, for rotated MNIST, sigma .15 or .22, box
    +-90 degrees, batches of 256 and 180 epochs; for CIFAR-10 sigma .25, epsilon .5, 8 steps and
    m = 1, or sigma .12, epsilon .25, one step and m = 8, and box +-60.

    Args:
        model: base classifier: (B, C, H, W) in [0, 1] -> logits (B, K). Normalisation is its
            first layer, so that noise is added to images in [0, 1].
        sigma: standard deviation of the noise, in units of pixels in [0, 1].
        copies: noisy copies of an image in a step, m. A step costs as much as one on
            (1 + steps) m times as many images (a little less: the search needs no gradient of the
            weights).
        epsilon: largest l2 distance of x_adv from x, in units of [0, 1].
        steps: steps of the search; 0 for none: then it is Gaussian training under `transform` and
            `preprocessing`, at half the cost of one step.
        step_size: l2 length of a step, in units of [0, 1]; None for 2 epsilon / steps.
        warmup_epochs: epochs over which epsilon and step size reach their values; 1 for none.
        transform: what is done to images first; None for nothing.
        box: (least, greatest) of each of its parameters, as what is added to its identity. The
            parameters are uniform there, of each image its own.
        preprocessing: what is done to images before the search; None for nothing.
        optimizer: from parameters to an optimizer.
        scheduler: from the optimizer to a learning rate scheduler; None for a constant rate.
        scheduler_interval: whether the scheduler steps after each epoch or each step.
        weights: file of weights that training starts from; see `SmoothingModule`.
        weights_head: keep the file's last layer, or leave the model's new one.

    Raises:
        InputError: a number is out of its range; there is a transformation without a box, or a box
            without a transformation, or they do not fit; or the transformation leaves [0, 1].
    """

    not_saved: ClassVar = (*NoisyCopies.not_saved, "transform", "box", "preprocessing")

    def __init__(
        self,
        model: nn.Module,
        sigma: float,
        copies: int = 4,
        epsilon: float = 1.0,
        steps: int = 10,
        step_size: float | None = None,
        warmup_epochs: int = 10,
        transform: Transform | None = None,
        box: Box | None = None,
        preprocessing: Preprocessing | None = None,
        optimizer: OptimizerCallable = lambda params: torch.optim.SGD(
            params, lr=0.1, momentum=0.9, weight_decay=1e-4
        ),
        scheduler: LRSchedulerCallable | None = None,
        scheduler_interval: Literal["epoch", "step"] = "epoch",
        weights: str | None = None,
        weights_head: Head = "keep",
    ) -> None:
        super().__init__(
            model, sigma, copies, optimizer, scheduler, scheduler_interval, weights, weights_head
        )
        self.epsilon = check_positive("epsilon", epsilon)
        self.steps = check_count("steps", steps, least=0)
        self.step_size = (
            2 * self.epsilon / max(self.steps, 1)
            if step_size is None
            else check_positive("step_size", step_size)
        )
        self.warmup_epochs = check_count("warmup_epochs", warmup_epochs)
        self.transform = transform
        self.preprocessing = preprocessing
        self._attack = _attack(transform, box)
        self.save_hyperparameters(
            {
                "transform": None if transform is None else repr(transform),
                "box": plain_box(box),
                "preprocessing": None if preprocessing is None else repr(preprocessing),
            }
        )

    def loss(
        self, images: Tensor, labels: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """See `SmoothingModule.loss`."""
        images = self.preprocessed(self.transformed(images, generator))
        noise = self.noise(images, generator)
        adversarial = self.search(images, labels, noise)
        logits = self.copied(adversarial, noise)
        distance = (adversarial - images).flatten(1).norm(dim=1).mean()
        self.log_terms(images, distance=distance)
        return self.copied_cross_entropy(logits, labels), logits[0]

    def search(self, images: Tensor, labels: Tensor, noise: Tensor) -> Tensor:
        """Search adversarial images of the smoothed classifier.

        Args:
            images: (B, C, H, W) in [0, 1], after transformation and preprocessing.
            labels: (B,) classes, to be led away from.
            noise: (M, B, C, H, W), the draws that stand for all noise.

        Returns:
            (B, C, H, W) in [0, 1], within this epoch's epsilon of `images`, without a gradient.
        """
        part = self.warmup(self.warmup_epochs)
        found = images.detach()
        with searching(self.model):
            for _ in range(self.steps):
                step = steepest("l2", self.slope(found, labels, noise)) * (part * self.step_size)
                found = held(found + step, images, part * self.epsilon)
        return found.detach()

    def transformed(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Images (B, C, H, W) under parameters drawn from the box, of each its own."""
        if self.transform is None or self._attack is None:
            return images
        theta = self.transform.identity() + self._attack.draw(len(images), generator)
        return self.transform(images, theta.to(images.device))

    def preprocessed(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) with the vignette and the blur that they are certified with."""
        if self.preprocessing is None:
            return images
        seen: Tensor = self.preprocessing(images)
        return seen

    def shown(self, images: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """See `SmoothingModule.shown`."""
        moved = self.preprocessed(self.transformed(images, generator))
        return self.preprocessed(images), self.law.perturbed(moved, generator)

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the base classifier's classes of preprocessed images, (B,)."""
        images, labels, indices = batch
        seen = (self.preprocessed(images), labels, indices)
        classes: Tensor = super().predict_step(seen, batch_idx)
        return classes


def _attack(transform: Transform | None, box: Box | None) -> UniformAttack | None:
    if transform is None and box is None:
        return None
    if transform is None:
        raise InputError(f"Expected a `transform` for the parameters of `box`, {box}, got none.")
    if box is None:
        raise InputError(
            f"Expected a `box` to draw the parameters of {transform!r} from, but got none: give "
            f"ranges of {', '.join(transform.names)}."
        )
    if not transform.keeps_range:
        raise InputError(
            f"Expected a `transform` that keeps images in [0, 1], where the search stays, but got "
            f"{transform!r}: TransformAugmentation trains with it."
        )
    return UniformAttack(transform, box)
