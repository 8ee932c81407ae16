"""Local intrinsic dimensionality of a network's activations, and a detector built on it.

Source: Ma, Li, Wang, Erfani, Wijewickrema, Schoenebeck, Song, Houle, Bailey 2018, with 20
neighbours in batches of 100 images, and all layers of a network; the estimator is Amsaleg et al.
2015.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import torch
from torch import Tensor, nn

from lightning_smooth.defenses.base import check_batch
from lightning_smooth.defenses.logistic import fit_logistic
from lightning_smooth.errors import InputError, check_count, check_probability
from lightning_smooth.models.weights import read_state_dict

_LEAST: Final = 1e-6
"""Least mean logarithm of distances that an estimate is made from: it is at most a million."""

_BATCH: Final = 100


class LIDDetector(nn.Module):
    """A network with one more class: rejected, for activations of unusual dimensionality.

    Takes images (B, C, H, W) in [0, 1] and returns scores (B, K + 1): the network's, and a last one
    that is higher than all others iff the image is detected. It is the highest of the others plus
    the detector's log-odds. Gradients are the true ones, through both parts.

    Detector: a logistic regression over the dimensionality (`local_dimension`) of each layer's
    activations relative to those of `reference`. `fit` it before use. The reference images, the
    fit and the network are in the state dict, so that `safetensors.torch.save_file(
    detector.state_dict(), path)` writes the file that `weights` reads.

    Args:
        model: network, to scores (B, K).
        layers: names of modules in it, whose outputs are looked at (`model.named_modules()`).
        reference: (R, C, H, W) clean training images, R above `neighbours`; 100 as published.
            Images that are judged, and those to fit, should not be among them. None to read them
            from `weights`.
        neighbours: of the estimate; 20 as published.
        num_classes: K.
        threshold: probability from which on an image is detected.
        weights: file with the state dict of a fitted detector; its network's weights as well.

    Raises:
        InputError: an argument is out of range, a layer is not in the network, or neither or both
            of `reference` and `weights` are given; in the call: the detector is not fitted, a layer
            was not run, or scores are not (B, K).
    """

    reference: Tensor
    mean: Tensor
    scale: Tensor
    slope: Tensor
    intercept: Tensor
    fitted: Tensor

    holds_network = True
    """A file of weights may be of the network inside, `model`."""

    def __init__(
        self,
        model: nn.Module,
        layers: Sequence[str],
        reference: Tensor | None = None,
        *,
        neighbours: int = 20,
        num_classes: int = 10,
        threshold: float = 0.5,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        names = dict(model.named_modules())
        unknown = [name for name in layers if name not in names]
        if unknown or not layers or isinstance(layers, str):
            raise InputError(
                f"Expected `layers` to name modules of the network, but got {layers!r}: it has "
                f"{', '.join(name for name in names if name)}."
            )
        if (reference is None) == (weights is None):
            raise InputError(
                "Expected either `reference` or `weights`, but got "
                f"{'neither' if weights is None else 'both'}: give training images, or a file."
            )
        self.model = model
        self.layers = list(layers)
        self.neighbours = check_count("neighbours", neighbours, least=2)
        self.rejection_class = check_count("num_classes", num_classes)
        self.threshold = check_probability("threshold", threshold)
        self.register_buffer("reference", torch.empty(0))
        self.register_buffer("mean", torch.zeros(len(layers)))
        self.register_buffer("scale", torch.ones(len(layers)))
        self.register_buffer("slope", torch.zeros(len(layers)))
        self.register_buffer("intercept", torch.zeros(()))
        self.register_buffer("fitted", torch.tensor(False))
        if reference is not None:
            self.reference = self._checked(reference)
        if weights is not None:
            try:
                self.load_state_dict(read_state_dict(weights))
            except RuntimeError as error:  # names or shapes
                raise InputError(
                    f"Expected {weights} to be the state dict of this detector, but it does not "
                    f"fit ({str(error).splitlines()[-1].strip()}): give the same network and "
                    "layers."
                ) from error

    def extra_repr(self) -> str:
        """Show the numbers in the model's repr."""
        return (
            f"layers={self.layers}, neighbours={self.neighbours}, "
            f"num_classes={self.rejection_class}, threshold={self.threshold:g}"
        )

    def forward(self, images: Tensor) -> Tensor:
        """Scores (B, K + 1) of images (B, C, H, W)."""
        if not self.fitted:
            raise InputError("Expected a fitted detector: call `fit`, or load its `weights`.")
        scores, dimensions = self._look(images)
        if scores.ndim != 2 or scores.shape[1] != self.rejection_class:
            raise InputError(
                f"Expected the network to give {self.rejection_class} scores, `num_classes`, but "
                f"got shape {tuple(scores.shape)}."
            )
        odds = self.log_odds(dimensions).to(scores.dtype)
        top = scores.amax(dim=1)
        # Odds that rounding would take away from the sum are still above 0.
        step = torch.nextafter(top.detach(), torch.full_like(top, torch.inf)) - top.detach()
        odds = torch.where(odds > 0, torch.maximum(odds, step), odds)
        return torch.cat([scores, (top + odds)[:, None]], dim=1)

    def log_odds(self, dimensions: Tensor) -> Tensor:
        """Log-odds (B,) of detection, above 0 iff detected, of dimensionalities (B, layers)."""
        level = math.log(self.threshold / (1 - self.threshold))
        return ((dimensions - self.mean) / self.scale) @ self.slope + self.intercept - level

    def dimensions(self, images: Tensor) -> Tensor:
        """Dimensionality (B, layers) of the activations of images (B, C, H, W), by layer."""
        return self._look(images)[1]

    def fit(self, clean: Tensor, noisy: Tensor, attacked: Tensor) -> float:
        """Fit the detector: what is attacked is to be told from what is clean or noisy.

        Dimensionalities are scaled to mean 0 and standard deviation 1, and the logistic regression
        has the penalty |w|^2 / 2 beside the sum of losses. The network is in eval mode meanwhile.

        Args:
            clean: (N, C, H, W), none of them in `reference`.
            noisy: (N', C, H, W) with random noise, as strong as the attack (l2) as published.
            attacked: (M, C, H, W).

        Returns:
            Share of these images that it then tells rightly.

        Raises:
            InputError: images are not of the reference's shape, or there are none of a kind.
        """
        kinds = {"clean": clean, "noisy": noisy, "attacked": attacked}
        for name, images in kinds.items():
            if images.ndim != 4 or images.shape[1:] != self.reference.shape[1:] or not len(images):
                raise InputError(
                    f"Expected `{name}` to be images of shape {tuple(self.reference.shape[1:])}, "
                    f"the reference's, but got {tuple(images.shape)}."
                )
        with _evaluating(self):
            rows = [
                torch.cat([self.dimensions(part) for part in torch.split(images, _BATCH)]).double()
                for images in kinds.values()
            ]
        values = torch.cat(rows)
        truth = torch.zeros(len(values), dtype=torch.float64, device=values.device)
        truth[-len(attacked) :] = 1
        mean, scale = values.mean(dim=0), values.std(dim=0, correction=0).clamp_min(1e-12)
        slope, intercept = fit_logistic((values - mean) / scale, truth)
        for buffer, value in (
            (self.mean, mean), (self.scale, scale), (self.slope, slope), (self.intercept, intercept)
        ):  # fmt: skip
            buffer.copy_(value)
        self.fitted.fill_(True)
        told = self.log_odds(values.to(self.mean)) > 0
        return float((told == truth.bool()).double().mean())

    def _look(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Scores (B, K) and dimensionalities (B, layers)."""
        with torch.no_grad():
            _, known = self._activations(self.reference)
        scores, seen = self._activations(check_batch(images))
        columns = [
            local_dimension(torch.cdist(new, old, compute_mode=_EXACT), self.neighbours)
            for new, old in zip(seen, known, strict=True)
        ]
        return scores, torch.stack(columns, dim=1)

    def _activations(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Scores, and the activations (B, n) of each layer."""
        seen: dict[str, Tensor] = {}

        def keep(name: str, output: object) -> None:
            if not isinstance(output, Tensor):
                raise InputError(
                    f"Expected layer {name!r} to give a tensor, but got {type(output).__name__}."
                )
            seen[name] = output.flatten(1)

        hooks = [
            self.model.get_submodule(name).register_forward_hook(
                lambda _module, _inputs, output, name=name: keep(name, output)
            )
            for name in self.layers
        ]
        try:
            scores: Tensor = self.model(images)
        finally:
            for hook in hooks:
                hook.remove()
        left = [name for name in self.layers if name not in seen]
        if left:
            raise InputError(
                f"Expected `layers` that the network runs, but it did not run {', '.join(left)}."
            )
        return scores, [seen[name] for name in self.layers]

    def _checked(self, reference: Tensor) -> Tensor:
        if len(check_batch(reference)) <= self.neighbours:
            raise InputError(
                f"Expected `reference` to have more than `neighbours`={self.neighbours} images, "
                f"but got {len(reference)}."
            )
        return reference.detach().clone()

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *args: object
    ) -> None:
        stored = state_dict.get(f"{prefix}reference")
        if stored is not None:  # another number of images takes this one's place
            self.reference = self._checked(stored).to(self.reference)
        super()._load_from_state_dict(state_dict, prefix, *args)


