"""Gradients of a smoothed classifier's score with respect to a transformation's parameters.

Source: Athalye, Carlini, Wagner, "Obfuscated Gradients Give a False Sense of Security", ICML 2018
(EOT, the gradient of the mean over draws; BPDA, a straight way back through what rounds); Hao et
al. 2022 (GSmooth), its adaptive attack; THEORY sections 7 and 10.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn

from lightning_smooth.errors import check_count
from lightning_smooth.smoothing.checks import check_labels, check_logits
from lightning_smooth.smoothing.execution import laid_out, prepare
from lightning_smooth.smoothing.laws import Law, NoNoise, PixelLaw
from lightning_smooth.smoothing.rng import BLOCK, NoiseKey
from lightning_smooth.smoothing.smoothed import SmoothedClassifier, evaluating
from lightning_smooth.transforms.base import Transform

Encode = Callable[[Tensor], Tensor]
"""From images (B, C, H, W) to what noise is added to, differentiable."""


@contextmanager
def differentiating(model: nn.Module) -> Iterator[None]:
    """Take gradients through a model, whatever surrounds: eval mode, its parameters held fixed.

    Modes and `requires_grad` of its parameters are put back. Autocast does not reach inside.
    """
    parameters = list(model.parameters())
    learning = [p for p in parameters if p.requires_grad]
    device = parameters[0].device.type if parameters else "cpu"
    with (
        evaluating(model),
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.autocast(device, enabled=False),
    ):
        try:
            for parameter in learning:
                parameter.requires_grad_(False)
            yield
        finally:
            for parameter in learning:
                parameter.requires_grad_(True)


class ScoreGradient:
    """The label's score of a smoothed classifier, and where it falls as parameters change.

    With q(theta) the mean, over draws of the noise, of the model's softmax score of the label for
    the image under tau(theta, .), the loss is ln((1 - q) / q): it grows with -ln q and has its
    direction, and does not become flat where q is 1 to within rounding. Its gradient goes through
    the draws (EOT), the encoder and the transformation itself. Noise that rounds what it is added
    to is passed on the way back as if it did not (BPDA).

    Make and call it within `differentiating`. The model runs in its own dtype; one that is
    certified in bf16 runs without autocast.

    Args:
        classifier: what is attacked: its model and law.
        encode: what is done to images before noise is added.
        transform: what is attacked with.
        image: (C, H, W), one of those to come, on the model's device: its shape counts.
        draws: draws of the noise, fresh ones for each step; the points of one image share them.
            Without noise, one.
        seed: seed of the draws.
        batch_size: noisy copies in a pass, at least those of one point; None to choose.
    """

    def __init__(
        self,
        classifier: SmoothedClassifier,
        encode: Encode,
        transform: Transform,
        image: Tensor,
        *,
        draws: int,
        seed: int,
        batch_size: int | None = None,
    ) -> None:
        self.law = classifier.law
        self.encode = encode
        self.transform = transform
        self.draws = 1 if isinstance(self.law, NoNoise) else check_count("draws", draws)
        self.seed = seed
        self.device, self.dtype = classifier.device, dtype_of(classifier.model)
        with torch.no_grad():
            example = torch.zeros_like(encode(image[None])[0], dtype=self.dtype)
            self.execution = prepare(
                classifier.model,
                example,
                batch_size=batch_size or classifier.batch_size,
                speed=replace(classifier.speed, compile=False),
                long=False,
            )

    def __call__(
        self, images: Tensor, labels: Tensor, indices: Sequence[int], theta: Tensor, *, step: int
    ) -> tuple[Tensor, Tensor | None]:
        """Take the gradient at N points, those of an image one after the other.

        Args:
            images: (N, C, H, W), on the model's device.
            labels: (N,) true classes, on the CPU.
            indices: index of each image in its data set; with seed and step it keys the draws.
            theta: (N, P) float64.
            step: number of the step.

        Returns:
            Losses (N,), and their gradients (N, P), both float64 on the CPU: infinite where the
            scores of all draws are not finite, 0 where a derivative is not a number. No gradients
            (None) where none comes back from the model or the transformation.

        Raises:
            InputError: the model's answers are not scores, or a label is none of its classes.
        """
        losses, slopes = [], []
        drawn: dict[int, Tensor] = {}
        rows = max(1, self.execution.batch_size // self.draws)
        for start in range(0, len(theta), rows):
            part = slice(start, start + rows)
            numbers = indices[part]
            drawn = {i: n for i, n in drawn.items() if i in numbers}
            loss, slope = self._pass(images[part], labels[part], numbers, theta[part], step, drawn)
            losses.append(loss)
            if slope is not None:
                slopes.append(slope)
        whole = torch.cat(slopes).nan_to_num(0.0) if len(slopes) == len(losses) else None
        return torch.cat(losses), whole

    def _pass(
        self,
        images: Tensor,
        labels: Tensor,
        indices: Sequence[int],
        theta: Tensor,
        step: int,
        drawn: dict[int, Tensor],
    ) -> tuple[Tensor, Tensor | None]:
        points = theta.detach().clone().requires_grad_()
        encoded = self.encode(self.transform(images, points))
        noisy = []
        for one, index in zip(encoded, indices, strict=True):
            if index not in drawn:
                key = NoiseKey(self.seed, index, "attack", part=1)
                drawn[index] = noise(self.law, key, step, self.draws, tuple(one.shape), self.device)
            noisy.append(perturbed(self.law, one, drawn[index]))
        batch = laid_out(
            torch.cat(noisy).to(self.dtype), channels_last=self.execution.channels_last
        )
        scores = check_logits(self.execution.model(batch), len(batch))
        check_labels(labels, scores.shape[1])
        loss = log_odds(scores.reshape(len(theta), self.draws, -1), labels.to(scores.device))
        if not loss.requires_grad:
            return loss.cpu(), None
        (slope,) = torch.autograd.grad(loss.sum(), points, allow_unused=True)
        return loss.detach().cpu(), slope


@torch.no_grad()
def noise(
    law: Law,
    key: NoiseKey,
    number: int,
    draws: int,
    shape: tuple[int, ...],
    device: torch.device,
) -> Tensor:
    """Draws of a law for a gradient, of number `number`: no two numbers share a draw.

    Args:
        law: the noise.
        key: whose draws.
        number: of the gradient, from 0.
        draws: how many.
        shape: (C, H, W) of what they are for.
        device: where they are wanted.
    """
    blocks = -(-draws // BLOCK)
    channels, height, width = shape
    drawn = []
    for part in range(blocks):
        count = min(BLOCK, draws - part * BLOCK)
        size, block = (channels, height, width), number * blocks + part
        drawn.append(law.block(key, block, size, device, draws=count)[:count])
    return torch.cat(drawn)


def perturbed(law: Law, encoded: Tensor, drawn: Tensor) -> Tensor:
    """`Law.perturb` with a way back: noise that rounds is passed as if it did not (BPDA)."""
    if not isinstance(law, PixelLaw):
        return law.perturb(encoded, drawn)
    values = law.perturb(encoded.detach(), drawn)
    return values + (encoded - encoded.detach())


def log_odds(scores: Tensor, labels: Tensor) -> Tensor:
    """ln((1 - q) / q) (N,) float64, q the mean over M draws of the label's softmax of (N, M, K)."""
    likely = scores.double().log_softmax(dim=2)
    likely = torch.where(likely.isfinite(), likely, -math.inf)
    own = nn.functional.one_hot(labels, scores.shape[2]).bool()[:, None]
    others = likely.masked_fill(own, -math.inf).flatten(1).logsumexp(dim=1)
    label = likely.masked_fill(~own, -math.inf).flatten(1).logsumexp(dim=1)
    odds = others - label
    return torch.where(odds.isnan(), math.inf, odds)


def dtype_of(model: nn.Module) -> torch.dtype:
    """The dtype in which a model's images are: that of its weights."""
    tensors = [*model.parameters(), *model.buffers()]
    return next((t.dtype for t in tensors if t.is_floating_point()), torch.float32)
