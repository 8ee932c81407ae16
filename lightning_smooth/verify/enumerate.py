"""Certificates of the model itself, by trying every image that an attack can make.

Source: Pei et al., "Towards Practical Verification of Machine Learning: The Case of Computer
Vision Systems" (VeriVis), 2017; THEORY section 9.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Any, ClassVar, Final

import torch
from torch import Tensor

from lightning_smooth.certify.base import Certifier
from lightning_smooth.errors import InputError
from lightning_smooth.records.certificate import Certificate
from lightning_smooth.smoothing.execution import Speed
from lightning_smooth.smoothing.laws import Law
from lightning_smooth.smoothing.plans import Draws, Plan, votes
from lightning_smooth.smoothing.rng import BLOCK, NoiseKey
from lightning_smooth.smoothing.smoothed import SmoothedClassifier
from lightning_smooth.transforms.base import Transform
from lightning_smooth.types import Precision
from lightning_smooth.verify.listing import Listing, listing

_FIRST: Final = 32
"""Images of the first piece; later ones are as large as all before them."""


class ListedParameters(Law):
    """Images under parameters that are listed: draw number i is row i, whatever the key.

    Args:
        transform: what is done to images.
        largest: size of the largest attack, as for `listing`.

    Raises:
        InputError: as for `listing`.
    """

    def __init__(self, transform: Transform, largest: float) -> None:
        self.transform, self.largest = transform, largest
        self._listings: dict[tuple[int, int], Listing] = {}
        self.of((1, 1))  # checks both

    def __repr__(self) -> str:
        return f"ListedParameters({self.transform!r}, largest={self.largest:g})"

    def of(self, size: tuple[int, int]) -> Listing:
        """The parameters that images of (height, width) need."""
        if size not in self._listings:
            self._listings[size] = listing(self.transform, size, self.largest)
        return self._listings[size]

    def block(
        self,
        key: NoiseKey,
        block: int,
        shape: tuple[int, int, int],
        device: torch.device,
        *,
        draws: int = BLOCK,
    ) -> Tensor:
        """See `Law.block`: parameters (draws, P), as listed."""
        del key
        first = block * BLOCK
        return self.of(shape[1:]).theta[first : first + draws].to(device)

    def perturb(self, image: Tensor, drawn: Tensor) -> Tensor:
        """See `Law.perturb`: the image transformed by parameters (B, P)."""
        return self.transform(image[None], drawn)

    def perturbed(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """See `Law.perturbed`: the images as they are, which is what is certified."""
        del generator
        return images


class EnumerationCertifier(Certifier):
    """Tries every distinct image of an attack, from small to large, on the model itself.

    Guarantee (`certified`): the model answers `predicted` at every attack of a size of at most
    `radius`, without a probability of error. Attacks are whole shifts, of size their l2 norm in
    pixels; rotations of whole samples, of size their degrees; brightness by whole levels, of size
    their number; square patches anywhere, of size their side; or pixelations, of size their
    strength. The radius is exact: it stops just short of the smallest attack with another answer,
    or at `largest`, beyond which nothing is tried. It rests on the deployed model answering as it
    did here: scores that are equal to within float rounding may be ranked otherwise in a batch of
    another size. An image with a score that is not finite is one with another answer.

    Args:
        transform: `IntegerTranslation` of any padding, `NearestRotation`, `LevelBrightness`,
            `Occlusion` or `Pixelate`.
        largest: size of the largest attack that is tried: pixels, degrees of at most 180, levels of
            at most 255, or a strength of at most 1.
        batch_size: images in a forward pass, None to choose.
        precision: arithmetic of the model, as for `GaussianCertifier`.
        speed: how the model is run; None to leave it to a short warm-up.

    Raises:
        InputError: the transformation has infinitely many images, `largest` is not above 0 or
            larger than there is, or the precision is not known.
    """

    method = "enumeration"
    deterministic: ClassVar[bool] = True
    law: ListedParameters

    def __init__(
        self,
        transform: Transform,
        largest: float,
        batch_size: int | None = None,
        precision: Precision = "float32",
        speed: Speed | None = None,
    ) -> None:
        super().__init__(
            ListedParameters(transform, largest),
            alpha=0.0,
            seed=0,
            batch_size=batch_size,
            precision=precision,
            speed=speed,
        )
        self.transform = transform
        self.largest = float(largest)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.transform!r}, largest={self.largest:g})"

    @property
    def radius_unit(self) -> str:
        """Unit of the size of an attack, that of the transformation's parameter."""
        return self.transform.parameters[0].unit

    @property
    def draws(self) -> int:
        """Images that one image of 32 x 32 pixels may take."""
        return len(self.law.of((32, 32)).theta)

    def for_validation(self, *, n0: int, n: int) -> EnumerationCertifier:
        """See `Certifier.for_validation`; there are no draws, so it is the same certifier."""
        del n0, n
        return EnumerationCertifier(
            self.transform, self.largest, self.batch_size, self.precision, self.speed
        )

    def _own(self) -> dict[str, Any]:
        return {
            "transform": repr(self.transform),
            "names": list(self.transform.names),
            "largest": self.largest,
        }

    def _settings(self) -> dict[str, Any]:
        return {"method": self.method, **self._own()}

    @staticmethod
    def _tally(scores: Tensor) -> Tensor:
        # A last column of ones: images without a vote are a finding here.
        counts = votes(scores)
        return torch.cat([counts, torch.ones_like(counts[:, :1])], dim=1)

    def _plan(
        self, smoothed: SmoothedClassifier, image: Tensor, *, index: int
    ) -> Plan[Certificate]:
        size = (int(image.shape[1]), int(image.shape[2]))
        found = self.law.of(size)
        own = yield Draws(image, NoiseKey(self.seed, index, "estimation"), 0, 1)
        classes = len(own) - 1
        if not bool(own[:classes].any()):
            raise InputError(
                f"The model gave no finite scores for image {index}: its weights are damaged, or "
                "it overflows in its dtype."
            )
        candidate = int(own[:classes].argmax())
        first = yield from self._first_other(found, image, index, candidate)
        held, nearest = self.largest, {}
        if first is not None:
            held, nearest = min(held, found.below(first)), {"nearest": found.sizes[first]}
        agreed = found.ends[-1 if first is None else first - 1]
        return Certificate(
            index=index,
            label=None,
            candidate=candidate,
            predicted=candidate,
            radius=held,
            radius_unit=self.radius_unit,
            guarantee="certified",
            hits=0,
            n=0,
            n0=0,
            p_lower=0.0,
            alpha=0.0,
            ledger={},
            method=self.method,
            parameters={
                **self._own(),
                "size": list(size),
                **smoothed.arithmetic,
                "classes": classes,
            },
            seed=self.seed,
            seconds=0.0,
            measured={"listed": len(found.theta), "agreed": agreed, **nearest},
        )

    def _first_other(
        self, found: Listing, image: Tensor, index: int, candidate: int
    ) -> Plan[int | None]:
        """The first shell with an image of another answer; None where there is none."""
        key = NoiseKey(self.seed, index, "estimation")
        ends, last = found.ends, len(found.ends) - 1

        def agree(low: int, high: int) -> Plan[bool]:
            """Whether all images of the shells after `low`, up to `high`, have the answer."""
            count = ends[high] - ends[low]
            counts = yield Draws(image, key, ends[low], count)
            return int(counts[candidate]) == count

        low = 0
        while low < last:
            enough = ends[low] + max(_FIRST, ends[low])
            high = min(bisect_left(ends, enough), last)
            if (yield from agree(low, high)):
                low = high
                continue
            while high - low > 1:
                middle = (low + high) // 2
                if (yield from agree(low, middle)):
                    low = middle
                else:
                    high = middle
            return high
        return None