_EXACT: Final = "donot_use_mm_for_euclid_dist"
"""Distances as sums of squared differences: the shorter ones must not be lost in rounding."""


def local_dimension(distances: Tensor, neighbours: int) -> Tensor:
    """Estimate the local intrinsic dimensionality around points, by maximum likelihood.

    With r_1 <= ... <= r_k the distances to the k nearest, it is k / sum ln(r_k / r_i): of points
    spread uniformly in d dimensions its mean is d k / (k - 2). A distance of 0 is the point itself
    and does not count. Fewer than k others give 0; the estimate is at most 10^6.

    Args:
        distances: (B, R), of each point to all others; differentiable.
        neighbours: k, at least 2 and at most R.

    Returns:
        (B,).

    >>> round(float(local_dimension(torch.tensor([[4.0, 1.0, 2.0, 0.0, 9.0]]), 3)) * math.log(2), 6)
    1.0
    """
    far = torch.where(distances > 0, distances, torch.inf)
    nearest = far.topk(neighbours, dim=1, largest=False, sorted=True).values
    enough = nearest[:, -1].isfinite()
    nearest = torch.where(enough[:, None], nearest, 1.0)
    mean = (nearest[:, -1:] / nearest).log().mean(dim=1)
    return torch.where(enough, 1 / mean.clamp_min(_LEAST), 0.0)


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Eval mode without gradients, and every module back as it was."""
    modes = [(inner, inner.training) for inner in module.modules()]
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for inner, training in modes:
            inner.training = training
