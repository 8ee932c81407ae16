"""Backward linear bounds of a network's scores (CROWN), over boxes or over linear forms.

Source: Zhang et al., "Efficient neural network robustness certification with general activation
functions", 2018; THEORY section 9. Images that lie between linear forms in parameters: Balunovic et
al. 2019 (DeepG), Mohapatra et al. 2020 (Semantify-NN).

**What is claimed**: the same as in `propagation`, of every image in the region.

**Why it holds.** Let z be what a step gives in floating point. A sum <y, z> of one step's values is
followed back to the region: <y, W x + b> is <y W, x> + <y, b>, with an error of at most |y| times
the step's `charge`, which holds the network's rounding and that of this computation; <y, sigma(x)>
is bounded by the activation's lower lines where y > 0, by its upper ones elsewhere, which hold
over bounds of x found before. Where rows come together, the rounding of their sum is charged too.
What is computed here is in float64, whatever the dtype of the boxes, and everything is moved
outward by 2^-32 of its absolute values: room for sums of 2^18 terms.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, get_args

import torch
from torch import Tensor, nn

from lightning_smooth.errors import InputError
from lightning_smooth.verify.activation import Activation, Relaxation
from lightning_smooth.verify.affine import Affine
from lightning_smooth.verify.graph import BoundedNetwork
from lightning_smooth.verify.propagation import (
    backward,
    charge,
    check_rows,
    margins,
    network_of,
    specified,
    step_bounds,
)
from lightning_smooth.verify.regions import (
    Bounds,
    ParameterForms,
    PixelBox,
    Region,
    check_box,
    least,
)
from lightning_smooth.verify.rounding import own, plain_sums

Intermediate = Literal["interval", "crown"]
"""Where bounds of activations' inputs come from: interval propagation, or backward bounds too."""

_CHUNK: Final = 1 << 20
"""Numbers of the widest step that rows for activations' inputs take at once."""


def crown_bounds(
    network: nn.Module | BoundedNetwork,
    lower: Tensor,
    upper: Tensor,
    specification: Tensor | None = None,
    *,
    intermediate: Intermediate = "interval",
) -> Bounds:
    """Bounds of a network's scores over boxes of images, by CROWN.

    Guarantee: see the head of this file. They are never looser than those of `interval_bounds` in
    float64, but for rounding: the better one is taken. There are no gradients.

    Args:
        network: images (B, C, H, W) -> scores (B, K); or what `bounded` made of it.
        lower: (B, C, H, W) least pixels of B boxes, on the network's device.
        upper: greatest pixels, likewise.
        specification: (B, S, K) or (S, K): bound these sums of scores, and not the scores.
        intermediate: bounds of activations' inputs: `interval`, fast; or `crown`, tighter, by rows
            for each value that an activation may bend.

    Returns:
        Bounds (B, K), or (B, S), in float64.

    Raises:
        InputError: as for `interval_bounds`, or `intermediate` is not known.
    """
    return _both(network, _pixels(lower, upper), specification, intermediate)


def crown_bounds_of_forms(
    network: nn.Module | BoundedNetwork,
    forms: ParameterForms,
    specification: Tensor | None = None,
    *,
    intermediate: Intermediate = "interval",
) -> Bounds:
    """Bounds of a network's scores over images between linear forms in parameters, by CROWN.

    Guarantee: as for `crown_bounds`, of every image that `forms` allow.

    Args:
        network: images (B, C, H, W) -> scores (B, K); or what `bounded` made of it.
        forms: the images, in B boxes of parameters.
        specification: as for `crown_bounds`.
        intermediate: as for `crown_bounds`; `interval` looks at forms through their pixels alone
            but for the last step back, `crown` uses them throughout.

    Returns:
        Bounds (B, K), or (B, S), in float64.

    Raises:
        InputError: as for `crown_bounds`.
    """
    return _both(network, forms, specification, intermediate)


def crown_margins(
    network: nn.Module | BoundedNetwork,
    region: Region,
    labels: Tensor,
    *,
    intermediate: Intermediate = "interval",
) -> Tensor:
    """Lower bounds of margins: the score of a label less that of every other class.

    Where all are above 0, the network gives every image of the region its label. Half the time of
    bounds on both sides.

    Args:
        network: as for `crown_bounds`.
        region: `PixelBox` or `ParameterForms`, of B boxes.
        labels: (B,) classes.
        intermediate: as for `crown_bounds`.

    Returns:
        (B, K - 1), in the order of the other classes, float64.

    Raises:
        InputError: as for `crown_bounds`, or a label is none of the network's classes.
    """
    if isinstance(region, PixelBox):
        region = _pixels(region.low, region.high)
    found = network_of(network, region.pixels.lower.shape)
    rows = margins(labels, found.classes).to(region.pixels.lower)
    return _Backward(found, region, intermediate).scores(rows)


def _pixels(lower: Tensor, upper: Tensor) -> PixelBox:
    box = check_box(lower, upper)
    return PixelBox(box.lower.detach().double(), box.upper.detach().double())


def _both(
    network: nn.Module | BoundedNetwork,
    region: Region,
    specification: Tensor | None,
    intermediate: Intermediate,
) -> Bounds:
    pixels = region.pixels.lower
    found = network_of(network, pixels.shape)
    wanted = specification
    if wanted is None:
        wanted = torch.eye(found.classes, device=pixels.device)
    rows = check_rows(wanted, len(pixels), found.classes).to(pixels)
    low = _Backward(found, region, intermediate).scores(torch.cat([rows, -rows], dim=1))
    return Bounds(low[:, : rows.shape[1]], -low[:, rows.shape[1] :])


