"""Votes of a model under keyed noise: the inner loop of certification."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from lightning_smooth.errors import InputError
from lightning_smooth.smoothing.checks import check_logits
from lightning_smooth.smoothing.laws import Law
from lightning_smooth.smoothing.rng import BLOCK, NoiseKey


def noisy_batches(
    image: Tensor, law: Law, key: NoiseKey, n: int, batch_size: int
) -> Iterator[Tensor]:
    """Yield `n` noisy copies of `image` in batches.

    The copies depend on the key alone; `batch_size` says how many share a forward pass: several
    whole blocks, or a part of one. Memory does not grow with `n`.

    Args:
        image: (C, H, W) in [0, 1], float32 or float64, on the device where the draws are wanted.
        law: the noise.
        key: whose draws.
        n: how many.
        batch_size: at most so many a batch, where that is below `BLOCK`; else a multiple of it.

    Yields:
        (B, C, H, W) of the dtype of `image`, channels last in memory.
    """
    shape = (image.shape[0], image.shape[1], image.shape[2])
    together = max(1, batch_size // BLOCK)
    for start in range(0, math.ceil(n / BLOCK), together):
        blocks = range(start, min(start + together, math.ceil(n / BLOCK)))
        drawn = [law.block(key, block, shape, image.device) for block in blocks]
        noise = (torch.cat(drawn) if len(drawn) > 1 else drawn[0])[: n - start * BLOCK]
        step = batch_size if batch_size < BLOCK else len(noise)
        for first in range(0, len(noise), step):
            yield noise[first : first + step] + image


def count_votes(
    model: Callable[[Tensor], Tensor],
    image: Tensor,
    law: Law,
    key: NoiseKey,
    *,
    n: int,
    batch_size: int = BLOCK,
    dtype: torch.dtype = torch.float32,
    channels_last: bool = False,
) -> Tensor:
    """Count the classes that `model` gives `n` noisy copies of `image`.

    Args:
        model: images (B, C, H, W) -> scores (B, K); called without gradients by the caller.
        image: (C, H, W) in [0, 1].
        law: the noise.
        key: whose draws.
        n: how many draws.
        batch_size: copies in a forward pass; the counts do not depend on it, but for scores that
            are equal to within float rounding.
        dtype: what the noisy copies are rounded to for the model: that rounding is part of it,
            and the certificate is for the image as it came.
        channels_last: whether the batches stay channels last in memory.

    Returns:
        (K,) int64 counts, on the CPU. They add up to `n` but for draws whose scores were not
        finite: those vote for no class.

    Raises:
        InputError: the model's answer has a wrong shape, or no draw had finite scores.
    """
    counts: Tensor | None = None
    image = image.to(torch.promote_types(image.dtype, torch.float32))
    layout = torch.channels_last if channels_last else torch.contiguous_format
    for batch in noisy_batches(image, law, key, n, batch_size):
        inputs = batch.to(dtype).contiguous(memory_format=layout)
        logits = check_logits(model(inputs), len(batch))
        if counts is None:
            counts = torch.zeros(logits.shape[1], dtype=torch.int64, device=logits.device)
        counts.scatter_add_(0, logits.argmax(dim=1), logits.isfinite().all(dim=1).long())
    if counts is None:
        raise InputError(f"Expected `n` to be at least 1, but got {n}.")
    counts = counts.cpu()
    if not int(counts.sum()):
        raise InputError(
            f"The model gave no finite scores for any of {n} noisy copies of image {key.index}: "
            "its weights are damaged, or it overflows in its dtype."
        )
    return counts
