"""Measuring interpolation's error on the images of a distribution, for DistSPT^D.

Source: Fischer, Baader, Vechev, NeurIPS 2020, section 5; THEORY section 6.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from torch import Tensor

from lightning_smooth.errors import InputError, check_count, check_positive, check_probability
from lightning_smooth.interpolation.measure import (
    Engine,
    Stored,
    bounds_of,
    choose_size,
    exceeding,
)
from lightning_smooth.interpolation.population import PopulationError
from lightning_smooth.interpolation.roughness import unit_of
from lightning_smooth.interpolation.sizes import AngleSizes, scaled
from lightning_smooth.maths.laws import GaussianLaw
from lightning_smooth.maths.spt import failures_allowed
from lightning_smooth.smoothing.parameters import ParameterNoise
from lightning_smooth.smoothing.rng import NoiseKey, Stream
from lightning_smooth.transforms.geometric import Rotation, Translation
from lightning_smooth.transforms.preprocessing import Preprocessing

POPULATION = 1 << 41
"""Streams of errors of a population are numbered from here."""

Images = Callable[[int], Tensor]
"""From an index in the training split to the image, (C, H, W) in [0, 1]."""


class PopulationStudy:
    """One attempt at an E for the images of a distribution: chosen on some, verified on others.

    E is the same for all images, or, if `relative`, the same multiple of an image's `roughness`,
    which errors follow closely: an image's E is then little more than its own errors, where the
    same for all has to be that of the roughest.

    Of the indices in `order` the first `images[0]` choose E. The next `images[1]` that chose no E,
    in this attempt or before it, and verified none, verify it. What follows from their
    counts, and what it guarantees, `PopulationError` says.

    Args:
        order: indices of training images in an order that has nothing to do with what they show,
            such as a random one; each once.
        transform: Rotation or Translation.
        scale: standard deviation of the noise on each parameter, in its unit.
        largest: greatest attack for which the error is bounded.
        preprocessing: what the classifier does to an image before it adds noise; None for nothing.
        stored: how an attack may store its image.
        images: how many choose E, and how many verify it.
        draws: of b: of each image that chooses, and of each that verifies.
        margin: E is so many times the largest error found.
        relative: whether errors are counted in units of an image's `roughness`.
        rho: bound, to be verified, of the probability that an error exceeds E.
        level: probability with which an image may pass that should not; it costs q, and no alpha.
        alpha: probability with which the outcome of any attempt may be wrong.
        seed: seed of the draws.
        data: name of the data set.
        after: the attempt before this one. Give it whenever its verification has been looked at.

    Attributes:
        chosen: indices of the images that choose E.
        verified: indices of the images that verify it.
        attempt: number of this attempt, from 1.

    Raises:
        InputError: there are too few images, or too few draws for any image to pass, or an argument
            is out of its range.
    """

    def __init__(
        self,
        order: Sequence[int],
        transform: Rotation | Translation,
        scale: float,
        largest: float,
        preprocessing: Preprocessing | None = None,
        *,
        stored: Stored = "float32",
        images: tuple[int, int] = (200, 300),
        draws: tuple[int, int] = (20, 300),
        margin: float = 1.1,
        relative: bool = True,
        rho: float = 0.02,
        level: float = 0.1,
        alpha: float = 0.001,
        seed: int = 0,
        data: str = "",
        after: PopulationError | None = None,
    ) -> None:
        self.transform, self.preprocessing = transform, preprocessing
        self.scale, self.largest = (
            check_positive("scale", scale),
            check_positive("largest", largest),
        )
        self.stored: Stored = stored
        self.draws = check_count("draws", draws[0]), check_count("draws", draws[1])
        self.margin, self.relative = check_positive("margin", margin), relative
        self.rho, self.level = check_probability("rho", rho), check_probability("level", level)
        self.alpha, self.seed = (
            check_probability("alpha", alpha),
            check_count("seed", seed, least=0),
        )
        self.data = data
        if failures_allowed(self.draws[1], rho, level) < 0:
            raise InputError(
                f"Expected enough `draws` to show a rho of {rho:g} at level {level:g}, but got "
                f"{draws[1]}, all of which would not: draw more, or ask for a larger rho."
            )
        if after is not None and (after.alpha, after.data) != (self.alpha, data):
            raise InputError(
                f"Expected `after` to be an attempt on {data!r} with alpha {alpha:g}, as this one "
                f"is, but it was on {after.data!r} with {after.alpha:g}."
            )
        self.attempt = 1 if after is None else after.attempt + 1
        seen = () if after is None else (*after.earlier, *after.chosen, *after.verified)
        self.earlier = tuple(dict.fromkeys(seen))
        if len(set(order)) < len(order):
            raise InputError("Expected each image of `order` once, but one is there twice.")
        choosing, verifying = (check_count("images", count) for count in images)
        self.chosen = tuple(order[:choosing])
        looked_at = {*self.chosen, *self.earlier}
        fresh = [index for index in order[choosing:] if index not in looked_at]
        self.verified = tuple(fresh[:verifying])
        if len(self.chosen) < choosing or len(self.verified) < verifying:
            raise InputError(
                f"Expected {choosing} images to choose E and {verifying} others that were not "
                f"looked at, but of {len(order)} there are {len(fresh)} others: take fewer."
            )
        law = GaussianLaw(self.scale)
        self._parameters = ParameterNoise(transform, dict.fromkeys(transform.names, law))

    def choose(self, images: Images) -> float | AngleSizes:
        """E by the images that choose it."""
        shown = ((index, images(index)) for index in self.chosen)
        samples = (
            (
                self._engine(image),
                self._noise("error size", index, self.draws[0]),
                self._unit(image),
            )
            for index, image in shown
        )
        return choose_size(samples, self.margin)

    def failures(self, size: float | AngleSizes, image: Tensor, index: int) -> int:
        """Draws, of one image that verifies, whose error is not proven to be at most E.

        Raises:
            InputError: the image does not verify in this attempt.
        """
        if index not in self.verified:
            raise InputError(f"Image {index} is not one that verifies E in this attempt.")
        noise = self._noise("error", index, self.draws[1])
        return exceeding(self._engine(image), noise, scaled(size, self._unit(image)))

    def outcome(
        self, size: float | AngleSizes, failures: Mapping[int, int], shape: Iterable[int]
    ) -> PopulationError:
        """What the failures of all images that verify give.

        Args:
            size: E, as `choose` gave it.
            failures: of each image in `verified`.
            shape: (C, H, W) of the images.
        """
        return PopulationError(
            size=size,
            rho=self.rho,
            level=self.level,
            alpha=self.alpha,
            attempt=self.attempt,
            draws=self.draws,
            chosen=self.chosen,
            earlier=self.earlier,
            verified=self.verified,
            failures=tuple(failures[index] for index in self.verified),
            margin=self.margin,
            transform=repr(self.transform),
            scale=self.scale,
            largest=self.largest,
            preprocessing=None if self.preprocessing is None else repr(self.preprocessing),
            stored=self.stored,
            shape=tuple(shape),
            data=self.data,
            seed=self.seed,
            relative=self.relative,
        )

    def measure(self, images: Images) -> PopulationError:
        """Choose E, verify it, and say what follows."""
        size = self.choose(images)
        found = {index: self.failures(size, images(index), index) for index in self.verified}
        return self.outcome(size, found, images(self.verified[0]).shape)

    def _engine(self, image: Tensor) -> Engine:
        return bounds_of(image, self.transform, self.largest, self.preprocessing, self.stored)

    def _unit(self, image: Tensor) -> float:
        return unit_of(image, self.preprocessing) if self.relative else 1.0

    def _noise(self, stream: Stream, index: int, count: int) -> Tensor:
        key = NoiseKey(self.seed, index, stream, POPULATION + self.attempt)
        return self._parameters.draws(key, 0, count).squeeze(1)