class _Backward:
    """Bounds of all steps over a region, and rows that are followed back through them."""

    def __init__(self, network: BoundedNetwork, region: Region, intermediate: str) -> None:
        if intermediate not in get_args(Intermediate):
            raise InputError(
                f"Expected `intermediate` to be one of {get_args(Intermediate)}, but got "
                f"{intermediate!r}."
            )
        self.network, self.region = network, region
        self.passed = [region.pixels]
        self.relaxed: dict[int, Relaxation] = {}
        self.bent = {0: not isinstance(region, PixelBox)}
        self.readers = [
            [s.operation for s in network.steps[1:]
             if place in s.inputs and isinstance(s.operation, Activation)]
            for place in range(len(network.steps))
        ]  # fmt: skip
        with torch.no_grad(), plain_sums():
            for place in range(1, len(network.steps)):
                self._pass(place, tighten=intermediate == "crown")

    def scores(self, rows: Tensor) -> Tensor:
        """Lower bounds (B, S) of rows (B, S, K) of scores."""
        with torch.no_grad(), plain_sums():
            last = len(self.network.steps) - 1
            found = self._followed([last], [rows], rows.new_zeros(rows.shape[:2]))
            return torch.maximum(found, specified(self.network, self.passed, rows))

    def _pass(self, place: int, *, tighten: bool) -> None:
        """Bounds of what a step gives; its relaxation, where it is an activation."""
        step = self.network.steps[place]
        inputs = [self.passed[read] for read in step.inputs]
        affine = isinstance(step.operation, Affine)
        self.bent[place] = not affine or any(self.bent[read] for read in step.inputs)
        self.passed.append(step_bounds(step, inputs))
        if isinstance(step.operation, Activation):
            self.relaxed[place] = step.operation.relax(*inputs[0])
        elif affine and tighten and self.bent[place] and self.readers[place]:
            self.passed[place] = self._tightened(place)

    def _tightened(self, place: int) -> Bounds:
        """Bounds of a linear step, by rows for those of its values that an activation may bend."""
        step, bounds = self.network.steps[place], self.passed[place]
        operation = step.operation
        if not isinstance(operation, Affine):
            return bounds
        asked = torch.stack([o.matters(*bounds) for o in self.readers[place]])
        asked = asked.any(dim=0).flatten(1)
        most = int(asked.sum(dim=1).max())
        if not most:
            return bounds
        # Those asked for come first; where a box has fewer, others are bounded as well.
        order = asked.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :most]
        inputs = [self.passed[read] for read in step.inputs]
        slack = charge(operation, inputs, 0).flatten(1)
        offset = operation.offset(slack)
        added = torch.zeros_like(bounds.lower) if offset is None else offset[0]
        added = added.expand_as(bounds.lower).flatten(1)
        low, high = (bound.flatten(1).clone() for bound in bounds)
        widest = max(before.lower[0].numel() for before in self.passed[:place])
        for part in torch.split(order, max(1, _CHUNK // (2 * widest * len(low))), dim=1):
            rows = operation.chosen(part.flatten(), step.shape, low)
            both = [torch.cat([r, -r], dim=1) for r in (
                row.reshape(*part.shape, *row.shape[1:]) for row in rows
            )]  # fmt: skip
            constant, wrong = added.gather(1, part), slack.gather(1, part)
            start = torch.cat([constant - wrong, -constant - wrong], dim=1)
            found = self._followed(step.inputs, both, start)
            count = part.shape[1]
            low.scatter_(1, part, torch.maximum(low.gather(1, part), found[:, :count]))
            high.scatter_(1, part, torch.minimum(high.gather(1, part), -found[:, count:]))
        return Bounds(low.reshape(-1, *step.shape), high.reshape(-1, *step.shape))

    def _followed(self, places: Sequence[int], rows: Sequence[Tensor], constant: Tensor) -> Tensor:
        """Lower bounds (B, S) of a constant and rows (B, S, *shape) of what some steps give."""
        pending: dict[int, Tensor] = {}
        found = constant + self._join(pending, places, rows)
        for current in range(max(places), 0, -1):
            if current not in pending:
                continue
            here = pending.pop(current)
            step = self.network.steps[current]
            if isinstance(step.operation, Affine):
                inputs = [self.passed[read] for read in step.inputs]
                added, back = backward(step.operation, inputs, here)
            else:
                relaxed = self.relaxed[current]
                added = least(here, relaxed.positive, relaxed.negative)
                back = [relaxed.back(here)]
            found = found + added + self._join(pending, step.inputs, back)
        return found + self.region.lower(pending[0])

    def _join(
        self, pending: dict[int, Tensor], places: Sequence[int], rows: Sequence[Tensor]
    ) -> Tensor:
        """Add rows to those that wait for steps; returns what their rounding costs, at most 0."""
        cost = rows[0].new_zeros(())
        for place, one in zip(places, rows, strict=True):
            if place not in pending:
                pending[place] = one
                continue
            pending[place] = pending[place] + one
            slack = own(one.dtype, 1) * self.passed[place].size
            cost = cost + least(pending[place], -slack, slack)
        return cost
