"""Mixtures of discretised logistics: a distribution over 8-bit pixels of one or more channels."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

LEVELS: Final = 256
"""Values of a channel: 0 to 255, of images in [0, 1] times 255."""

_HALF: Final = 1 / (LEVELS - 1)
"""Half the distance of two levels where they are scaled to [-1, 1]."""

_SHARPEST, _WIDEST = -7.0, 7.0
"""Range of log scales: from a tenth of a level to a thousand times the whole range."""


def to_levels(images: Tensor) -> Tensor:
    """Levels 0..255 (int64) of images in [0, 1]: the nearest ones."""
    return (images * (LEVELS - 1)).round().clamp(0, LEVELS - 1).long()


def scaled(levels: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Levels 0..255 as numbers from -1 to 1."""
    return levels.to(dtype) * (2 * _HALF) - 1


def parameter_count(channels: int, mixtures: int) -> int:
    """Numbers that describe the distribution of one pixel.

    >>> parameter_count(1, 5), parameter_count(3, 5)
    (15, 50)
    """
    return mixtures * (1 + 2 * channels + channels * (channels - 1) // 2)


class LogisticMixture:
    """p(x) = sum_k w_k prod_c p_k(x_c | x_d, d < c), for each pixel of a batch.

    Component k of channel c is a logistic with mean m_kc + sum_{d<c} a_kcd x_d and scale s_kc,
    whose mass within half a level of each level 1..254 is that level's, and all beyond that of 0
    and 255; levels are scaled to [-1, 1]. The probabilities of the 256 levels sum to 1.

    Source: Salimans et al. 2017 (PixelCNN++), section 2.1 and 2.2.

    Args:
        parameters: (B, P, ...): for each of K components a weight, C means, C log scales and
            C (C - 1) / 2 slopes, in blocks of K; any shape behind them.
        channels: C.
    """

    def __init__(self, parameters: Tensor, channels: int) -> None:
        count = parameters.shape[1] // parameter_count(channels, 1)
        pairs = channels * (channels - 1) // 2
        weights, means, scales, slopes = torch.split(
            parameters, [count * blocks for blocks in (1, channels, channels, pairs)], dim=1
        )
        self.channels = channels
        self.log_weights: Tensor = weights.log_softmax(dim=1)
        self._means = means.chunk(channels, dim=1)
        self.log_scales = scales.clamp(_SHARPEST, _WIDEST).chunk(channels, dim=1)
        self._slopes = slopes.tanh().chunk(pairs, dim=1) if pairs else ()

    def mean(self, channel: int, earlier: Tensor) -> Tensor:
        """Means (B, K, ...) of a channel, given levels (B, >= channel, ...) of the earlier ones."""
        mean = self._means[channel]
        first = channel * (channel - 1) // 2
        for place in range(channel):
            value = scaled(earlier[:, place], mean.dtype).unsqueeze(1)
            mean = mean + self._slopes[first + place] * value
        return mean

    def log_prob(self, levels: Tensor) -> Tensor:
        """Log-probabilities (B, ...), in nats, of levels (B, C, ...)."""
        joint = self.log_weights
        for channel in range(self.channels):
            joint = joint + self.component(channel, levels, levels[:, channel].unsqueeze(1))
        return joint.logsumexp(dim=1)

    def conditional(self, channel: int, levels: Tensor, candidates: Tensor) -> Tensor:
        """Log-probabilities of a channel's candidates, given the earlier channels.

        Args:
            channel: which.
            levels: (B, C, ...) of which only the channels before this one count.
            candidates: levels (B, ..., S), or (S,) for all.

        Returns:
            (B, ..., S) in nats.
        """
        weights = self.log_weights
        for earlier in range(channel):
            own = levels[:, earlier].unsqueeze(1)
            weights = weights + self.component(earlier, levels, own)
        if channel:
            weights = weights.log_softmax(dim=1)
        if candidates.ndim > 1:
            candidates = candidates.unsqueeze(1)
        mean = self.mean(channel, levels).unsqueeze(-1)
        scale = self.log_scales[channel].unsqueeze(-1)
        return (weights.unsqueeze(-1) + _log_mass(candidates, mean, scale)).logsumexp(dim=1)

    def component(self, channel: int, levels: Tensor, values: Tensor) -> Tensor:
        """Log-masses (B, K, ...) of a channel's `values` (B, 1, ...), given `levels` before it."""
        return _log_mass(values, self.mean(channel, levels), self.log_scales[channel])

    def draw(self, generator: torch.Generator | None = None) -> Tensor:
        """Levels (B, C, ...), drawn."""
        first = self.log_weights
        share = torch.rand(first[:, :1].shape, generator=generator, dtype=first.dtype)
        reached = first.exp().cumsum(dim=1) > share.to(first.device)
        # The last one, where rounding leaves the sum of all weights below the share drawn.
        drawn = reached.long().argmax(dim=1, keepdim=True)
        drawn = torch.where(reached.any(dim=1, keepdim=True), drawn, first.shape[1] - 1)
        levels = first.new_zeros((len(first), self.channels, *first.shape[2:]), dtype=torch.int64)
        for channel in range(self.channels):
            mean = self.mean(channel, levels).gather(1, drawn)[:, 0]
            scale = self.log_scales[channel].gather(1, drawn)[:, 0].exp()
            share = torch.rand(mean.shape, generator=generator, dtype=mean.dtype).to(mean.device)
            value = mean + scale * share.clamp(1e-6, 1 - 1e-6).logit()
            nearest = ((value.clamp(-1, 1) + 1) / (2 * _HALF)).round()
            levels[:, channel] = nearest.long()
        return levels


def _log_mass(levels: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    # s(a) - s(b) = s(a) s(-b) (1 - exp(b - a)) for the logistic function s: no digits are lost.
    sharp = (-log_scale).exp()
    centred = (scaled(levels, mean.dtype) - mean) * sharp
    half = _HALF * sharp
    below = functional.logsigmoid(centred + half)
    above = functional.logsigmoid(half - centred)
    within = below + above + (-(-2 * half).expm1()).log()
    return torch.where(levels == 0, below, torch.where(levels == LEVELS - 1, above, within))
