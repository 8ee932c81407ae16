"""A few test images, clean and noisy, kept beside the records for the report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lightning_smooth.certify.base import Certifier
from lightning_smooth.records.certificate import Certificate
from lightning_smooth.smoothing.rng import NoiseKey


def choose(certificates: Sequence[Certificate], count: int) -> list[Certificate]:
    """Choose a mix of verdicts: up to a quarter wrong, a quarter abstained, the rest right.

    Within each verdict they are spread evenly over the radii, smallest first.
    """
    wrong = [c for c in certificates if not c.correct and not c.abstained]
    abstained = [c for c in certificates if c.abstained]
    right = [c for c in certificates if c.correct]
    few = _spread(wrong, count // 4) + _spread(abstained, count // 4)
    chosen = _spread(right, count - len(few)) + few
    if len(chosen) < count:
        rest = [c for c in certificates if c not in chosen]
        chosen += _spread(rest, count - len(chosen))
    return chosen


def save_pictures(
    path: Path,
    certificates: Sequence[Certificate],
    item: Callable[[int], tuple[Tensor, int]],
    certifier: Certifier,
    count: int,
) -> None:
    """Write `index` (K,), `clean` and `noisy` (K, C, H, W; 8 bits) of up to `count` images.

    A noisy image is a draw of the certifier's law, clipped to [0, 1] for the eye alone.
    """
    chosen = choose(certificates, count)
    if not chosen:
        return
    clean, noisy = [], []
    for certificate in chosen:
        image = torch.as_tensor(item(certificate.index)[0]).float()
        key = NoiseKey(certificate.seed, certificate.index, "picture")
        shape = (image.shape[0], image.shape[1], image.shape[2])
        drawn = certifier.law.block(key, 0, shape, torch.device("cpu"), draws=1)[:1]
        clean.append(_bytes(image))
        noisy.append(_bytes(certifier.law.perturb(image, drawn)[0]))
    index = np.array([c.index for c in chosen])
    fresh = path.with_name(f"new-{path.name}")  # savez appends .npz to any other ending
    np.savez_compressed(fresh, index=index, clean=np.stack(clean), noisy=np.stack(noisy))
    fresh.replace(path)


def _spread(certificates: list[Certificate], count: int) -> list[Certificate]:
    ordered = sorted(certificates, key=lambda c: (c.radius or 0.0, c.index))
    if count <= 0 or not ordered:
        return []
    places = np.unique(np.linspace(0, len(ordered) - 1, count).round().astype(int))
    return [ordered[place] for place in places]


def _bytes(image: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return (image.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
