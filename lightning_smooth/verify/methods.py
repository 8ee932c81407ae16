"""Verifiers of a range of parameters: which sets of images they bound a network over."""

from __future__ import annotations

from collections.abc import Sequence

from lightning_smooth.interpolation.measure import Stored
from lightning_smooth.transforms.base import Transform
from lightning_smooth.types import Box, Precision
from lightning_smooth.verify.crown import Intermediate
from lightning_smooth.verify.interval import IntervalEnclosure
from lightning_smooth.verify.layers import LayerEnclosure
from lightning_smooth.verify.linear import LinearEnclosure
from lightning_smooth.verify.searching import Bound
from lightning_smooth.verify.verifier import BoxVerifier


class IntervalVerifier(BoxVerifier):
    """Bounds the network over the range of each pixel by itself.

    Guarantee (`certified`): see `BoxVerifier`.

    Source: Singh et al. 2019 and Yang et al. 2023 (CGT), by interval propagation; THEORY section 9.
    Here, by CROWN too where that is not enough, and outward in float32.

    Args:
        transform: what an attack does to images, one that `IntervalEnclosure` knows.
        box: (least, greatest) of each parameter that is attacked, one or two, around its identity;
            `{angle: [-30, 30]}`.
        radii: see `BoxVerifier`, as for all that follows.
        stored: how an attack may store its image.
        parts: equal parts along each parameter that the range is cut into first.
        boxes: parts that are examined for one image, at most.
        seconds: time after which an image is left as it is; None for no limit.
        batch: parts that are bounded at once.
        bound: `interval`, fast; or `crown`, slower and tighter, where intervals do not hold.
        precision: `float32` alone.

    Raises:
        InputError: as for `BoxVerifier`, or the transformation has no interval images.
    """

    method = "interval"

    def __init__(
        self,
        transform: Transform,
        box: Box,
        radii: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0),
        stored: Stored = "float32",
        parts: int = 16,
        boxes: int = 4096,
        seconds: float | None = None,
        batch: int = 16,
        bound: Bound = "crown",
        precision: Precision = "float32",
    ) -> None:
        super().__init__(
            IntervalEnclosure(transform), box, radii, stored, parts, boxes, seconds, batch,
            bound, "interval", precision,
        )  # fmt: skip


class LinearVerifier(BoxVerifier):
    """Bounds the network over linear forms of each pixel in the parameters (DeepG), by CROWN.

    Guarantee (`certified`): see `BoxVerifier`.

    Source: Balunovic et al. 2019 (DeepG); THEORY section 9.

    Args:
        transform: what an attack does to images, one that `LinearEnclosure` knows.
        box: (least, greatest) of each parameter that is attacked, one or two, around its identity;
            `{angle: [-30, 30]}`.
        radii: see `BoxVerifier`, as for all that follows.
        stored: how an attack may store its image.
        parts: equal parts along each parameter that the range is cut into first.
        boxes: parts that are examined for one image, at most.
        seconds: time after which an image is left as it is; None for no limit.
        batch: parts that are bounded at once.
        intermediate: what bounds activations' inputs, as for `crown_bounds`.
        pieces: sub-boxes of each part that make its forms sound, as `LinearEnclosure` has them.
        precision: `float32` alone.

    Raises:
        InputError: as for `BoxVerifier`, or no linear forms of the transformation are known.
    """

    method = "linear"

    def __init__(
        self,
        transform: Transform,
        box: Box,
        radii: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0),
        stored: Stored = "float32",
        parts: int = 16,
        boxes: int = 4096,
        seconds: float | None = None,
        batch: int = 16,
        intermediate: Intermediate = "interval",
        pieces: int = 16,
        precision: Precision = "float32",
    ) -> None:
        super().__init__(
            LinearEnclosure(transform, parts=pieces), box, radii, stored, parts, boxes, seconds,
            batch, "crown", intermediate, precision,
        )  # fmt: skip


class SemantifyVerifier(BoxVerifier):
    """Bounds the transformation as layers before the network, and both by CROWN (Semantify-NN).

    Guarantee (`certified`): see `BoxVerifier`.

    Source: Mohapatra et al. 2020 (Semantify-NN); THEORY section 9.

    Args:
        transform: what an attack does to images, one that `LayerEnclosure` knows.
        box: (least, greatest) of each parameter that is attacked, one or two, around its identity;
            `{brightness: [-0.2, 0.2]}`. Places come on top: patches of up to 5 pixels a side,
            anywhere in an image of 28 x 28 pixels or over its border, are those of
            `{side: [0, 5], x: [-4, 27], y: [-4, 27]}`, of which a radius is a part of the side.
        radii: see `BoxVerifier`, as for all that follows.
        stored: how an attack may store its image.
        parts: equal parts along each parameter that the range is cut into first.
        boxes: parts that are examined for one image, at most.
        seconds: time after which an image is left as it is; None for no limit.
        batch: parts that are bounded at once.
        intermediate: what bounds activations' inputs, as for `crown_bounds`.
        precision: `float32` alone.

    Raises:
        InputError: as for `BoxVerifier`, or the transformation is not known as layers.
    """

    method = "semantify"

    def __init__(
        self,
        transform: Transform,
        box: Box,
        radii: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0),
        stored: Stored = "float32",
        parts: int = 16,
        boxes: int = 4096,
        seconds: float | None = None,
        batch: int = 16,
        intermediate: Intermediate = "interval",
        precision: Precision = "float32",
    ) -> None:
        super().__init__(
            LayerEnclosure(transform), box, radii, stored, parts, boxes, seconds, batch,
            "crown", intermediate, precision,
        )  # fmt: skip
